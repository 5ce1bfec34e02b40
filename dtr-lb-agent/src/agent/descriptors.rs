//! File descriptors: the agent takes as many as it may have, and says so where its probes could want more.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::{
    config::{Config, Mode, Scheme, Service},
    web::MOST_CONNECTIONS,
};

/// What the agent has open beside its probes: maps, programs, links and netlink sockets (about 60), files that it reads and
/// connections of its socket (few), connections over HTTP.
const BESIDE_PROBES: u64 = 96 + MOST_CONNECTIONS;

/// What one probe has open at most: its connection, and a second one that it tries beside it, or for a moment the socket by which it asks
/// for its own address.
const A_PROBE: u64 = 2;

/// The most that this process may have open, after it has taken all that it may take: the soft limit is raised to the hard
/// one. The soft one is for programs that use `select`, which the agent does not.
///
/// # Errors
/// What the system says.
pub(crate) fn raise() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// The most that an agent could have open that is started as this process was.
///
/// # Errors
/// What the system says.
pub(crate) fn obtainable() -> io::Result<u64> {
    Ok(getrlimit(Resource::RLIMIT_NOFILE)?.1)
}

/// How many the agent may want with this config, if all of its probes are under way at once.
pub(crate) fn wanted(config: &Config) -> u64 {
    let probes = config.services.iter().map(probes_at_once).sum::<usize>();
    BESIDE_PROBES + A_PROBE * u64::try_from(probes).unwrap_or(u64::MAX / A_PROBE)
}

/// What there is to say if `limit` is less than that.
pub(crate) fn shortage(config: &Config, limit: u64) -> Option<Shortage> {
    let wanted = wanted(config);
    (wanted > limit).then_some(Shortage { wanted, limit })
}

/// More may be wanted than there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "probes of all replicas at once take up to {wanted} open files, and {limit} are allowed: replicas beyond that are not \
     probed while others are slow; set LimitNOFILE={wanted} or more in the systemd unit (or `ulimit -n`)"
)]
pub(crate) struct Shortage {
    pub(crate) wanted: u64,
    pub(crate) limit: u64,
}

/// One a replica, and one for each VIP of the service where replicas are asked at those, or from those; one more for its agent.
fn probes_at_once(service: &Service) -> usize {
    if service.probe.scheme == Scheme::None {
        return 0;
    }
    let each = match service.mode {
        Mode::Nat => 1,
        Mode::Dsr | Mode::Ipip => service.vips.len(),
        // Of one that was silent it is looked at the same time whether it answers at all, and to which VIP.
        Mode::Dnat => 2 * service.vips.len() + 1,
    };
    service.replicas.len() * (each + usize::from(service.probe.agent_port.is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HostFacts;

    fn config(replicas: usize) -> Config {
        let replicas: String = (0..replicas)
            .map(|n| format!("[[replica]]\naddress = \"10.1.{}.{}\"\n", n / 200, n % 200 + 1))
            .collect();
        let text = format!("vip = [\"10.0.0.10\", \"10.0.0.11\"]\ninterfaces = [\"eth0\"]\n{replicas}");
        let host = HostFacts { ephemeral_ports: 32768..=60999 };
        Config::parse(&text, "test", &[], &host).expect("the config is valid")
    }

    #[test]
    fn more_replicas_services_and_vips_want_more() {
        // Two services, http and https.
        let beside = BESIDE_PROBES;
        assert_eq!(wanted(&config(1)), beside + 4);
        assert_eq!(wanted(&config(1000)), beside + 4000);
        let mut config = config(3);
        config.services[0].mode = Mode::Dsr;
        assert_eq!(wanted(&config), beside + 2 * (6 + 3), "each VIP is asked");
        config.services[0].mode = Mode::Dnat;
        assert_eq!(wanted(&config), beside + 2 * (15 + 3), "from each VIP, and again after silence");
        config.services[0].mode = Mode::Dsr;
        config.services[0].probe.agent_port = Some(8700);
        assert_eq!(wanted(&config), beside + 2 * (9 + 3), "and each agent");
        config.services[0].probe.agent_port = None;
        config.services[1].probe.scheme = Scheme::None;
        assert_eq!(wanted(&config), beside + 12);
    }

    #[test]
    fn only_what_is_not_enough_is_told_with_how_much_would_be() {
        let config = config(1000);
        let enough = wanted(&config);
        assert_eq!(shortage(&config, enough), None);
        let told = shortage(&config, 1024).expect("too few").to_string();
        assert!(told.contains("1024") && told.contains(&format!("LimitNOFILE={enough}")), "{told}");
    }
}
