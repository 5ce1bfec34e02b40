//! What connections carried, how each ended, and how long their ends took: by what the oracle saw, held against what the datapath has
//! counted and told.
//!
//! - Each packet that goes on is in the account of its connection, or in nobody's (aside): one of a connection that had ended, or was
//!   ended by it, and all of one that was not told.
//! - Each connection is told once: when it ends or, where there was no room, later. One that goes on after a reset begins another
//!   account, if that end was told.
//! - Times of a handshake are what the clock said.

use dtr_lb_common::{
    abi::{
        DURATION_BOUNDS, End as How, Flow, FlowStats, HANDSHAKE_BOUNDS, Histogram, Traffic, Tuple,
        flow_wanted,
    },
    flow_table::{
        self,
        told::{News, Told},
    },
    verdict::{Action, Verdict},
};

use super::{
    Oracle, Step,
    bytes::Wrong,
    connection::{Connection, Phase, Side},
    table::Room,
};
use crate::{
    memory::{Memory, START},
    net::tuple,
    reader::{Seen, read},
    world::SECOND,
};

/// What a connection has carried, and what was measured.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// The connection's phase when the last frame had passed; nothing before the first one.
    phase: Option<Phase>,
    /// To the replica, and to the client.
    carried: [Traffic; 2],
    /// When the replica was asked, and answered, if that was noted.
    asked: u32,
    answered: Option<u32>,
    /// From the SYN to the SYN-ACK, and to the ACK, in microseconds.
    connect: Option<u32>,
    rtt: Option<u32>,
    /// Replicas that were asked.
    attempts: Option<u32>,
    /// It has ended, and there was no room to tell that.
    pending: bool,
}

/// A frame, as far as accounts go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passed {
    /// The connection that it was of before, and who sent it.
    of: Option<(usize, Side)>,
    bytes: u64,
    /// It opened a connection.
    opened: bool,
    /// It counts as a replica's traffic.
    pub(super) counts: bool,
    /// The tuple of a client's packet.
    client: Option<Tuple>,
    /// It is a SYN that opened nothing.
    failed: Option<Verdict>,
}

/// What must be told.
#[derive(Clone, Debug)]
struct Due {
    news: News,
    /// The connection; nothing of a SYN that opened none.
    at: Option<usize>,
    client: Tuple,
    /// It is told now or never.
    last: bool,
}

fn ended(phase: Phase) -> bool {
    matches!(phase, Phase::TimeWait | Phase::Closed | Phase::ClientReset | Phase::ReplicaReset)
}

fn left(phase: Phase) -> bool {
    matches!(phase, Phase::Gone | Phase::Held)
}

/// How a connection ended that is in this phase.
fn how(phase: Phase) -> How {
    match phase {
        Phase::ClientReset => How::CLIENT_RESET,
        Phase::ReplicaReset => How::REPLICA_RESET,
        _ => How::CLOSED,
    }
}

fn add(sum: &mut Traffic, more: Traffic) {
    sum.packets += more.packets;
    sum.bytes += more.bytes;
}

fn observe(histogram: &mut Histogram, bounds: &[u32], value: u32) {
    let bucket = bounds.iter().position(|bound| value <= *bound).unwrap_or(bounds.len());
    histogram.buckets[bucket] += 1;
    histogram.sum += u64::from(value);
}

/// Within what the 15 bits of a time can say.
fn near(told: Option<u32>, known: Option<u32>) -> bool {
    match (told, known.filter(|micros| *micros != 0)) {
        (None, None) => true,
        (Some(told), Some(known)) => u64::from(told.abs_diff(known)) * 500 <= u64::from(known),
        _ => false,
    }
}

impl Oracle {
    /// What a frame is to accounts, before it is judged.
    pub(super) fn passed(&self, step: &Step<'_>) -> Passed {
        let seen = read(step.before).ok().filter(|seen| seen.protocol == 6);
        let of = seen.as_ref().and_then(|seen| match step.world().service_at(seen.to) {
            Some(_) => self.current(seen.from, seen.to).map(|at| (at, Side::Client)),
            None => self.owner(seen.from, seen.to).map(|at| (at, Side::Replica)),
        });
        let fails = matches!(step.verdict.action(), Action::Answer | Action::Drop)
            && !matches!(step.verdict, Verdict::AnsweredChallenge | Verdict::DroppedBusy);
        let syn = seen.as_ref().is_some_and(Seen::opens);
        Passed {
            of,
            bytes: step.bytes(),
            opened: step.opened != 0,
            counts: false,
            client: seen.as_ref().map(|seen| tuple(seen.from, seen.to)),
            failed: (fails && syn).then_some(step.verdict),
        }
    }

