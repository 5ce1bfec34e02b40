//! `upstream`: servers, and how one of them is chosen.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::{
    health,
    known::{self, Becomes},
    tree::Node,
    values::{Port, endpoint, time},
};
use crate::{
    job::{Affinity, Check, Host, Said, Server},
    report::{At, Ledger},
};

/// More are no replicas of one service.
const MOST_SERVERS: usize = 1024;
/// What nginx counts where nothing is written.
const FAILS: (u32, Duration) = (1, Duration::from_secs(10));

/// Servers, wherever they are written.
#[derive(Clone, Debug)]
pub(super) struct Servers {
    pub(super) list: Vec<Server>,
    pub(super) affinity: Option<Said<Affinity>>,
    pub(super) passive: Option<Said<(u32, Duration)>>,
    /// Of the module for checks; servers have it already.
    pub(super) is_checked: bool,
}

impl Servers {
    /// One that stands in `proxy_pass` itself.
    pub(super) fn alone(host: Host, port: Option<u16>, at: At) -> Self {
        Self { list: vec![server(host, port, at)], affinity: None, passive: None, is_checked: false }
    }
}

fn server(host: Host, port: Option<u16>, at: At) -> Server {
    Server {
        name: None,
        at,
        host,
        port,
        weight: None,
        backup: false,
        out: false,
        slow_start: None,
        max_flows: None,
        check: None,
    }
}

/// The upstreams of `stream` or of `http`, read when the first server passes connections to them.
pub(super) struct Upstreams<'a> {
    by_name: BTreeMap<&'a str, &'a Node>,
    read: HashMap<&'a str, Servers>,
    is_http: bool,
}

