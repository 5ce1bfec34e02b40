//! What one probe says about a replica, and in which words.

use std::time::Instant;

use super::{Because, Cause, DRAINED, News, ReplicaHealth, ReplicaMachine, Return};
use crate::{
    config::Admin,
    control::suspicion::Circumstances,
    probe::{AgentFailure, AgentWord, Failure, Outcome},
};

/// What a probe found.
#[derive(Clone, Debug)]
pub(in crate::control) struct Probed {
    pub(in crate::control) outcome: Outcome,
    /// What its agent said, if it was heard or is known not to have been.
    pub(in crate::control) agent: Option<Result<AgentWord, AgentFailure>>,
    /// How many probes in a row found the same, since the last that was reported; 1 at least.
    pub(in crate::control) in_a_row: u32,
    /// See [`crate::probe::Report::opposite`].
    pub(in crate::control) opposite: bool,
    pub(in crate::control) circumstances: Circumstances,
}

impl ReplicaMachine {
    pub(super) fn probed(&mut self, probed: Probed, now: Instant) -> News {
        let Probed { outcome, agent, in_a_row, opposite, circumstances } = probed;
        if self.replica.admin == Admin::Maint {
            return News::default();
        }
        let mut news = News { probing: self.probing(&outcome), ..News::default() };
        let judged = self.judged();
        self.silence.take(&self.rules.probe, (&outcome, circumstances), judged, now);
        let mut words = vec![words(&outcome)];
        if !outcome.error.as_ref().is_some_and(Failure::is_local) {
            self.probes.observe(outcome.ok(), in_a_row, opposite);
            if let Some(more) = self.outweighs(outcome.ok()) {
                words[0].push_str(&more);
            }
        }
        let mut cause = Cause::Probe;
        if let Some(answer) = agent {
            news.agent = self.agent.take(answer);
            if outcome.ok()
                && news.agent.word
                && let Some(says) = self.agent.says()
            {
                cause = Cause::AgentCheck;
                words.push(format!("its agent says {says}"));
            }
        }
        if self.probes.health() == ReplicaHealth::Up {
            let declined = self.declined().filter(|why| !words.contains(why));
            words.extend(declined);
        }
        self.condition.last_probe = Some(outcome);
        self.because = Some(Because::new(cause, words.join("; "), Return::Slow));
        news
    }

    /// Whether this host has come to be unable to ask, or no longer is.
    fn probing(&self, outcome: &Outcome) -> Option<Option<String>> {
        let failure = local_failure(outcome);
        let before = self.condition.last_probe.as_ref().and_then(local_failure);
        (failure.is_some() != before.is_some()).then_some(failure)
    }

    /// A probe is one more word on what the datapath counted. Returns how it ended an ejection, if it did.
    fn outweighs(&mut self, ok: bool) -> Option<String> {
        if ok {
            self.answers.probe_passed();
            self.failures.answered();
        } else {
            self.answers.probe_failed();
        }
        let good_probes = self.ejection.as_mut()?.probed(ok, self.rules.probe.rise)?;
        self.end_ejection();
        Some(format!(", {} since the passive check took it out", times(good_probes)))
    }

    /// Why it gets no new flows though its probes pass; `None` if it does.
    fn declined(&self) -> Option<String> {
        match self.agent.says() {
            Some(says) if self.agent.unfit() => Some(format!("its agent says {says}")),
            _ if self.replica.admin == Admin::Drain => Some(DRAINED.to_owned()),
            _ if self.replica.offered() == 0 => Some("its weight is 0".to_owned()),
            Some(says) if self.offered() == 0 => Some(format!("its agent says {says}")),
            Some(_) | None => None,
        }
    }

    /// What its last probe found.
    pub(super) fn last_word(&self) -> Option<String> {
        self.condition.last_probe.as_ref().map(words)
    }
}

fn times(count: u32) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

/// Why this host itself could not ask, if that is what happened.
fn local_failure(outcome: &Outcome) -> Option<String> {
    outcome.error.as_ref().filter(|failure| failure.is_local()).map(ToString::to_string)
}

fn words(outcome: &Outcome) -> String {
    match (&outcome.error, outcome.status) {
        (Some(failure), _) => failure.to_string(),
        (None, Some(status)) => format!("status {status}"),
        (None, None) => "it answers".into(),
    }
}
