//! A replica's health as its probes see it: up, down, or not known yet. Pure: outcomes in, transitions out.
//!
//! A change of mind takes several outcomes in a row (`rise` good ones to come up, `fall` bad ones to go down), so
//! that one lost packet moves no flows. The exception is the start: the first good probe brings a replica up at
//! once, because a service that has only just started must not wait. Called by the probe task; what an operator
//! orders (drain, maintenance) is kept elsewhere and does not pass through here.

use std::fmt;

/// What the probes make of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// No verdict yet.
    Starting,
    /// Fit to serve.
    Up,
    /// Not fit to serve.
    Down,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Down => "down",
        })
    }
}

/// How sure a [`State`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certainty {
    /// It is not known yet, or the last outcome spoke against it, so that it may be about to change.
    InDoubt,
    /// It is up, and the last outcome said so.
    Up,
    /// It is down, and the last outcome said so.
    Down,
}

/// A change of [`State`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// Before.
    pub from: State,
    /// After; never equal to `from`.
    pub to: State,
}

/// The state machine of one replica and one probe.
#[derive(Debug, Clone)]
pub struct Health {
    rise: u32,
    fall: u32,
    state: State,
    /// Outcomes in a row, up to now, that speak against `state`.
    against: u32,
}

impl Health {
    /// Nothing known yet. `rise` good probes in a row bring a replica that is down up, `fall` bad ones take it
    /// down; 0 is taken as 1.
    #[must_use]
    pub fn new(rise: u32, fall: u32) -> Self {
        Self { rise: rise.max(1), fall: fall.max(1), state: State::Starting, against: 0 }
    }

    /// The same for a replica of which this is known already.
    #[must_use]
    pub fn known(rise: u32, fall: u32, state: State) -> Self {
        Self { state, ..Self::new(rise, fall) }
    }

    /// The state after the outcomes seen so far.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Takes in one outcome, and tells if it changed the state.
    pub fn observe(&mut self, ok: bool) -> Option<Transition> {
        let (needed, to) = match (self.state, ok) {
            (State::Up, true) | (State::Down, false) => {
                self.against = 0;
                return None;
            }
            (State::Starting, true) => (1, State::Up),
            (State::Down, true) => (self.rise, State::Up),
            (State::Starting | State::Up, false) => (self.fall, State::Down),
        };
        self.against += 1;
        if self.against < needed {
            return None;
        }
        let from = std::mem::replace(&mut self.state, to);
        self.against = 0;
        Some(Transition { from, to })
    }

    /// How sure the state is: probes come at another interval each.
    #[must_use]
    pub fn certainty(&self) -> Certainty {
        match self.state {
            State::Up | State::Down if self.against > 0 => Certainty::InDoubt,
            State::Starting => Certainty::InDoubt,
            State::Up => Certainty::Up,
            State::Down => Certainty::Down,
        }
    }
}
