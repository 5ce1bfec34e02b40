//! Milestones of a connection: its replica has answered, it is established, it is over. What is measured between them is counted for the
//! replica, and whoever wants to know is told.
//!
//! The clock that measures is read at the SYN, at the SYN-ACK and at the ACK, and at no other packet. What it said stands beside the
//! SYN that is kept: where a flood needed that room, nothing was measured.

use super::{PacketContext, Tables};
use crate::{
    abi::{
        BOUNDS, DURATION_BOUNDS, End, FlowEvent, HANDSHAKE_BOUNDS, Place, ReplicaId, Ticks, age, flow_event,
        flow_wanted, stat,
    },
    flow_table::{
        self, Control, Direction, ENTRY_WORDS, Line as _, Memory, State, account, entry::word, room,
    },
    verdict::{Action, Verdict},
};

/// What a connection was and has become by a packet, and by no other: its client's control word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) was: Control,
    pub(super) is: Control,
}

impl Turn {
    pub(super) const NONE: Self = Self { was: Control(0), is: Control(0) };

    /// Whether it passed a milestone.
    #[inline(always)]
    pub(super) const fn any(self) -> bool {
        self.was.state().0 != self.is.state().0 || self.was.told() != self.is.told()
    }
}

/// Whether a SYN that met this verdict is a connection that never began.
#[inline(always)]
pub(super) const fn fails(verdict: Verdict) -> bool {
    match verdict {
        // The client is asked to prove its address, or sends the same once more.
        Verdict::AnsweredChallenge | Verdict::DroppedBusy => false,
        _ => matches!(verdict.action(), Action::Answer | Action::Drop),
    }
}

/// Takes in the milestone that a packet was, after it has left.
#[inline(always)]
pub(super) fn pass(tables: &impl Tables, context: &mut PacketContext, verdict: Verdict) {
    if context.is_late && tables.tells_flows() {
        late(tables, context);
    }
    let PacketContext { turn, found, other, headers, kept, is_late, .. } = context;
    let Turn { was, is } = *turn;
    let from_client = found.direction().from_client();
    let (client, replica) = if from_client { (&*found, &*other) } else { (&*other, &*found) };
    if !turn.any() {
        if *is_late || !tables.tells_flows() {
            return;
        }
        let told = tables.tell_flow(true, |event| {
            event.kind = flow_event::FAIL;
            event.end = End::FAILED;
            event.verdict = verdict as u32;
            event.now = tables.now();
            let tuple: [u32; TUPLE_WORDS] = bytemuck::must_cast(headers.tuple);
            let mut number = 0;
            while number < TUPLE_WORDS {
                event.words[number] = tuple[number];
                number += 1;
            }
        });
        if !told {
            tables.tally(0, stat::UNTOLD, 1);
        }
        return;
    }
    if is.state().ended() {
        // Where there was no room to tell it before, it was counted then.
        let end = if was.state().ended() { End::STANDS } else { End::CAME };
        flow_table::tell_ended(&tables.flows(), client.place, is, end);
        return;
    }
    let memory = &tables.flows();
    // It has no entry but its client's.
    let direct = client.direction() == Direction::Direct;
    if !was.state().handshake() {
        // Whoever was said to have reset it talks on.
        if was.told() {
            for (entry, direction) in [(client, client.direction()), (replica, Direction::ToClient)] {
                if let Some(line) = memory.line(entry.place)
                    && (direction != Direction::ToClient || !direct)
                {
                    account::clear(line, direction);
                }
            }
        }
        return;
    }
    // Where its SYN is kept is as it was before this packet. A connection of a direct mode is measured by nobody: its replica is not seen.
    let measured = !direct && tables.kept_syn(client.fin, kept) && kept.client == client.key;
    let now = tables.micros();
    if is.state() == State::SYN_RECEIVED {
        if measured {
            let connect = now.wrapping_sub(kept.asked);
            tables.answered(client.fin, now);
            observe(tables, client.replica, stat::CONNECT, &HANDSHAKE_BOUNDS, connect);
        }
        return;
    }
    if measured && kept.answered != 0 {
        let attempts = 1 + kept.attempted.iter().filter(|id| **id != 0).count() as u32;
        if let Some(line) = memory.line(client.place) {
            account::measure(line, Direction::ToReplica, kept.answered.wrapping_sub(kept.asked), attempts);
        }
        // What a replica says in a connection that the client has not been heard of measures the replica.
        if let Some(line) = memory.line(replica.place) {
            let rtt = now.wrapping_sub(kept.answered);
            account::measure(line, Direction::ToClient, if from_client { rtt } else { 0 }, 0);
            if from_client {
                observe(tables, client.replica, stat::CLIENT_RTT, &HANDSHAKE_BOUNDS, rtt);
            }
        }
    } else {
        // Nothing of the handshake's may be left where it is looked for.
        for (entry, direction) in [(client, client.direction()), (replica, Direction::ToClient)] {
            if let Some(line) = memory.line(entry.place)
                && (direction != Direction::ToClient || !direct)
            {
                account::unmeasured(line, direction);
            }
        }
    }
    if tables.flow_wanted() == flow_wanted::STARTS {
        let _ = tables.tell_flow(false, |event| {
            event.kind = flow_event::START;
            event.end = End::AGAIN;
            event.now = tables.now();
            take(memory, client.place, is, event);
        });
    }
}

const TUPLE_WORDS: usize = size_of::<crate::abi::Tuple>() / 4;

