//! Health probes: is a replica fit to serve, and if not, why not.
//!
//! One probe is one question on one fresh connection ([`Prober::probe`]), answered by an [`Outcome`]. [`spawn`]
//! repeats it on a [`schedule::Schedule`] and reports each of them.
//! The rest of the module is split by what can be tested without the rest: `schedule` is pure,
//! `failure` puts a name to what went wrong, `connector` opens the connection, `stream` has `tls` on it or not, `http` and
//! `conversation` ask the question, `agent_check` asks the replica's own agent, `detour` tells a replica that answers another way from a dead one, `task` is the loop.
//!
//! Nothing here decides what becomes of a replica: rise and fall, draining, maintenance and fail-open are the control's. Nothing
//! here asks DNS, follows a redirect or takes a proxy from the environment: the replica is what is being probed.

use std::{
    net::{IpAddr, SocketAddr},
    pin::pin,
    time::{Duration, Instant},
};

use futures::{
    FutureExt as _,
    future::{Either, OptionFuture, join, join_all, select},
};

use crate::{
    config::{Probe, Scheme},
    datapath::Steering,
};

mod agent_check;
mod bounded;
mod connector;
mod conversation;
mod detour;
mod error;
mod failure;
mod http;
pub mod schedule;
mod stream;
mod task;
#[cfg(test)]
mod tests;
mod tls;

pub use agent_check::{AgentFailure, AgentWord, Fitness, Wants};
pub use connector::{Direct, Route};
pub use error::ProberError;
pub use failure::{Failure, Phase, StepFailure};
pub use schedule::Certainty;
pub use task::{ProbeTask, Report, spawn};
pub use tls::TlsConfigs;

use agent_check::AgentCheck;
use connector::Connector;
use conversation::Conversation;
use detour::Detour;
use http::HttpProbe;
use schedule::Schedule;

/// What to probe: one replica, and how one service wants it asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The replica's address. The port is the probe's.
    pub address: IpAddr,
    /// How to ask, how often, and what counts as a good answer.
    pub probe: Probe,
    /// From where and at which address it is asked.
    pub route: Route,
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

/// What a probe found, and what the replica's agent said beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    outcome: Outcome,
    agent: Option<Result<AgentWord, AgentFailure>>,
}

/// Asks one replica one question, again and again the same. Cheap to ask, not to build: it reads the CA file and
/// sets up TLS once.
#[derive(Debug)]
pub struct Prober {
    /// One, or one for each VIP that it is asked at, or from.
    questions: Vec<Question>,
    /// Of a replica that is asked from VIPs.
    detour: Option<Detour>,
    agent: Option<AgentCheck>,
    schedule: Schedule,
}

#[derive(Debug)]
enum Question {
    Http(Box<HttpProbe>),
    Conversation(Box<Conversation>),
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
        Self::sharing(target, &mut TlsConfigs::default())
    }

    /// The same, for one of many targets: what they have in common is made once, and kept in `tls`.
    ///
    /// # Errors
    /// As [`Prober::new`].
    pub fn sharing(target: &Target, tls: &mut TlsConfigs) -> Result<Self, ProberError> {
        let Target { address, probe, route } = target;
        let replica = SocketAddr::new(*address, probe.port);
        let connectors = match route {
            Route::Plain => vec![Connector::own(replica)],
            Route::FromVips(vips) => vips.iter().map(|vip| Connector::from_vip(replica, *vip)).collect(),
            Route::Direct(direct) => {
                direct.vips.iter().map(|vip| Connector::vip(replica, *vip, direct)).collect()
            }
        };
        let questions = connectors.into_iter().map(|connector| Question::new(connector, probe, tls));
        let detour = match route {
            Route::FromVips(vips) => Some(Detour::new(replica, vips, probe.timeout)),
            Route::Plain | Route::Direct(_) => None,
        };
        let schedule = Schedule::new(probe.interval, probe.fast_interval, probe.down_interval, probe.jitter);
        let agent = probe.agent_port.filter(|_| probe.scheme != Scheme::None);
        let agent = agent.map(|port| AgentCheck::new(SocketAddr::new(*address, port), probe.timeout));
        Ok(Self { questions: questions.collect::<Result<_, _>>()?, detour, agent, schedule })
    }

    /// Says who steers the packets of this probe, which [`Prober::needs_steering`].
    pub fn steer_by(&mut self, steering: &Steering) {
        self.connectors().for_each(|connector| connector.steer_by(steering));
    }

    /// Whether its packets are to be steered: it asks a replica at a VIP.
    #[must_use]
    pub fn needs_steering(&mut self) -> bool {
        self.connectors().any(|connector| connector.is_steered())
    }

    /// Spreads the first probe over more time, as there are so many targets: see [`Schedule::among`].
    pub fn among(&mut self, targets: usize) {
        self.schedule = self.schedule.among(targets);
    }

    fn connectors(&mut self) -> impl Iterator<Item = &mut Connector> {
        self.questions.iter_mut().filter_map(|question| match question {
            Question::Http(http) => Some(http.connector()),
            Question::Conversation(conversation) => Some(conversation.connector()),
            Question::None => None,
        })
    }

    /// Probes once: each VIP at the same time, if there are several, and the first failure of one is that of all. Ends within
    /// the configured timeout, whatever the replica does.
    pub async fn probe(&self) -> Outcome {
        let start = Instant::now();
        let detour = OptionFuture::from(self.detour.as_ref().map(Detour::look));
        let (mut answers, past) = join(join_all(self.questions.iter().map(Question::ask)), detour).await;
        let failed = answers.iter().position(|(_, error)| error.is_some());
        let (status, error) = answers.swap_remove(failed.unwrap_or_default());
        let error = match &self.detour {
            Some(detour) => detour.judge(error, past.flatten()),
            None => error,
        };
        Outcome { status, took: start.elapsed(), error }
    }

    /// Probes once, and asks the replica's agent beside it. A probe that has failed does not wait for the agent: `None` is no word.
    async fn probe_and_ask(&self) -> Found {
        let Some(agent) = &self.agent else { return Found { outcome: self.probe().await, agent: None } };
        match select(pin!(self.probe()), pin!(agent.ask())).await {
            Either::Left((outcome, asked)) if outcome.ok() => Found { outcome, agent: Some(asked.await) },
            Either::Left((outcome, asked)) => Found { outcome, agent: asked.now_or_never() },
            Either::Right((answer, probe)) => Found { outcome: probe.await, agent: Some(answer) },
        }
    }

    /// False for a probe that is configured away: there is nothing to repeat.
    fn asks(&self) -> bool {
        !self.questions.iter().any(|question| matches!(question, Question::None))
    }
}

impl Question {
    fn new(connector: Connector, probe: &Probe, tls: &mut TlsConfigs) -> Result<Self, ProberError> {
        Ok(match probe.scheme {
            Scheme::Http | Scheme::Https => Self::Http(Box::new(HttpProbe::new(connector, probe, tls)?)),
            Scheme::Tcp | Scheme::Tls => {
                Self::Conversation(Box::new(Conversation::new(connector, probe, tls)?))
            }
            Scheme::None => Self::None,
        })
    }

    async fn ask(&self) -> (Option<u16>, Option<Failure>) {
        match self {
            Self::Http(http) => http.ask().await,
            Self::Conversation(conversation) => (None, conversation.hold().await.err()),
            Self::None => (None, None),
        }
    }
}
