//! A config: text to `Config::parse`. Lines that begin with `#set ` are what `--set` has.

use std::{collections::BTreeSet, time::Instant};

use dtr_lb_agent::{
    config::{Config, ConfigError, HostFacts, Problem},
    control::{Control, Moment},
};

use crate::Reached;

/// Parses it twice, and looks at what comes of it.
///
/// # Errors
/// What is wrong with that.
pub fn play(input: &[u8]) -> Result<Reached, String> {
    // What is no UTF-8 is refused before it is parsed; here its text is taken as far as there is one.
    let text = String::from_utf8_lossy(input);
    let sets: Vec<_> =
        text.lines().filter_map(|line| line.strip_prefix("#set ")).map(str::to_owned).collect();
    let host = HostFacts { ephemeral_ports: 32_768..=60_999 };
    let parse = || Config::parse(&text, "fuzz.toml", &sets, &host);
    match (parse(), parse()) {
        (Ok(config), Ok(again)) if config == again => valid(&config, &host),
        (Err(ConfigError::Invalid(problems)), Err(ConfigError::Invalid(again))) if problems == again => {
            refused(&problems, &text)
        }
        (first, second) => Err(format!("two readings of one text differ: {first:?}, {second:?}")),
    }
}

/// What every config must be that was accepted.
fn valid(config: &Config, host: &HostFacts) -> Result<Reached, String> {
    let mut ends = BTreeSet::new();
    let vips: BTreeSet<_> = config.services.iter().flat_map(|service| &service.vips).collect();
    if config.services.is_empty() || config.interfaces.is_empty() != config.by_routes {
        return Err("no service, or no interface".into());
    }
    for service in &config.services {
        if service.vips.is_empty() || service.port == 0 {
            return Err(format!("service {:?} has no VIP or no port", service.name));
        }
        for vip in &service.vips {
            if !ends.insert((vip, service.port)) {
                return Err(format!("two services have {vip} port {}", service.port));
            }
        }
        let mut replicas = BTreeSet::new();
        for replica in &service.replicas {
            if vips.contains(&replica.address) || replica.port == 0 || replica.weight > 256 {
                return Err(format!("{replica:?} is a VIP, or has no port, or weighs too much"));
            }
            if !replicas.insert((replica.address, replica.port)) {
                return Err(format!("service {:?} has {} twice", service.name, replica.address));
            }
        }
        let probe = &service.probe;
        let times = [probe.interval, probe.fast_interval, probe.down_interval, probe.timeout];
        if times.iter().any(std::time::Duration::is_zero) || !(0.0..=0.5).contains(&probe.jitter) {
            return Err(format!("{probe:?} probes without a pause"));
        }
    }
    let ports = &config.datapath.nat_ports;
    if ports.start() <= host.ephemeral_ports.end() && host.ephemeral_ports.start() <= ports.end() {
        return Err(format!("NAT ports {ports:?} overlap the host's"));
    }
    let control = Control::new(config.clone().into(), Moment::now().time);
    let desired = control.desired(Instant::now());
    if desired.services.len() != ends.len() {
        return Err(format!(
            "{} services are wanted of the datapath, not {}",
            desired.services.len(),
            ends.len()
        ));
    }
    let modes: BTreeSet<_> = config.services.iter().map(|service| service.mode.to_string()).collect();
    let schemes: BTreeSet<_> =
        config.services.iter().map(|service| service.probe.scheme.to_string()).collect();
    Ok(format!("valid: {} services, {modes:?} {schemes:?}", ends.len().min(4)))
}

/// What every refusal must say.
fn refused(problems: &[Problem], text: &str) -> Result<Reached, String> {
    let lines = text.lines().count().max(1) + 1;
    let mut reached = BTreeSet::new();
    for problem in problems {
        let told = problem.to_string();
        if problem.what.is_empty() || told.lines().count() != 1 || told.len() > 2000 {
            return Err(format!("not one line of a sensible length: {told:?}"));
        }
        if let dtr_lb_agent::config::Place::File { line, column, .. } = &problem.place
            && (*line == 0 || *line > lines || *column == 0)
        {
            return Err(format!("line {line}, column {column} of a text of {lines} lines: {told}"));
        }
        let key: String =
            problem.key.chars().filter(|c| c.is_ascii_lowercase() || matches!(c, '.' | '_')).collect();
        // What is no key of ours is whatever the input has made up.
        let key = if key.len() > 40 { "long".to_owned() } else { key };
        reached.insert(format!("{key}/{}", problem.allowed.as_deref().map_or(0, str::len)));
    }
    if problems.is_empty() {
        return Err("refused without a word".into());
    }
    Ok(format!("refused: {}", reached.into_iter().take(3).collect::<Vec<_>>().join(" ")))
}