impl<'a> Upstreams<'a> {
    /// Finds them in `stream {}` or `http {}`.
    pub(super) fn of(nodes: &'a [Node], is_http: bool, ledger: &mut Ledger) -> Self {
        let mut by_name = BTreeMap::new();
        for node in nodes.iter().filter(|node| node.name == "upstream" && node.block.is_some()) {
            if let Some(first) = by_name.get(node.word(0)).map(|first: &&Node| first.at) {
                let why = format!(
                    "there is one of this name already ({}): nginx does not start with that. The first one is read",
                    ledger.place(first)
                );
                for at in node.children().iter().map(|node| node.at).chain([node.at]) {
                    ledger.fault_that_decides(at, why.clone());
                }
            } else {
                by_name.insert(node.word(0), node);
            }
        }
        Self { by_name, read: HashMap::new(), is_http }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Its servers.
    pub(super) fn get(&mut self, name: &str, ledger: &mut Ledger) -> Option<Servers> {
        let (name, node) = self.by_name.get_key_value(name)?;
        if let Some(servers) = self.read.get(name) {
            return Some(servers.clone());
        }
        let servers = read(node, self.is_http, ledger);
        self.read.insert(name, servers.clone());
        Some(servers)
    }

    /// Those that nobody passes connections to.
    pub(super) fn tell_unused(&self, ledger: &mut Ledger) {
        for (_, node) in self.by_name.iter().filter(|(name, _)| !self.read.contains_key(**name)) {
            ledger.left_out(node.at, "no server that dtr-lb makes a service of passes connections to it");
            for node in node.children() {
                ledger.left_out(node.at, "of an upstream that is not used");
            }
        }
    }
}

fn read(upstream: &Node, is_http: bool, ledger: &mut Ledger) -> Servers {
    ledger.taken(upstream.at, "its servers are the service's replicas");
    let mut list = Vec::new();
    let mut fails = Vec::new();
    let mut affinity = None;
    let (mut no_backup, mut check_node) = (None, None);
    for node in upstream.children() {
        match (node.name.as_str(), known::find(node.context, &node.name)) {
            ("server", _) if list.len() >= MOST_SERVERS => {
                ledger.left_out_that_decides(node.at, format!("no more than {MOST_SERVERS} servers of an upstream are taken"));
            }
            ("server", _) => {
                if let Some((server, counted)) = one(node, is_http, ledger) {
                    list.push(server);
                    fails.push(Said { value: counted, at: node.at });
                }
            }
            ("hash", _) => {
                affinity = hash(node, ledger).or(affinity);
                no_backup = Some("hash");
            }
            ("ip_hash", _) if is_http => {
                ledger.taken(node.at, "affinity = \"source-ip\"");
                affinity = Some(Said { value: Affinity { timeout: None }, at: node.at });
                no_backup = Some("ip_hash");
            }
            ("ip_hash", _) => {
                ledger.fault(
                    node.at,
                    "nginx has ip_hash in http {} only, and does not start with it here; hash $remote_addr is meant. affinity = \"source-ip\" is written",
                );
                affinity = Some(Said { value: Affinity { timeout: None }, at: node.at });
            }
            ("keepalive", Some(Becomes::Read)) => ledger.fault(
                node.at,
                "nginx has it in http {} only, and does not start with it here. dtr-lb needs nothing like it: the client's connection goes through",
            ),
            ("sticky" | "sticky_cookie_insert" | "session_sticky", _) => {
                ledger.differs(
                    node.at,
                    "no cookie says which server a client has: affinity = \"source-ip\" keeps all connections from an address at one replica; clients behind one NAT share it",
                );
                affinity = Some(Said { value: Affinity { timeout: None }, at: node.at });
            }
            ("random", Some(becomes)) => {
                no_backup = Some("random");
                becomes.note(node.at, ledger);
            }
            ("check" | "check_http_send" | "check_http_expect_alive", _) => check_node = Some(upstream),
            _ => super::generic(node, ledger),
        }
    }
    if let Some(method) = no_backup {
        for server in list.iter().filter(|server| server.backup) {
            ledger.fault(
                server.at,
                format!("nginx has no backup with {method}, and does not start with it; dtr-lb has"),
            );
        }
    }
    let check: Option<Check> = check_node.and_then(|node| health::of_module(node, ledger));
    for server in &mut list {
        server.check.clone_from(&check);
    }
    if list.is_empty() {
        ledger.fault_that_decides(upstream.at, "there is no server in it that could be kept");
    }
    Servers { list, affinity, passive: passive(&fails, ledger), is_checked: check.is_some() }
}

/// One count for all servers of a service: what most of them have.
fn passive(fails: &[Said<(u32, Duration)>], ledger: &mut Ledger) -> Option<Said<(u32, Duration)>> {
    let count = |value: &(u32, Duration)| fails.iter().filter(|other| other.value == *value).count();
    let mut most = fails.first()?;
    let mut seen = Vec::new();
    for said in fails {
        if !seen.contains(&said.value) && seen.len() < 16 {
            seen.push(said.value);
            if count(&said.value) > count(&most.value) {
                most = said;
            }
        }
    }
    let (number, within) = most.value;
    for said in fails.iter().filter(|said| said.value != most.value) {
        ledger.differs(
            said.at,
            format!(
                "a service has one max_fails and fail_timeout for all its replicas: {number} within {}, as most of its servers have",
                humantime::format_duration(within)
            ),
        );
    }
    // nginx does not count the failures of the only server.
    (fails.len() > 1).then_some(*most)
}

/// `hash`.
fn hash(node: &Node, ledger: &mut Ledger) -> Option<Said<Affinity>> {
    let key = node.word(0).trim_start_matches("${").trim_start_matches('$').trim_end_matches('}');
    if ["remote_addr", "binary_remote_addr"].contains(&key) && node.word(0).starts_with('$') {
        ledger.taken(node.at, "affinity = \"source-ip\"");
        return Some(Said { value: Affinity { timeout: None }, at: node.at });
    }
    if key.contains("remote_port") {
        ledger.taken(node.at, "dtr-lb spreads by the connection's addresses and ports");
        return None;
    }
    ledger.differs(
        node.at,
        format!("connections with the same {} are not kept at one server: dtr-lb spreads by addresses and ports, or with affinity = \"source-ip\" by the client's address", node.word(0)),
    );
    None
}

/// A `server` of an upstream, and its failures that count. `None` if no other host can be reached by it.
fn one(node: &Node, is_http: bool, ledger: &mut Ledger) -> Option<(Server, (u32, Duration))> {
    let at = node.at;
    let place = node.word(0);
    if place.starts_with("unix:") {
        ledger.left_out_that_decides(
            at,
            "a socket in the file system is a program of this host: a replica is another host, at an address",
        );
        return None;
    }
    if place.is_empty() {
        ledger.fault_that_decides(at, "it names no server");
        return None;
    }
    let (place, scheme) = match place.split_once("://") {
        Some((scheme, rest)) => (rest.split('/').next().unwrap_or(rest), Some(scheme)),
        None => (place, None),
    };
    if scheme.is_some() {
        ledger.fault(
            at,
            "a server here has no scheme and no path: nginx does not start with that. Its address is taken",
        );
    }
    let (host, port) = endpoint(place);
    let port = match port {
        Port::Ports(ports) => {
            if ports.start() != ports.end() {
                ledger.fault(at, format!("a server has one port: {} is taken", ports.start()));
            }
            Some(*ports.start())
        }
        Port::Unsaid if is_http => Some(80),
        Port::Unsaid => {
            ledger.fault(
                at,
                "it has no port: nginx does not start with that. The one that clients connect to is taken",
            );
            None
        }
        Port::Unreadable(text) => {
            ledger.fault_that_decides(at, format!("{text} is no port; the one that clients connect to is taken: write the real one as replica_port"));
            None
        }
    };
    let mut server = server(Host::read(&host), port, at);
    let mut counted = FAILS;
    for parameter in &node.words[1..] {
        self::parameter(parameter, at, &mut server, &mut counted, ledger);
    }
    ledger.taken(at, "");
    Some((server, counted))
}

fn parameter(
    parameter: &str,
    at: At,
    server: &mut Server,
    counted: &mut (u32, Duration),
    ledger: &mut Ledger,
) {
    let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
    let number = || value.parse::<u32>().ok();
    let is_read = match name {
        "weight" => number().filter(|weight| *weight > 0).map(|weight| server.weight = Some(weight)),
        "max_fails" => number().map(|fails| counted.0 = fails),
        "fail_timeout" => time(value).map(|time| counted.1 = time),
        "max_conns" => number().map(|most| server.max_flows = Some(most).filter(|most| *most > 0)),
        "slow_start" => time(value).map(|time| server.slow_start = Some(time)),
        "backup" => {
            let _: () = server.backup = true;
            Some(())
        }
        "down" => {
            server.out = true;
            ledger.taken(at, "weight = 0, as it is down");
            Some(())
        }
        "drain" => {
            server.out = true;
            ledger.taken(at, "weight = 0, as it is draining");
            Some(())
        }
        "resolve" => {
            ledger.taken(at, "a host name is asked for again and again");
            Some(())
        }
        "service" => {
            ledger.left_out_that_decides(
                at,
                "SRV records are not asked for: the port is the service's, and weights are written",
            );
            Some(())
        }
        _ => match known::parameter(known::SERVER, name) {
            Some(Becomes::Differs(why)) => {
                ledger.differs(at, format!("{name}: {why}"));
                Some(())
            }
            _ => {
                ledger.left_out_that_decides(
                    at,
                    format!("{parameter}: dtr-lb does not know this parameter; nothing was made of it"),
                );
                Some(())
            }
        },
    };
    if is_read.is_none() {
        ledger.fault(
            at,
            format!("{parameter}: nginx does not start with this value; as if it were not written"),
        );
    }
}
