//! `http {}`: what passes everything on to servers is a service. What reads or changes requests is left out.

use super::{
    generic, health, known, listen,
    server::{self, Levels},
    target::{Scope, Target},
    tree::Node,
    upstream::Upstreams,
};
use crate::{
    job::{Job, Scheme},
    report::Ledger,
};

const BY_NAME: &str = "listen server_name location ssl allow deny proxy_read_timeout proxy_bind proxy_next_upstream return if rewrite set \
    try_files proxy_pass health_check";

pub(super) fn read(nodes: &[Node], ledger: &mut Ledger, job: &mut Job) {
    let mut upstreams = Upstreams::of(nodes, true, ledger);
    well_known(nodes, ledger);
    let servers = nodes.iter().filter(|node| node.name == "server" && node.block.is_some());
    for (index, node) in servers.enumerate() {
        if index < server::MOST_SERVERS {
            server(node, nodes, &mut upstreams, ledger, job);
        } else {
            server::too_many(node, ledger);
        }
    }
    upstreams.tell_unused(ledger);
    for node in nodes {
        match node.name.as_str() {
            "server" | "upstream" if node.block.is_some() => {}
            "server" | "upstream" => {
                ledger.fault_that_decides(node.at, "a block belongs to it: nginx does not start with that");
            }
            "map" | "geo" | "split_clients" => {
                if ledger.is_open(node.at) {
                    ledger.left_out(node.at, "no proxy_pass goes by this variable");
                }
            }
            name if is_read(name) && known::find(node.context, name).is_some() => {}
            _ => generic(node, ledger),
        }
    }
}

fn is_read(name: &str) -> bool {
    BY_NAME.split_whitespace().any(|read| read == name)
}

/// Texts that a program wrote for itself.
fn well_known(nodes: &[Node], ledger: &mut Ledger) {
    let upstream = |name: &str| nodes.iter().find(|node| node.name == "upstream" && node.word(0) == name);
    if let Some(node) = upstream("upstream_balancer") {
        ledger.left_out_that_decides(
            node.at,
            "this is what ingress-nginx writes for itself: its servers are in Kubernetes, and Lua chooses them. dtr-lb goes in front of the ingress controllers: ports 80 and 443 of their nodes",
        );
    }
    if let (Some(core), Some(_)) = (upstream("core"), upstream("portal")) {
        ledger.left_out_that_decides(
            core.at,
            "this is what Harbor has in front of its own containers. dtr-lb goes in front of several Harbors: preset = \"harbor\", with their hosts as replicas",
        );
    }
}

/// What a server passes on, and by which location.
struct Passed<'a> {
    pass: &'a Node,
    /// It is for all paths.
    is_all: bool,
    location: &'a Node,
}

fn server<'a>(
    node: &'a Node,
    around: &'a [Node],
    upstreams: &mut Upstreams<'a>,
    ledger: &mut Ledger,
    job: &mut Job,
) {
    let mut listens = listen::read(node, Some(80), ledger);
    if let Some(ssl) = node.get("ssl").filter(|ssl| ssl.is_on()) {
        listens.tls = true;
        ledger.left_out_that_decides(
            ssl.at,
            "TLS ends here: dtr-lb passes TLS through, so that replicas have to speak it themselves",
        );
    }
    let passed = passed(node);
    notes(node, passed.as_ref(), ledger);
    let target =
        passed.as_ref().and_then(|passed| target(passed, node, around, listens.tls, upstreams, ledger));
    let Some((target, passed)) =
        target.zip(passed).filter(|_| !listens.binds.is_empty() || !listens.without_port.is_empty())
    else {
        listens.give_up(ledger);
        if node.get("location").is_some()
            && node.all("location").all(|location| is_figures(location) || is_health(location))
        {
            ledger.left_out(node.at, "what nginx tells of itself: the agent's own is at agent.http");
            return;
        }
        ledger.left_out_that_decides(
            node.at,
            "no service is made of this server: it passes no connections on, or to nobody that could be kept",
        );
        return;
    };
    ledger.differs(
        node.at,
        "nginx balances each request, dtr-lb connections: all requests of one go to one replica, and no header tells it of the client",
    );
    let inner = if passed.is_all { passed.location.children() } else { &[] };
    let levels = [inner, node.children(), around];
    let levels = Levels(&levels);
    let is_tls = passed.pass.word(0).starts_with("https://");
    let scheme = if is_tls { Scheme::Https } else { Scheme::Http };
    let check = passed
        .location
        .get("health_check")
        .filter(|_| passed.is_all)
        .and_then(|node| health::of_plus(node, scheme, around, ledger));
    let mut service = server::service(node, listens, target, check.as_ref(), ledger);
    levels.rules(&mut service, ledger);
    levels.proxy_bind(&mut service, ledger);
    levels.next_upstream(ledger);
    levels.idle("proxy_read_timeout", &mut service, ledger);
    job.services.push(service);
}

