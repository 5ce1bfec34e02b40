//! What a connection's numbers say of a SYN, FIN or RST, and what becomes of its state.
//!
//! A stranger who knows addresses and ports must not end a connection, so that it takes a number that he does not know, and
//! where it can be had, the word of the other end:
//! - A **RST** counts if its number is the one that the other end acknowledged last, which is what its receiver asks for
//!   (RFC 5961 section 3.2). Another one inside the window is answered by that receiver with a challenge ACK, if it is wrong.
//! - A **FIN** counts when the other end has acknowledged it, to the number. Until then it only waits.
//! - A **SYN** on a live connection is for the replica to judge (RFC 5961 section 4.2).
//!
//! conntrack's rules are the same but for the FIN, which it believes inside the window (`nf_conntrack_proto_tcp.c`).

use crate::flow_table::{Control, Flow, State};

/// The largest window that there is (RFC 7323 section 2.2).
const WINDOW: u32 = 1 << 30;
/// How far behind a number may be that is sent again.
const BEHIND: u32 = 1 << 16;

/// Whether `number` may be sent by an end whose peer acknowledged `acknowledged` last.
#[inline(always)]
pub(super) const fn in_window(number: u32, acknowledged: u32) -> bool {
    number.wrapping_sub(acknowledged).wrapping_add(BEHIND) < WINDOW + BEHIND
}

/// What a packet of a connection that is established, or was, tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) from_client: bool,
    /// A reset with the right number.
    pub(super) reset: bool,
    /// A FIN inside the window, or one that nobody could judge, of a direct mode.
    pub(super) fin: bool,
    /// It acknowledges the other side's FIN.
    pub(super) acknowledges_fin: bool,
    /// It carries more than this side's FIN had left to say: that FIN was not its own.
    pub(super) talks_on: bool,
}

impl Event {
    /// What becomes of a connection's state.
    #[inline(always)]
    pub(super) const fn apply(self, control: Control) -> Control {
        let Self { from_client, reset, fin, acknowledges_fin, talks_on } = self;
        let state = control.state();
        let own_reset = if from_client { State::CLIENT_RESET } else { State::REPLICA_RESET };
        if reset {
            if state.ended() {
                return control;
            }
            return control.with_state(own_reset).with_fin(true, false).with_fin(false, false);
        }
        // Who goes on talking has not sent a reset.
        let mut control =
            if state.0 == own_reset.0 { control.with_state(State::ESTABLISHED) } else { control };
        if acknowledges_fin && control.fin(!from_client) {
            control = closed(control.with_fin(!from_client, false), !from_client);
        }
        if talks_on {
            control = control.with_fin(from_client, false);
        }
        if fin && waits_for_fin(control.state(), from_client) {
            control.with_fin(from_client, true)
        } else {
            control
        }
    }
}

/// Whether this side has not closed yet.
#[inline(always)]
const fn waits_for_fin(state: State, from_client: bool) -> bool {
    state.0 == State::ESTABLISHED.0
        || state.0 == if from_client { State::REPLICA_CLOSED.0 } else { State::CLIENT_CLOSED.0 }
}

/// After one side's FIN has been acknowledged.
#[inline(always)]
const fn closed(control: Control, by_client: bool) -> Control {
    let next = match (control.state(), by_client) {
        (State::ESTABLISHED, true) => State::CLIENT_CLOSED,
        (State::ESTABLISHED, false) => State::REPLICA_CLOSED,
        (State::CLIENT_CLOSED, false) => State::CLOSED,
        (State::REPLICA_CLOSED, true) => State::TIME_WAIT,
        (state, _) => state,
    };
    control.with_state(next)
}

/// Whether a reset of `flow`'s direction has the number that its receiver takes. `other` is the receiver's direction.
#[inline(always)]
pub(super) const fn resets(sequence: u32, flow: &Flow, other: &Flow) -> bool {
    sequence == other.acknowledged
        || (flow.control.fin(flow.direction().from_client()) && sequence == flow.fin)
}

/// Whether a connection is over for its client, whose SYN with the same tuple opens another one.
#[inline(always)]
pub fn over(flow: &Flow) -> bool {
    flow.state().ended()
        // The replica's end of it is not seen.
        || (matches!(flow.direction(), crate::flow_table::Direction::Direct) && flow.state() == State::CLIENT_CLOSED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow_table::Direction;

    const QUIET: Event =
        Event { from_client: true, reset: false, fin: false, acknowledges_fin: false, talks_on: false };

    fn control(state: State) -> Control {
        Control::new(state, Direction::ToReplica, false)
    }

    /// A FIN of one side, and its acknowledgment by the other.
    fn close(control: Control, by_client: bool) -> Control {
        let waits = Event { from_client: by_client, fin: true, ..QUIET }.apply(control);
        assert_eq!(waits.state(), control.state(), "a FIN alone changes no state");
        Event { from_client: !by_client, acknowledges_fin: true, ..QUIET }.apply(waits)
    }

    #[test]
    fn each_way_to_close() {
        for (first_by_client, half, whole) in
            [(true, State::CLIENT_CLOSED, State::CLOSED), (false, State::REPLICA_CLOSED, State::TIME_WAIT)]
        {
            let half_closed = close(control(State::ESTABLISHED), first_by_client);
            assert_eq!(half_closed, control(half));
            assert_eq!(close(half_closed, first_by_client), control(half), "the same FIN again");
            assert_eq!(close(half_closed, !first_by_client), control(whole));
        }
    }

    #[test]
    fn a_reset_ends_what_is_live_and_is_taken_back_by_who_talks_on() {
        for state in [State::ESTABLISHED, State::CLIENT_CLOSED, State::REPLICA_CLOSED] {
            for from_client in [true, false] {
                let reset = Event { from_client, reset: true, ..QUIET }.apply(control(state));
                assert!(reset.state().ended());
                let other = Event { from_client: !from_client, ..QUIET }.apply(reset);
                assert_eq!(other, reset, "its receiver may still have packets on their way");
                let own = Event { from_client, ..QUIET }.apply(reset);
                assert_eq!(own.state(), State::ESTABLISHED);
            }
        }
        for state in [State::TIME_WAIT, State::CLOSED, State::CLIENT_RESET] {
            let event = Event { from_client: false, reset: true, ..QUIET };
            assert_eq!(event.apply(control(state)), control(state), "{state:?}");
        }
    }

    #[test]
    fn a_fin_that_its_sender_contradicts_is_forgotten() {
        let waits = Event { fin: true, ..QUIET }.apply(control(State::ESTABLISHED));
        assert!(waits.fin(true));
        assert_eq!(Event { talks_on: true, ..QUIET }.apply(waits), control(State::ESTABLISHED));
        let other = Event { from_client: false, talks_on: true, ..QUIET }.apply(waits);
        assert!(other.fin(true), "what the other side says is no contradiction");
    }

    #[test]
    fn the_window_wraps() {
        for acknowledged in [0, 5, u32::MAX - 3] {
            assert!(in_window(acknowledged, acknowledged));
            assert!(in_window(acknowledged.wrapping_add(WINDOW - 1), acknowledged));
            assert!(!in_window(acknowledged.wrapping_add(WINDOW), acknowledged));
            assert!(in_window(acknowledged.wrapping_sub(BEHIND), acknowledged));
            assert!(!in_window(acknowledged.wrapping_sub(BEHIND + 1), acknowledged));
            assert!(!in_window(acknowledged ^ 0x8000_0000, acknowledged));
        }
    }
}
