//! Who has a place: connections, and the requests on them that cost the agent work. Pure accounting; `admission` is around it.
//!
//! - Loopback has places of its own, which nobody else can take, and no other source can take all the rest.
//! - Where no place is free, a newcomer gets that of another connection: of its own source if that has all it may have, else of
//!   any but loopback. The first to go is the oldest whose request is incomplete; see [`Phase`]. So a source that sends half
//!   requests pushes out its own, and a complete request gets through beside them.
//! - A connection whose request is being answered goes only if that takes long, and one that is so new that its request may
//!   not have been read yet only where all others are as new. A client that sends one request after another and reads slowly
//!   is always being answered: a moment between two answers does not make the second one young.
//! - Where all but loopback's are taken and none of these may go, a source that has none gets the oldest place of the source
//!   that has the most, unless that has one, too. So some sources that read slowly do not keep out the others.
//! - What an answer costs is held until it is with the kernel, whatever the client sends meanwhile.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use super::source::Source;

/// How far the request on a connection is. In this order they go when places run out, the oldest of a phase first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Nothing of a first request has come, or not all of one.
    HalfSent,
    /// It gave a wrong token, and its answer is held back.
    Delayed,
    /// The last answer has been sent.
    Idle,
    /// A request is being answered, or the answer sent.
    Answering,
}

impl Phase {
    pub(super) const ALL: [Self; 4] = [Self::HalfSent, Self::Delayed, Self::Idle, Self::Answering];

    /// The label in `/metrics`.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::HalfSent => "half_sent",
            Self::Delayed => "delayed",
            Self::Idle => "idle",
            Self::Answering => "answering",
        }
    }
}

/// How many places there are of a kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// For loopback only.
    pub(super) local: usize,
    /// For all others together.
    pub(super) others: usize,
    /// For one of these.
    pub(super) source: usize,
}

/// From when on a connection may have to go for another one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// With an incomplete request: before, those that come in one burst would push out each other.
    pub(super) fresh: Duration,
    /// While its answer is being sent.
    pub(super) slow: Duration,
    /// Answers with less than this between them are one to `slow`. For that long the connection could be pushed out.
    pub(super) pause: Duration,
}

/// There is no place. Which ones are taken says whose could be had instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// All of this source.
    Source,
    /// All that are not kept for loopback.
    Others,
}

/// Names a connection; none is given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PlaceId(u64);

/// Why a connection has to end for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It was the first in the order of phases.
    Phase(Phase),
    /// Its source had the most places, and the other one's none.
    MostPlaces,
}

/// A connection that has to end for another one. Its place is free already.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PushedOut<H> {
    pub(super) source: Source,
    pub(super) phase: Phase,
    pub(super) turn: Turn,
    pub(super) handle: H,
}

/// The places. `H` is what reaches a connection.
#[derive(Debug)]
pub(super) struct Places<H> {
    connections: Room,
    requests: Room,
    patience: Patience,
    next: u64,
    taken: BTreeMap<PlaceId, Taken<H>>,
}

#[derive(Debug)]
struct Taken<H> {
    source: Source,
    phase: Phase,
    /// When the phase began; of [`Phase::Answering`], the first of the answers that are one.
    since: Instant,
    /// When it last began and ended to be answered.
    answered: Option<(Instant, Instant)>,
    /// All of an answer is buffered, but not yet with the kernel: the phase that comes then.
    unflushed: Option<Phase>,
    /// Whether it has one of the places of requests, too.
    requests: bool,
    handle: H,
}

impl<H> Taken<H> {
    fn new(source: Source, handle: H, now: Instant) -> Self {
        let phase = Phase::HalfSent;
        Self { source, phase, since: now, answered: None, unflushed: None, requests: false, handle }
    }

    fn enter(&mut self, phase: Phase, now: Instant, pause: Duration) {
        // A phase that goes on does not become younger: bytes that drip in would keep a request from being the oldest.
        if self.phase == phase {
            return;
        }
        if self.phase == Phase::Answering {
            self.answered = Some((self.since, now));
        }
        self.since = match self.answered {
            Some((begin, end)) if phase == Phase::Answering && now.saturating_duration_since(end) < pause => {
                begin
            }
            Some(_) | None => now,
        };
        (self.phase, self.requests) = (phase, false);
    }

    fn push_out(self, turn: Turn) -> PushedOut<H> {
        let Self { source, phase, since: _, answered: _, unflushed: _, requests: _, handle } = self;
        PushedOut { source, phase, turn, handle }
    }
}

impl Room {
    fn full(self, source: Source, taken: impl Iterator<Item = Source>) -> Option<Full> {
        let (mut own, mut others) = (0, 0);
        for one in taken {
            own += usize::from(one == source);
            others += usize::from(one != Source::Local);
        }
        let most = if source == Source::Local { self.local } else { self.source };
        if own >= most {
            Some(Full::Source)
        } else if source != Source::Local && others >= self.others {
            Some(Full::Others)
        } else {
            None
        }
    }
}

impl Full {
    /// Whether the place of `other` would do for `source`.
    fn concerns(self, source: Source, other: Source) -> bool {
        match self {
            Self::Source => other == source,
            Self::Others => other != Source::Local,
        }
    }
}

impl<H> Places<H> {
    pub(super) fn new(connections: Room, requests: Room, patience: Patience) -> Self {
        Self { connections, requests, patience, next: 0, taken: BTreeMap::new() }
    }

