//! What one config says otherwise than another, in words for an operator. Pure.
//!
//! Order does not count where it means nothing: services, VIPs, replicas and prefixes are compared as sets.

use std::{
    collections::BTreeSet,
    fmt::{Debug, Display},
    net::IpAddr,
    time::Duration,
};

use super::{Access, Agent, Config, Datapath, Limits, Listed, Replica, Service};

mod probe;

/// Each difference in a line; none if both say the same.
#[must_use]
pub fn differences(before: &Config, after: &Config) -> Vec<String> {
    // Named one by one, so that a new key is not forgotten here. What decides about interfaces shows in them. `host` is told where it arrives: in the probes.
    let Config { interfaces, by_routes: _, host: _, datapath, services, agent } = after;
    let mut lines = Lines::default();
    lines.key("interfaces", &list(&before.interfaces), &list(interfaces));
    lines.datapath(&before.datapath, datapath);
    lines.agent(&before.agent, agent);
    let named = |services: &[Service], name: &str| services.iter().position(|service| service.name == name);
    for service in &before.services {
        if named(services, &service.name).is_none() {
            lines.0.push(format!("service `{}` ({}) removed", service.name, ends(service)));
        }
    }
    for service in services {
        match named(&before.services, &service.name) {
            Some(place) => lines.service(&before.services[place], service),
            None => lines.0.push(format!(
                "service `{}` ({}) added, to {} by {}",
                service.name,
                ends(service),
                count(service.replicas.len(), "replica"),
                service.mode
            )),
        }
    }
    lines.0
}

#[derive(Default)]
struct Lines(Vec<String>);

impl Lines {
    fn key<T: PartialEq + Display>(&mut self, key: &str, before: &T, after: &T) {
        self.shown(key, before, after, ToString::to_string);
    }

    fn shown<T: PartialEq>(&mut self, key: &str, before: &T, after: &T, show: impl Fn(&T) -> String) {
        if before != after {
            self.0.push(format!("{key}: {} → {}", show(before), show(after)));
        }
    }

    fn datapath(&mut self, before: &Datapath, after: &Datapath) {
        let Datapath {
            attach,
            max_flows,
            nat_ports,
            nat_addresses,
            tunnel_sources,
            idle_timeout,
            hash_seed,
            all_down,
            on_down,
            syn_challenge,
            macs,
        } = after;
        self.key("datapath.attach", &before.attach, attach);
        self.key("datapath.max_flows", &before.max_flows, max_flows);
        self.shown("datapath.nat_ports", &before.nat_ports, nat_ports, |ports| {
            format!("{}-{}", ports.start(), ports.end())
        });
        self.key("datapath.nat_addresses", &list(&before.nat_addresses), &list(nat_addresses));
        self.shown("datapath.tunnel_sources", &before.tunnel_sources, tunnel_sources, |sources| {
            format!("{}, {}", sources.v4, sources.v6)
        });
        self.shown("datapath.idle_timeout", &before.idle_timeout, idle_timeout, time);
        self.key("datapath.hash_seed", &before.hash_seed, hash_seed);
        self.key("datapath.all_down", &before.all_down, all_down);
        self.key("datapath.on_down", &before.on_down, on_down);
        self.key("datapath.syn_challenge", &before.syn_challenge, syn_challenge);
        self.key("datapath.macs", &before.macs, macs);
    }

    fn agent(&mut self, before: &Agent, after: &Agent) {
        let Agent { socket, bpffs, http, http_names, admin_token_file } = after;
        let path = |path: &std::path::PathBuf| path.display().to_string();
        self.shown("agent.socket", &before.socket, socket, path);
        self.shown("agent.bpffs", &before.bpffs, bpffs, path);
        self.shown("agent.http", &before.http, http, |http| option(http.as_ref()));
        self.key("agent.http_names", &set(&before.http_names), &set(http_names));
        self.shown("agent.admin_token_file", &before.admin_token_file, admin_token_file, |file| {
            option(file.as_ref().map(|file| file.display()))
        });
    }

