//! The agent: brings up the datapath, listens to probes and to the kernel, and writes what `control` decides.
//!
//! `start` brings it up; `driver` is the main loop, which feeds what happens to the machines that decide (`health`, with
//! `network` and time) and says what the datapath is to say; `applier` is the datapath's own thread, which alone makes the
//! system calls for that. `configuration` is the one way to another config, and `immutable` says what cannot change;
//! `effective` is what a config is made of: `reload` reads the file again, `admin_commands` carries out the `orders` of an
//! operator and `undo` takes the last one back, `names` has what DNS says. `observer` notices what is worth a line in the log, `plots` keeps what
//! the dashboard's plots show; `presence` and `retry` are the pure
//! parts of what can go wrong meanwhile, and `log` has the words for all of it.

mod admin_commands;
mod answers;
mod applier;
mod compare;
mod config_source;
mod configuration;
pub(crate) mod descriptors;
mod driver;
mod effective;
mod fill;
mod fit;
mod floods;
mod flow_counts;
mod flow_watch;
mod health;
mod http;
mod immutable;
mod local_failures;
mod log;
mod names;
mod network;
mod notify;
mod observer;
mod orders;
mod passive;
mod pending_replies;
mod plots;
mod presence;
mod probes;
mod reload;
mod retry;
mod start;
mod sweep;
mod trace;
mod undo;

use std::{future::Future, pin::pin, sync::Arc};

use jiff::Timestamp;
use tokio::signal::unix::Signal;
use tracing::{info, warn};

use crate::{
    api::{Answer, ApiError, Detached, Refusal},
    changes,
    config::Config,
    datapath::{self, Datapath, DatapathError, Options},
    events::{By, ByFields, DETACHED, ENDED, Events},
    flow_log::FlowLogError,
    interface::InterfaceError,
    next_hop::NextHopError,
    preflight::Refused,
    probe::ProberError,
    status::Reloads,
    web::WebError,
};

use applier::Thread;
pub use config_source::{ConfigSource, NoFile, Origin};
use driver::{Configuration, Driver, End, Endpoints};
use effective::Sources;
use flow_watch::Stop;
pub use immutable::Immutable;
use names::Following;
use probes::{Files, Probes};

/// Why the agent could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error(transparent)]
    Datapath(#[from] DatapathError),
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Web(#[from] WebError),
    #[error(transparent)]
    FlowLog(#[from] FlowLogError),
    #[error("the probe of service `{service}` cannot be made: {source}")]
    Probe { service: String, source: ProberError },
    #[error(transparent)]
    NextHop(#[from] NextHopError),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Immutable(#[from] Immutable),
    #[error(
        "the agent's thread that writes the datapath has ended by itself, which is a fault of dtr-lb (the log has a panic before \
         this line): the datapath goes on forwarding by its last table; start the agent again, and report the panic"
    )]
    Died,
}

/// Runs until `shutdown`, or until it is told to detach. After the first the datapath stays behind and goes on forwarding.
/// Where the start fails or is broken off, what this agent made is gone again, and what it found stays as it was.
///
/// `config` is what `source` said; it is read again at each `hang_up`. `events` records what the log says.
pub async fn run(
    (source, config): (ConfigSource, Config),
    events: Events,
    log_packets: bool,
    hang_up: Signal,
    shutdown: impl Future<Output = &'static str>,
) -> Result<(), AgentError> {
    let mut shutdown = pin!(shutdown);
    let mut sources = Sources::at_start(config);
    let mut following = Following::start(&sources);
    let mut config = tokio::select! {
        names = following.first_answers() => sources.begin(names),
        reason = &mut shutdown => {
            info!(reason, "the agent ends before it has started");
            return Ok(());
        }
    };
    sources.find_interfaces(&mut config).await?;
    take_descriptors();
    let host = start::look_around(&config).await?;
    let (probes, reports) = Probes::new();
    let plan = probes.plan(&config, Files::AsTheyWere)?;
    let options =
        Options { max_flows: config.datapath.max_flows, pins: Some(config.agent.bpffs.clone()), log_packets };
    let mut datapath = Datapath::open(&options)?;
    let ready = {
        let reloads = Reloads { last: Some(Timestamp::now()), ..Reloads::default() };
        let configuration = Configuration { source, sources, following, reloads };
        let probes = (probes, reports, plan);
        tokio::select! {
            ready = start::make_ready(configuration, &config, &mut datapath, host, probes, (&events, log_packets)) => ready.map(Some),
            reason = &mut shutdown => {
                info!(reason, "the agent ends before it has started");
                Ok(None)
            }
        }
    };
    let ready = match ready {
        Ok(Some(ready)) => ready,
        unfinished => {
            datapath.abandon();
            return unfinished.map(drop);
        }
    };
    let thread = Thread::spawn().map_err(AgentError::from);
    let begun = thread.and_then(|thread| Ok((thread, ready.bring_up(&mut datapath)?)));
    let (thread, begun) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            datapath.abandon();
            return Err(error);
        }
    };
    let mut driver = ready.with(thread.begin(datapath, begun));
    if log_packets {
        warn!(
            "each packet is logged (--log-packets), which costs more than all the rest, and the datapath goes on with it \
             after the agent has ended: start the agent without the flag to end that"
        );
    }
    driver.manager.ready(&driver.health.control);
    let end = driver.run(hang_up, shutdown).await;
    driver.end(end, log_packets).await
}

