//! Why something failed, worked out from what was done to the replicas and what dtr-lb saw of it.
//!
//! A failure is explained only if a replica was dead and not yet out of the table when it happened, and if a dead
//! replica fails in that way. Everything else is called unexplained: it would be dtr-lb's, or the lab's, own fault.

use std::time::Duration;

use super::{
    seconds,
    timeline::{Outage, Timeline},
};

/// How long the agent may take from logging that a replica is down until the datapath's table is without it, and a
/// handshake that was steered by the old table to be over. The table is rebuilt by a debug build, on a busy machine.
const APPLY: Duration = Duration::from_millis(200);
/// How long after a replica's death its last connections may learn of it. The replica's kernel tells them at once.
const CUT: Duration = Duration::from_secs(1);

/// Something that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// The service it used.
    pub(super) service: String,
    /// When it was begun.
    pub(super) started: Duration,
    /// When it had failed.
    pub(super) ended: Duration,
    /// Whether it is a single connection. One of several makes new ones until it fails.
    pub(super) single: bool,
    /// The replica it was connected to, where that is known.
    pub(super) replica: Option<String>,
    /// What the client was told.
    pub(super) error: String,
}

/// The reason, as far as it can be worked out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Explanation {
    Explained(String),
    Unexplained(String),
}

/// How a connection fails, by what the client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// The handshake was answered by a reset.
    Refused,
    /// It was open, and was reset or closed before the answer was complete.
    Cut,
    /// nginx answered for a registry that is not there.
    BadGateway,
    /// Nothing came.
    Silence,
    Other,
}

impl Manner {
    pub(super) fn of(error: &str) -> Self {
        let error = error.to_ascii_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| error.contains(word));
        if has(&["refused"]) {
            Self::Refused
        } else if has(&["reset by peer", "broken pipe", "cut off", "eof", "transfer closed"]) {
            Self::Cut
        } else if has(&["502"]) {
            Self::BadGateway
        } else if has(&["timed out", "timeout"]) {
            Self::Silence
        } else {
            Self::Other
        }
    }
}

/// Works out why `failure` happened. `fall`: so many probes in a row have to fail before a replica is taken out.
pub(super) fn explain(failure: &Failure, timeline: &Timeline, fall: u32) -> Explanation {
    let manner = Manner::of(&failure.error);
    timeline
        .outages(&failure.service)
        .filter(|outage| failure.replica.as_deref().is_none_or(|replica| replica == outage.replica))
        .find_map(|outage| by_outage(failure, manner, &outage, fall))
        .map_or_else(|| Explanation::Unexplained(unexplained(failure, timeline)), Explanation::Explained)
}

/// The explanation by this outage, if it is one.
fn by_outage(failure: &Failure, manner: Manner, outage: &Outage<'_>, fall: u32) -> Option<String> {
    let Outage { replica, killed, dead, out, back } = outage;
    if failure.ended < *killed {
        return None;
    }
    match manner {
        Manner::Refused => {
            let in_table_until = out.map(|out| out + APPLY).or(*back).unwrap_or(Duration::MAX);
            // Of several connections the last one was refused.
            let attempt = if failure.single { failure.started } else { failure.ended };
            (attempt <= in_table_until).then(|| refused(attempt, outage, fall))
        }
        Manner::Cut => (failure.started <= *dead && failure.ended <= *dead + CUT).then(|| {
            let under_way = killed.saturating_sub(failure.started);
            format!(
                "it had been under way for {} when {replica}, which had it, was killed; the kernel of {replica} closed \
                 it {} later",
                seconds(under_way),
                seconds(failure.ended.saturating_sub(*killed))
            )
        }),
        Manner::BadGateway => (failure.ended <= *dead + APPLY).then(|| {
            format!(
                "the registry of {replica} was killed a moment before its nginx ({} after the first signal), which \
                 answered for it",
                seconds(failure.ended.saturating_sub(*killed))
            )
        }),
        // A dead replica's host answers: it refuses. Silence is never its doing.
        Manner::Silence | Manner::Other => None,
    }
}

fn refused(attempt: Duration, outage: &Outage<'_>, fall: u32) -> String {
    let Outage { replica, killed, out, .. } = outage;
    let since = format!("{} after {replica} was killed", seconds(attempt.saturating_sub(*killed)));
    match out {
        Some(out) if attempt <= *out => format!(
            "{since} and {} before dtr-lb called it down: a new connection was still steered to it, and its host \
             refused; fall = {fall}, so {fall} probes in a row had to fail first",
            seconds(*out - attempt)
        ),
        Some(out) => format!(
            "{since} and {} after dtr-lb called it down, while the table was being rewritten: a new connection was still \
             steered to it, and its host refused",
            seconds(attempt - *out)
        ),
        None => format!("{since}; dtr-lb never called it down, so it was steered to and its host refused"),
    }
}

/// What is known about a failure that has no explanation.
fn unexplained(failure: &Failure, timeline: &Timeline) -> String {
    let states = timeline.states(&failure.service, failure.ended);
    let states: Vec<_> = states.iter().map(|(replica, state)| format!("{replica} {state}")).collect();
    let before = timeline.last_before(failure.ended).map_or_else(
        || "nothing had been done to a replica yet".to_owned(),
        |event| {
            let since = seconds(failure.ended.saturating_sub(event.at));
            format!("{} had been {} {since} before", event.replica, event.deed)
        },
    );
    let on = failure
        .replica
        .as_ref()
        .map(|replica| format!(" It was connected to {replica}."))
        .unwrap_or_default();
    format!("no dead replica accounts for it. dtr-lb held {}; {before}.{on}", states.join(", "))
}

#[cfg(test)]
mod tests;
