//! How servers are asked: `health_check` and `match` of NGINX Plus, and `check` of the module that Tengine brings.

use std::{ops::RangeInclusive, time::Duration};

use super::{tree::Node, values::time};
use crate::{
    job::{Check, Scheme, Step},
    report::Ledger,
};

const STEP_INTERVAL: Duration = Duration::from_secs(5);

/// `health_check`, with the `match` that it names among `nodes`.
pub(super) fn of_plus(node: &Node, scheme: Scheme, nodes: &[Node], ledger: &mut Ledger) -> Option<Check> {
    let is_http = matches!(scheme, Scheme::Http | Scheme::Https);
    if node.words.iter().any(|word| word == "udp") {
        ledger.left_out_that_decides(node.at, "it asks over UDP: dtr-lb balances TCP");
        return None;
    }
    let mut check = Check {
        interval: Some(STEP_INTERVAL),
        rise: Some(1),
        fall: Some(1),
        timeout: (!is_http).then_some(STEP_INTERVAL),
        path: is_http.then(|| "/".to_owned()),
        status: if is_http { vec![200..=399] } else { Vec::new() },
        ..Check::new(node.at, scheme)
    };
    ledger.taken(node.at, "");
    for word in &node.words {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        match name {
            "interval" => check.interval = time(value).or(check.interval),
            "fails" => check.fall = value.parse().ok().or(check.fall),
            "passes" => check.rise = value.parse().ok().or(check.rise),
            "port" => check.port = value.parse().ok(),
            "uri" => check.path = Some(value.to_owned()),
            "match" => match nodes.iter().find(|node| node.name == "match" && node.word(0) == value) {
                Some(block) if is_http => http_match(block, &mut check, ledger),
                Some(block) => stream_match(block, &mut check, ledger),
                None => ledger.fault_that_decides(
                    node.at,
                    format!(
                        "there is no match {value} in this file: write what it asks into [service.probe]"
                    ),
                ),
            },
            "jitter" => ledger.differs(node.at, "probes are spread over the interval by themselves"),
            "mandatory" | "persistent" => {
                ledger.differs(node.at, "a replica is asked before it gets its first connection in any case");
            }
            "keepalive_time" => ledger.differs(node.at, "each probe has a connection of its own"),
            _ => ledger.left_out_that_decides(
                node.at,
                format!("{word}: dtr-lb does not know this parameter; nothing was made of it"),
            ),
        }
    }
    Some(check)
}

fn stream_match(block: &Node, check: &mut Check, ledger: &mut Ledger) {
    ledger.taken(block.at, "");
    for node in block.children() {
        match node.name.as_str() {
            "send" => {
                ledger.taken(node.at, "a step of the probe");
                check.steps.push(Step::Send(bytes(node.word(0))));
            }
            "expect" => {
                ledger.taken(node.at, "a step of the probe");
                check.steps.push(Step::Expect(pattern(&node.words)));
            }
            _ => super::generic(node, ledger),
        }
    }
    // It is sent first, in whichever order the two stand.
    check.steps.sort_by_key(|step| !matches!(step, Step::Send(_)));
}

/// `~ regex`, `~* regex`, or a text.
fn pattern(words: &[String]) -> String {
    let joined = words.join(" ");
    match words {
        [operator, pattern] if operator == "~" => pattern.clone(),
        [operator, pattern] if operator == "~*" => format!("(?i){pattern}"),
        _ => regex::escape(&String::from_utf8_lossy(&bytes(&joined))),
    }
}

