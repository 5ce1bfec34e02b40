//! From a config to an agent that serves.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use dtr_lb_common::wire::Mac;
use jiff::Timestamp;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tracing::{info, warn};

use super::{
    Agent, AgentError, ConfigSource, Following, Sources,
    catch_up::CatchUp,
    compare::Compare,
    http::HttpSide,
    log::log,
    notify::Manager,
    presence::Presence,
    probes::{Plan, ProbeId, Probes},
    trace::Tracer,
    unasked::Unasked,
};
use crate::{
    api::{self, Api},
    config::{Attach, Config},
    control::Control,
    datapath::{Applied, Census, Datapath, Hook, Interface, Wanted},
    history::History,
    interface::{self, Links, Seen, Watch},
    metrics::ProbeCounts,
    next_hop::Watcher,
    preflight::{self, Facts, Purpose, probes_are_steered},
    probe::{Report, schedule::first_spread},
    status::Reloads,
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

/// May be dropped before it is done: nothing is attached or written until its last await is over.
pub(super) async fn start(
    (source, sources, following, config): (ConfigSource, Sources, Following, &Arc<Config>),
    datapath: &mut Datapath,
    host: Host,
    (mut probes, reports, mut plan): (Probes, mpsc::Receiver<Report<ProbeId>>, Plan),
    log_packets: bool,
) -> Result<Agent, AgentError> {
    let Host { links, seen, macs, interfaces: found } = host;
    let (request_sender, requests) = mpsc::channel(16);
    let history = History::default();
    let api = Api::open(&config.agent.socket, api::router(request_sender.clone(), history.clone()))?;
    let http = HttpSide::open(&config.agent, api::open_routes(request_sender, history.clone()))?;
    let packet_log = log_packets.then(|| datapath.start_packet_log()).transpose()?;
    let mut control = Control::new(Arc::clone(config), Timestamp::now());
    control.take_macs(macs).into_iter().for_each(log);
    control.ingress(mtus(&seen)).into_iter().for_each(log);
    let (addresses, watched) = watch::channel(control.addresses());
    let (watcher, next_hops) = Watcher::spawn(watched)?;
    let (interfaces, looks) = Watch::spawn(config.interfaces.clone(), links);
    let mut steering = None;
    if probes_are_steered(config) {
        plan.steer_by(steering.insert(datapath.start_probing(&found)?));
    }
    probes.carry_out(plan, &control);
    let mut agent = Agent {
        source,
        sources,
        following,
        control,
        probes,
        reports,
        steering,
        watcher,
        addresses,
        next_hops,
        interfaces,
        looks,
        presence: Presence::default(),
        attached_at: Instant::now(),
        api,
        http,
        history,
        requests,
        packet_log,
        catch_up: CatchUp::default(),
        compare: Compare::default(),
        held_until: None,
        waiting: Vec::new(),
        census: Census::default(),
        fill: Default::default(),
        floods: Default::default(),
        fits: Default::default(),
        probe_counts: ProbeCounts::default(),
        reloads: Reloads::default(),
        table_rewrites: 0,
        tracer: Tracer::default(),
        drops: BTreeMap::new(),
        unasked: Unasked::default(),
        settled: false,
        manager: Manager::of_this_process(),
    };
    agent.settle(datapath).await;
    let applied = bring_up(datapath, &agent.control, &found)?;
    agent.table_rewrites += applied.tables as u64;
    agent.attached_at = Instant::now();
    if let Some(note) = agent.sources.store() {
        warn!("{note}");
    }
    if log_packets {
        warn!(
            "each packet is logged (--log-packets), which costs more than all the rest, and the datapath goes on with it \
             after the agent has ended: start the agent without the flag to end that"
        );
    }
    Ok(agent)
}

/// Makes packets meet a datapath that is right at once.
///
/// A fresh one is empty, so it is written before packets come. One that was taken over forwards by its own tables
/// already: it is attached first, so that where that fails nothing was changed.
fn bring_up(datapath: &mut Datapath, control: &Control, found: &[Interface]) -> Result<Applied, AgentError> {
    let config = control.config();
    let (desired, wanted, adopted) =
        (control.desired(Instant::now()), wanted(config.datapath.attach), datapath.adopted());
    let applied = if adopted {
        datapath.attach(wanted, found)?;
        datapath.apply(&desired)?
    } else {
        let applied = datapath.apply(&desired)?;
        datapath.attach(wanted, found)?;
        applied
    };
    if let Some(attached) = datapath.attached() {
        info!(
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

impl Agent {
    /// Waits until each replica has been asked once, so that the first table is no guess, but not for long.
    async fn settle(&mut self, datapath: &Datapath) {
        let probes = self.control.config().services.iter().map(|service| service.probe.timeout);
        let spread = first_spread(self.probes.len());
        let limit = settle_limit(probes.max().unwrap_or_default().saturating_add(spread));
        // What is not known yet at the start is no news; what is not known at its end is.
        let known = timeout(limit, async {
            self.take_next_hops();
            while !self.control.informed() {
                tokio::select! {
                    Some(report) = self.reports.recv() => {
                        self.take_report(report, datapath);
                    }
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
