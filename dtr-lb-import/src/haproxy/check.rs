//! How servers are checked: what a backend says of it, and then what each of its servers says.

mod expect;
mod http;
mod protocols;
mod tcp;

use std::time::Duration;

use super::{
    sections::Line,
    server::Options,
    settings::{CheckKind, Settings, time_or_fault},
};
use crate::{
    job::{Check, Scheme, Verify},
    report::{At, Ledger},
};

/// HAProxy's own, where nothing is written.
const INTERVAL: Duration = Duration::from_secs(2);
const RISE: u32 = 2;
const FALL: u32 = 3;
/// More rules, or more bytes in them, are none of a check.
const MOST_RULES: usize = 64;
const MOST_BYTES: usize = 4096;

/// What `global` says about checks.
#[derive(Debug, Default)]
pub(super) struct Globals {
    pub(super) ca_base: Option<String>,
    /// `ssl-server-verify none`.
    pub(super) verifies_not: bool,
}

/// `connect` of `http-check` and `tcp-check`.
#[derive(Debug)]
struct Connect {
    is_default: bool,
    tls: bool,
    port: Option<u16>,
    sni: Option<String>,
    alpn: Option<String>,
}

/// What all servers of a backend are asked.
#[derive(Debug)]
pub(super) struct Plan {
    check: Check,
    connect: Option<Connect>,
    timeout: Option<Duration>,
    /// The statement that says how it is asked.
    is_written: bool,
}

/// Reads what a backend says of its checks. `at` is its header. `is_asked`: one of its servers at least has `check`.
pub(super) fn plan(settings: &Settings<'_>, at: At, is_asked: bool, ledger: &mut Ledger) -> Plan {
    let kind = settings.check.map(|(kind, _)| kind);
    let line = settings.check.map(|(_, line)| line);
    let mut plan = Plan {
        check: Check::new(line.map_or(at, |line| line.at), Scheme::Tcp),
        connect: None,
        timeout: settings.check_timeout.map(|time| time.value),
        is_written: line.is_some(),
    };
    let (http_rules, tcp_rules) = (&settings.http_check.list[..], &settings.tcp_check.list[..]);
    let rules: &[&Line] = match kind {
        Some(CheckKind::Http) => http_rules,
        Some(CheckKind::Tcp) => tcp_rules,
        _ => &[],
    };
    if rules.len() > MOST_RULES
        || rules.iter().flat_map(|rule| &rule.words).map(String::len).sum::<usize>() > MOST_BYTES
    {
        // Those of `defaults` are told once.
        let rules = if rules.first().is_some_and(|rule| ledger.is_open(rule.at)) { rules } else { &[] };
        for rule in rules {
            ledger.left_out_that_decides(
                rule.at,
                "the check has more rules than are taken over: write it into [service.probe]",
            );
        }
        return plan;
    }
    match (kind, line) {
        (Some(CheckKind::Http), Some(line)) => http::read(line, rules, &mut plan, ledger),
        (Some(CheckKind::Tcp), _) => tcp::read(rules, &mut plan, ledger),
        (Some(kind), Some(line)) => protocols::read(kind, line, &mut plan.check, ledger),
        _ => {}
    }
    // Rules of a kind that is not asked for; those of `defaults` are for others.
    for (wanted, option, rules) in [
        (CheckKind::Http, "httpchk", &settings.http_check),
        (CheckKind::Tcp, "tcp-check", &settings.tcp_check),
    ] {
        if kind != Some(wanted) && is_asked && !rules.is_inherited {
            for rule in rules.list.iter() {
                ledger.fault(rule.at, format!("`option {option}` does not hold in the backend, so HAProxy does not do this; dtr-lb neither"));
            }
        }
    }
    if let (Some(line), false) = (line.filter(|line| line.at > at), is_asked) {
        ledger.fault(line.at, "no server here has `check`, so HAProxy asks none of them");
    }
    plan
}

impl Plan {
    /// How a server is asked; `None`: not at all. `at` is its line.
    pub(super) fn of_server(
        &self,
        options: &Options,
        at: At,
        globals: &Globals,
        ledger: &mut Ledger,
    ) -> Option<Check> {
        let by_agent = options.has("agent-check");
        if !options.has("check") && !by_agent {
            return None;
        }
        let mut check = self.check.clone();
        if !self.is_written || !options.has("check") {
            check = Check::new(at, if options.has("check") { check.scheme } else { Scheme::Tcp });
        }
        if !options.has("check") {
            ledger.differs(at, "HAProxy only asks its agent; dtr-lb opens a connection to it as well");
        }
        self.transport(&mut check, options, at, globals, ledger);
        timing(&mut check, self.timeout, options, ledger);
        if by_agent {
            check.agent_port = options.number("agent-port", ledger).and_then(|port| u16::try_from(port).ok());
            if check.agent_port.is_none() {
                ledger.fault(at, "`agent-check` without `agent-port`: HAProxy refuses this");
            }
        }
        Some(check)
    }