/// The end of a connection, or of its handshake, whose client's entry still has its words: [`count`], and then [`tell`]; what is not
/// told is put [`aside`]. Says whether it is done with. (Each is a function of its own in the kernel: they are called from where little is
/// left of the stack.)
pub fn over(tables: &impl Tables, place: Place, control: Control, end: End) -> bool {
    let how = room::end(control, end);
    if is_counted(control, end, how) {
        count(tables, place, how);
    }
    if !tables.tells_flows() || how != End::AGAIN && tell(tables, place, control, how) {
        return true;
    }
    if is_told_later(end) {
        return false;
    }
    aside(tables, place, control, how);
    let partner = partner(tables, place, control);
    if partner != Place::NONE {
        aside(tables, partner, control.towards_client(), how);
    }
    true
}

/// Where the replica's entry of a client's stands; [`Place::NONE`] if it has none.
#[inline(always)]
pub fn partner(tables: &impl Tables, place: Place, control: Control) -> Place {
    match tables.flows().line(place) {
        Some(line) if control.direction() != Direction::Direct => Place(line.load(word::PARTNER)),
        _ => Place::NONE,
    }
}

/// Whether an end, which is this `how`, is to be counted now. Each state of an end is when it comes.
#[inline(always)]
pub const fn is_counted(control: Control, end: End, how: End) -> bool {
    end.0 == End::CAME.0 || how.0 != End::AGAIN.0 && !control.state().ended()
}

/// Whether it can be told later, as its entry stays.
#[inline(always)]
pub const fn is_told_later(end: End) -> bool {
    end.0 == End::CAME.0 || end.0 == End::STANDS.0
}

/// Counts an end.
#[inline(always)]
pub fn count(tables: &impl Tables, place: Place, end: End) {
    let Some(line) = tables.flows().line(place) else { return };
    let id = line.load(word::REPLICA_HOP) as ReplicaId;
    tables.tally(id, stat::ENDS + end.0 as usize, 1);
    if !end.fails() {
        let second = tables.settings().map_or(1, |settings| settings.second);
        let lasted = millis(age(line.load(word::OPENED), tables.now()), second);
        observe(tables, id, stat::DURATION, &DURATION_BOUNDS, lasted);
    }
}

/// Tells an end. Says whether there was room for that.
#[inline(always)]
pub fn tell(tables: &impl Tables, place: Place, control: Control, end: End) -> bool {
    // What one client can have told as often as it likes, and what nothing proves a client of.
    let often =
        end == End::CLIENT_RESET || end == End::REPLICA_RESET || control.direction() == Direction::Direct;
    tables.tell_flow(end.fails() || often, |event| {
        event.kind = flow_event::END;
        event.end = end;
        event.now = tables.now();
        take(&tables.flows(), place, control, event);
    })
}

/// Counts what an entry has counted among what no connection's account has; by the client's entry, that its end was not told.
#[inline(always)]
pub fn aside(tables: &impl Tables, place: Place, control: Control, end: End) {
    let Some(line) = tables.flows().line(place) else { return };
    let id = line.load(word::REPLICA_HOP) as ReplicaId;
    let to_client = control.direction() == Direction::ToClient;
    if !to_client && end != End::AGAIN {
        tables.tally(id, stat::UNTOLD, 1);
    }
    let at = if to_client { stat::ASIDE_TO_CLIENT } else { stat::ASIDE_TO_REPLICA };
    let traffic = account::traffic(line, control);
    tables.tally(id, at, traffic.packets);
    tables.tally(id, at + 1, traffic.bytes);
}

/// A packet that is in no connection's account.
#[inline(always)]
fn late(tables: &impl Tables, context: &PacketContext) {
    let PacketContext { egress, bytes, .. } = context;
    let to_client = egress.direction == Direction::ToClient;
    let at = if to_client { stat::ASIDE_TO_CLIENT } else { stat::ASIDE_TO_REPLICA };
    tables.tally(egress.replica, at, 1);
    tables.tally(egress.replica, at + 1, (*bytes).into());
}

/// Takes the words of the connection's entries into an event.
#[inline(always)]
fn take<M: Memory>(memory: &M, place: Place, control: Control, event: &mut FlowEvent) {
    event.place = place;
    event.control = control;
    event.verdict = 0;
    event.paired = 0;
    event.after = Control(0);
    let Some(line) = memory.line(place) else { return };
    let mut number = 0;
    while number < ENTRY_WORDS {
        event.words[number] = line.load(number);
        number += 1;
    }
    if control.wide()
        && let Some(pair) = memory.pair(place)
    {
        let mut number = ENTRY_WORDS;
        while number < 2 * ENTRY_WORDS {
            event.words[number] = pair.load(number);
            number += 1;
        }
    }
    let partner = Place(line.load(word::PARTNER));
    if control.direction() != Direction::Direct
        && let Some(other) = memory.line(partner)
    {
        event.paired = 1;
        let mut number = 0;
        while number < word::KEY {
            event.words[2 * ENTRY_WORDS + number] = other.load(number);
            number += 1;
        }
    }
    event.after = Control(line.load(word::CONTROL));
}

/// Counts that something took so long.
#[inline(always)]
fn observe(tables: &impl Tables, id: ReplicaId, histogram: usize, bounds: &[u32; BOUNDS], value: u32) {
    let mut bucket = 0;
    while bucket < BOUNDS && value > bounds[bucket] {
        bucket += 1;
    }
    tables.tally(id, histogram + bucket, 1);
    tables.tally(id, histogram + stat::SUM, value.into());
}

#[inline(always)]
const fn millis(ticks: Ticks, second: Ticks) -> u32 {
    let second = if second == 0 { 1 } else { second };
    let millis = ticks as u64 * 1000 / second as u64;
    if millis > u32::MAX as u64 { u32::MAX } else { millis as u32 }
}
