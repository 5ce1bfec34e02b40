//! The agent: brings up the datapath, listens to probes and to the kernel, and writes what [`Control`] decides.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use dtr_lb_common::verdict::Verdict;
use jiff::Timestamp;
use tokio::{
    sync::{mpsc, watch},
    time::{sleep_until, timeout},
};
use tracing::{info, warn};

use crate::{
    api::{Api, ApiError, Request},
    config::{Attach, Config},
    control::{Change, Control, ReplicaPlace},
    datapath::{Census, Datapath, DatapathError, Dropped, Hook, Options, Wanted},
    interface,
    next_hop::{NextHopError, Watcher},
    probe::{self, ProbeTask, Prober, ProberError, Report, Target},
    status::Status,
};

/// Why the agent could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error(transparent)]
    Datapath(#[from] DatapathError),
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
}

/// How long the first decision waits for probes and next hops beyond the longest probe's own time-out.
const SETTLE: Duration = Duration::from_millis(300);
/// The pause between two walks through the flow table.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);
/// Of a walk, the part of the time that it may take from the processor.
const SWEEP_SHARE: u32 = 20;
/// A drop verdict is logged at most so often.
const DROP_LOG: Duration = Duration::from_secs(10);

/// What the config asks for.
pub fn wanted(attach: Attach) -> Wanted {
    match attach {
        Attach::Auto => Wanted::Auto,
        Attach::Xdp => Wanted::Exactly(Hook::NativeXdp),
        Attach::XdpGeneric => Wanted::Exactly(Hook::GenericXdp),
        Attach::Tc => Wanted::Exactly(Hook::Tc),
    }
}

/// Runs until `shutdown`. The datapath stays behind and goes on forwarding; where the start fails, what this agent made
/// is gone again.
pub async fn run(
    config: Config,
    log_packets: bool,
    shutdown: impl Future<Output = &'static str>,
) -> Result<(), AgentError> {
    let config = Arc::new(config);
    let interfaces = interface::find(&config.interfaces).await?;
    check_addresses(&config)?;
    let probers = probers(&config)?;
    let options =
        Options { max_flows: config.datapath.max_flows, pins: Some(config.agent.bpffs.clone()), log_packets };
    let mut datapath = Datapath::open(&options)?;
    let started = start(&config, &mut datapath, &interfaces, probers).await;
    let agent = match started {
        Ok(agent) => agent,
        Err(error) => {
            datapath.abandon();
            return Err(error);
        }
    };
    let packet_log = log_packets.then(|| datapath.start_packet_log()).transpose()?;
    agent.serve(datapath, shutdown).await;
    drop(packet_log);
    Ok(())
}

/// What listens and what is known, once all is up.
struct Agent {
    control: Control,
    probes: Vec<ProbeTask>,
    reports: mpsc::Receiver<Report<ReplicaPlace>>,
    watcher: Watcher,
    next_hops: watch::Receiver<crate::control::NextHops>,
    api: Api,
    requests: mpsc::Receiver<Request>,
    census: Census,
    /// When each drop verdict was last logged.
    drops: BTreeMap<Verdict, Instant>,
    /// Whether the first look round is over.
    settled: bool,
}

