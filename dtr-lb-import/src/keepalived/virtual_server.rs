//! `virtual_server`: a service of IPVS.

use std::time::Duration;

use super::{
    directives::{Context, tell, tell_values},
    group::{FWMARK, Groups, port},
    real_server,
    settings::{Settings, duration, is_on},
    tree::Node,
};
use crate::{
    job::{Affinity, Bind, BindHost, Host, Mode, Said, Server, Service},
    outcome::Outcome,
    report::Ledger,
};

/// What `persistence_timeout` is where no number follows.
const PERSISTENCE: Duration = Duration::from_secs(360);

/// What services have in common.
pub(super) struct Shared {
    pub(super) groups: Groups,
    /// `lvs_timeouts tcp`.
    idle: Option<Said<Duration>>,
}

impl Shared {
    pub(super) fn of(roots: &[Node], ledger: &mut Ledger) -> Self {
        let globals = roots.iter().filter(|node| node.name == "global_defs");
        let timeouts = globals.flat_map(|node| node.all("lvs_timeouts"));
        let idle = timeouts.filter_map(|node| {
            let mut words = node.args.iter().skip_while(|word| *word != "tcp");
            let time = duration(words.nth(1)?)?;
            // 0 leaves the kernel's, which is 15 minutes.
            (!time.is_zero()).then_some(Said { value: time, at: node.at })
        });
        Self { idle: idle.last(), groups: Groups::of(roots, ledger) }
    }
}

/// How connections are spread.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spread {
    /// By weight, or by load, which is by weight here.
    Weighted,
    /// Weights count for nothing.
    Equal,
    /// By the client's address.
    Source,
    /// To the heaviest that is up.
    Heaviest,
}

/// Reads one. `None` if it is none that dtr-lb could have.
pub(super) fn read(node: &Node, shared: &Shared, ledger: &mut Ledger) -> Option<Service> {
    let binds = binds(node, shared, ledger);
    let protocol = node.all("protocol").last();
    let other = protocol.filter(|protocol| {
        protocol.arg(0).is_some_and(|name| !name.eq_ignore_ascii_case("tcp") && !name.starts_with(['<', '$']))
    });
    if let Some(protocol) = other {
        let name = protocol.arg(0).unwrap_or_default().to_ascii_uppercase();
        let why = format!(
            "dtr-lb balances TCP; {name} stays with IPVS: leave this virtual_server in keepalived.conf"
        );
        ledger.left_out_that_decides(node.at, why);
    }
    let Some(binds) = binds.filter(|_| other.is_none()) else {
        tell_values(node, Outcome::LeftOut, "of a virtual_server that is left out", ledger);
        return None;
    };
    ledger.taken(
        node.at,
        "take this block out of keepalived.conf when dtr-lb takes over: both would take the VIP's packets",
    );
    let mut service = Service::new(name(node), node.at);
    service.binds = binds;
    service.idle = shared.idle;
    service.refuses_if_all_down = true;
    let settings = statements(node, &mut service, ledger);
    let spread = spread(node, &mut service, ledger);
    let all_ports = &service.binds[0].value.ports;
    let client_port = Some(*all_ports.start())
        .filter(|first| service.binds.iter().all(|bind| bind.value.ports == (*first..=*first)));
    let default_weight = node.all("weight").last().and_then(|node| node.arg(0)?.parse().ok());
    for child in node.all("real_server") {
        let mode = service.mode.map(|mode| mode.value);
        let place = real_server::Place { mode, client_port, default_weight };
        service.servers.push(real_server::read(child, &settings, &place, ledger));
    }
    weights(&mut service.servers, spread, ledger);
    modes(node, &mut service, ledger);
    sorry(node, &mut service, ledger);
    Some(service)
}

/// Where it listens. `None` if that cannot be said.
fn binds(node: &Node, shared: &Shared, ledger: &mut Ledger) -> Option<Vec<Said<Bind>>> {
    let entries = match (node.arg(0), node.arg(1)) {
        (Some("fwmark"), _) => {
            ledger.left_out_that_decides(node.at, FWMARK);
            return None;
        }
        (Some("group"), name) => {
            let name = name.unwrap_or_default();
            let Some(entries) = shared.groups.get(name) else {
                ledger.fault_that_decides(
                    node.at,
                    format!("there is no virtual_server_group {name}: give the file that has it as well"),
                );
                return None;
            };
            entries.to_vec()
        }
        (Some(address), port_text) => {
            let port = port(port_text, node.at, ledger);
            vec![Said { value: (Host::read(address), port), at: node.at }]
        }
        (None, _) => {
            ledger.fault_that_decides(node.at, "it has no address");
            return None;
        }
    };
    let mut binds = Vec::new();
    for Said { value: (host, port), at } in entries {
        match port {
            Some(port) => {
                binds.push(Said { value: Bind { host: BindHost::One(host), ports: port..=port }, at });
            }
            None => ledger.left_out_that_decides(
                at,
                "all ports of the address: a service of dtr-lb has one port, so write one for each that is served",
            ),
        }
    }
    (!binds.is_empty()).then_some(binds)
}

