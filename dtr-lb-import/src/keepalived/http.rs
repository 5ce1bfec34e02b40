//! `HTTP_GET` and `SSL_GET`.

use std::ops::RangeInclusive;

use super::{
    check::statement,
    directives::{Context, tell, tell_values},
    settings::{Settings, is_on},
    tree::Node,
};
use crate::{
    job::{Check, Scheme},
    outcome::Outcome,
    report::Ledger,
};

/// Ports at which TLS is spoken, as a rule, and at which it is not.
const TLS_PORTS: [u16; 4] = [443, 4443, 6443, 8443];
const PLAIN_PORTS: [u16; 3] = [80, 8000, 8080];

/// Reads one into a check of a server at `port`.
pub(super) fn read(
    node: &Node,
    check: &mut Check,
    settings: &mut Settings,
    port: Option<u16>,
    ledger: &mut Ledger,
) {
    check.scheme = if node.name == "SSL_GET" { Scheme::Https } else { Scheme::Http };
    let mut server_name = None;
    let urls: Vec<&Node> = node.all("url").collect();
    for child in node.children.iter().filter(|child| child.name != "url") {
        match child.name.as_str() {
            "sni_name" => {
                server_name = child.arg(0).map(|name| (name.to_owned(), child.at));
            }
            "http_protocol" if child.arg(0) == Some("1.1") => ledger.taken(child.at, ""),
            "alpha" if !is_on(child) => ledger.taken(child.at, ""),
            _ => statement(child, Context::Http, check, settings, ledger),
        }
    }
    check.status = vec![200..=299];
    match urls.split_first() {
        Some((first, others)) => {
            url(first, check, settings, ledger);
            let place = ledger.place(first.at);
            for other in others {
                ledger.differs(other.at, format!("a service has one probe: it asks the first url ({place})"));
                tell_values(other, Outcome::LeftOut, "of a url that is not asked", ledger);
            }
        }
        None => ledger.fault(node.at, "there is no url in it: / is asked"),
    }
    check.host.clone_from(&settings.virtualhost);
    if let Some((name, at)) = server_name {
        if check.host.as_ref().is_some_and(|host| *host != name) {
            ledger.differs(at, "dtr-lb has one host for the header and for TLS: that of virtualhost");
        } else {
            ledger.taken(at, "host of the probe");
            check.host = Some(name);
        }
    }
    ports(check, check.port.or(port), ledger);
}

/// Plain HTTP where TLS is spoken, and the other way round.
fn ports(check: &Check, port: Option<u16>, ledger: &mut Ledger) {
    let Some(port) = port else { return };
    let why = match check.scheme {
        Scheme::Http if TLS_PORTS.contains(&port) => {
            format!(
                "plain HTTP is asked at port {port}, where TLS is spoken as a rule: SSL_GET asks that. It is taken as it stands; write scheme = \"https\" to put it right"
            )
        }
        Scheme::Https if PLAIN_PORTS.contains(&port) => {
            format!(
                "TLS is spoken to port {port}, where plain HTTP is as a rule. It is taken as it stands; write scheme = \"http\" to put it right"
            )
        }
        _ => return,
    };
    ledger.fault(check.at, why);
}

fn url(node: &Node, check: &mut Check, settings: &mut Settings, ledger: &mut Ledger) {
    ledger.taken(node.at, "");
    let no_match = node.all("regex_no_match").next().is_some();
    let flags: String = node.all("regex_options").flat_map(|options| flags(options, ledger)).collect();
    for child in &node.children {
        match child.name.as_str() {
            "path" => {
                check.path = child.arg(0).map(str::to_owned);
                tell(Context::Url, child, ledger);
            }
            "status_code" => {
                let ranges: Option<Vec<_>> = child.args.iter().map(|word| range(word)).collect();
                match ranges.filter(|ranges| !ranges.is_empty()) {
                    Some(ranges) => {
                        check.status = ranges;
                        tell(Context::Url, child, ledger);
                    }
                    None => ledger.fault(child.at, "these are no status codes: 200-299 stand"),
                }
            }
            "regex" => {
                let pattern = child.args.join(" ");
                let pattern = if flags.is_empty() { pattern } else { format!("(?{flags}){pattern}") };
                if no_match {
                    check.reject_body = Some(pattern);
                    ledger.taken(child.at, "reject_body of the probe");
                } else {
                    check.body = Some(pattern);
                    tell(Context::Url, child, ledger);
                }
            }
            _ => {
                settings.take(child, ledger);
                tell(Context::Url, child, ledger);
            }
        }
    }
    check.path.get_or_insert_with(|| "/".to_owned());
}

/// PCRE's options as flags within a pattern.
fn flags(node: &Node, ledger: &mut Ledger) -> Vec<char> {
    let mut flags = Vec::new();
    for option in &node.args {
        match option.as_str() {
            "caseless" => flags.push('i'),
            "dotall" => flags.push('s'),
            "multiline" => flags.push('m'),
            "extended" => flags.push('x'),
            "ungreedy" => flags.push('U'),
            // They change nothing of what matches, or are so in dtr-lb.
            "auto_callout" | "no_auto_capture" | "no_auto_possess" | "no_start_optimize"
            | "no_dotstar_anchor" | "utf" => {}
            other => ledger.differs(node.at, format!("dtr-lb's regular expressions have no option {other}")),
        }
    }
    flags.sort_unstable();
    flags.dedup();
    flags
}

/// `200`, or `200-299`.
fn range(word: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some(first..=last)
}
