//! `dtr-lb check`: what `run` would find and do, as far as it can be told without touching anything.
//!
//! Facts go to standard output; what is wrong goes to standard error, a line each: `error: …` is what would keep the agent
//! from starting, `warning: …` what would let it start and not work as it should. With `--json` all go to standard output.
//!
//! What is looked at is a struct of facts, and a pure function judges it, so that hosts that nobody here has can be tried
//! in tests: `process` (kernel, capabilities, memory, BPF file system), `device` (interfaces and their drivers), `doors`
//! (socket, HTTP), `direct`, `dnat` and `ipv6`, `timeouts`; `ask` asks each replica once; `finding` tells it all.

mod ask;
mod device;
mod direct;
mod dnat;
mod doors;
mod finding;
mod ipv6;
mod process;
mod timeouts;

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use dtr_lb_common::abi::program;
use ipnet::IpNet;
use jiff::Timestamp;
use rtnetlink::Handle;
use tokio::time::{Instant, sleep};

use super::{Failure, config_source, runtime};
use crate::{
    cli::Global,
    config::{Attach, CommandLine, Config},
    control::{Change, Control, NARROW_PATH, NO_NAT_ADDRESS, NextHops, UNSEEN_INTERFACE},
    interface::{self, LOCAL_CLIENT, Links, Seen},
    next_hop::{Carrier, NextHop, NextHopError, resolve},
};

use finding::Report;

/// How long a replica may take to tell its MAC address. On a segment it takes a millisecond.
const RESOLVE_LIMIT: Duration = Duration::from_secs(1);
const RESOLVE_PAUSE: Duration = Duration::from_millis(50);

/// `dtr-lb check`
pub fn check(global: &Global, options: &CommandLine, json: bool, ask: bool) -> Result<(), Failure> {
    let source = config_source(global, options)?;
    let mut config = source.read()?;
    let mut report = Report::default();
    report.fact("config", format!("config {}: valid", source.origin));
    report.config(&config);
    report.process(&config, &process::Facts::read(&config));
    runtime()?.block_on(async {
        if config.by_routes {
            report.interfaces_by_routes(&mut config).await;
        }
        let config = Arc::new(config);
        report.host(&config).await;
        report.doors(&config, global.socket.as_deref()).await;
        if ask {
            report.ask(&config).await;
        }
    });
    report.print(json)
}

impl Report {
    fn config(&mut self, config: &Config) {
        for service in &config.services {
            let ends = service.vips.iter().map(|vip| SocketAddr::new(*vip, service.port).to_string());
            let vips: Vec<_> = ends.collect();
            self.fact(
                format!("service {}", service.name),
                format!(
                    "service {}: {} to {} replicas by {}, probed by {}",
                    service.name,
                    vips.join(", "),
                    service.replicas.len(),
                    service.mode,
                    service.probe.scheme
                ),
            );
        }
        self.timeouts(config);
    }

    /// As the agent would work them out, but for replicas that are host names: DNS is not asked here.
    async fn interfaces_by_routes(&mut self, config: &mut Config) {
        match interface::by_routes(config).await {
            Ok(found) => {
                found.notes.into_iter().for_each(|note| self.warn("interfaces", note));
                for chosen in &found.interfaces {
                    let interface = format!("interface {}", chosen.name);
                    self.fact(
                        interface.clone(),
                        format!("{interface}, by the routes: {}", chosen.why.join("; ")),
                    );
                }
                config.interfaces = found.interfaces.into_iter().map(|chosen| chosen.name).collect();
            }
            Err(error) => self.error("interfaces", error),
        }
    }

    async fn host(&mut self, config: &Arc<Config>) {
        match interface::host_addresses() {
            Ok(own) => self.addresses(config, &own),
            Err(error) => self.error("addresses", error),
        }
        let links = match Links::open() {
            Ok(links) => links,
            Err(error) => return self.error("interfaces", error),
        };
        let seen = match links.look(&config.interfaces).await {
            Ok(seen) => seen,
            Err(error) => return self.error("interfaces", error),
        };
        for seen in &seen {
            let program = seen
                .link
                .as_ref()
                .and_then(|link| link.xdp_program)
                .map(|id| Program { name: interface::xdp_program_name(id), id });
            self.interface(seen, program.as_ref(), config.datapath.attach, &config.agent.bpffs);
        }
        if let Some(twice) = interface::twice(&seen) {
            self.error("interfaces", twice);
        }
        let devices = device::gather(links.handle(), &seen).await;
        for device in &devices {
            self.device(device, config.datapath.attach);
        }
        self.fact(
            "datapath.attach",
            format!("attach = \"{}\": {}", config.datapath.attach, plan(config.datapath.attach)),
        );
        let mut control = Control::new(Arc::clone(config), Timestamp::now());
        let next_hops = next_hops(links.handle(), control.addresses()).await;
        let mtus = seen.iter().filter_map(|seen| Some((seen.name.clone(), seen.link.as_ref()?.mtu)));
        let mut changes = control.ingress(mtus);
        changes.extend(control.next_hops(next_hops.clone()));
        changes.into_iter().for_each(|change| self.path(change));
        self.direct(config, links.handle(), &next_hops, &seen).await;
        self.dnat(config, links.handle(), &next_hops).await;
        self.vips_of_others(config, links.handle(), &next_hops, &seen).await;
        self.ipv6(config);
    }

