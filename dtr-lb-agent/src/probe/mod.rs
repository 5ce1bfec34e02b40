//! Health probes: is a replica fit to serve, and if not, why not.
//!
//! One probe is one question on one fresh connection ([`Prober::probe`]), answered by an [`Outcome`]. [`spawn`]
//! repeats it on a [`schedule::Schedule`], feeds the outcomes to a [`health::Health`] and reports each of them.
//! The rest of the module is split by what can be tested without the rest: `health` and `schedule` are pure,
//! `failure` puts a name to what went wrong, `http`, `tls` and `tcp` ask the question, `task` is the loop.
//!
//! Nothing here decides what becomes of a replica: draining, maintenance and fail-open are the control's. Nothing
//! here asks DNS, follows a redirect or takes a proxy from the environment: the replica is what is being probed.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use crate::config::{Probe, Scheme};

mod error;
mod failure;
pub mod health;
mod http;
pub mod schedule;
mod task;
mod tcp;
#[cfg(test)]
mod tests;
mod tls;

pub use error::ProberError;
pub use failure::{Failure, Phase};
pub use health::{State, Transition};
pub use task::{ProbeTask, Report, spawn};

use http::HttpProbe;
use schedule::Schedule;

/// What to probe: one replica, and how one service wants it asked.
#[derive(Debug, Clone)]
pub struct Target {
    /// The replica's address. The port is the probe's.
    pub address: IpAddr,
    /// How to ask, how often, and what counts as a good answer.
    pub probe: Probe,
}

/// What one probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The HTTP status, if an answer came as far as that, be it a good one or not.
    pub status: Option<u16>,
    /// From the start of the connection to the end of the probe.
    pub took: Duration,
    /// Why the probe failed; `None` if it passed.
    pub error: Option<Failure>,
}

impl Outcome {
    /// The probe passed.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.error.is_none()
    }
}

/// Asks one replica one question, again and again the same. Cheap to ask, not to build: it reads the CA file and
/// sets up TLS once.
#[derive(Debug)]
pub struct Prober {
    question: Question,
    schedule: Schedule,
    rise: u32,
    fall: u32,
}

#[derive(Debug)]
enum Question {
    Http(Box<HttpProbe>),
    Tcp {
        target: SocketAddr,
        timeout: Duration,
    },
    /// The replica is taken to be up.
    None,
}

impl Prober {
    /// Makes ready to probe `target`: reads the CA file if one is configured, opens no connection.
    ///
    /// # Errors
    /// The CA file cannot be read or holds no certificate, this host has no CA certificates of its own although
    /// the probe needs them, or the host name or path do not make a URL.
    pub fn new(target: &Target) -> Result<Self, ProberError> {
        let Target { address, probe } = target;
        let question = match probe.scheme {
            Scheme::Http | Scheme::Https => Question::Http(Box::new(HttpProbe::new(*address, probe)?)),
            Scheme::Tcp => {
                Question::Tcp { target: SocketAddr::new(*address, probe.port), timeout: probe.timeout }
            }
            Scheme::None => Question::None,
        };
        let schedule = Schedule::new(probe.interval, probe.fast_interval, probe.jitter);
        Ok(Self { question, schedule, rise: probe.rise, fall: probe.fall })
    }

    /// Probes once. Ends within the configured timeout, whatever the replica does.
    pub async fn probe(&self) -> Outcome {
        let start = Instant::now();
        let (status, error) = match &self.question {
            Question::Http(http) => http.ask().await,
            Question::Tcp { target, timeout } => (None, tcp::connect(*target, *timeout).await.err()),
            Question::None => (None, None),
        };
        Outcome { status, took: start.elapsed(), error }
    }

    /// False for a probe that is configured away: there is nothing to repeat.
    fn asks(&self) -> bool {
        !matches!(self.question, Question::None)
    }
}