fn name(node: &Node) -> String {
    match (node.arg(0), node.arg(1)) {
        (Some("group"), Some(name)) => name.to_owned(),
        (Some(address), Some(port)) if address.contains(':') => format!("{address}-{port}"),
        (Some(address), Some(port)) => format!("{address}:{port}"),
        _ => "virtual_server".to_owned(),
    }
}

/// All statements but servers; what these and their checks inherit.
fn statements(node: &Node, service: &mut Service, ledger: &mut Ledger) -> Settings {
    let mut settings = Settings::default();
    let has_sorry = node.all("sorry_server").next().is_some();
    for child in &node.children {
        if matches!(child.name.as_str(), "real_server" | "sorry_server") {
            continue;
        }
        let argument = child.arg(0).unwrap_or_default();
        settings.take(child, ledger);
        match child.name.as_str() {
            // What it says is found out with its flags.
            "lb_algo" | "lvs_sched" => {}
            "lb_kind" | "lvs_method" => service.mode = kind(child, ledger),
            "persistence_timeout" => {
                let timeout = if argument.is_empty() { Some(PERSISTENCE) } else { duration(argument) };
                if timeout.is_some() {
                    ledger.taken(child.at, "affinity_timeout");
                } else {
                    ledger.fault(child.at, format!("{argument:?} is no number of seconds: 6 minutes stand"));
                }
                let affinity = Affinity { timeout: timeout.or(Some(PERSISTENCE)) };
                service.affinity = Some(Said { value: affinity, at: child.at });
            }
            "persistence_granularity" => granularity(child, service, ledger),
            "quorum" if argument.parse::<u32>().is_ok_and(|quorum| quorum > 1) => {
                let why = format!("dtr-lb serves as long as one replica is up, not {argument} of weight");
                if has_sorry {
                    ledger.left_out_that_decides(child.at, why + ", and only then turns to the backup");
                } else {
                    ledger.left_out(child.at, why);
                }
            }
            "quorum_up" | "quorum_down" if announces(child) => ledger.left_out_that_decides(
                child.at,
                "it announces or withdraws the VIP: dtr-lb does not. `dtr-lb ha bird` and `dtr-lb ha frr` print what does, by its health",
            ),
            "inhibit_on_failure" if !is_on(child) => ledger.taken(child.at, ""),
            _ => tell(Context::VirtualServer, child, ledger),
        }
    }
    settings
}

/// How packets reach the servers.
fn kind(node: &Node, ledger: &mut Ledger) -> Option<Said<Mode>> {
    let said = |value| Some(Said { value, at: node.at });
    let name = node.arg(0).unwrap_or_default();
    match name.to_ascii_uppercase().as_str() {
        "NAT" => {
            ledger.taken(node.at, NAT);
            said(Mode::Dnat)
        }
        "DR" => {
            ledger.taken(node.at, "mode \"dsr\": the VIP stays on the replicas' loopback, as it is");
            said(Mode::Dsr)
        }
        "TUN" => {
            let tunnel = node.args.iter().skip_while(|word| *word != "type").nth(1);
            match tunnel.map(String::as_str) {
                None | Some("ipip") => {
                    ledger.taken(node.at, "mode \"ipip\": the VIP and the tunnel stay on the replicas, as they are");
                }
                Some(other) => ledger.left_out_that_decides(
                    node.at,
                    format!("dtr-lb's tunnels are IPIP (mode \"ipip\"): replicas that expect {other} serve nobody until they accept that"),
                ),
            }
            said(Mode::Ipip)
        }
        _ => {
            ledger.fault(node.at, format!("{name:?} is none of NAT, DR and TUN; mode \"nat\" stands"));
            said(Mode::Nat)
        }
    }
}

/// What IPVS's NAT is in dtr-lb.
const NAT: &str = "mode \"dnat\": replicas see the client's address, and their route to clients has to be this balancer, as it is \
     today. Mode \"nat\" needs no such route, and replicas then see the balancer's address";

fn granularity(node: &Node, service: &mut Service, ledger: &mut Ledger) {
    if service.affinity.is_none() {
        let affinity = Affinity { timeout: Some(PERSISTENCE) };
        service.affinity = Some(Said { value: affinity, at: node.at });
    }
    match node.arg(0) {
        Some("255.255.255.255" | "32" | "128") => ledger.taken(node.at, ""),
        _ => tell(Context::VirtualServer, node, ledger),
    }
}

