//! The agent check, as HAProxy calls it: what a replica says of itself, by its agent (`service.probe.agent_port`). Pure: answers
//! in, a share and a verdict out.
//!
//! It stands beside what the probes find and below what an operator orders: it can lower a replica's share, or raise it within the
//! largest weight, and take it out; it brings back only what it took out itself. An agent that is silent changes nothing.

use crate::{
    config::MAX_WEIGHT,
    probe::{AgentFailure, AgentWord, Fitness, Wants},
};

/// The agent check of one replica: what it said, as far as it was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AgentCheck {
    /// Of the configured weight, in percent.
    share: u16,
    /// The word by which it wants no new connections.
    drains: Option<&'static str>,
    /// The word by which it calls itself unfit, with the reason that it gave.
    unfit: Option<String>,
    /// Why the last answer told nothing.
    failure: Option<String>,
    /// It was asked.
    asked: bool,
}

/// What an answer has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// What the replica says.
    pub(super) word: bool,
    /// Whether it can be heard.
    pub(super) failure: bool,
}

impl AgentCheck {
    /// Nothing was said.
    pub(super) const NONE: Self = Self { share: 100, drains: None, unfit: None, failure: None, asked: false };

    /// Takes in an answer.
    pub(super) fn take(&mut self, answer: Result<AgentWord, AgentFailure>) -> News {
        let before = self.clone();
        self.asked = true;
        self.failure = answer.as_ref().err().map(ToString::to_string);
        if let Ok(AgentWord { share, wants, fitness }) = answer {
            self.share = share.unwrap_or(self.share);
            match wants {
                Some(Wants::Connections) => self.drains = None,
                Some(Wants::Drain) => self.drains = Some("drain"),
                Some(Wants::Maint) => self.drains = Some("maint"),
                None => {}
            }
            match fitness {
                Some(Fitness::Up) => self.unfit = None,
                Some(Fitness::Down { word, reason: Some(reason) }) => {
                    self.unfit = Some(format!("{word} ({reason})"));
                }
                Some(Fitness::Down { word, reason: None }) => self.unfit = Some(word.to_owned()),
                None => {}
            }
        }
        News {
            word: (before.share, before.drains, &before.unfit) != (self.share, self.drains, &self.unfit),
            // Another reason of the same silence is none.
            failure: before.failure.is_some() != self.failure.is_some(),
        }
    }

    /// The weight that is left of one that the config, and the operator, offer: 1 at least, unless it wants none.
    pub(super) fn weight(&self, offered: u16) -> u16 {
        if offered == 0 || self.drains.is_some() || self.share == 0 {
            return 0;
        }
        let scaled = u32::from(offered) * u32::from(self.share) / 100;
        u16::try_from(scaled).unwrap_or(MAX_WEIGHT).clamp(1, MAX_WEIGHT)
    }

    /// It calls itself unfit to serve.
    pub(super) fn unfit(&self) -> bool {
        self.unfit.is_some()
    }

    /// Why its last answer told nothing.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// What it says, in its own words; `None` if it was never asked.
    pub(super) fn says(&self) -> Option<String> {
        let share = (self.share != 100).then(|| format!("{}%", self.share));
        let words = [self.unfit.clone(), self.drains.map(str::to_owned), share];
        let words: Vec<_> = words.into_iter().flatten().collect();
        self.asked.then(|| if words.is_empty() { "ready".to_owned() } else { words.join(", ") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_scaled_and_never_beyond_the_largest() {
        for (share, offered, expected) in [
            (100, 100, 100),
            (75, 100, 75),
            (1, 10, 1),
            (0, 100, 0),
            (50, 0, 0),
            (150, 100, 150),
            (300, 100, 256),
            (u16::MAX, 256, 256),
            (100, 256, 256),
        ] {
            let word = AgentCheck { share, ..AgentCheck::NONE };
            assert_eq!(word.weight(offered), expected, "{share} % of {offered}");
        }
    }

    #[test]
    fn it_takes_back_only_what_it_said_and_stays_while_it_is_silent() {
        let mut word = AgentCheck::NONE;
        assert_eq!(word.says(), None);
        let wants = |wants| Ok(AgentWord { wants: Some(wants), ..AgentWord::default() });
        let share = |share| Ok(AgentWord { share: Some(share), ..AgentWord::default() });
        let fitness = |fitness| Ok(AgentWord { fitness: Some(fitness), ..AgentWord::default() });
        let down = Fitness::Down { word: "fail", reason: Some("disk full".to_owned()) };
        for (answer, says, weight, news) in [
            (wants(Wants::Connections), "ready", 100, (false, false)),
            (share(50), "50%", 50, (true, false)),
            (wants(Wants::Drain), "drain, 50%", 0, (true, false)),
            (fitness(Fitness::Up), "drain, 50%", 0, (false, false)),
            (Err(AgentFailure::Cut), "drain, 50%", 0, (false, true)),
            (Err(AgentFailure::TooLong), "drain, 50%", 0, (false, false)),
            (wants(Wants::Maint), "maint, 50%", 0, (true, true)),
            (fitness(down), "fail (disk full), maint, 50%", 0, (true, false)),
            (wants(Wants::Connections), "fail (disk full), 50%", 50, (true, false)),
            (share(100), "fail (disk full)", 100, (true, false)),
            (fitness(Fitness::Up), "ready", 100, (true, false)),
        ] {
            let came = word.take(answer.clone());
            assert_eq!((came.word, came.failure), news, "{answer:?}");
            assert_eq!((word.says().as_deref(), word.weight(100)), (Some(says), weight), "{answer:?}");
        }
    }
}