    /// Brings the accounts up to date after a frame, or the sweep, and holds them against the datapath's.
    pub(super) fn account(&mut self, memory: &Memory, passed: Option<&Passed>) -> Result<(), Wrong> {
        let observed = memory.store.stats();
        self.stats.resize(observed.len(), FlowStats::default());
        if let Some(passed) = passed.filter(|passed| passed.counts) {
            self.carry(memory, passed)?;
        }
        let mut due = Vec::new();
        // That of the frame comes last: how it ended may be for the others to say.
        let own = self.cause.map(|(at, _)| at).or(passed.and_then(|passed| passed.of).map(|(at, _)| at));
        let others = (0..self.connections.len()).filter(|at| Some(*at) != own);
        for at in others.chain(own) {
            self.turns(at, memory, passed, &observed, &mut due)?;
        }
        if let Some((verdict, client)) = passed.and_then(|passed| passed.failed.zip(passed.client)) {
            due.push(Due { news: News::Failed(verdict), at: None, client, last: true });
        }
        let wanted = memory.world.flow_wanted;
        due.retain(|due| match due.news {
            News::Started => wanted == flow_wanted::STARTS,
            _ => wanted != flow_wanted::NOTHING,
        });
        self.hears_of(memory, &mut due)?;
        if due.len() != memory.store.untold.get() {
            return Err(format!("not told, though there was room: {due:?}"));
        }
        for due in due {
            self.stays_untold(&due);
        }
        if let Some(id) = (0..observed.len()).find(|id| self.stats[*id] != observed[*id]) {
            let (mine, theirs) = (&self.stats[id], &observed[id]);
            return Err(format!("of connections of replica {id} is counted {theirs:?}, and not {mine:?}"));
        }
        self.connections.iter().try_for_each(|one| one.stands_so(memory))
    }

    /// A packet goes into its connection's account, or into nobody's.
    fn carry(&mut self, memory: &Memory, passed: &Passed) -> Result<(), Wrong> {
        let opened = passed.opened.then(|| (self.connections.len() - 1, Side::Client));
        let (at, side) = opened.or(passed.of).ok_or("a packet of no connection went on")?;
        let packet = Traffic { packets: 1, bytes: passed.bytes };
        let one = &mut self.connections[at];
        let late = one.account.phase.is_some_and(ended) || left(one.phase);
        if !late {
            add(&mut one.account.carried[side as usize], packet);
        } else if memory.world.flow_wanted != flow_wanted::NOTHING {
            add(&mut self.stats[usize::from(one.replica)].aside[side as usize], packet);
        }
        Ok(())
    }

    /// What a connection has become, as a whole.
    fn turns(
        &mut self,
        at: usize,
        memory: &Memory,
        passed: Option<&Passed>,
        observed: &[FlowStats],
        due: &mut Vec<Due>,
    ) -> Result<(), Wrong> {
        let one = &mut self.connections[at];
        let (before, after) = (one.account.phase, one.phase);
        one.account.phase = Some(after);
        let client = tuple(one.client, one.vip);
        let Some(before) = before else {
            one.account.asked = memory.micros;
            return Ok(());
        };
        if left(before) {
            return Ok(());
        }
        let id = usize::from(one.replica);
        if before == Phase::Asked && after == Phase::Answered {
            one.is_answered(memory, &mut self.stats[id]);
        } else if before.handshake() && after.live() {
            let by_client = passed.and_then(|passed| passed.of).is_some_and(|(_, side)| side == Side::Client);
            one.is_open(memory, by_client, &mut self.stats[id]);
            due.push(Due { news: News::Started, at: Some(at), client, last: true });
        } else if ended(before) && after.live() {
            if !std::mem::take(&mut one.account.pending) {
                one.account.carried = Default::default();
            }
        } else if !ended(before) && ended(after) {
            self.ends(at, how(after));
            due.push(Due { news: News::Ended(how(after)), at: Some(at), client, last: false });
        } else if ended(before) && left(after) {
            if one.account.pending {
                due.push(Due { news: News::Ended(how(before)), at: Some(at), client, last: true });
            }
        } else if left(after) {
            let end = self.how_it_left(at, before, memory, passed, observed);
            if end == How::AGAIN {
                self.is_aside(at, memory.world.flow_wanted);
            } else {
                self.ends(at, end);
                due.push(Due { news: News::Ended(end), at: Some(at), client, last: true });
            }
        } else if one.account.pending && passed.is_none() {
            // The sweep tells what nobody was told.
            due.push(Due { news: News::Ended(how(after)), at: Some(at), client, last: false });
        }
        Ok(())
    }