/// Takes all file descriptors that there are; whether they are enough is looked at with all else.
fn take_descriptors() {
    if let Err(error) = descriptors::raise() {
        warn!(%error, "the limit of open files was not raised; the agent goes on with what it has");
    }
}

impl Driver {
    async fn end(mut self, end: End, log_packets: bool) -> Result<(), AgentError> {
        match end {
            End::Signal(reason) => {
                self.manager.stopping("the agent ends; the datapath goes on forwarding");
                // The datapath may be attached for it already, and is to forward by its tables then.
                self.finish_change().await;
                drop(self.applier.finish().await);
                let logs = self.health.control.config().agent.flow_log.is_some();
                self.flow_watch.finish(if logs { Stop::Stays } else { Stop::Silent }).await;
                self.flow_log.finish().await;
                let Endpoints { api, http, requests, _packet_log: _ } = self.endpoints;
                // What waits for an answer gets "the agent is ending"; those who follow the flow log, or a trace, get their last line.
                drop((requests, self.changes, self.replies));
                api.finish().await;
                drop(http);
                info!(
                    event = ENDED,
                    reason, "the agent ends; the datapath goes on forwarding by its last table"
                );
                self.observer.finish();
                self.events.close();
                if log_packets {
                    warn!(
                        "the datapath that stays still logs each packet: start the agent without --log-packets to end that"
                    );
                }
                Ok(())
            }
            End::Detach(by, answer) => self.detach(by.as_ref(), answer).await,
            End::Died => {
                self.flow_watch.finish(Stop::Stays).await;
                self.flow_log.finish().await;
                self.observer.finish();
                self.events.close();
                Err(AgentError::Died)
            }
        }
    }

    /// Removes the datapath, tells who asked, and ends.
    async fn detach(self, by: Option<&By>, answer: Answer<Detached>) -> Result<(), AgentError> {
        let Self {
            changes,
            replies,
            health,
            network,
            applier,
            endpoints,
            observer,
            events,
            flow_log,
            flow_watch,
            mut manager,
            ..
        } = self;
        let Endpoints { api, http, requests, _packet_log: packet_log } = endpoints;
        manager.stopping("the agent ends, and the datapath with it");
        let config = Arc::clone(health.control.config());
        let bpffs = &config.agent.bpffs;
        let kept = changes::path(&config.agent.socket);
        // What is asked from here on is answered by "the agent is ending".
        drop((requests, changes, replies, health, network, packet_log));
        // Its lock on the pins has to go before they can.
        drop(applier.finish().await);
        let removed = datapath::detach(bpffs);
        flow_watch.finish(if removed.is_ok() { Stop::Detached } else { Stop::Stays }).await;
        flow_log.finish().await;
        if removed.is_ok()
            && let Err(error) = changes::remove(&kept)
        {
            warn!(path = %kept.display(), %error, "{}", changes::NOT_REMOVED);
        }
        let told = match &removed {
            Ok(removed) => {
                let ByFields { uid, user, token, peer } = By::fields(by);
                info!(
                    event = DETACHED,
                    bpffs = %bpffs.display(),
                    uid,
                    user,
                    token,
                    peer,
                    "detached: the datapath is removed, and the agent ends"
                );
                Ok(Detached { bpffs: bpffs.clone(), removed: *removed })
            }
            Err(error) => Err(Refusal::failed(error)),
        };
        observer.finish();
        // Before the socket goes: the next agent writes to the file then.
        events.close();
        // Who asked may have gone.
        let _ = answer.send(told);
        api.finish().await;
        drop(http);
        Ok(removed.map(drop)?)
    }
}
