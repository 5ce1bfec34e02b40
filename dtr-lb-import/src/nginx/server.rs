//! What servers of `stream` and of `http` have in common.

use super::{
    listen::Listens,
    target::Target,
    tree::Node,
    values::{rule, time},
};
use crate::{
    job::{Check, Host, Mode, Rule, Said, Service},
    report::Ledger,
};

/// Ports at which clients begin with TLS.
pub(super) const TLS_PORTS: [u16; 9] = [443, 4443, 5443, 6443, 8443, 9443, 636, 993, 995];

/// A file with more servers, or a server with more rules, was not written for a balancer like this.
pub(super) const MOST_SERVERS: usize = 512;
const MOST_RULES: usize = 512;

/// Says of all servers of which no service is made for their number.
pub(super) fn too_many(node: &Node, ledger: &mut Ledger) {
    ledger.left_out_that_decides(
        node.at,
        format!("no more than {MOST_SERVERS} servers of a file are made services of"),
    );
    super::tell_all(node.children(), "no service is made of its server", ledger);
}

/// The directives that hold in a server: its own, else those around it, from the inside out.
#[derive(Clone, Copy)]
pub(super) struct Levels<'a>(pub(super) &'a [&'a [Node]]);

impl<'a> Levels<'a> {
    pub(super) fn get(self, name: &str) -> Option<&'a Node> {
        self.0.iter().find_map(|nodes| nodes.iter().rev().find(|node| node.name == name))
    }

    /// `allow` and `deny` of the innermost level that has any.
    pub(super) fn rules(self, service: &mut Service, ledger: &mut Ledger) {
        let is_rule = |node: &&Node| node.name == "allow" || node.name == "deny";
        let Some(level) = self.0.iter().find(|nodes| nodes.iter().any(|node| is_rule(&node))) else { return };
        for (index, node) in level.iter().filter(is_rule).enumerate() {
            if index >= MOST_RULES {
                ledger.left_out_that_decides(
                    node.at,
                    format!("more than {MOST_RULES} rules are not made networks of"),
                );
                continue;
            }
            let allow = node.name == "allow";
            if node.word(0) == "unix:" {
                ledger.left_out(node.at, "of programs of this host, which do not go through dtr-lb");
                continue;
            }
            match rule(allow, node.word(0)) {
                Some(rule) => service.rules.push(taken(rule, node, ledger)),
                None => ledger.fault_that_decides(
                    node.at,
                    format!(
                        "{:?} is no address and no network: write the real one into `{}`",
                        node.word(0),
                        node.name
                    ),
                ),
            }
        }
        service.denied_are_reset = true;
    }

    /// The balancer's own address towards servers.
    pub(super) fn proxy_bind(self, service: &mut Service, ledger: &mut Ledger) {
        let Some(node) = self.get("proxy_bind") else { return };
        let is_clients =
            node.word(0).trim_start_matches("${").trim_start_matches('$').starts_with("remote_addr");
        match node.word(0) {
            "off" => ledger.taken(node.at, ""),
            _ if is_clients => {
                ledger.taken(
                    node.at,
                    "mode = \"dnat\": replicas see clients' own addresses, and their route to clients has to be the balancer, as it had to be nginx",
                );
                service.mode = Some(Said { value: Mode::Dnat, at: node.at });
            }
            address => match Host::read(address) {
                Host::Address(_) => ledger.differs(node.at, format!("write nat_addresses = [\"{address}\"] into [datapath], if it is an address of this host")),
                _ => ledger.left_out_that_decides(node.at, "replicas see the balancer's address: which one, datapath.nat_addresses says"),
            },
        }
    }

    /// After which silence connections end.
    pub(super) fn idle(self, name: &str, service: &mut Service, ledger: &mut Ledger) -> bool {
        let Some(node) = self.get(name) else { return false };
        match time(node.word(0)) {
            Some(time) => service.idle = Some(Said { value: time, at: node.at }),
            None => ledger.fault(
                node.at,
                format!("{:?} is no time: datapath.idle_timeout has its default", node.word(0)),
            ),
        }
        true
    }

    pub(super) fn next_upstream(self, ledger: &mut Ledger) {
        if let Some(node) = self.get("proxy_next_upstream") {
            if node.word(0) == "off" {
                ledger.differs(node.at, "a connection that its replica refuses or does not answer goes to another one all the same");
            } else {
                ledger.differs(node.at, "a connection that its replica refuses or does not answer goes to another one; what is answered later does not");
            }
        }
    }
}

fn taken(rule: Rule, node: &Node, ledger: &mut Ledger) -> Said<Rule> {
    ledger.taken(node.at, if rule.allow { "allow" } else { "deny; who is denied gets a reset" });
    Said { value: rule, at: node.at }
}

/// Puts a service together.
pub(super) fn service(
    server: &Node,
    mut listens: Listens,
    target: Target,
    check: Option<&Check>,
    ledger: &mut Ledger,
) -> Service {
    let Target { name, mut servers } = target;
    match servers.list.iter().find_map(|server| server.port) {
        Some(port) => listens.stand_in(port, ledger),
        None => listens.give_up(ledger),
    }
    // A service of several ports gets each port's number behind its name.
    let mut ports = listens.binds.iter().map(|bind| &bind.value.ports);
    let only =
        ports.next().filter(|first| first.start() == first.end() && ports.all(|other| other == *first));
    let name =
        name.unwrap_or_else(|| only.map_or_else(|| "tcp".to_owned(), |only| format!("tcp-{}", only.start())));
    let is_checked = check.is_some() || servers.is_checked;
    if let Some(check) = check {
        for server in &mut servers.list {
            server.check = Some(check.clone());
        }
    }
    Service {
        binds: listens.binds,
        servers: servers.list,
        affinity: servers.affinity,
        passive: servers.passive,
        refuses_if_all_down: is_checked,
        ..Service::new(name, server.at)
    }
}