    /// Gives a new connection a place, and says whose that was.
    ///
    /// # Errors
    /// All are taken by connections that must not be pushed out.
    pub(super) fn admit(
        &mut self,
        source: Source,
        handle: H,
        now: Instant,
    ) -> Result<(PlaceId, Option<PushedOut<H>>), Full> {
        let full = self.connections.full(source, self.taken.values().map(|one| one.source));
        let pushed_out =
            full.map(|full| self.make_room(full, source, now, |_| true).ok_or(full)).transpose()?;
        let id = PlaceId(self.next);
        self.next += 1;
        self.taken.insert(id, Taken::new(source, handle, now));
        Ok((id, pushed_out))
    }

    /// Gives a request one of the places of requests until its connection is in another phase, and says whose that was.
    ///
    /// # Errors
    /// All are taken by requests that must not be pushed out.
    pub(super) fn answer(&mut self, id: PlaceId, now: Instant) -> Result<Option<PushedOut<H>>, Full> {
        // A connection that was pushed out ends before its answer would be read.
        let Some(source) = self.taken.get(&id).map(|one| one.source) else { return Ok(None) };
        self.enter(id, Phase::Answering, now);
        let busy = self.taken.iter().filter(|(other, one)| one.requests && **other != id);
        let full = self.requests.full(source, busy.map(|(_, one)| one.source));
        let pushed_out =
            full.map(|full| self.make_room(full, source, now, |one| one.requests).ok_or(full)).transpose()?;
        if let Some(own) = self.taken.get_mut(&id) {
            own.requests = true;
        }
        Ok(pushed_out)
    }

    /// Notes how far the connection is. One that was pushed out is left alone.
    pub(super) fn enter(&mut self, id: PlaceId, phase: Phase, now: Instant) {
        let Some(one) = self.taken.get_mut(&id) else { return };
        if let Some(next) = &mut one.unflushed {
            *next = phase;
            if one.phase == Phase::Answering {
                return;
            }
        }
        one.enter(phase, now, self.patience.pause);
    }

    /// All of the answer is buffered.
    pub(super) fn answered(&mut self, id: PlaceId) {
        if let Some(one) = self.taken.get_mut(&id) {
            one.unflushed = Some(Phase::Idle);
        }
    }

    /// What was buffered is with the kernel. The phase of the connection, if that was an answer.
    pub(super) fn flushed(&mut self, id: PlaceId, now: Instant) -> Option<Phase> {
        let one = self.taken.get_mut(&id)?;
        let phase = one.unflushed.take()?;
        one.enter(phase, now, self.patience.pause);
        Some(phase)
    }

    /// `None` if it was pushed out.
    pub(super) fn phase(&self, id: PlaceId) -> Option<Phase> {
        self.taken.get(&id).map(|one| one.phase)
    }

    /// The connection has ended.
    pub(super) fn leave(&mut self, id: PlaceId) {
        self.taken.remove(&id);
    }

    pub(super) fn count(&self, phase: Phase) -> usize {
        self.taken.values().filter(|one| one.phase == phase).count()
    }

    /// Pushes out a connection whose place would do for `source`, among those that count.
    fn make_room(
        &mut self,
        full: Full,
        source: Source,
        now: Instant,
        counts: impl Fn(&Taken<H>) -> bool,
    ) -> Option<PushedOut<H>> {
        let by_phase = self.first_by_phase(now, |one| counts(one) && full.concerns(source, one.source));
        let (id, turn) = match (by_phase, full) {
            (Some((id, phase)), Full::Source | Full::Others) => (id, Turn::Phase(phase)),
            (None, Full::Others) => (self.first_of_most(source, counts)?, Turn::MostPlaces),
            (None, Full::Source) => return None,
        };
        self.taken.remove(&id).map(|one| one.push_out(turn))
    }

    fn first_by_phase(&self, now: Instant, may: impl Fn(&Taken<H>) -> bool) -> Option<(PlaceId, Phase)> {
        let Patience { fresh, slow, pause: _ } = self.patience;
        let candidates = self.taken.iter().filter_map(|(id, one)| {
            let age = now.saturating_duration_since(one.since);
            let is_fresh = one.phase == Phase::HalfSent && age < fresh;
            let must_stay = one.phase == Phase::Answering && age < slow;
            (may(one) && !must_stay).then_some((is_fresh, one.phase, one.since, *id))
        });
        candidates.min().map(|(_, phase, _, id)| (id, phase))
    }

    /// The oldest of the source that has the most places, for one that has none. Nobody loses its only one.
    fn first_of_most(&self, source: Source, counts: impl Fn(&Taken<H>) -> bool) -> Option<PlaceId> {
        let mut sizes = HashMap::<_, usize>::new();
        let counted = || self.taken.iter().filter(|(_, one)| one.source != Source::Local && counts(one));
        for (_, one) in counted() {
            *sizes.entry(one.source).or_default() += 1;
        }
        let most = sizes.values().copied().max().filter(|most| *most > 1 && !sizes.contains_key(&source))?;
        let candidates = counted().filter(|(_, one)| sizes.get(&one.source) == Some(&most));
        candidates.map(|(id, one)| (one.since, *id)).min().map(|(_, id)| id)
    }
}

#[cfg(test)]
mod tests;