async fn start(
    config: &Arc<Config>,
    datapath: &mut Datapath,
    interfaces: &[crate::datapath::Interface],
    probers: Vec<(ReplicaPlace, Prober)>,
) -> Result<Agent, AgentError> {
    let (request_sender, requests) = mpsc::channel(16);
    let api = Api::open(&config.agent.socket, request_sender)?;
    let control = Control::new(Arc::clone(config), Timestamp::now());
    // Without its sender the set of addresses stays as it is: it does not change while the agent runs.
    let (_, addresses) = watch::channel(control.addresses());
    let (watcher, next_hops) = Watcher::spawn(addresses)?;
    let (report_sender, reports) = mpsc::channel(1024);
    let probes =
        probers.into_iter().map(|(id, prober)| probe::spawn(id, prober, report_sender.clone())).collect();
    let mut agent = Agent {
        control,
        probes,
        reports,
        watcher,
        next_hops,
        api,
        requests,
        census: Census::default(),
        drops: BTreeMap::new(),
        settled: false,
    };
    agent.settle().await;
    let applied = datapath.apply(&agent.control.desired())?;
    let adopted = datapath.adopted();
    let attached = datapath.attach(wanted(config.datapath.attach), interfaces)?;
    info!(
        hook = attached.hook.label(),
        interfaces = config.interfaces.join(","),
        why = attached.why,
        adopted,
        replicas = applied.replicas,
        "datapath attached"
    );
    Ok(agent)
}

impl Agent {
    /// Waits until each replica has been asked once, so that the first table is no guess, but not for long.
    async fn settle(&mut self) {
        let probes = self.control.config().services.iter().map(|service| service.probe.timeout);
        let limit = probes.max().unwrap_or_default() + SETTLE;
        // What is not known yet at the start is no news; what is not known at its end is.
        let known = timeout(limit, async {
            self.take_next_hops();
            while !self.control.informed() {
                tokio::select! {
                    Some(report) = self.reports.recv() => self.take_report(report),
                    Ok(()) = self.next_hops.changed() => self.take_next_hops(),
                    else => break,
                }
            }
        });
        if known.await.is_err() {
            info!("not every replica has answered yet; starting with what is known");
        }
        self.settled = true;
        self.control.missing_next_hops().for_each(log);
    }

    async fn serve(mut self, mut datapath: Datapath, shutdown: impl Future<Output = &'static str>) {
        let mut events = match datapath.events() {
            Ok(events) => Some(events),
            Err(error) => {
                warn!(%error, "dropped packets are counted but not logged");
                None
            }
        };
        let mut next_sweep = tokio::time::Instant::now();
        tokio::pin!(shutdown);
        loop {
            let mut decided = false;
            tokio::select! {
                reason = &mut shutdown => {
                    info!(reason, "the agent ends; the datapath goes on forwarding by its last table");
                    break;
                }
                Some(report) = self.reports.recv() => {
                    decided = report.transition.is_some();
                    self.take_report(report);
                }
                Ok(()) = self.next_hops.changed() => {
                    self.take_next_hops();
                    decided = true;
                }
                Some(request) = self.requests.recv() => self.answer(request, &datapath),
                Some(dropped) = next_events(&mut events) => self.log_drops(&dropped),
                () = sleep_until(next_sweep) => next_sweep = self.sweep(&mut datapath),
            }
            if decided && let Err(error) = datapath.apply(&self.control.desired()) {
                warn!(%error, "the datapath was not brought up to date; it is tried again at the next change");
            }
        }
        drop(self.probes);
        drop(self.watcher);
        drop(self.api);
    }

    fn take_report(&mut self, report: Report<ReplicaPlace>) {
        let changes = self.control.report(report, Timestamp::now());
        changes.into_iter().for_each(log);
    }

    fn take_next_hops(&mut self) {
        let next_hops = self.next_hops.borrow_and_update().clone();
        let changes = self.control.next_hops(next_hops).into_iter();
        changes.filter(|change| self.settled || !is_missing(change)).for_each(log);
    }

    fn answer(&self, request: Request, datapath: &Datapath) {
        match request {
            Request::Status(answer) => {
                let status = Status::collect(&self.control, datapath, &self.census);
                // Who asked may have gone.
                let _ = answer.send(status.map_err(|error| error.to_string()));
            }
        }
    }