/// The `proxy_pass` of `location /`, else the first one.
fn passed(node: &Node) -> Option<Passed<'_>> {
    let all = node.all("location").find_map(|location| {
        let is_all = location.context == known::Context::HttpServer
            && location.word(location.words.len().saturating_sub(1)) == "/"
            && location.word(0) != "=";
        Some(Passed { pass: location.get("proxy_pass").filter(|_| is_all)?, is_all: true, location })
    });
    all.or_else(|| {
        node.all("location")
            .find_map(|location| Some(Passed { pass: location.get("proxy_pass")?, is_all: false, location }))
    })
}

fn target<'a>(
    passed: &Passed<'a>,
    node: &'a Node,
    around: &'a [Node],
    tls: bool,
    upstreams: &mut Upstreams<'a>,
    ledger: &mut Ledger,
) -> Option<Target> {
    let at = passed.pass.at;
    let whole = passed.pass.word(0);
    let (scheme, rest) = whole.split_once("://").unwrap_or(("", whole));
    let (place, path) = match rest.find('/') {
        Some(index) if !rest.starts_with("unix:") => rest.split_at(index),
        _ => (rest, ""),
    };
    if !["", "/"].contains(&path) {
        ledger.left_out_that_decides(at, format!("requests get another path ({path}): dtr-lb does not change them, replicas have to answer to the one that clients ask for"));
    }
    match (scheme, tls) {
        ("https", false) => ledger.left_out_that_decides(
            at,
            "nginx begins TLS to the servers for clients that speak none: dtr-lb passes on what clients send, and replicas have to take that",
        ),
        ("http", true) => ledger.left_out_that_decides(at, "clients' TLS reaches the replicas, at a port where they speak none now"),
        _ => {}
    }
    let default_port = if scheme == "https" { 443 } else { 80 };
    Scope { around, server: node, upstreams, default_port: Some(default_port) }.resolve(place, at, ledger)
}

/// What reads requests.
fn notes(node: &Node, passed: Option<&Passed<'_>>, ledger: &mut Ledger) {
    for child in node.children() {
        match child.name.as_str() {
            "location" => location(child, passed, ledger),
            "server_name" => {
                ledger.differs(child.at, "names are not looked at: whoever connects to the port is served");
            }
            name if is_read(name) => rule(child, ledger),
            _ => generic(child, ledger),
        }
    }
}

fn location(node: &Node, passed: Option<&Passed<'_>>, ledger: &mut Ledger) {
    let is_passed = passed.is_some_and(|passed| std::ptr::eq(passed.location, node));
    let is_all = is_passed && passed.is_some_and(|passed| passed.is_all);
    if is_all {
        ledger.taken(node.at, "");
    } else if is_figures(node) {
        ledger
            .differs(node.at, "figures are at the agent's /metrics, in `dtr-lb status` and on the dashboard");
    } else if is_health(node) {
        ledger.differs(
            node.at,
            "whether nginx runs is asked here: the agent's own such page is /healthz at agent.http",
        );
    } else if is_passed {
        ledger.left_out_that_decides(
            node.at,
            "requests for this path alone are passed on; dtr-lb does not read them: all go to its servers",
        );
    } else {
        ledger.left_out_that_decides(
            node.at,
            "requests for this path are treated in their own way; dtr-lb does not read them: all go to the service's servers",
        );
    }
    if node.children().iter().all(|child| child.context == known::Context::Ignored) {
        return;
    }
    for child in node.children() {
        match child.name.as_str() {
            "location" => ledger.left_out_that_decides(
                child.at,
                "requests for this path are treated in their own way; dtr-lb does not read them",
            ),
            name if is_read(name) => rule(child, ledger),
            _ => generic(child, ledger),
        }
    }
}

/// A page of nginx's own figures.
fn is_figures(node: &Node) -> bool {
    ["stub_status", "api", "status", "vhost_traffic_status_display"]
        .iter()
        .any(|name| node.get(name).is_some())
}

/// A page by which others ask whether nginx runs.
fn is_health(node: &Node) -> bool {
    let path = node.word(node.words.len().saturating_sub(1));
    let answers = node.get("return").is_some_and(|answer| ["200", "204"].contains(&answer.word(0)));
    answers && ["health", "ping", "ready", "live", "status", "alive"].iter().any(|word| path.contains(word))
}

/// Directives that decide what becomes of a request.
fn rule(node: &Node, ledger: &mut Ledger) {
    match node.name.as_str() {
        "return" if node.words.iter().any(|word| word.starts_with("https://")) => ledger.left_out_that_decides(
            node.at,
            "clients are sent to https:// by nginx: dtr-lb passes connections on. Let the replicas do it (DTR's port 80 does), by a [[service]] with port = 80",
        ),
        "return" => ledger.left_out_that_decides(node.at, "nginx itself answers here: dtr-lb serves nothing itself"),
        "if" => ledger.left_out_that_decides(node.at, "what becomes of a request depends on it: dtr-lb does not read requests"),
        "rewrite" | "try_files" => ledger.left_out_that_decides(node.at, "requests get another path: dtr-lb does not change them"),
        "set"
            if ledger.is_open(node.at) => {
                ledger.left_out(node.at, "dtr-lb has no variables");
            }
        _ => {}
    }
}
