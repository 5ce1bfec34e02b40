//! The agent: brings up the datapath, listens to probes and to the kernel, and writes what [`Control`] decides.
//!
//! `start` brings it up, `serve` is the main loop, which alone touches the datapath; `reconfigure` is the one way to another
//! config, and `fixed` says what cannot change. `effective` is what that is made of: `reload` reads the file again,
//! `steer_replicas` carries out the `orders` of an operator. `probes` are those that run; `trace` is what the loop has to do
//! with one; `presence` and `catch_up` are the pure parts of what can go wrong meanwhile, and `log` has the words for all of
//! it.

mod answers;
mod catch_up;
mod compare;
mod config_source;
pub(crate) mod descriptors;
mod effective;
mod fill;
mod fit;
mod fixed;
mod floods;
mod http;
mod log;
mod names;
mod notify;
mod orders;
mod passive;
mod presence;
mod probes;
mod reconfigure;
mod reload;
mod serve;
mod start;
mod steer_replicas;
mod trace;
mod unasked;
mod waiting;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    net::IpAddr,
    pin::pin,
    time::Instant,
};

use dtr_lb_common::verdict::Verdict;
use tokio::{
    signal::unix::Signal,
    sync::{mpsc, watch},
};
use tracing::{info, warn};

use crate::{
    api::{Answer, Api, ApiError, Detached, Refusal, Request},
    changes,
    config::Config,
    control::{Control, NextHops},
    datapath::{self, Census, Datapath, DatapathError, Options, PacketLog, Steering},
    history::History,
    interface::{InterfaceError, Look, Watch},
    metrics::ProbeCounts,
    next_hop::{NextHopError, Watcher},
    preflight::Refused,
    probe::{ProberError, Report},
    status::Reloads,
    web::WebError,
};

use catch_up::CatchUp;
use compare::Compare;
pub use config_source::{ConfigSource, NoFile, Origin};
use effective::Sources;
pub use fixed::Fixed;
use http::HttpSide;
use names::Following;
use notify::Manager;
use presence::Presence;
use probes::{Files, ProbeId, Probes};
pub use trace::TraceRequest;
use trace::Tracer;
use unasked::Unasked;
use waiting::Waiting;

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
    #[error("the probe of service `{service}` cannot be made: {source}")]
    Probe { service: String, source: ProberError },
    #[error(transparent)]
    NextHop(#[from] NextHopError),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Fixed(#[from] Fixed),
}

/// What listens and what is known, once all is up.
struct Agent {
    /// Where its config is from.
    source: ConfigSource,
    /// What the effective config is made of.
    sources: Sources,
    following: Following,
    control: Control,
    probes: Probes,
    reports: mpsc::Receiver<Report<ProbeId>>,
    /// Who steers probes, once one was to be.
    steering: Option<Steering>,
    watcher: Watcher,
    /// Those that the watcher watches.
    addresses: watch::Sender<BTreeSet<IpAddr>>,
    next_hops: watch::Receiver<NextHops>,
    interfaces: Watch,
    /// What `interfaces` sees, every few seconds.
    looks: mpsc::Receiver<Look>,
    presence: Presence,
    /// When the datapath was last attached: a look from before says nothing about it.
    attached_at: Instant,
    api: Api,
    http: HttpSide,
    history: History,
    requests: mpsc::Receiver<Request>,
    packet_log: Option<PacketLog>,
    catch_up: CatchUp,
    compare: Compare,
    /// Until when the datapath waits for the first word about replicas that are new to it.
    held_until: Option<tokio::time::Instant>,
    /// Who is to be told when it has been written.
    waiting: Vec<Waiting>,
    census: Census,
    /// How full the flow table was.
    fill: fill::Fill,
    floods: floods::Floods,
    fits: fit::Fits,
    probe_counts: ProbeCounts,
    reloads: Reloads,
    /// Tables of services that were written.
    table_rewrites: u64,
    tracer: Tracer,
    /// When each drop verdict was last logged.
    drops: BTreeMap<Verdict, Instant>,
    /// The replicas that this host cannot ask.
    unasked: Unasked,
    /// Whether the first look round is over.
    settled: bool,
    manager: Manager,
}

/// Why the main loop ended.
enum End {
    /// By this signal: the datapath stays.
    Signal(&'static str),
    /// The datapath is to go, and this one wants to know when it has.
    Detach(Answer<Detached>),
}

/// Runs until `shutdown`, or until it is told to detach. After the first the datapath stays behind and goes on forwarding.
/// Where the start fails or is broken off, what this agent made is gone again, and what it found stays as it was.
///
/// `config` is what `source` said; it is read again at each `hang_up`.
pub async fn run(
    (source, config): (ConfigSource, Config),
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
    let started = tokio::select! {
        started = start::start((source, sources, following, &config), &mut datapath, host, (probes, reports, plan), log_packets) => {
            started.map(Some)
        }
        reason = &mut shutdown => {
            info!(reason, "the agent ends before it has started");
            Ok(None)
        }
    };
    let mut agent = match started {
        Ok(Some(agent)) => agent,
        unfinished => {
            datapath.abandon();
            return unfinished.map(drop);
        }
    };
    agent.manager.ready(&agent.control);
    match agent.serve(&mut datapath, hang_up, shutdown).await {
        End::Signal(reason) => {
            agent.manager.stopping("the agent ends; the datapath goes on forwarding");
            agent.tracer.end(&mut datapath);
            info!(reason, "the agent ends; the datapath goes on forwarding by its last table");
            if log_packets {
                warn!(
                    "the datapath that stays still logs each packet: start the agent without --log-packets to end that"
                );
            }
            Ok(())
        }
        End::Detach(answer) => agent.detach(datapath, answer).await,
    }
}

/// Takes all file descriptors that there are; whether they are enough is looked at with all else.
fn take_descriptors() {
    if let Err(error) = descriptors::raise() {
        warn!(%error, "the limit of open files was not raised; the agent goes on with what it has");
    }
}

impl Agent {
    /// Removes the datapath, tells who asked, and ends.
    async fn detach(self, datapath: Datapath, answer: Answer<Detached>) -> Result<(), AgentError> {
        let Self { control, probes, watcher, interfaces, api, packet_log, requests, mut manager, .. } = self;
        manager.stopping("the agent ends, and the datapath with it");
        let bpffs = control.config().agent.bpffs.clone();
        let kept = changes::path(&control.config().agent.socket);
        // What is asked from here on is answered by "the agent is ending".
        drop((requests, probes, watcher, interfaces, packet_log));
        // Its lock on the pins has to go before they can.
        drop(datapath);
        let removed = datapath::detach(&bpffs);
        if removed.is_ok()
            && let Err(error) = changes::remove(&kept)
        {
            warn!(path = %kept.display(), %error, "{}", changes::NOT_REMOVED);
        }
        let told = match &removed {
            Ok(removed) => {
                info!(bpffs = %bpffs.display(), "detached: the datapath is removed, and the agent ends");
                Ok(Detached { bpffs, removed: *removed })
            }
            Err(error) => Err(Refusal::failed(error)),
        };
        // Who asked may have gone.
        let _ = answer.send(told);
        api.finish().await;
        Ok(removed.map(drop)?)
    }
}