    /// One piece of the walk through the flow table; returns when the next is due.
    fn sweep(&mut self, datapath: &mut Datapath) -> tokio::time::Instant {
        let begun = Instant::now();
        let pause = match datapath.sweep() {
            Ok(None) => begun.elapsed() * SWEEP_SHARE,
            Ok(Some(census)) => {
                self.census = census;
                SWEEP_PAUSE
            }
            Err(error) => {
                warn!(%error, "the flow table was not swept; counts of flows may be old");
                SWEEP_PAUSE * 10
            }
        };
        tokio::time::Instant::now() + pause
    }

    fn log_drops(&mut self, dropped: &[Dropped]) {
        for example in dropped {
            let now = Instant::now();
            let due =
                self.drops.get(&example.verdict).is_none_or(|last| now.duration_since(*last) >= DROP_LOG);
            if due {
                self.drops.insert(example.verdict, now);
                warn!(
                    verdict = example.verdict.name(),
                    source = %example.source,
                    destination = %example.destination,
                    "packets are dropped; this is one of them, `dtr-lb status` counts them all"
                );
            }
        }
    }
}

/// Waits for events; for ever where there are none to be had.
async fn next_events(events: &mut Option<crate::datapath::Events>) -> Option<Vec<Dropped>> {
    let Some(source) = events else { return std::future::pending().await };
    match source.next().await {
        Ok(dropped) => Some(dropped),
        Err(error) => {
            warn!(%error, "dropped packets are counted but no longer logged");
            *events = None;
            None
        }
    }
}

fn probers(config: &Config) -> Result<Vec<(ReplicaPlace, Prober)>, AgentError> {
    let mut probers = Vec::new();
    for (service_place, service) in config.services.iter().enumerate() {
        for (place, replica) in service.replicas.iter().enumerate() {
            let target = Target { address: replica.address, probe: service.probe.clone() };
            let prober = Prober::new(&target)
                .map_err(|source| AgentError::Probe { service: service.name.clone(), source })?;
            probers.push((ReplicaPlace { service: service_place, replica: place }, prober));
        }
    }
    Ok(probers)
}

/// NAT addresses must be this host's, or no answer comes back; a VIP should be, or routers must know the way.
fn check_addresses(config: &Config) -> Result<(), AgentError> {
    let own = interface::host_addresses();
    if let Some(foreign) = config.datapath.nat_addresses.iter().find(|address| !own.contains(address)) {
        return Err(AgentError::NatAddress(*foreign));
    }
    let vips: BTreeSet<_> = config.services.iter().flat_map(|service| &service.vips).collect();
    for vip in vips {
        if !own.contains(vip) {
            warn!(
                %vip,
                "the VIP is not an address of this host, so nobody answers ARP for it: add it \
                 (`ip address add {vip}/32 dev {}`), or route it here",
                config.interfaces[0]
            );
        }
    }
    Ok(())
}

fn is_missing(change: &Change) -> bool {
    matches!(change, Change::NextHop { result: Err(_), .. })
}

/// Each change of state once, with its cause.
fn log(change: Change) {
    match change {
        Change::Replica { service, replica, address, port, from, to, reason } => {
            let (from, to) = (from.to_string(), to.to_string());
            if to == "down" {
                warn!(service, replica, %address, port, from, to, reason, "replica is down");
            } else {
                info!(service, replica, %address, port, from, to, reason, "replica is {to}");
            }
        }
        Change::Service { service, up: true, consequence } => info!(service, consequence, "service is up"),
        Change::Service { service, up: false, consequence } => {
            warn!(service, consequence, "no replica of the service is up");
        }
        Change::NextHop { address, result: Ok(hop) } => {
            let mac = hop.destination_mac.map(|byte| format!("{byte:02x}")).join(":");
            info!(%address, interface = hop.interface, mac, source = %hop.source, "next hop");
        }
        Change::NextHop { address, result: Err(reason) } => warn!(%address, %reason, "no next hop"),
        Change::UnseenInterface { address, interface } => warn!(
            %address,
            interface,
            "the replica is reached by an interface that is not in `interfaces`, so its answers would not pass the \
             datapath: add it to the config"
        ),
    }
}
