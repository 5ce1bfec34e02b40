//! The agent: brings up the datapath, listens to probes and to the kernel, and writes what [`Control`] decides.
//!
//! `start` brings it up, `serve` is the main loop, which alone touches the datapath; `presence` and `catch_up` are the
//! pure parts of what can go wrong meanwhile, and `log` has the words for all of it.

mod catch_up;
pub(crate) mod descriptors;
mod log;
mod passive;
mod presence;
mod serve;
mod start;
mod unasked;

use std::{collections::BTreeMap, future::Future, pin::pin, sync::Arc, time::Instant};

use dtr_lb_common::verdict::Verdict;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

use crate::{
    api::{Api, ApiError, Detached, Request},
    config::Config,
    control::{Control, NextHops, ReplicaPlace},
    datapath::{self, Census, Datapath, DatapathError, Options, PacketLog},
    interface::{InterfaceError, Look, Watch},
    metrics::ProbeCounts,
    next_hop::{NextHopError, Watcher},
    probe::{ProbeTask, ProberError, Report},
};

use catch_up::CatchUp;
use presence::Presence;
pub(crate) use start::BEHIND_GENERIC_XDP;
use unasked::Unasked;

/// Why the agent could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error(transparent)]
    Datapath(#[from] DatapathError),
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("the probe of service `{service}` cannot be made: {source}")]
    Probe { service: String, source: ProberError },
    #[error(transparent)]
    NextHop(#[from] NextHopError),
    #[error(
        "datapath.nat_addresses has {0}, which is not an address of this host; add it to an interface, or remove it"
    )]
    NatAddress(std::net::IpAddr),
    #[error("{}", BEHIND_GENERIC_XDP)]
    ProbesBehindGenericXdp,
}

/// What listens and what is known, once all is up.
struct Agent {
    control: Control,
    probes: Vec<ProbeTask>,
    reports: mpsc::Receiver<Report<ReplicaPlace>>,
    watcher: Watcher,
    next_hops: watch::Receiver<NextHops>,
    interfaces: Watch,
    /// What `interfaces` sees, every few seconds.
    looks: mpsc::Receiver<Look>,
    presence: Presence,
    /// When the datapath was last attached: a look from before says nothing about it.
    attached_at: Instant,
    api: Api,
    requests: mpsc::Receiver<Request>,
    packet_log: Option<PacketLog>,
    catch_up: CatchUp,
    census: Census,
    probe_counts: ProbeCounts,
    /// Tables of services that were written.
    table_rewrites: u64,
    /// When each drop verdict was last logged.
    drops: BTreeMap<Verdict, Instant>,
    /// The replicas that this host cannot ask.
    unasked: Unasked,
    /// Whether the first look round is over.
    settled: bool,
}

/// Why the main loop ended.
enum End {
    /// By this signal: the datapath stays.
    Signal(&'static str),
    /// The datapath is to go, and this one wants to know when it has.
    Detach(oneshot::Sender<Result<Detached, String>>),
}

/// Runs until `shutdown`, or until it is told to detach. After the first the datapath stays behind and goes on forwarding.
/// Where the start fails or is broken off, what this agent made is gone again, and what it found stays as it was.
pub async fn run(
    config: Config,
    log_packets: bool,
    shutdown: impl Future<Output = &'static str>,
) -> Result<(), AgentError> {
    let mut shutdown = pin!(shutdown);
    let config = Arc::new(config);
    take_descriptors(&config);
    let host = start::look_around(&config).await?;
    let probers = start::probers(&config)?;
    let options =
        Options { max_flows: config.datapath.max_flows, pins: Some(config.agent.bpffs.clone()), log_packets };
    let mut datapath = Datapath::open(&options)?;
    let started = tokio::select! {
        started = start::start(&config, &mut datapath, host, probers, log_packets) => started.map(Some),
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
    match agent.serve(&mut datapath, shutdown).await {
        End::Signal(reason) => {
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

/// Takes all file descriptors that there are, and says if they may not be enough.
fn take_descriptors(config: &Config) {
    match descriptors::raise() {
        Ok(limit) => {
            if let Some(shortage) = descriptors::shortage(config, limit) {
                warn!("{shortage}");
            }
        }
        Err(error) => {
            warn!(%error, "the limit of open files was not raised; the agent goes on with what it has")
        }
    }
}

impl Agent {
    /// Removes the datapath, tells who asked, and ends.
    async fn detach(
        self,
        datapath: Datapath,
        answer: oneshot::Sender<Result<Detached, String>>,
    ) -> Result<(), AgentError> {
        let Self { control, probes, watcher, interfaces, api, packet_log, requests, .. } = self;
        let bpffs = control.config().agent.bpffs.clone();
        // What is asked from here on is answered by "the agent is ending".
        drop((requests, probes, watcher, interfaces, packet_log));
        // Its lock on the pins has to go before they can.
        drop(datapath);
        let removed = datapath::detach(&bpffs);
        let told = match &removed {
            Ok(removed) => {
                info!(bpffs = %bpffs.display(), "detached: the datapath is removed, and the agent ends");
                Ok(Detached { bpffs, removed: *removed })
            }
            Err(error) => Err(error.to_string()),
        };
        // Who asked may have gone.
        let _ = answer.send(told);
        api.finish().await;
        Ok(removed.map(drop)?)
    }
}
