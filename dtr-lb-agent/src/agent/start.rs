//! From a config to an agent that serves.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use dtr_lb_common::wire::Mac;
use jiff::Timestamp;
use tokio::{sync::mpsc, time::timeout};
use tracing::{info, warn};

use super::{
    AgentError,
    applier::{Applier, Begun},
    configuration::Changes,
    driver::{Configuration, Driver, Endpoints},
    flow_watch::FlowWatch,
    health::Health,
    http::HttpSide,
    log::log,
    network::Network,
    notify::Manager,
    observer::Observer,
    pending_replies::PendingReplies,
    plots::Plots,
    probes::{Plan, ProbeId, Probes},
};
use crate::{
    api::{self, Api},
    config::{Attach, Config},
    control::Control,
    datapath::{Applied, Datapath, Desired, Hook, Interface, Meter, Steering, Wanted},
    directory::Directory,
    events::{Events, Previous, STARTED},
    flow_log::{self, FlowLog},
    history::History,
    interface::{self, Links, Seen},
    preflight::{self, Facts, Purpose, probes_are_steered},
    probe::Report,
};

/// How long the first decision waits for probes and next hops beyond the longest probe's own time-out ...
const SETTLE: Duration = Duration::from_millis(300);
/// ... and how long at most: a datapath that is not there yet forwards nothing, which is worse than a guess.
const LONGEST_SETTLE: Duration = Duration::from_secs(3);

/// What the config asks for.
pub(super) fn wanted(attach: Attach) -> Wanted {
    match attach {
        Attach::Auto => Wanted::Auto,
        Attach::Xdp => Wanted::Exactly(Hook::NativeXdp),
        Attach::XdpGeneric => Wanted::Exactly(Hook::GenericXdp),
        Attach::Tc => Wanted::Exactly(Hook::Tc),
    }
}

/// What the host is like, as far as the config speaks of it.
pub(super) struct Host {
    links: Links,
    seen: Vec<Seen>,
    macs: BTreeSet<Mac>,
    interfaces: Vec<Interface>,
}

/// Looks at the host before anything is touched, and logs what will not work as it should.
///
/// # Errors
/// Something keeps the agent from starting; all such things are told.
pub(super) async fn look_around(config: &Config) -> Result<Host, AgentError> {
    let links = Links::open()?;
    let facts = Facts::gather(config, &links, Purpose::Start).await;
    let mut found = preflight::judge(config, &facts);
    found.refusal()?;
    for finding in found.warnings.iter().chain(&found.foreseen) {
        warn!(about = finding.about, "{finding}");
    }
    let seen = facts.seen().to_vec();
    Ok(Host { links, macs: interface::host_macs()?, interfaces: interface::all_there(&seen)?, seen })
}

/// An agent that knows all that it needs, and has not touched what is attached.
pub(super) struct Ready {
    pub(super) configuration: Configuration,
    pub(super) health: Health,
    pub(super) network: Network,
    pub(super) steering: Option<Steering>,
    pub(super) observer: Observer,
    pub(super) events: Events,
    /// How the agent before this one ended.
    previous: Previous,
    pub(super) endpoints: Endpoints,
    pub(super) flow_log: FlowLog,
    pub(super) flow_watch: FlowWatch,
    /// Where the datapath is to be attached.
    found: Vec<Interface>,
}

/// May be dropped before it is done: nothing is attached or written.
pub(super) async fn make_ready(
    configuration: Configuration,
    config: &Arc<Config>,
    datapath: &mut Datapath,
    host: Host,
    (mut probes, reports, mut plan): (Probes, mpsc::Receiver<Report<ProbeId>>, Plan),
    (events, log_packets): (&Events, bool),
) -> Result<Ready, AgentError> {
    let Host { links, seen, macs, interfaces: found } = host;
    let (request_sender, requests) = mpsc::channel(16);
    let plots = Plots::open(History::path(&config.agent.socket), Timestamp::now());
    let history = plots.history();
    let events = events.clone();
    let router = api::router(request_sender.clone(), history.clone(), events.clone());
    let api = Api::open(&config.agent.socket, router)?;
    // Not before: the file is that of the agent that has the socket.
    let previous = events.open(&Events::path(&config.agent.socket));
    let routes = api::open_routes(request_sender, history, events.clone());
    let http = HttpSide::open(&config.agent, routes)?;
    let flow_log = FlowLog::start(flow_log::Settings::of(&config.agent))?;
    let packet_log = log_packets.then(|| datapath.start_packet_log()).transpose()?;
    let mut control = Control::new(Arc::clone(config), Timestamp::now());
    control.take_macs(macs).into_iter().for_each(log);
    control.ingress(mtus(&seen)).into_iter().for_each(log);
    let mut network = Network::follow(control.addresses(), config.interfaces.clone(), links)?;
    let mut steering = None;
    if probes_are_steered(config) {
        plan.steer_by(steering.insert(datapath.start_probing(&found)?));
    }
    probes.carry_out(plan, &control);
    let mut health = Health::new(control, probes, reports);
    settle(&mut health, &mut network, datapath.meter()).await;
    let names = Directory::new(&health.control, Instant::now());
    let flow_watch = FlowWatch::start(datapath.flow_events()?, flow_log.clone(), names)?;
    let observer = Observer::new(datapath, plots);
    let endpoints = Endpoints { api, http, requests, _packet_log: packet_log };
    Ok(Ready {
        configuration,
        health,
        network,
        steering,
        observer,
        events,
        previous,
        endpoints,
        flow_log,
        flow_watch,
        found,
    })
}

