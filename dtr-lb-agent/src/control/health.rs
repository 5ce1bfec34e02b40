//! Rise and fall: what the probes of a replica make of it. Pure: outcomes in, a verdict out; the only place that counts them.
//!
//! A change of mind takes several outcomes in a row (`rise` good ones to come up, `fall` bad ones to go down), so
//! that one lost packet moves no flows. The exception is the start: the first good probe brings a replica up at
//! once, because a service that has only just started must not wait.

use crate::probe::Certainty;

/// What the probes make of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ReplicaHealth {
    /// No verdict yet.
    Starting,
    /// Fit to serve.
    Up,
    /// Not fit to serve.
    Down,
}

/// The counter behind a [`ReplicaHealth`].
#[derive(Debug, Clone)]
pub(crate) struct RiseFall {
    rise: u32,
    fall: u32,
    health: ReplicaHealth,
    /// Outcomes in a row, up to now, that speak against `health`.
    against: u32,
}

impl RiseFall {
    /// Nothing known yet. `rise` good probes in a row bring a replica that is down up, `fall` bad ones take it
    /// down; 0 is taken as 1.
    pub(crate) fn new(rise: u32, fall: u32) -> Self {
        Self { rise: rise.max(1), fall: fall.max(1), health: ReplicaHealth::Starting, against: 0 }
    }

    /// Goes by other limits, and counts anew, as it is asked in another way.
    pub(crate) fn reconfigured(self, rise: u32, fall: u32) -> Self {
        Self { health: self.health, ..Self::new(rise, fall) }
    }

    /// The verdict after the outcomes seen so far.
    pub(crate) fn health(&self) -> ReplicaHealth {
        self.health
    }

    /// Takes in an outcome that came `times` times in a row; 0 is taken as 1. `opposite`: it was not so before, which nobody has told yet.
    pub(crate) fn observe(&mut self, ok: bool, times: u32, opposite: bool) {
        if opposite {
            self.against = 0;
        }
        let (needed, to) = match (self.health, ok) {
            (ReplicaHealth::Up, true) | (ReplicaHealth::Down, false) => {
                self.against = 0;
                return;
            }
            (ReplicaHealth::Starting, true) => (1, ReplicaHealth::Up),
            (ReplicaHealth::Down, true) => (self.rise, ReplicaHealth::Up),
            (ReplicaHealth::Starting | ReplicaHealth::Up, false) => (self.fall, ReplicaHealth::Down),
        };
        self.against = self.against.saturating_add(times.max(1));
        if self.against >= needed {
            (self.health, self.against) = (to, 0);
        }
    }

    /// How sure the verdict is: probes come at another interval each.
    pub(crate) fn certainty(&self) -> Certainty {
        match self.health {
            ReplicaHealth::Up | ReplicaHealth::Down if self.against > 0 => Certainty::InDoubt,
            ReplicaHealth::Starting => Certainty::InDoubt,
            ReplicaHealth::Up => Certainty::Up,
            ReplicaHealth::Down => Certainty::Down,
        }
    }
}