/// With `\x0a` as the byte that it is.
fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(index) = rest.find("\\x") {
        bytes.extend_from_slice(&rest.as_bytes()[..index]);
        let hex = rest.get(index + 2..index + 4).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match hex {
            Some(byte) => {
                bytes.push(byte);
                rest = &rest[index + 4..];
            }
            None => {
                bytes.extend_from_slice(b"\\x");
                rest = &rest[index + 2..];
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

fn http_match(block: &Node, check: &mut Check, ledger: &mut Ledger) {
    ledger.taken(block.at, "");
    // What is not said of the status is not asked of it.
    check.status = vec![100..=599];
    for node in block.children() {
        let at = node.at;
        match (node.name.as_str(), &node.words[..]) {
            ("status", words) => match status(words) {
                Some(ranges) => {
                    ledger.taken(at, "");
                    check.status = ranges;
                }
                None => {
                    ledger.fault_that_decides(at, "this is no status: write which ones are good as `status`");
                }
            },
            ("body", [operator, pattern]) if ["~", "~*"].contains(&operator.as_str()) => {
                ledger.taken(at, "");
                check.body = Some(if operator == "~" { pattern.clone() } else { format!("(?i){pattern}") });
            }
            ("body", [operator, pattern]) if ["!~", "!~*"].contains(&operator.as_str()) => {
                ledger.taken(at, "");
                check.reject_body =
                    Some(if operator == "!~" { pattern.clone() } else { format!("(?i){pattern}") });
            }
            ("header", words) => header(node, words, check, ledger),
            ("require", _) => ledger.left_out_that_decides(
                at,
                "dtr-lb has no variables: write what is required as expect_headers, status or body",
            ),
            ("body", _) => {
                ledger.fault_that_decides(at, "this is no condition of a body: write it as `body`");
            }
            _ => super::generic(node, ledger),
        }
    }
}

fn header(node: &Node, words: &[String], check: &mut Check, ledger: &mut Ledger) {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let whole = |text: &str| format!("^{}$", regex::escape(text));
    let (list, name, pattern) = match words[..] {
        ["!", name] => (&mut check.reject_headers, name, ".*".to_owned()),
        [name] => (&mut check.expect_headers, name, ".*".to_owned()),
        [name, "=", value] => (&mut check.expect_headers, name, whole(value)),
        [name, "!=", value] => (&mut check.reject_headers, name, whole(value)),
        [name, "~", value] => (&mut check.expect_headers, name, value.to_owned()),
        [name, "~*", value] => (&mut check.expect_headers, name, format!("(?i){value}")),
        [name, "!~", value] => (&mut check.reject_headers, name, value.to_owned()),
        [name, "!~*", value] => (&mut check.reject_headers, name, format!("(?i){value}")),
        _ => {
            ledger
                .fault_that_decides(node.at, "this is no condition of a header: write it as expect_headers");
            return;
        }
    };
    ledger.taken(node.at, "");
    list.push((name.to_owned(), pattern));
}

/// `200`, `200-399 404`, `! 500 502-504`.
fn status(words: &[String]) -> Option<Vec<RangeInclusive<u16>>> {
    let (words, negated) = match words.split_first() {
        Some((first, rest)) if first == "!" => (rest, true),
        _ => (words, false),
    };
    let range = |word: &String| {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        Some(first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?)
    };
    let ranges = words.iter().map(range).collect::<Option<Vec<_>>>().filter(|ranges| !ranges.is_empty())?;
    if !negated {
        return Some(ranges);
    }
    let good = |code: &u16| !ranges.iter().any(|range| range.contains(code));
    Some((100..=599).filter(good).map(|code| code..=code).collect())
}

/// `check` of the module for checks, from an `upstream`.
pub(super) fn of_module(upstream: &Node, ledger: &mut Ledger) -> Option<Check> {
    let Some(node) = upstream.get("check") else {
        for node in upstream.children().iter().filter(|node| node.name.starts_with("check_http")) {
            ledger.left_out(node.at, "there is no `check` that it would belong to");
        }
        return None;
    };
    ledger.taken(node.at, "");
    let milliseconds = |value: &str| value.parse().ok().map(Duration::from_millis);
    let mut check = Check {
        interval: Some(Duration::from_secs(30)),
        timeout: Some(Duration::from_secs(1)),
        rise: Some(2),
        fall: Some(5),
        ..Check::new(node.at, Scheme::Tcp)
    };
    for word in &node.words {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        match (name, value) {
            ("interval", _) => check.interval = milliseconds(value).or(check.interval),
            ("timeout", _) => check.timeout = milliseconds(value).or(check.timeout),
            ("rise", _) => check.rise = value.parse().ok().or(check.rise),
            ("fall", _) => check.fall = value.parse().ok().or(check.fall),
            ("port", _) => check.port = value.parse().ok().filter(|port| *port != 0),
            ("type", "tcp") => {}
            ("type", "http") => {
                check.scheme = Scheme::Http;
                check.path = Some("/".to_owned());
                check.status = vec![200..=399];
            }
            ("type", "ssl_hello") => check.scheme = Scheme::Tls,
            ("type", _) => ledger.left_out_that_decides(node.at, format!("dtr-lb does not speak {value}: a connection is asked for; write more into [service.probe]")),
            ("default_down", _) => ledger.differs(node.at, "a replica is asked before it gets its first connection"),
            _ => ledger.left_out_that_decides(node.at, format!("{word}: dtr-lb does not know this parameter; nothing was made of it")),
        }
    }
    for node in upstream.children() {
        match node.name.as_str() {
            "check_http_send" => request(node, &mut check, ledger),
            "check_http_expect_alive" => {
                let class = |word: &String| {
                    let digit: u16 = word.strip_prefix("http_")?.strip_suffix("xx")?.parse().ok()?;
                    (1..=5).contains(&digit).then_some(digit * 100..=digit * 100 + 99)
                };
                let classes: Option<Vec<_>> = node.words.iter().map(class).collect();
                match classes.filter(|classes| !classes.is_empty()) {
                    Some(classes) => {
                        ledger.taken(node.at, "");
                        check.status = classes;
                    }
                    None => ledger.fault_that_decides(
                        node.at,
                        "these are no classes of statuses: write which ones are good as `status`",
                    ),
                }
            }
            _ => {}
        }
    }
    Some(check)
}

/// A request as text.
fn request(node: &Node, check: &mut Check, ledger: &mut Ledger) {
    let text = node.word(0);
    let mut lines = text.lines();
    let mut first = lines.next().unwrap_or("").split_whitespace();
    let (Some(method), Some(path)) = (first.next(), first.next()) else {
        ledger.fault_that_decides(node.at, "this is no request: write method and path into [service.probe]");
        return;
    };
    ledger.taken(node.at, "");
    check.method = Some(method.to_owned());
    check.path = Some(path.to_owned());
    for line in lines.take_while(|line| !line.is_empty()) {
        if let Some((name, value)) = line.split_once(':') {
            match name.trim().to_ascii_lowercase().as_str() {
                "host" => check.host = Some(value.trim().to_owned()),
                "connection" | "content-length" => {}
                _ => check.headers.push((name.trim().to_owned(), value.trim().to_owned())),
            }
        }
    }
}