impl Ready {
    /// Lets packets in. Returns how the datapath stands then.
    ///
    /// # Errors
    /// It cannot be attached or written; then nothing is attached that was not before.
    pub(super) fn bring_up(&self, datapath: &mut Datapath) -> Result<Begun, AgentError> {
        let control = &self.health.control;
        let desired = control.desired(Instant::now());
        let applied = bring_up(datapath, control.config(), &desired, &self.found)?;
        let wanted = wanted(control.config().datapath.attach);
        Ok(Begun { desired, tables: applied.tables, wanted })
    }

    /// The whole of it, with the thread that has the datapath.
    pub(super) fn with(self, applier: Applier) -> Driver {
        let Self {
            mut configuration,
            health,
            network,
            steering,
            observer,
            events,
            previous,
            endpoints,
            flow_log,
            mut flow_watch,
            found: _,
        } = self;
        info!(
            event = STARTED,
            version = env!("CARGO_PKG_VERSION"),
            config = %configuration.source.origin,
            adopted = applier.adopted(),
            previous = previous.as_str(),
            "the agent has started"
        );
        if let Some(note) = configuration.sources.store() {
            warn!("{note}");
        }
        flow_watch.begin();
        Driver {
            configuration,
            changes: Changes::default(),
            health,
            network,
            applier,
            steering,
            observer,
            events,
            endpoints,
            flow_log,
            flow_watch,
            replies: PendingReplies::default(),
            manager: Manager::of_this_process(),
        }
    }
}

/// Waits until each replica has been asked once, so that the first table is no guess, but not for long.
async fn settle(health: &mut Health, network: &mut Network, meter: &Meter) {
    let limit = settle_limit(health.first_outcomes());
    // What is not known yet at the start is no news; what is not known at its end is.
    let known = timeout(limit, async {
        network.take_next_hops(&mut health.control);
        while !health.control.informed() {
            tokio::select! {
                () = health.settle(meter) => {}
                () = network.next_hops_changed() => network.take_next_hops(&mut health.control),
            }
        }
    });
    if known.await.is_err() {
        info!("not every replica has answered yet; starting with what is known");
    }
    network.settled = true;
    health.control.missing_next_hops().for_each(log);
}

/// Makes packets meet a datapath that is right at once.
///
/// A fresh one is empty, so it is written before packets come. One that was taken over forwards by its own tables
/// already: it is attached first, so that where that fails nothing was changed.
fn bring_up(
    datapath: &mut Datapath,
    config: &Config,
    desired: &Desired,
    found: &[Interface],
) -> Result<Applied, AgentError> {
    let (wanted, adopted) = (wanted(config.datapath.attach), datapath.adopted());
    let applied = if adopted {
        datapath.attach(wanted, found)?;
        datapath.apply(desired)?
    } else {
        let applied = datapath.apply(desired)?;
        datapath.attach(wanted, found)?;
        applied
    };
    if let Some(attached) = datapath.attached() {
        info!(
            event = "datapath_attached",
            hook = attached.hook.label(),
            interfaces = config.interfaces.join(","),
            why = attached.why,
            adopted,
            replicas = applied.replicas,
            "datapath attached"
        );
    }
    Ok(applied)
}

/// The MTUs, in bytes, of the interfaces that are there.
pub(super) fn mtus(seen: &[Seen]) -> impl Iterator<Item = (String, u32)> {
    seen.iter().filter_map(|seen| Some((seen.name.clone(), seen.link.as_ref()?.mtu)))
}

fn settle_limit(longest_probe: Duration) -> Duration {
    longest_probe.saturating_add(SETTLE).min(LONGEST_SETTLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_probe_keeps_the_start_waiting_for_long() {
        let second = Duration::from_secs(1);
        assert_eq!(settle_limit(second), second + SETTLE);
        assert_eq!(settle_limit(second * 3600), LONGEST_SETTLE);
        assert_eq!(settle_limit(Duration::MAX), LONGEST_SETTLE);
    }
}