    /// Port, TLS and names.
    fn transport(
        &self,
        check: &mut Check,
        options: &Options,
        at: At,
        globals: &Globals,
        ledger: &mut Ledger,
    ) {
        let has_own_place = options.has("port") || options.has("addr");
        let server_tls = options.has("check-ssl")
            || (options.has("ssl") && !has_own_place && !options.has("no-check-ssl"));
        let connect = self.connect.as_ref().filter(|_| options.has("check"));
        let tls = connect.map_or(server_tls, |connect| connect.tls || (connect.is_default && server_tls));
        check.scheme = match check.scheme {
            Scheme::Http if tls => Scheme::Https,
            Scheme::Tcp if tls => Scheme::Tls,
            scheme => scheme,
        };
        let own = options.number("port", ledger).and_then(|port| u16::try_from(port).ok());
        check.port = connect.and_then(|connect| connect.port).or(own).filter(|port| *port != 0);
        let server_name = connect
            .and_then(|connect| connect.sni.clone())
            .or_else(|| options.value("check-sni").map(|(name, _)| name.to_owned()))
            .or_else(|| options.value("verifyhost").map(|(name, _)| name.to_owned()))
            .or_else(|| options.value("sni").and_then(|(name, _)| fixed(name)));
        match (&check.host, server_name) {
            (None, Some(name)) => check.host = Some(name),
            (Some(host), Some(name)) if tls && !host.eq_ignore_ascii_case(&name) => {
                ledger.differs(at, format!("the check's TLS asks for {name}, and its request for {host}: dtr-lb has one name for both, {host}"));
            }
            _ => {}
        }
        let alpn = connect
            .and_then(|connect| connect.alpn.as_deref())
            .or_else(|| options.value("check-alpn").map(|(alpn, _)| alpn));
        if let Some(alpn) = alpn.filter(|_| tls) {
            check.alpn =
                alpn.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
        }
        if tls {
            check.verify = verify(options, at, globals, ledger);
        }
    }
}

/// Whose certificates are trusted. Without a word about it HAProxy wants a CA.
fn verify(options: &Options, at: At, globals: &Globals, ledger: &mut Ledger) -> Verify {
    let is_off = match options.value("verify") {
        Some((value, _)) => value == "none",
        None => globals.verifies_not,
    };
    match (is_off, options.value("ca-file")) {
        (true, _) => Verify::No,
        (false, Some(("@system-ca", _))) => Verify::System,
        (false, Some((file, _))) => match &globals.ca_base {
            Some(base) if !file.starts_with('/') => {
                Verify::Ca(format!("{}/{file}", base.trim_end_matches('/')))
            }
            _ => Verify::Ca(file.to_owned()),
        },
        (false, None) => {
            ledger.fault(at, "it speaks TLS without `ca-file` and without `verify none`: HAProxy refuses this. dtr-lb checks no certificate here");
            Verify::No
        }
    }
}

/// What an expression says without having to be worked out: `str(NAME)`.
fn fixed(expression: &str) -> Option<String> {
    let inner = expression.strip_prefix("str(")?.strip_suffix(')')?;
    Some(inner.trim_matches(['"', '\'']).to_owned())
        .filter(|name| !name.is_empty() && !name.contains([',', '(']))
}

fn timing(check: &mut Check, timeout: Option<Duration>, options: &Options, ledger: &mut Ledger) {
    let mut time = |name: &str| {
        let (text, at) = options.value(name)?;
        time_or_fault(text, at, ledger).filter(|time| !time.is_zero())
    };
    let interval = time("inter").unwrap_or(INTERVAL);
    check.interval = Some(interval);
    check.fast_interval = Some(time("fastinter").unwrap_or(interval));
    check.down_interval = Some(time("downinter").unwrap_or(interval));
    check.timeout = Some(timeout.unwrap_or(interval));
    check.rise = Some(options.number("rise", ledger).unwrap_or(RISE));
    check.fall = Some(options.number("fall", ledger).unwrap_or(FALL));
}

/// Reads `connect` with its options, from the third word on.
fn connect(line: &Line, ledger: &mut Ledger) -> Connect {
    let mut connect = Connect { is_default: false, tls: false, port: None, sni: None, alpn: None };
    let mut words = line.from(2).iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "default" => connect.is_default = true,
            "ssl" => connect.tls = true,
            "linger" => {}
            "port" => match words.next().map(|port| port.parse()) {
                Some(Ok(port)) => connect.port = Some(port),
                _ => {
                    ledger.left_out_that_decides(line.at, "its port is no number: the server's own is asked")
                }
            },
            "sni" => connect.sni = words.next().cloned(),
            "alpn" => connect.alpn = words.next().cloned(),
            "comment" => drop(words.next()),
            "proto" => {
                words.next();
                ledger.differs(line.at, "checks speak HTTP/1.1");
            }
            "addr" => {
                words.next();
                ledger.differs(line.at, "the replica itself is asked, at its own address");
            }
            "send-proxy" => ledger.left_out_that_decides(
                line.at,
                "checks send no PROXY header: a server that waits for one fails them",
            ),
            "via-socks4" => ledger.left_out_that_decides(
                line.at,
                "dtr-lb asks its replicas by the network alone, not through a SOCKS proxy",
            ),
            word => ledger.left_out_that_decides(line.at, format!("dtr-lb does not know `{word}` here")),
        }
    }
    connect
}

/// What has to be worked out for each check.
fn is_expression(text: &str) -> bool {
    text.contains("%[") || text.contains("%{")
}
