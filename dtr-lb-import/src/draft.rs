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
    for service in &job.services {
        let Some(chosen) = replicas.choose(service, ledger) else { continue };
        for place in places::of(service, &vips, ledger) {
            // A server with no port of its own is asked at the port that the client connects to.
            let replica_port = chosen.port.unwrap_or(place.port);
            let Some(place) = taken.claim(place, service, &replicas, ledger) else { continue };
            let (check, check_is_ours) =
                checks::of(service, &chosen, place.port, replica_port, exists, ledger);
            draft.services.push(DraftService {
                name: taken.name(&service.name, place.port, place.is_one_of_several),
                at: service.at,
                vips: place.vips,
                vip_missing: place.vip_missing,
                port: place.port,
                replica_port: if replica_port == 0 { place.port } else { replica_port },
                mode: mode(service, place.port, replica_port, ledger),
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
            });
        }
    }
    let used = |name: &String| draft.services.iter().any(|service| service.replicas.contains(name));
    draft.replicas = replicas.into_list().into_iter().filter(|replica| used(&replica.name)).collect();
    draft
}

/// Where packets are not rewritten the port stays as it is.
fn mode(service: &Service, port: u16, replica_port: u16, ledger: &mut Ledger) -> Option<Said<Mode>> {
    let mode = service.mode?;
    if matches!(mode.value, Mode::Dsr | Mode::Ipip) && port != replica_port {
        ledger.differs(
            mode.at,
            format!("packets keep their port in this mode, and {port} is not {replica_port}: mode \"nat\" is written instead"),
        );
        return None;
    }
    Some(mode)
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