fn announces(node: &Node) -> bool {
    let words = ["ip addr", "ip a ", "bird", "exabgp", "vtysh", "gobgp", "announce", "ip route"];
    node.args.iter().any(|arg| words.iter().any(|word| arg.contains(word)))
}

/// What the scheduler does, with its flags.
fn spread(node: &Node, service: &mut Service, ledger: &mut Ledger) -> Spread {
    let by_ports = node.children.iter().any(|child| matches!(child.name.as_str(), "mh-port" | "sh-port"));
    let is_algorithm = |child: &&Node| matches!(child.name.as_str(), "lb_algo" | "lvs_sched");
    let mut algorithms = node.children.iter().filter(is_algorithm).rev();
    let Some(algorithm) = algorithms.next() else {
        ledger.differs(node.at, "without lb_algo keepalived takes wlc (least connections); dtr-lb spreads by hash, so that servers get equal shares of connections, not of load");
        return Spread::Weighted;
    };
    algorithms.for_each(|earlier| ledger.left_out(earlier.at, "keepalived goes by the last one"));
    let at = algorithm.at;
    let (spread, why) = match algorithm.arg(0).unwrap_or_default() {
        "rr" => {
            (Spread::Equal, "round robin: dtr-lb spreads by hash; in the long run the shares are the same")
        }
        "wrr" => (Spread::Weighted, "weighted round robin: dtr-lb spreads by hash, in the same proportions"),
        "sh" | "mh" if !by_ports => (Spread::Source, ""),
        "sh" | "mh" => {
            (Spread::Weighted, "with ports in it the hash says nothing about the client: no affinity")
        }
        "dh" | "lblc" | "lblcr" => (
            Spread::Weighted,
            "by the address that clients connect to, which is for caches: dtr-lb spreads the VIP's connections by hash over all",
        ),
        "fo" => (
            Spread::Heaviest,
            "the heaviest server takes all: the others are backups of each other here, as equals",
        ),
        "ovf" => (
            Spread::Heaviest,
            "the heaviest server takes all, the others when it is down; not when it has too many connections",
        ),
        _ => (
            Spread::Weighted,
            "least connections: dtr-lb spreads by hash, so that servers get equal shares of connections (by weight), not of load",
        ),
    };
    if spread == Spread::Source {
        ledger.taken(at, "affinity = \"source-ip\"");
        if service.affinity.is_none() {
            service.affinity = Some(Said { value: Affinity { timeout: None }, at });
        }
    } else {
        ledger.differs(at, why);
    }
    spread
}

fn weights(servers: &mut [Server], spread: Spread, ledger: &mut Ledger) {
    let weight_of = |server: &Server| server.weight.unwrap_or(1);
    let heaviest = servers.iter().map(weight_of).max().unwrap_or(1);
    for server in servers {
        let is_lighter = weight_of(server) < heaviest;
        match spread {
            Spread::Equal => {
                if is_lighter && !server.out {
                    ledger.differs(server.at, "round robin does not go by weights, so none is written");
                }
                server.weight = None;
            }
            Spread::Heaviest => {
                server.backup = is_lighter;
                server.weight = None;
            }
            Spread::Weighted | Spread::Source => {}
        }
    }
}

/// A service has one mode: what most servers say, or the virtual server.
fn modes(node: &Node, service: &mut Service, ledger: &mut Ledger) {
    let own: Vec<Said<Mode>> = node
        .all("real_server")
        .flat_map(|server| server.all("lvs_method").last())
        .filter_map(|method| kind(method, ledger))
        .collect();
    if service.mode.is_none() {
        service.mode = own.first().copied();
    }
    let Some(mode) = service.mode else {
        ledger.taken(node.at, format!("without lb_kind keepalived takes NAT: {NAT}"));
        service.mode = Some(Said { value: Mode::Dnat, at: node.at });
        return;
    };
    let why = format!("all replicas of a service are reached in one mode, that of {}", ledger.place(mode.at));
    for other in own.iter().filter(|own| own.value != mode.value) {
        ledger.left_out_that_decides(other.at, why.clone());
    }
}

/// What serves when no other does.
fn sorry(node: &Node, service: &mut Service, ledger: &mut Ledger) {
    let Some(last) = node.all("sorry_server").last() else { return };
    for child in node.all("sorry_server") {
        if child.at != last.at {
            ledger.left_out(child.at, "keepalived goes by the last sorry_server, and so does this");
            continue;
        }
        ledger.taken(child.at, "backup: it gets connections while no other replica is up");
        service.servers.push(Server {
            name: None,
            at: child.at,
            host: Host::read(child.arg(0).unwrap_or_default()),
            port: port(child.arg(1), child.at, ledger),
            weight: service.servers.iter().filter_map(|server| server.weight).max(),
            backup: true,
            out: false,
            slow_start: None,
            max_flows: None,
            check: None,
        });
    }
}
