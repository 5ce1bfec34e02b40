//! How a real server is checked. keepalived takes it out when any of its checks fails; dtr-lb has one probe a service.

use std::time::Duration;

use super::{
    directives::{Context, tell, tell_values},
    group::port,
    http,
    settings::Settings,
    tree::Node,
};
use crate::{
    job::{Check, Scheme, Step},
    outcome::Outcome,
    report::Ledger,
};

/// The checks, from the one that says most to those that cannot be kept.
const CHECKERS: [(&str, Context); 10] = [
    ("SSL_GET", Context::Http),
    ("HTTP_GET", Context::Http),
    ("SMTP_CHECK", Context::Smtp),
    ("TCP_CHECK", Context::Tcp),
    ("PING_CHECK", Context::Ping),
    ("MISC_CHECK", Context::Misc),
    ("DNS_CHECK", Context::Dns),
    ("UDP_CHECK", Context::Udp),
    ("FILE_CHECK", Context::File),
    ("BFD_CHECK", Context::BfdCheck),
];

/// Seconds between checks, and until one has failed, where nothing is written.
const INTERVAL: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn is_checker(name: &str) -> bool {
    rank(name).is_some()
}

fn rank(name: &str) -> Option<usize> {
    CHECKERS.iter().position(|(checker, _)| *checker == name)
}

/// The check of a server, of which `port` is the port. `None` if it has none.
pub(super) fn of_server(
    server: &Node,
    settings: &Settings,
    port: Option<u16>,
    ledger: &mut Ledger,
) -> Option<Check> {
    let checkers = || server.children.iter().filter_map(|child| Some((rank(&child.name)?, child)));
    // The first one of those that say most.
    let (rank, chosen) = checkers().min_by_key(|(rank, _)| *rank)?;
    let place = ledger.place(chosen.at);
    for (_, other) in checkers().filter(|(_, other)| !std::ptr::eq(*other, chosen)) {
        let (kind, of) = (&other.name, &chosen.name);
        let why = format!("a service has one probe, and asks as {of} does ({place}): {kind} is not asked");
        match kind.as_str() {
            "MISC_CHECK" | "DNS_CHECK" | "UDP_CHECK" | "FILE_CHECK" | "BFD_CHECK" => {
                ledger.left_out_that_decides(other.at, why);
            }
            _ => ledger.differs(other.at, why),
        }
        tell_values(other, Outcome::LeftOut, "of a check that is not made", ledger);
    }
    Some(read(chosen, CHECKERS[rank].1, settings, port, ledger))
}

fn read(node: &Node, context: Context, settings: &Settings, port: Option<u16>, ledger: &mut Ledger) -> Check {
    let mut check = Check::new(node.at, Scheme::Tcp);
    let mut settings = settings.clone();
    tell(Context::RealServer, &without_children(node), ledger);
    if context == Context::Http {
        http::read(node, &mut check, &mut settings, port, ledger);
    } else {
        node.children.iter().for_each(|child| statement(child, context, &mut check, &mut settings, ledger));
    }
    if context == Context::Smtp {
        check.steps.push(Step::Expect("^220".to_owned()));
    }
    let (retries, before_retry) = match node.name.as_str() {
        "HTTP_GET" | "SSL_GET" => (1, Duration::from_secs(3)),
        "MISC_CHECK" => (0, Duration::from_secs(1)),
        "DNS_CHECK" => (3, settings.interval.unwrap_or(INTERVAL)),
        _ => (1, Duration::from_secs(1)),
    };
    let interval = settings.interval.filter(|time| !time.is_zero()).unwrap_or(INTERVAL);
    let retries = settings.retries.unwrap_or(retries);
    check.interval = Some(interval);
    check.fast_interval = (retries > 0).then(|| settings.before_retry.unwrap_or(before_retry).min(interval));
    // The next check begins when the one before has ended, so that a time-out that nobody wrote is not too long.
    check.timeout = Some(settings.timeout.unwrap_or(TIMEOUT.min(interval)));
    check.rise = Some(1);
    check.fall = Some(retries.saturating_add(1));
    check
}

/// A statement that all checks may have.
pub(super) fn statement(
    node: &Node,
    context: Context,
    check: &mut Check,
    settings: &mut Settings,
    ledger: &mut Ledger,
) {
    settings.take(node, ledger);
    match node.name.as_str() {
        "connect_port" => {
            check.port = port(node.arg(0), node.at, ledger);
            tell(context, node, ledger);
        }
        "misc_path" => command(node, check, ledger),
        // SMTP_CHECK has its addresses in blocks of their own.
        "host" if context == Context::Smtp => {
            ledger.taken(node.at, "");
            for child in node.children.iter().filter(|child| child.name != "host") {
                statement(child, context, check, settings, ledger);
            }
            node.all("host").for_each(|inner| tell(context, inner, ledger));
        }
        _ => tell(context, node, ledger),
    }
}

/// A command that is run to find out how a server is.
fn command(node: &Node, check: &Check, ledger: &mut Ledger) {
    let text = node.args.join(" ");
    let program = text.rsplit('/').next().unwrap_or_default();
    if matches!(program.trim(), "true" | "exit 0" | ":") || text.trim() == "exit 0" {
        for at in [node.at, check.at] {
            ledger.fault_that_decides(at, "this check cannot fail: a server that is dead gets connections all the same. The probe opens a connection");
        }
        return;
    }
    let url =
        text.split([' ', '\'', '"']).find(|word| word.starts_with("http://") || word.starts_with("https://"));
    match url {
        Some(url) => ledger.left_out_that_decides(
            node.at,
            format!("dtr-lb runs no commands; write what this one asks ({url}) as scheme, port, path and status of [service.probe]"),
        ),
        None => tell(Context::Misc, node, ledger),
    }
}

fn without_children(node: &Node) -> Node {
    Node { name: node.name.clone(), args: node.args.clone(), at: node.at, children: Vec::new() }
}
