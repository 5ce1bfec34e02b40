//! What is wrong in the original as a whole, whatever it is written in. What one format alone can get wrong, its reader tells.

use std::ops::RangeInclusive;

use crate::{
    job::{Check, Job, Scheme, Service},
    report::Ledger,
};

/// Looks for faults, and tells each at its statement.
pub fn find(job: &Job, ledger: &mut Ledger) {
    swapped_ports(job, ledger);
    no_plain_port(job, ledger);
    for service in &job.services {
        for check in service.servers.iter().filter_map(|server| server.check.as_ref()) {
            cannot_fail(check, ledger);
            outlasts_its_interval(check, ledger);
        }
    }
}

fn listens_at(service: &Service, port: u16) -> bool {
    service.binds.iter().any(|bind| bind.value.ports.contains(&port))
}

fn all_servers_at(service: &Service, port: u16) -> bool {
    !service.servers.is_empty() && service.servers.iter().all(|server| server.port == Some(port))
}

/// 443 goes to the servers' port 80, and 80 to their 443.
fn swapped_ports(job: &Job, ledger: &mut Ledger) {
    let crossed = |from: u16, to: u16| {
        job.services.iter().find(|service| listens_at(service, from) && all_servers_at(service, to))
    };
    if let (Some(tls), Some(plain)) = (crossed(443, 80), crossed(80, 443)) {
        for (service, port, servers) in [(tls, 443, 80), (plain, 80, 443)] {
            let why = format!(
                "port {port} goes to the servers' port {servers}, and the other way round: the two are swapped. It is taken as it \
                 stands; write replica_port = {port} to put it right"
            );
            let binds =
                service.binds.iter().filter(|bind| bind.value.ports.contains(&port)).map(|bind| bind.at);
            for at in binds.chain(service.servers.iter().map(|server| server.at)) {
                ledger.fault(at, why.clone());
            }
        }
    } else if let Some(service) = crossed(443, 80) {
        ledger.fault(
            service.at,
            "port 443 goes to the servers' port 80, which hardly speaks TLS; it is taken as it stands",
        );
    }
}

/// A registry's clients are sent from 80 to 443.
fn no_plain_port(job: &Job, ledger: &mut Ledger) {
    if let Some(service) = job.services.iter().find(|service| listens_at(service, 443))
        && !job.services.iter().any(|service| listens_at(service, 80))
    {
        ledger.fault(
            service.at,
            "there is no service at port 80: clients that begin with http:// are refused, where DTR would send them to https://. \
             Add a [[service]] with port = 80",
        );
    }
}

/// A check that takes any answer for a good one.
fn cannot_fail(check: &Check, ledger: &mut Ledger) {
    let is_http = matches!(check.scheme, Scheme::Http | Scheme::Https);
    let all = |range: &RangeInclusive<u16>| *range.start() <= 100 && *range.end() >= 599;
    let looks_further = check.body.is_some() || check.reject_body.is_some();
    let looks_at_headers = !check.expect_headers.is_empty() || !check.reject_headers.is_empty();
    if is_http && check.status.iter().any(all) && !looks_further && !looks_at_headers {
        ledger.fault(check.at, "this check takes every answer for a good one, also 500 and 503: it cannot fail while something answers");
    }
}

/// The next one is due before this one has failed.
fn outlasts_its_interval(check: &Check, ledger: &mut Ledger) {
    if let (Some(timeout), Some(interval)) = (check.timeout, check.interval)
        && timeout > interval
    {
        let (timeout, interval) = (humantime::format_duration(timeout), humantime::format_duration(interval));
        ledger.fault(
            check.at,
            format!("a check waits for {timeout}, longer than from one to the next ({interval}): a server that is silent is found late"),
        );
    }
}
