//! From what a load balancer does to dtr-lb's config: names that are allowed, one address a replica, one port a service, limits
//! that fit. What cannot be kept is told at its statement.

mod checks;
mod places;
mod replicas;

use std::{net::IpAddr, path::Path, time::Duration};

use crate::{
    Given,
    access::{self, Access},
    job::{Bind, BindHost, Check, Host, Job, Mode, Said, Service},
    report::{At, Ledger},
};

pub use places::MOST_PLACES;
use places::Place;

/// A registry's clients are silent for so long while a large layer is uploaded or checked: time-outs below break them.
pub const LEAST_IDLE: Duration = Duration::from_secs(10 * 60);
/// dtr-lb's own time-out of silent connections, where nothing else is written, and the longest.
pub const DEFAULT_IDLE: Duration = Duration::from_secs(60 * 60);
const LONGEST_IDLE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// dtr-lb's config, with where each part comes from.
#[derive(Debug, Default)]
pub struct Draft {
    pub idle: Option<Said<Duration>>,
    pub refuses_if_all_down: bool,
    /// The port of the agent's HTTP side, where the original has its usual one.
    pub http_port: Option<Said<u16>>,
    pub services: Vec<DraftService>,
    /// No two of one host.
    pub replicas: Vec<DraftReplica>,
}

/// A `[[service]]`.
#[derive(Debug)]
pub struct DraftService {
    pub name: String,
    pub at: At,
    pub vips: Vec<IpAddr>,
    /// Stand-ins among [`Self::vips`]: addresses for documentation, to be replaced.
    pub vip_missing: bool,
    pub port: u16,
    pub replica_port: u16,
    pub mode: Option<Said<Mode>>,
    pub affinity: Option<Said<crate::job::Affinity>>,
    pub access: Access,
    pub denied_are_reset: bool,
    /// Names of [`Draft::replicas`], at least one.
    pub replicas: Vec<String>,
    /// Some of those, but not all.
    pub backup: Vec<String>,
    pub passive: Option<Said<(u32, Duration)>>,
    pub max_flows_per_replica: Option<u32>,
    pub max_new_flows_per_source: Option<Said<u32>>,
    /// `None`: replicas are not asked, and count as up.
    pub check: Option<Check>,
    /// Nothing is asked in the original; `check` is what dtr-lb asks instead.
    pub check_is_ours: bool,
}

/// A `[[replica]]`.
#[derive(Debug)]
pub struct DraftReplica {
    pub name: String,
    pub at: At,
    /// An address or a host name.
    pub host: String,
    /// What it stands in for.
    pub placeholder: Option<String>,
    pub weight: u16,
    pub slow_start: Option<Duration>,
}

/// Makes dtr-lb's config of a job. Services without a server that could be kept are left out.
pub fn draft(job: &Job, given: &Given, exists: &dyn Fn(&Path) -> bool, ledger: &mut Ledger) -> Draft {
    let mut draft = Draft {
        idle: idle(job, ledger),
        refuses_if_all_down: !job.services.is_empty()
            && job.services.iter().all(|service| service.refuses_if_all_down),
        http_port: http_port(job, ledger),
        ..Draft::default()
    };
    let mut replicas = replicas::Replicas::new(job, given);
    let mut taken = places::Taken::default();
    let vips = places::vips(job, given, &mut replicas, ledger);
    // All replicas first: no VIP is an address of one.
    let chosen: Vec<_> = job.services.iter().map(|service| replicas.choose(service, ledger)).collect();
    for (service, chosen) in job.services.iter().zip(chosen) {
        let Some(chosen) = chosen else { continue };
        for place in places::of(service, &vips, ledger) {
            // A server with no port of its own is asked at the port that the client connects to.
            let replica_port = chosen.port.unwrap_or(place.port);
            let Some(place) = taken.claim(place, service, &replicas, ledger) else { continue };
            let (check, check_is_ours) =
                checks::of(service, &chosen, place.port, replica_port, exists, ledger);
            let mut drafted = DraftService {
                name: taken.name(&service.name, place.port, place.is_one_of_several),
                at: service.at,
                vip_missing: place.vip_missing,
                port: place.port,
                replica_port: if replica_port == 0 { place.port } else { replica_port },
                mode: mode(service, &place, replica_port, &replicas.addresses(&chosen.names), ledger),
                affinity: service.affinity,
                access: access::longest(&service.rules),
                denied_are_reset: service.denied_are_reset,
                replicas: chosen.names.clone(),
                backup: chosen.backup.clone(),
                passive: service.passive,
                max_flows_per_replica: chosen.max_flows,
                max_new_flows_per_source: service.max_new_flows_per_source,
                check,
                check_is_ours,
                vips: place.vips,
            };
            without_answers(&mut drafted, ledger);
            draft.services.push(drafted);
        }
    }
    let used = |name: &String| draft.services.iter().any(|service| service.replicas.contains(name));
    draft.replicas = replicas.into_list().into_iter().filter(|replica| used(&replica.name)).collect();
    draft
}

