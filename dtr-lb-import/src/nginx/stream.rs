//! `stream {}`.

use super::{
    generic, health, listen,
    server::{self, Levels, TLS_PORTS},
    target::{Scope, Target},
    tree::Node,
    upstream::Upstreams,
};
use crate::{
    job::{Job, Scheme},
    report::Ledger,
};

/// Directives that a server's reader looks for by name.
const BY_NAME: &str = "listen proxy_pass proxy_timeout proxy_bind proxy_protocol proxy_ssl allow deny ssl_preread proxy_next_upstream \
    set return health_check health_check_timeout server_name location";

pub(super) fn read(nodes: &[Node], ledger: &mut Ledger, job: &mut Job) {
    let mut upstreams = Upstreams::of(nodes, false, ledger);
    let is_server = |node: &&Node| node.name == "server" && node.block.is_some();
    for (index, node) in nodes.iter().filter(is_server).enumerate() {
        if index < server::MOST_SERVERS {
            server(node, nodes, &mut upstreams, ledger, job);
        } else {
            server::too_many(node, ledger);
        }
    }
    upstreams.tell_unused(ledger);
    let is_read = |name: &str| BY_NAME.split_whitespace().any(|read| read == name);
    for node in nodes {
        match node.name.as_str() {
            "server" | "upstream" if node.block.is_some() => {}
            "server" | "upstream" => {
                ledger.fault_that_decides(node.at, "a block belongs to it: nginx does not start with that");
            }
            "map" | "geo" | "split_clients" | "geoip_country" | "geoip_city" | "geoip_org" => {
                if ledger.is_open(node.at) {
                    ledger.left_out(node.at, "no proxy_pass goes by this variable");
                }
            }
            name if is_read(name) && super::known::find(node.context, name).is_some() => {}
            _ => generic(node, ledger),
        }
    }
}

fn server<'a>(
    node: &'a Node,
    around: &'a [Node],
    upstreams: &mut Upstreams<'a>,
    ledger: &mut Ledger,
    job: &mut Job,
) {
    let mut listens = listen::read(node, None, ledger);
    let target = target(node, around, upstreams, ledger);
    let levels = [node.children(), around];
    let levels = Levels(&levels);
    notes(node, levels, ledger);
    tls(&listens, levels, ledger);
    let is_read = |name: &str| BY_NAME.split_whitespace().any(|read| read == name);
    for child in node.children() {
        if !is_read(&child.name) {
            generic(child, ledger);
        }
    }
    let Some(target) = target.filter(|_| !listens.binds.is_empty() || !listens.without_port.is_empty())
    else {
        listens.give_up(ledger);
        ledger.left_out_that_decides(
            node.at,
            "no service is made of this server: see what is said of its listen and proxy_pass",
        );
        return;
    };
    let check = health(node, levels, around, ledger);
    let mut service = server::service(node, listens, target, check.as_ref(), ledger);
    levels.rules(&mut service, ledger);
    levels.proxy_bind(&mut service, ledger);
    levels.next_upstream(ledger);
    if levels.idle("proxy_timeout", &mut service, ledger) {
        ledger.taken(node.at, "");
    } else {
        ledger.differs(node.at, "no proxy_timeout is written: nginx ends a connection after 10m of silence, dtr-lb after 1h (datapath.idle_timeout)");
    }
    job.services.push(service);
}