    /// Counts an end.
    fn ends(&mut self, at: usize, end: How) {
        let one = &self.connections[at];
        let stats = &mut self.stats[usize::from(one.replica)];
        stats.ends[end.0 as usize] += 1;
        if !end.fails() {
            let lasted = (self.now - one.began) as u32;
            let millis = (u64::from(lasted) * 1000 / u64::from(SECOND)) as u32;
            observe(&mut stats.duration, &DURATION_BOUNDS, millis);
        }
    }

    /// How a connection ended that is not there any more, and had not ended before.
    fn how_it_left(
        &self,
        at: usize,
        before: Phase,
        memory: &Memory,
        passed: Option<&Passed>,
        observed: &[FlowStats],
    ) -> How {
        let one = &self.connections[at];
        let cause = self.cause.filter(|(of, _)| *of == at).map(|(_, end)| end);
        // Before a refusal ends it, it may have made room for what was to follow, where that is narrow or a lock was not to be had.
        let tight = before == Phase::Asked && (memory.world.buckets < 8 || memory.store.refused.get());
        let refused = cause == Some(How::REFUSED) && tight;
        if let Some(end) = cause.filter(|end| *end != How::AGAIN && !refused) {
            return end;
        }
        let was = Connection { phase: before, ..one.clone() };
        let outlived = match before {
            Phase::Asked if !one.direct() => How::UNANSWERED,
            Phase::Asked | Phase::Answered => How::ABANDONED,
            Phase::ClientClosed if one.direct() => How::CLOSED,
            _ => How::IDLE,
        };
        if was.outlived(self.now) {
            return outlived;
        }
        let own =
            cause.is_some() || passed.and_then(|passed| passed.client) == Some(tuple(one.client, one.vip));
        let mut ways = match before {
            _ if refused => vec![How::REFUSED, How::CROWDED, How::AGAIN],
            // Its client asks anew, or another replica is asked. The first entry of what follows may take its place like another's.
            phase if phase.handshake() && own => match self.connections.last() {
                Some(new) if self.room == Room::Made && new.in_place == [true; 2] && new.side == one.side => {
                    vec![How::AGAIN]
                }
                _ => vec![How::AGAIN, How::CROWDED],
            },
            phase if phase.handshake() => vec![How::CROWDED],
            Phase::ClientClosed if one.direct() => vec![How::CLOSED],
            _ => vec![How::EVICTED],
        };
        // One of its entries alone is old enough.
        if [Side::Client, Side::Replica].iter().any(|side| was.expired(*side, self.now)) {
            ways.push(outlived);
        }
        let mine = &self.stats[usize::from(one.replica)];
        let counted = |end: &&How| {
            **end != How::AGAIN
                && observed[usize::from(one.replica)].ends[end.0 as usize] > mine.ends[end.0 as usize]
        };
        let again = ways.contains(&How::AGAIN).then_some(How::AGAIN);
        ways.iter().find(counted).copied().or(again).unwrap_or(ways[0])
    }

    /// What a connection has carried is in no account.
    fn is_aside(&mut self, at: usize, wanted: u32) {
        let one = &self.connections[at];
        if wanted == flow_wanted::NOTHING {
            return;
        }
        for (sum, more) in self.stats[usize::from(one.replica)].aside.iter_mut().zip(one.account.carried) {
            add(sum, more);
        }
    }

    /// Takes in what was told, of what must be.
    fn hears_of(&mut self, memory: &Memory, due: &mut Vec<Due>) -> Result<(), Wrong> {
        for event in memory.store.events.borrow().iter() {
            let (news, told) = Told::of(event).ok_or("an event that says nothing")?;
            let found = due.iter().position(|due| due.news == news && due.client == told.client);
            let found = found.ok_or_else(|| format!("told without need: {news:?}, {told:?}"))?;
            let Due { at, .. } = due.remove(found);
            if event.now != memory.now {
                return Err(format!("told at another time: {news:?}"));
            }
            let Some(at) = at else { continue };
            let one = &mut self.connections[at];
            one.is_told_so(&told)?;
            if matches!(news, News::Ended(_)) {
                one.account.pending = false;
            }
        }
        Ok(())
    }

