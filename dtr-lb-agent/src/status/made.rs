//! A status of what control knows, the datapath has counted, and the main loop has seen.

use std::{collections::BTreeMap, net::IpAddr, ops::RangeInclusive, time::Instant};

use dtr_lb_common::{
    abi::{End, FlowStats, ReplicaCounters, Traffic},
    address::{Address, Be16},
    verdict::Verdict,
};

use super::{
    AgentStatus, AttachStatus, ChallengeStatus, DatapathStatus, FlowTableStatus, NatPortsStatus, ProbeStatus,
    Reloads, ReplicaStatus, ServiceStatus, StateChangeStatus, Status, SuspicionStatus,
};
use crate::{
    config::{Config, Mode, Replica, Service},
    control::{ANSWERS_PAST, Condition, Control, ReplicaPlace, ReplicaState, StateChange, Suspicion},
    datapath::{Attached, Census, DatapathError, Meter, NatRange},
    latency::{self, Handshakes, Latency, Place},
    probe::Outcome,
};

/// What the main loop has seen of the datapath.
#[derive(Clone, Copy)]
pub struct Observed<'a> {
    pub census: &'a Census,
    pub attached: Option<&'a Attached>,
    /// Whether an interface is there with the datapath on it.
    pub present: &'a dyn Fn(&str) -> bool,
    /// [`DatapathStatus::adopted`]
    pub adopted: bool,
    /// [`DatapathStatus::repairs`]
    pub repairs: &'a BTreeMap<&'static str, u64>,
    /// Of a service's VIP.
    pub challenge: &'a dyn Fn(&str, IpAddr) -> ChallengeStatus,
    /// [`ServiceStatus::hint`]
    pub hint: &'a dyn Fn(&str) -> Option<String>,
    /// The handshakes of the last minute, of all that a replica has counted.
    pub recent: &'a dyn Fn(&Place, &Handshakes) -> Handshakes,
    /// [`DatapathStatus::up_to_date`]
    pub up_to_date: bool,
    /// [`DatapathStatus::table_rewrites`]
    pub table_rewrites: u64,
    pub reloads: Reloads,
}

impl Status {
    /// Puts together what the agent knows.
    ///
    /// # Errors
    /// The kernel does not hand out its counters.
    pub fn collect(control: &Control, meter: &Meter, observed: Observed<'_>) -> Result<Self, DatapathError> {
        let Observed { challenge, hint, .. } = observed;
        let config = control.config();
        let mut services = Vec::new();
        for (place, service) in config.services.iter().enumerate() {
            for vip in &service.vips {
                let status = service_status((control, place), service, *vip, meter, observed)?;
                let (challenge, hint) = (challenge(&service.name, *vip), hint(&service.name));
                services.push(ServiceStatus { challenge, hint, ..status });
            }
        }
        let verdicts = meter.verdicts()?;
        Ok(Self {
            version: env!("CARGO_PKG_VERSION").into(),
            host: host_name().unwrap_or_default(),
            datapath: datapath_status(config, observed),
            services,
            flow_table: Some(flow_table(config, observed.census, &meter.all_flows()?, &verdicts)),
            verdicts: verdicts
                .into_iter()
                .map(|(verdict, traffic)| (verdict.name().to_owned(), traffic.packets))
                .collect(),
            reloads: observed.reloads,
            // The caller knows them.
            names: Vec::new(),
            last_order: None,
        })
    }
}

/// The name of this host, as `hostname` prints it.
pub(crate) fn host_name() -> Option<String> {
    nix::sys::utsname::uname().ok()?.nodename().to_str().map(str::to_owned)
}

fn datapath_status(config: &Config, observed: Observed<'_>) -> DatapathStatus {
    let Observed { census, attached, present, adopted, repairs, up_to_date, table_rewrites, .. } = observed;
    let attach = attached.map_or_else(Vec::new, |attached| {
        let of = |interface: &String| AttachStatus {
            interface: interface.clone(),
            hook: attached.hook.name().into(),
            native: attached.hook.native(),
            present: present(interface),
        };
        config.interfaces.iter().map(of).collect()
    });
    DatapathStatus {
        attach,
        attach_reason: attached.map(|attached| attached.why.clone()).unwrap_or_default(),
        adopted,
        flows: census.flows.values().sum(),
        flow_entries: census.entries,
        // The caller knows it.
        walks: 0,
        max_flows: config.datapath.max_flows.into(),
        repairs: repairs.iter().map(|(map, count)| ((*map).to_owned(), *count)).collect(),
        up_to_date,
        table_rewrites,
    }
}

fn flow_table(
    config: &Config,
    census: &Census,
    counted: &FlowStats,
    verdicts: &BTreeMap<Verdict, Traffic>,
) -> FlowTableStatus {
    let refused = verdicts.get(&Verdict::AnsweredTableFull).map(|traffic| traffic.packets);
    FlowTableStatus {
        capacity: 2 * u64::from(config.datapath.max_flows),
        entries: census.entries,
        by_state: census.states.iter().map(|(state, count)| ((*state).to_owned(), *count)).collect(),
        evicted: [End::EVICTED, End::CROWDED].map(|end| counted.ends[end.0 as usize]).iter().sum(),
        refused: refused.unwrap_or_default(),
    }
}