/// What its `proxy_pass` means.
fn target<'a>(
    node: &'a Node,
    around: &'a [Node],
    upstreams: &mut Upstreams<'a>,
    ledger: &mut Ledger,
) -> Option<Target> {
    let mut passes: Vec<&Node> = node.all("proxy_pass").collect();
    for location in node.all("location") {
        ledger.fault(
            location.at,
            "nginx has locations in http {} only, and does not start with one here. Where it passes connections to is taken for the whole server",
        );
        for child in location.children() {
            if child.name == "proxy_pass" {
                passes.push(child);
            } else {
                generic(child, ledger);
            }
        }
    }
    let Some((pass, rest)) = passes.split_first() else {
        match node.get("return") {
            Some(answer) => ledger.left_out_that_decides(
                answer.at,
                "nginx itself answers here: dtr-lb serves nothing itself, keep nginx for it",
            ),
            None if node.get("pass").is_none() => {
                ledger.fault(node.at, "there is no proxy_pass in it: nginx does not start with that");
            }
            None => {}
        }
        return None;
    };
    for again in rest {
        ledger.fault(
            again.at,
            "there is a proxy_pass already: nginx does not start with a second one. The first one is taken",
        );
    }
    let mut place = pass.word(0);
    if let Some((scheme, rest)) = place.split_once("://") {
        ledger.fault(pass.at, format!("connections have no {scheme}:// in stream {{}}: nginx does not start with that. What is behind it is taken"));
        place = rest.split('/').next().unwrap_or(rest);
    }
    if place.is_empty() {
        ledger.fault_that_decides(pass.at, "it names no upstream and no server");
        return None;
    }
    Scope { around, server: node, upstreams, default_port: None }.resolve(place, pass.at, ledger)
}

/// Of what decides about connections, and is not a part of the service.
fn notes(node: &Node, levels: Levels<'_>, ledger: &mut Ledger) {
    if let Some(header) = levels.get("proxy_protocol") {
        if header.is_on() {
            ledger.left_out_that_decides(
                header.at,
                "no PROXY header tells replicas the client's address: they must not expect one. In mode \"dnat\" they see it anyway, if their route to clients is the balancer",
            );
        } else {
            ledger.taken(header.at, "");
        }
    }
    if let Some(preread) = levels.get("ssl_preread") {
        ledger
            .differs(preread.at, "dtr-lb does not look into TLS; what depends on it is told where it stands");
    }
    for name in node.all("server_name") {
        ledger.left_out_that_decides(name.at, "the name that the client asks for in TLS is not looked at: all clients of the port go to its first server");
    }
    for set in node.all("set") {
        if ledger.is_open(set.at) {
            ledger.left_out(set.at, "no proxy_pass goes by this variable");
        }
    }
    if let Some(answer) = node.get("return").filter(|_| node.get("proxy_pass").is_some()) {
        ledger.left_out_that_decides(answer.at, "nginx itself answers here: dtr-lb serves nothing itself");
    }
}

/// TLS towards servers.
fn tls(listens: &listen::Listens, levels: Levels<'_>, ledger: &mut Ledger) {
    let Some(node) = levels.get("proxy_ssl") else { return };
    if !node.is_on() {
        ledger.taken(node.at, "");
    } else if listens.tls {
        ledger.differs(node.at, "clients' own TLS reaches the replicas, instead of one that nginx begins");
    } else if listens.is_at(&TLS_PORTS) || levels.get("ssl_preread").is_some_and(Node::is_on) {
        ledger.fault(
            node.at,
            "TLS within TLS: clients of this port begin TLS themselves, and nginx puts it into another one, which no replica expects. dtr-lb passes on the clients' own",
        );
    } else {
        ledger.left_out_that_decides(node.at, "nginx begins TLS to the servers for clients that speak none: dtr-lb passes on what clients send, and replicas have to take that");
    }
}

fn health(
    node: &Node,
    levels: Levels<'_>,
    around: &[Node],
    ledger: &mut Ledger,
) -> Option<crate::job::Check> {
    let is_tls = levels.get("proxy_ssl").is_some_and(Node::is_on);
    let scheme = if is_tls { Scheme::Tls } else { Scheme::Tcp };
    let mut check = health::of_plus(node.get("health_check")?, scheme, around, ledger)?;
    if let Some(node) = levels.get("health_check_timeout") {
        match super::values::time(node.word(0)) {
            Some(time) => {
                ledger.taken(node.at, "the probe's timeout");
                check.timeout = Some(time);
            }
            None => ledger.fault(node.at, "this is no time"),
        }
    }
    Some(check)
}