    /// Of one service, with its name before each line.
    fn service(&mut self, before: &Service, after: &Service) {
        let Service {
            name,
            vips,
            port,
            mode,
            affinity,
            max_fails,
            fail_timeout,
            access,
            limits,
            probe,
            // Each replica has it.
            replica_port: _,
            listed,
            replicas,
        } = after;
        let mut own = Self::default();
        own.key("vip", &set(&before.vips), &set(vips));
        own.key("port", &before.port, port);
        own.key("mode", &before.mode, mode);
        own.key("affinity", &before.affinity, affinity);
        own.key("max_fails", &before.max_fails, max_fails);
        own.shown("fail_timeout", &before.fail_timeout, fail_timeout, time);
        own.access(&before.access, access);
        own.limits(&before.limits, limits);
        own.probe(&before.probe, probe);
        own.host_names(&before.listed, listed);
        own.replicas(&before.replicas, replicas);
        self.0.extend(own.0.into_iter().map(|line| format!("service `{name}`: {line}")));
    }

    fn access(&mut self, before: &Access, after: &Access) {
        let Access { allowed, denied } = after;
        self.key("allow", &set(&before.allowed), &set(allowed));
        self.key("deny", &set(&before.denied), &set(denied));
    }

    fn limits(&mut self, before: &Limits, after: &Limits) {
        let Limits { max_flows_per_replica, max_new_flows_per_source, affinity_timeout, denied } = after;
        self.key("max_flows_per_replica", &before.max_flows_per_replica, max_flows_per_replica);
        self.key("max_new_flows_per_source", &before.max_new_flows_per_source, max_new_flows_per_source);
        self.shown("affinity_timeout", &before.affinity_timeout, affinity_timeout, time);
        self.key("denied", &before.denied, denied);
    }

    /// Those that stand for replicas: which ones, DNS may not have said yet.
    fn host_names(&mut self, before: &[Listed], after: &[Listed]) {
        let names = |listed: &[Listed]| {
            listed.iter().filter_map(|listed| listed.host.name().map(str::to_owned)).collect::<BTreeSet<_>>()
        };
        let (before, after) = (names(before), names(after));
        let lines = |names: Vec<&String>, what: &str| {
            names.into_iter().map(|name| format!("host name `{name}` {what}")).collect::<Vec<_>>()
        };
        self.0.extend(lines(before.difference(&after).collect(), "removed"));
        self.0.extend(lines(after.difference(&before).collect(), "added"));
    }

    /// Replicas are the same if address and port are: what is known of them goes by these.
    fn replicas(&mut self, before: &[Replica], after: &[Replica]) {
        let find = |replicas: &[Replica], replica: &Replica| {
            replicas.iter().position(|other| (other.address, other.port) == (replica.address, replica.port))
        };
        for replica in before.iter().filter(|replica| find(after, replica).is_none()) {
            self.0.push(format!("{} removed", called(replica)));
        }
        for replica in after {
            match find(before, replica) {
                None => self.0.push(format!("{} added", called(replica))),
                Some(place) => self.replica(&before[place], replica),
            }
        }
    }

    fn replica(&mut self, before: &Replica, after: &Replica) {
        let Replica {
            name,
            // Equal, or it would be another one.
            address: _,
            port: _,
            weight,
            slow_start,
            backup,
            admin,
            host_name: _,
            // What it would be without a change.
            file_weight: _,
        } = after;
        let mut own = Self::default();
        own.key("name", &before.name, name);
        own.key("weight", &before.weight, weight);
        own.shown("slow_start", &before.slow_start, slow_start, time);
        own.key("backup", &before.backup, backup);
        own.key("state ordered", &before.admin, admin);
        self.0.extend(own.0.into_iter().map(|line| format!("{}: {line}", called(after))));
    }
}

/// "replica `replica-4` (10.0.0.14)", or "replica `10.0.0.14`" where that is its name.
fn called(replica: &Replica) -> String {
    let address = replica.address.to_string();
    if replica.name == address {
        format!("replica `{address}`")
    } else {
        format!("replica `{}` ({address})", replica.name)
    }
}

fn ends(service: &Service) -> String {
    let end = |vip: &IpAddr| std::net::SocketAddr::new(*vip, service.port).to_string();
    service.vips.iter().map(end).collect::<Vec<_>>().join(", ")
}

fn count(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn time(time: &Duration) -> String {
    humantime::format_duration(*time).to_string()
}

fn option<T: Display>(value: Option<T>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}

/// In the order given.
fn list<T: Display>(values: &[T]) -> String {
    match values {
        [] => "none".to_owned(),
        _ => values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

/// In an order of its own.
fn set<T: Display + Debug + Ord + Clone>(values: &[T]) -> String {
    let values: BTreeSet<_> = values.iter().cloned().collect();
    list(&values.into_iter().collect::<Vec<_>>())
}

#[cfg(test)]
mod tests;