    fn addresses(&mut self, config: &Config, own: &BTreeSet<IpAddr>) {
        for address in config.foreign_nat_addresses(own) {
            self.error("datapath.nat_addresses", format!(
                "datapath.nat_addresses has {address}, which is not an address of this host; add it to an interface, or \
                 remove it"
            ));
        }
        for vip in config.foreign_vips(own) {
            self.warn(format!("VIP {vip}"), format!(
                "the VIP {vip} is not an address of this host, so nobody answers ARP or neighbour discovery for it; add \
                 it (`ip address add {} dev {}`), or route it here",
                IpNet::from(vip),
                config.interfaces.first().map_or("INTERFACE", String::as_str)
            ));
        }
        let vips: BTreeSet<_> = config.services.iter().flat_map(|service| &service.vips).collect();
        for vip in vips.into_iter().filter(|vip| own.contains(vip)) {
            self.fact(format!("VIP {vip}"), format!("VIP {vip}: {LOCAL_CLIENT}"));
        }
    }

    fn interface(&mut self, seen: &Seen, program: Option<&Program>, attach: Attach, bpffs: &Path) {
        let name = &seen.name;
        let about = || format!("interface {name}");
        let Some(link) = &seen.link else {
            return self.error(about(), interface::not_found(name));
        };
        if !link.up {
            self.warn(
                about(),
                format!("interface {name} is down or has no carrier; see to its cable, and `ip link set {name} up`"),
            );
        }
        let holder = match program {
            None => "no XDP program".to_owned(),
            Some(Program { name: Some(program), id }) => format!("XDP program `{program}`, id {id}"),
            Some(Program { name: None, id }) => format!("XDP program id {id}"),
        };
        let own = program.is_some_and(|found| found.name.as_deref() == Some(program::XDP));
        let pinned = bpffs.exists();
        let whose = match (program, own) {
            (None, _) => "",
            (Some(_), true) if pinned => " (dtr-lb's own)",
            (Some(_), true) => " (another dtr-lb's)",
            (Some(_), false) => " (not dtr-lb's)",
        };
        self.fact(about(), format!("interface {name}: MTU {}, {holder}{whose}", link.mtu));
        let in_the_way = program.is_some() && !(own && pinned);
        match attach {
            Attach::Auto | Attach::Xdp | Attach::XdpGeneric if in_the_way => self.error(about(), format!(
                "interface {name} has {holder}{whose}, and takes one only; remove it (`ip link set dev {name} xdp off` if \
                 nothing manages it), or set datapath.attach = \"tc\""
            )),
            Attach::Tc if in_the_way => self.warn(about(), format!(
                "interface {name} has {holder}{whose}: it sees packets before the datapath does; make sure that it passes \
                 those of the services"
            )),
            Attach::Auto | Attach::Xdp | Attach::XdpGeneric | Attach::Tc => {}
        }
    }

    /// What the agent would log of the ways to the replicas.
    fn path(&mut self, change: Change) {
        let about = |address: IpAddr| format!("replica {address}");
        match change {
            Change::NextHop { address, result: Ok(NextHop { interface, source, mtu, carriers, .. }) } => {
                let carried = carriers
                    .iter()
                    .map(|Carrier { interface, vlans, .. }| format!(", which is {vlans} on {interface}"));
                let carried: String = carried.collect();
                let how =
                    format!("replica {address}: by interface {interface}{carried}, from {source}, MTU {mtu}");
                self.fact(about(address), how);
            }
            Change::NextHop { address, result: Err(reason) } => {
                self.warn(about(address), format!("no way to replica {address}: {reason}"));
            }
            Change::UnseenInterface { address, interface } => self.warn(
                about(address),
                format!("replica {address}, interface {interface}: {UNSEEN_INTERFACE}"),
            ),
            Change::NarrowPath { address, mtu, ingress, ingress_mtu } => self.warn(
                about(address),
                format!(
                    "replica {address}, MTU {mtu}; interface {ingress}, MTU {ingress_mtu}: {NARROW_PATH}"
                ),
            ),
            Change::NoNatAddress { address } => {
                self.warn(about(address), format!("replica {address}: {NO_NAT_ADDRESS}"));
            }
            // Nothing is probed, and no connection fails.
            Change::Replica { .. }
            | Change::Confirmed { .. }
            | Change::Service { .. }
            | Change::Resets { .. }
            | Change::Probing { .. }
            | Change::AgentCheck { .. }
            | Change::AgentCheckFailed { .. }
            | Change::AnswersPast { .. }
            | Change::Suspicion { .. }
            | Change::PassiveSpared { .. }
            | Change::PassiveSetAside { .. }
            | Change::Macs { .. } => {}
        }
    }
}

/// An XDP program.
#[derive(Debug)]
struct Program {
    name: Option<String>,
    id: u32,
}

fn plan(attach: Attach) -> &'static str {
    match attach {
        Attach::Auto => "native XDP would be tried first; TC on all interfaces if the driver of one has none",
        Attach::Xdp => {
            "native XDP would be attached; the agent would not start if the driver of one has none"
        }
        Attach::XdpGeneric => "generic XDP would be attached",
        Attach::Tc => "TC would be attached",
    }
}

/// Asks for each, and again while one has to find out its MAC address.
async fn next_hops(handle: &Handle, addresses: BTreeSet<IpAddr>) -> NextHops {
    let limit = Instant::now() + RESOLVE_LIMIT;
    let mut found = NextHops::new();
    for address in addresses {
        let result = loop {
            match resolve(handle, address).await {
                Err(NextHopError::Unresolved { .. }) if Instant::now() < limit => sleep(RESOLVE_PAUSE).await,
                result => break result,
            }
        };
        found.insert(address, result);
    }
    found
}

#[cfg(test)]
mod tests;
