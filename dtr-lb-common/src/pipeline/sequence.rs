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

/// How far from what was acknowledged last a client's numbers may be for its packet to say where the client is now: few
/// connections have more on their way, and of a stranger's packets one in 65,000 has both numbers right by chance.
const NEAR: u32 = 1 << 24;

/// Whether both numbers of a client's packet are near what each end acknowledged last.
#[inline(always)]
pub(super) const fn near(numbers: [u32; 2], acknowledged: [u32; 2]) -> bool {
    numbers[0].wrapping_sub(acknowledged[0]).wrapping_add(NEAR) < 2 * NEAR
        && numbers[1].wrapping_sub(acknowledged[1]).wrapping_add(NEAR) < 2 * NEAR
}

/// What a packet tells about its connection: bits. (In a program, a `bool` for each would have the verifier follow each
/// combination by itself.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event(pub(super) u8);

impl Event {
    /// Nothing but that it was seen.
    pub(super) const NONE: Self = Self(0);
    pub(super) const FROM_CLIENT: Self = Self(1);
    /// The replica answers the client directly, and is not seen.
    pub(super) const DIRECT: Self = Self(1 << 1);
    /// It is the replica's SYN-ACK.
    pub(super) const ACCEPTS: Self = Self(1 << 2);
    /// It proves that a handshake is over.
    pub(super) const PROVES: Self = Self(1 << 3);
    /// A reset with the right number.
    pub(super) const RESET: Self = Self(1 << 4);
    /// A FIN inside the window.
    pub(super) const FIN: Self = Self(1 << 5);
    /// It acknowledges the other side's FIN.
    pub(super) const ACKNOWLEDGES_FIN: Self = Self(1 << 6);
    /// It carries more than this side's FIN had left to say: that FIN was not its own.
    pub(super) const TALKS_ON: Self = Self(1 << 7);

    #[inline(always)]
    pub(super) const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    #[must_use]
    #[inline(always)]
    pub(super) const fn with(self, other: Self, set: bool) -> Self {
        if set { Self(self.0 | other.0) } else { self }
    }

    /// What becomes of a connection's state.
    #[inline(always)]
    pub(super) const fn apply(self, control: Control) -> Control {
        if control.state().handshake() {
            self.apply_to_handshake(control)
        } else {
            self.apply_to_connection(control)
        }
    }

    #[inline(always)]
    const fn apply_to_handshake(self, control: Control) -> Control {
        if self.has(Self::ACCEPTS) && control.state().0 == State::SYN_SENT.0 {
            return control.with_state(State::SYN_RECEIVED);
        }
        if !self.has(Self::PROVES) {
            return control;
        }
        // A FIN that came with the proof waits like any other.
        self.with_fin(control.with_state(State::ESTABLISHED))
    }

    #[inline(always)]
    const fn apply_to_connection(self, control: Control) -> Control {
        let from_client = self.has(Self::FROM_CLIENT);
        let state = control.state();
        let own_reset = if from_client { State::CLIENT_RESET } else { State::REPLICA_RESET };
        if self.has(Self::RESET) {
            if state.ended() {
                return control;
            }
            return control.with_state(own_reset).with_fin(true, false).with_fin(false, false);
        }
        // Who goes on talking has not sent a reset.
        let mut control =
            if state.0 == own_reset.0 { control.with_state(State::ESTABLISHED) } else { control };
        if self.has(Self::ACKNOWLEDGES_FIN) && control.fin(!from_client) {
            control = closed(control.with_fin(!from_client, false), !from_client);
        }
        if self.has(Self::TALKS_ON) {
            control = control.with_fin(from_client, false);
        }
        self.with_fin(control)
    }

    /// With this side's FIN. In a direct mode nobody is seen to acknowledge it: it counts at once, and nothing is lost by that
    /// which the client's next packet does not bring back.
    #[inline(always)]
    const fn with_fin(self, control: Control) -> Control {
        let from_client = self.has(Self::FROM_CLIENT);
        if !self.has(Self::FIN) || !waits_for_fin(control.state(), from_client) {
            control
        } else if self.has(Self::DIRECT) {
            control.with_state(State::CLIENT_CLOSED)
        } else {
            control.with_fin(from_client, true)
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

    const CLIENT: Event = Event::FROM_CLIENT;
    const REPLICA: Event = Event::NONE;

    fn event(from_client: bool, what: Event) -> Event {
        if from_client { CLIENT.with(what, true) } else { what }
    }

    fn control(state: State) -> Control {
        Control::new(state, Direction::ToReplica, false)
    }

    /// A FIN of one side, and its acknowledgment by the other.
    fn close(control: Control, by_client: bool) -> Control {
        let waits = event(by_client, Event::FIN).apply(control);
        assert_eq!(waits.state(), control.state(), "a FIN alone changes no state");
        event(!by_client, Event::ACKNOWLEDGES_FIN).apply(waits)
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
                let reset = event(from_client, Event::RESET).apply(control(state));
                assert!(reset.state().ended());
                let other = event(!from_client, Event::NONE).apply(reset);
                assert_eq!(other, reset, "its receiver may still have packets on their way");
                let own = event(from_client, Event::NONE).apply(reset);
                assert_eq!(own.state(), State::ESTABLISHED);
            }
        }
        for state in [State::TIME_WAIT, State::CLOSED, State::CLIENT_RESET] {
            assert_eq!(Event::RESET.apply(control(state)), control(state), "{state:?}");
        }
    }

    #[test]
    fn a_fin_that_its_sender_contradicts_is_forgotten() {
        let waits = CLIENT.with(Event::FIN, true).apply(control(State::ESTABLISHED));
        assert!(waits.fin(true));
        let talks_on = Event::TALKS_ON;
        assert_eq!(CLIENT.with(talks_on, true).apply(waits), control(State::ESTABLISHED));
        let other = REPLICA.with(talks_on, true).apply(waits);
        assert!(other.fin(true), "what the other side says is no contradiction");
    }

    #[test]
    fn a_handshake_becomes_a_connection_by_its_proof_alone() {
        for state in [State::SYN_SENT, State::SYN_RECEIVED] {
            for event in [CLIENT, CLIENT.with(Event::FIN, true), CLIENT.with(Event::RESET, true)] {
                assert_eq!(event.apply(control(state)), control(state), "{event:?}");
            }
            let proof = CLIENT.with(Event::PROVES, true);
            assert_eq!(proof.apply(control(state)), control(State::ESTABLISHED));
            let with_fin = proof.with(Event::FIN, true).apply(control(state));
            assert_eq!(with_fin, control(State::ESTABLISHED).with_fin(true, true));
            let direct = proof.with(Event::FIN, true).with(Event::DIRECT, true).apply(control(state));
            assert_eq!(direct, control(State::CLIENT_CLOSED));
        }
        assert_eq!(Event::ACCEPTS.apply(control(State::SYN_SENT)), control(State::SYN_RECEIVED));
        assert_eq!(Event::ACCEPTS.apply(control(State::SYN_RECEIVED)), control(State::SYN_RECEIVED));
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