    /// There was no room to tell it.
    fn stays_untold(&mut self, due: &Due) {
        match (due.news, due.at) {
            (News::Failed(_), _) | (_, None) => self.stats[0].untold += 1,
            (News::Started, _) => {}
            (News::Ended(_), Some(at)) if due.last => {
                self.stats[usize::from(self.connections[at].replica)].untold += 1;
                self.is_aside(at, flow_wanted::ENDS);
            }
            (News::Ended(_), Some(at)) => self.connections[at].account.pending = true,
        }
    }
}

impl Connection {
    /// What is kept beside its SYN: when the replica was asked and answered, and how many were asked; nothing if it is
    /// not there any more.
    fn measured(&self, memory: &Memory) -> Option<(u32, Option<u32>, u32)> {
        let kept = memory.store.kept_before(self.kept).filter(|_| !self.direct())?;
        if kept.client != tuple(self.client, self.vip) {
            return None;
        }
        let attempted = kept.attempted.iter().filter(|id| **id != 0).count();
        // Where few are kept, that of a SYN of its client's that came later may stand there.
        let account = &self.account;
        let own = kept.asked == account.asked && bytemuck::bytes_of(&kept.syn.sequence) == self.syn.sequence;
        let answered = if own { account.answered } else { Some(kept.answered) };
        let asked = if own { account.asked } else { kept.asked };
        let attempts = if own { attempted.max(self.tried.len()) } else { attempted } as u32 + 1;
        Some((asked, answered.filter(|answered| *answered != 0), attempts))
    }

    fn is_answered(&mut self, memory: &Memory, stats: &mut FlowStats) {
        if let Some((asked, ..)) = self.measured(memory) {
            self.account.answered = Some(memory.micros);
            observe(&mut stats.connect, &HANDSHAKE_BOUNDS, memory.micros.wrapping_sub(asked));
        }
    }

    fn is_open(&mut self, memory: &Memory, by_client: bool, stats: &mut FlowStats) {
        let Some((asked, Some(answered), attempts)) = self.measured(memory) else { return };
        self.account.attempts = Some(attempts);
        self.account.connect = Some(answered.wrapping_sub(asked));
        if by_client {
            let rtt = memory.micros.wrapping_sub(answered);
            self.account.rtt = Some(rtt);
            observe(&mut stats.client_rtt, &HANDSHAKE_BOUNDS, rtt);
        }
    }

    /// Whether what is told of it is so.
    fn is_told_so(&self, told: &Told) -> Result<(), Wrong> {
        let account = &self.account;
        let to = self.side.map_or(tuple(self.client, self.vip), |(replica, nat)| tuple(nat, replica));
        let wrong = [
            ("the replica", told.replica != self.replica),
            ("what it was rewritten to", told.to != to),
            ("whether it was direct", told.direct != self.direct()),
            ("when it began", told.opened != START.wrapping_add(self.began as u32)),
            ("what it carried", [told.to_replica, told.to_client] != account.carried),
            ("how long the replica took", !near(told.connect, account.connect)),
            ("how long the client took", !near(told.client_rtt, account.rtt)),
            ("how many replicas were asked", told.attempts != account.attempts),
        ];
        match wrong.iter().find(|(_, wrong)| *wrong) {
            Some((what, _)) => Err(format!("{what} is wrong in {told:?}, which must be of {self:?}")),
            None => Ok(()),
        }
    }

    /// Whether its account stands so in the table, unless it was told by now.
    fn stands_so(&self, memory: &Memory) -> Result<(), Wrong> {
        if left(self.phase) || (ended(self.phase) && !self.account.pending) {
            return Ok(());
        }
        let words = memory.store.flows.words();
        let mut flow: Flow = bytemuck::Zeroable::zeroed();
        let read = flow_table::read(&words, self.places[Side::Client as usize], &mut flow);
        let told = Told::standing(&words, &flow).filter(|_| read).ok_or("not in the table")?;
        if flow.control.told() {
            return Err(format!("marked as told, and was not: {self:?}"));
        }
        self.is_told_so(&told)
    }
}
