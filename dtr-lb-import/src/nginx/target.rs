//! `proxy_pass`: to an upstream, to a host, or to what a variable says.

use super::{
    tree::Node,
    upstream::{Servers, Upstreams},
    values::{Port, endpoint},
};
use crate::{
    job::Host,
    report::{At, Ledger},
};

/// A variable whose value is made of others, at most so often.
const DEEPEST: u8 = 4;

/// Where connections go, and its name.
pub(super) struct Target {
    pub(super) name: Option<String>,
    pub(super) servers: Servers,
}

/// What a name in `proxy_pass` is looked up in.
pub(super) struct Scope<'a, 'b> {
    /// The directives of `stream {}` or `http {}`.
    pub(super) around: &'a [Node],
    pub(super) server: &'a Node,
    pub(super) upstreams: &'b mut Upstreams<'a>,
    /// The port that a host has that says none.
    pub(super) default_port: Option<u16>,
}

/// What a variable may be.
struct Variable<'a> {
    at: At,
    values: Vec<&'a str>,
    default: Option<&'a str>,
    why: &'static str,
}

impl<'a> Scope<'a, '_> {
    /// The servers that a `proxy_pass` to this place means. What cannot be kept is told at `at`.
    pub(super) fn resolve(&mut self, place: &str, at: At, ledger: &mut Ledger) -> Option<Target> {
        self.at_depth(place, at, 0, ledger)
    }

    fn at_depth(&mut self, place: &str, at: At, depth: u8, ledger: &mut Ledger) -> Option<Target> {
        if place.starts_with("unix:") {
            ledger.left_out_that_decides(at, "a socket in the file system is a program of this host: a replica is another host, at an address");
            return None;
        }
        if let Some(variable) = self.only_variable(place) {
            if depth >= DEEPEST {
                ledger.left_out_that_decides(at, "what this is depends on itself");
                return None;
            }
            return self.chosen(&variable, at, depth, ledger);
        }
        let (host, port) = endpoint(place);
        if self.upstreams.has(&host) || self.upstreams.has(place) {
            let name = if self.upstreams.has(place) { place } else { host.as_str() };
            if name != place {
                ledger.fault(at, format!("{name} is an upstream, which has the ports of its servers: nginx does not start with a port here. The upstream is taken"));
            }
            ledger.taken(at, "");
            let servers = self.upstreams.get(name, ledger)?;
            return Some(Target { name: Some(name.to_owned()), servers });
        }
        if self.has_unknown_variable(&host) {
            ledger.left_out_that_decides(at, "which server it is depends on a variable that each connection sets: no service is made of it");
            return None;
        }
        let port = match port {
            Port::Ports(ports) => Some(*ports.start()),
            Port::Unreadable(text) if text.trim_matches(['$', '{', '}']) == "server_port" => None,
            Port::Unreadable(text) => {
                ledger.fault_that_decides(at, format!("{text} is no port; the one that clients connect to is taken: write the real one as replica_port"));
                None
            }
            Port::Unsaid => self.default_port,
        };
        if place == host && self.default_port.is_none() {
            return self.without_port(&host, at, ledger);
        }
        ledger.taken(at, "one replica");
        Some(Target { name: None, servers: Servers::alone(Host::read(&host), port, at) })
    }

    /// Neither an upstream nor a host with a port.
    fn without_port(&self, host: &str, at: At, ledger: &mut Ledger) -> Option<Target> {
        let is_address = matches!(Host::read(host), Host::Address(_));
        if is_address {
            ledger.fault(
                at,
                "it has no port: nginx does not start with that. The one that clients connect to is taken",
            );
            return Some(Target { name: None, servers: Servers::alone(Host::read(host), None, at) });
        }
        let where_else = if self.around.iter().any(|node| node.name == "include") {
            "it may be in an included file: give one text that has both (`nginx -T` prints it)"
        } else if self.upstreams.is_empty() {
            "there is none in this file: give the one that it is in, as a part of this one"
        } else {
            "is its name misspelt?"
        };
        ledger.fault_that_decides(
            at,
            format!("there is no upstream {host}: {where_else}. No service is made of it"),
        );
        None
    }

    /// The name of the variable that is all there is.
    fn only_variable(&self, place: &str) -> Option<Variable<'a>> {
        let name = variable_name(place)?;
        self.find(name)
    }

    /// Whether a host has one of nginx's variables in it, or one that the file sets.
    fn has_unknown_variable(&self, host: &str) -> bool {
        host.split('$').skip(1).any(|rest| {
            let name: String = rest
                .trim_start_matches('{')
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            super::known::variables::is_own(&name) || self.find(&name).is_some()
        })
    }

    fn find(&self, name: &str) -> Option<Variable<'a>> {
        let is_it = |word: &str| variable_name(word) == Some(name);
        let all = || self.server.children().iter().chain(self.around);
        if let Some(set) = all().find(|node| node.name == "set" && is_it(node.word(0))) {
            let value = set.words.get(1)?.as_str();
            return Some(Variable { at: set.at, values: vec![value], default: None, why: "" });
        }
        let is_block = |node: &&Node| {
            ["map", "geo", "split_clients"].contains(&node.name.as_str())
                && node.words.last().is_some_and(|word| is_it(word))
        };
        let block = all().find(is_block)?;
        let why = match (block.name.as_str(), block.word(0)) {
            ("geo", _) => "the client's address chooses the servers",
            ("split_clients", _) => "shares of the clients have servers of their own",
            (_, key) if key.contains("ssl_preread_server_name") || key.contains("ssl_server_name") => {
                "the name that the client asks for in TLS (SNI) chooses the servers, and dtr-lb does not look into TLS"
            }
            (_, key) if key.contains("preread") => {
                "what the client begins with chooses the servers, and dtr-lb does not look into connections"
            }
            (_, key) if key.contains("remote_addr") => "the client's address chooses the servers",
            (_, key) if key.contains("host") => {
                "the name that the client asks for chooses the servers, and dtr-lb does not look into requests"
            }
            _ => "a variable chooses the servers for each connection",
        };
        let settings = ["hostnames", "volatile", "include", "ranges", "proxy", "proxy_recursive", "delete"];
        let entries = || {
            block
                .children()
                .iter()
                .filter(|entry| !settings.contains(&entry.name.as_str()) && !entry.word(0).is_empty())
        };
        let is_default = |entry: &&&Node| entry.name == "default" || entry.name == "*";
        Some(Variable {
            at: block.at,
            values: entries().map(|entry| entry.word(0)).collect(),
            default: entries().find(|entry| is_default(&entry)).map(|entry| entry.word(0)),
            why,
        })
    }

    /// One of what a variable may be: the default, or the first.
    fn chosen(&mut self, variable: &Variable<'a>, at: At, depth: u8, ledger: &mut Ledger) -> Option<Target> {
        let mut values: Vec<&str> = Vec::new();
        for value in &variable.values {
            if !values.contains(value) && values.len() < 64 {
                values.push(value);
            }
        }
        let Some(chosen) = variable.default.or(values.first().copied()) else {
            ledger.left_out_that_decides(at, "the variable is never anything: no service is made of it");
            return None;
        };
        if variable.why.is_empty() {
            ledger.taken(variable.at, "");
        } else {
            let others: Vec<&str> = values.into_iter().filter(|value| *value != chosen).collect();
            let consequence = if others.is_empty() {
                format!("everybody goes to {chosen}, also who is refused in nginx")
            } else {
                format!(
                    "everybody goes to {chosen}. Give each of the others ({}) a VIP of its own",
                    others.join(", ")
                )
            };
            let is_same = others.is_empty() && variable.default.is_some();
            for at in [at, variable.at] {
                if is_same {
                    ledger.differs(at, format!("whatever it is, it is {chosen}"));
                } else {
                    ledger.left_out_that_decides(at, format!("{}: {consequence}", variable.why));
                }
            }
        }
        self.at_depth(chosen, at, depth + 1, ledger)
    }
}

/// `name` of `$name` and `${name}`.
fn variable_name(word: &str) -> Option<&str> {
    let name = word.strip_prefix('$')?;
    let name = name.strip_prefix('{').and_then(|name| name.strip_suffix('}')).unwrap_or(name);
    (!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'))
        .then_some(name)
}