fn service_status(
    (control, place): (&Control, usize),
    service: &Service,
    vip: IpAddr,
    meter: &Meter,
    observed: Observed<'_>,
) -> Result<ServiceStatus, DatapathError> {
    let Observed { census, recent, .. } = observed;
    let any = |state| control.conditions(place).any(|condition| condition.state == state);
    let state = if any(ReplicaState::Up) {
        ReplicaState::Up
    } else if any(ReplicaState::Starting) {
        ReplicaState::Starting
    } else {
        ReplicaState::Down
    };
    let shares = control.shares(place, Instant::now());
    let nat_ports = &control.config().datapath.nat_ports;
    let mut connects = Vec::new();
    let replicas: Vec<_> = service
        .replicas
        .iter()
        .zip(control.conditions(place))
        .zip(shares)
        .enumerate()
        .map(|(at, ((replica, condition), share))| {
            let counted = meter.replica(vip, service.port, replica.address, replica.port, census)?;
            let place = ReplicaPlace { service: place, replica: at };
            let past = control.answers_past(place);
            let agent = control.agent_check(place).map(|(says, error)| AgentStatus { says, error });
            let warning = past.then(|| ANSWERS_PAST.to_owned());
            let flows = meter.flows(vip, service.port, replica.address, replica.port)?;
            let handshakes = recent(&Place::new(service, vip, replica), &Handshakes::from(&flows));
            connects.push(handshakes.connect);
            let nat_ports = match service.mode {
                Mode::Nat => nat_ports_of(replica, nat_ports, census),
                Mode::Dnat | Mode::Dsr | Mode::Ipip => Vec::new(),
            };
            let status = replica_status(replica, condition, share, counted, &flows);
            Ok(ReplicaStatus {
                warning,
                agent,
                connect_ms: Latency::of(&handshakes.connect),
                client_rtt_ms: Latency::of(&handshakes.client_rtt),
                nat_ports,
                ..status
            })
        })
        .collect::<Result<_, _>>()?;
    let names = service.replicas.iter().map(|replica| replica.name.as_str());
    Ok(ServiceStatus {
        slow: latency::judge(names.zip(&connects)),
        name: service.name.clone(),
        vip,
        port: service.port,
        mode: service.mode.to_string(),
        state: state.to_string(),
        // The caller knows both.
        challenge: ChallengeStatus::default(),
        hint: None,
        suspicion: control
            .suspicion(place)
            .map(|Suspicion { since, reason }| SuspicionStatus { since: *since, reason: reason.clone() }),
        replicas,
    })
}

pub(super) fn replica_status(
    replica: &Replica,
    condition: &Condition,
    share: u16,
    (counters, flows): (ReplicaCounters, u64),
    stats: &FlowStats,
) -> ReplicaStatus {
    let ReplicaCounters {
        to_replica,
        to_client,
        new_flows,
        refused,
        unanswered,
        redispatched,
        reset,
        // For the agent's own judgment: see `control::replica`.
        data_to_client: _,
    } = counters;
    ReplicaStatus {
        name: replica.name.clone(),
        address: replica.address,
        host_name: replica.host_name.clone(),
        port: replica.port,
        state: condition.state.to_string(),
        reason: condition.reason.clone(),
        // The caller knows it.
        warning: None,
        agent: None,
        weight: replica.weight,
        backup: replica.backup,
        file_weight: replica.file_weight,
        effective_weight: share,
        admin: replica.admin,
        // The caller knows it.
        ordered: None,
        since: condition.since,
        history: condition.history.iter().map(state_change).collect(),
        last_probe: condition.last_probe.as_ref().map(probe_status),
        flows,
        packets: to_replica.packets + to_client.packets,
        bytes: to_replica.bytes + to_client.bytes,
        packets_to_replica: to_replica.packets,
        bytes_to_replica: to_replica.bytes,
        packets_to_client: to_client.packets,
        bytes_to_client: to_client.bytes,
        new_flows,
        refused,
        unanswered,
        redispatched,
        reset,
        // The caller knows both.
        connect_ms: None,
        client_rtt_ms: None,
        syns_again: stats.syns_again,
        ends: End::counted().map(|end| (end.name().to_owned(), stats.ends[end.0 as usize])).collect(),
        // And these.
        nat_ports: Vec::new(),
    }
}

/// By the last walk through the table; nothing before it has seen the replica.
fn nat_ports_of(replica: &Replica, range: &RangeInclusive<u16>, census: &Census) -> Vec<NatPortsStatus> {
    let (address, port) = (Address::from(replica.address), Be16::new(replica.port));
    let from: NatRange = (address, port, Address::NONE);
    let own = census.nat_ports.range(from..).take_while(|(range, _)| (range.0, range.1) == (address, port));
    let of = range.clone().count() as u64;
    own.map(|((_, _, nat), used)| NatPortsStatus { address: (*nat).into(), used: *used, of }).collect()
}

fn state_change(change: &StateChange) -> StateChangeStatus {
    let StateChange { time, from, to, reason } = change;
    StateChangeStatus { time: *time, from: from.to_string(), to: to.to_string(), reason: reason.clone() }
}

fn probe_status(outcome: &Outcome) -> ProbeStatus {
    ProbeStatus {
        ok: outcome.ok(),
        status: outcome.status,
        ms: (outcome.took.as_secs_f64() * 1e5).round() / 100.0,
        error: outcome.error.as_ref().map(ToString::to_string),
    }
}