/// Where packets are not rewritten, ports and families stay as they are.
fn mode(
    service: &Service,
    place: &Place,
    replica_port: u16,
    replicas: &[IpAddr],
    ledger: &mut Ledger,
) -> Option<Said<Mode>> {
    let mode = service.mode?;
    let direct = matches!(mode.value, Mode::Dsr | Mode::Ipip);
    let crosses = place.vips.iter().any(|vip| {
        replicas.iter().any(|replica| match mode.value {
            Mode::Nat => false,
            Mode::Dsr | Mode::Dnat => vip.is_ipv4() != replica.is_ipv4(),
            Mode::Ipip => vip.is_ipv6() && replica.is_ipv4(),
        })
    });
    let why = if direct && place.port != replica_port {
        format!("packets keep their port in this mode, and {} is not {replica_port}", place.port)
    } else if crosses {
        "packets keep their family in this mode, and a VIP and a server are not of one".to_owned()
    } else {
        return Some(mode);
    };
    ledger.differs(mode.at, format!("{why}: mode \"nat\" is written instead"));
    None
}

/// Leaves out what needs to see the replicas' answers, where they go past the balancer.
fn without_answers(service: &mut DraftService, ledger: &mut Ledger) {
    let Some(mode) = service.mode.filter(|mode| matches!(mode.value, Mode::Dsr | Mode::Ipip)) else { return };
    if let Some(limit) = service.max_new_flows_per_source.take() {
        let why = "new connections of a client are not counted where replicas answer directly: anybody could use them up in its name";
        ledger.left_out_that_decides(limit.at, why);
    }
    if service.max_flows_per_replica.take().is_some() {
        let why = "connections of a server are not limited where it answers directly: dtr-lb does not see which are real";
        ledger.differs(mode.at, why);
    }
    if let Some(affinity) = service.affinity.as_mut().filter(|affinity| affinity.value.timeout.is_some()) {
        affinity.value.timeout = None;
        let why = "where servers answer directly, a client keeps its server by its hash, and not for a time: it moves when servers join or leave";
        ledger.differs(affinity.at, why);
    }
}

/// Both run beside each other for a while: two cannot listen at one port.
fn http_port(job: &Job, ledger: &mut Ledger) -> Option<Said<u16>> {
    const USUAL: u16 = 8181;
    let is_local = |bind: &Bind| match &bind.host {
        BindHost::Any | BindHost::AnyV4 => true,
        BindHost::AnyV6 => false,
        BindHost::One(host) => matches!(host, Host::Address(address) if address.is_loopback()),
    };
    let binds = job.services.iter().flat_map(|service| &service.binds).filter(|bind| is_local(&bind.value));
    let has = |port: u16| {
        let served = binds.clone().find(|bind| bind.value.ports.contains(&port)).map(|bind| bind.at);
        served.or_else(|| job.own_ports.iter().find(|own| own.value == port).map(|own| own.at))
    };
    let at = has(USUAL)?;
    let value = (USUAL + 1..=u16::MAX).find(|port| has(*port).is_none())?;
    let why = format!(
        "dtr-lb's dashboard and metrics are at port {value}, as both run beside each other for a while"
    );
    ledger.differs(at, why);
    Some(Said { value, at })
}

/// The longest of all time-outs, as dtr-lb has one for all.
fn idle(job: &Job, ledger: &mut Ledger) -> Option<Said<Duration>> {
    let all: Vec<_> = job.services.iter().filter_map(|service| service.idle).collect();
    let longest = all.iter().copied().max_by_key(|idle| idle.value)?;
    for idle in &all {
        let was = humantime::format_duration(idle.value);
        if idle.value < LEAST_IDLE {
            ledger.fault(
                idle.at,
                format!(
                    "silent connections end after {was}: a registry's clients are silent for minutes while a large layer is \
                     written. dtr-lb ends them after {}",
                    humantime::format_duration(longest.value.clamp(DEFAULT_IDLE, LONGEST_IDLE))
                ),
            );
        } else if idle.value != longest.value {
            ledger.differs(
                idle.at,
                format!(
                    "dtr-lb has one such time for all services: {}",
                    humantime::format_duration(longest.value)
                ),
            );
        } else {
            ledger.taken(idle.at, "datapath.idle_timeout");
        }
    }
    (longest.value >= LEAST_IDLE).then(|| Said { value: longest.value.min(LONGEST_IDLE), ..longest })
}

#[cfg(test)]
mod tests {
    use crate::{Given, expected::read};

    #[test]
    fn the_agents_pages_are_where_the_original_has_none() {
        let text = |port: u16| {
            format!(
                "listen stats\n  mode http\n  bind :{port}\n  stats enable\nlisten a\n  mode tcp\n  bind :443\n  server b 10.0.0.11:443\n"
            )
        };
        let import = read(&[("a.cfg", &text(8181))], &Given::default());
        assert!(
            import.config.contains("[agent]\nhttp = \"127.0.0.1:8182\"  # a.cfg:3\n"),
            "{}",
            import.config
        );
        assert!(import.report.differs.iter().any(|row| row.line == 3 && row.why.contains("8182")));
        let import = read(&[("a.cfg", &text(9000))], &Given::default());
        assert!(!import.config.contains("[agent]"), "{}", import.config);
    }
}
