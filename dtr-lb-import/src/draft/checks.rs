//! How a service's replicas are asked: one way for all of them.

use std::{ops::RangeInclusive, path::Path, time::Duration};

use super::replicas::Chosen;
use crate::{
    job::{Check, Host, Scheme, Service, Step, Verify},
    report::Ledger,
};

const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(60 * 60);
const LONGEST_BODY: usize = 64 * 1024;
const MOST_STEPS: usize = 100;

/// The check of a service, and whether it is dtr-lb's own idea.
pub(super) fn of(
    service: &Service,
    chosen: &Chosen<'_>,
    port: u16,
    replica_port: u16,
    exists: &dyn Fn(&Path) -> bool,
    ledger: &mut Ledger,
) -> (Option<Check>, bool) {
    let first = chosen.servers.iter().find_map(|server| server.check.as_ref());
    let Some(first) = first else {
        return (Some(local_failures(service, chosen, port, replica_port, ledger)), true);
    };
    for server in &chosen.servers {
        match &server.check {
            None => ledger.differs(
                server.at,
                "it is not checked in the original; here it is asked as the others of its service",
            ),
            Some(check) if !is_same(check, first) => ledger.differs(
                server.at,
                format!("all replicas of a service are asked in one way: as {}", ledger.place(first.at)),
            ),
            Some(_) => {}
        }
    }
    (Some(fitted(first.clone(), exists, ledger)), false)
}

/// Apart from where it is written.
fn is_same(one: &Check, other: &Check) -> bool {
    Check { at: other.at, ..one.clone() } == *other
}

/// What is asked where the original asks nothing: DTR's own page where the names say that it is one, else a connection.
fn local_failures(
    service: &Service,
    chosen: &Chosen<'_>,
    port: u16,
    replica_port: u16,
    ledger: &mut Ledger,
) -> Check {
    let mut check = Check::new(service.at, Scheme::Tcp);
    let names =
        chosen.servers.iter().filter_map(|server| server.name.as_deref()).chain([service.name.as_str()]);
    let is_dtr = names.into_iter().any(|name| {
        name.to_ascii_lowercase().split(|c: char| !c.is_ascii_alphabetic()).any(|word| word == "dtr")
    });
    let scheme = match replica_port {
        443 | 4443 | 8443 => Some(Scheme::Https),
        80 | 8080 => Some(Scheme::Http),
        _ => None,
    };
    let asked = match scheme.filter(|_| is_dtr) {
        Some(scheme) => {
            check = Check { scheme, path: Some("/health".to_owned()), ..check };
            "dtr-lb asks /health, as DTR's documentation wants it (by its name this is DTR)"
        }
        None => {
            "dtr-lb asks for a connection to each of them; write what else there is to ask into [service.probe]"
        }
    };
    ledger.fault(
        service.at,
        format!("nobody asks the servers of port {port} whether they are well: one that fails is noticed by clients first. {asked}"),
    );
    check
}

/// Within the ranges that dtr-lb takes.
fn fitted(mut check: Check, exists: &dyn Fn(&Path) -> bool, ledger: &mut Ledger) -> Check {
    let at = check.at;
    for (what, time) in [
        ("interval", &mut check.interval),
        ("fast_interval", &mut check.fast_interval),
        ("down_interval", &mut check.down_interval),
        ("timeout", &mut check.timeout),
    ] {
        if let Some(time) = time {
            let fits = (*time).clamp(SHORTEST, LONGEST);
            if fits != *time {
                let fits_text = humantime::format_duration(fits);
                ledger.differs(at, format!("{what} is {fits_text}, as it goes from 10ms to 1h"));
            }
            *time = fits;
        }
    }
    if let Some(interval) = check.interval {
        // Never above it.
        check.fast_interval = check.fast_interval.map(|fast| fast.min(interval));
    } else if let Some(fast) = check.fast_interval {
        check.fast_interval = Some(fast.min(Duration::from_secs(2)));
    }
    for (what, count) in [("rise", &mut check.rise), ("fall", &mut check.fall)] {
        if let Some(count) = count {
            let fits = (*count).clamp(1, 1000);
            if fits != *count {
                ledger.differs(at, format!("{what} is {fits}, as it goes from 1 to 1000"));
            }
            *count = fits;
        }
    }
    if let Verify::Ca(file) = &check.verify
        && !(Path::new(file).is_absolute() && exists(Path::new(file)))
    {
        ledger.fault_that_decides(
            at,
            format!("the CA file {file} is not on this host: until it is, and is written as `verify`, only certificates of the host's own CAs are trusted"),
        );
        check.verify = Verify::System;
    }
    words(&mut check, ledger);
    check.status = merged(&check.status);
    if check.status.is_empty() && matches!(check.scheme, Scheme::Http | Scheme::Https) {
        check.status = vec![200..=399];
    }
    check
}

/// Leaves out what dtr-lb's config refuses, and says so.
fn words(check: &mut Check, ledger: &mut Ledger) {
    let at = check.at;
    let visible = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if check.path.as_ref().is_some_and(|path| !path.starts_with('/') || !visible(path)) {
        let path = check.path.take().unwrap_or_default();
        ledger.left_out_that_decides(at, format!("the path {path:?} is not one that can be asked for: / is"));
        check.path = Some("/".to_owned());
    }
    if let Some(host) = check.host.take() {
        match Host::read(&host) {
            Host::Address(address) => check.host = Some(address.to_string()),
            Host::Name(name) => check.host = Some(name),
            Host::Placeholder(text) => ledger.fault(at, format!("the host {text} is no name; write the real one as `host`: till then a replica is asked by its address")),
        }
    }
    let is_method = |method: &String| {
        is_token(method) && method != "CONNECT" && !method.bytes().any(|byte| byte.is_ascii_lowercase())
    };
    if check.method.as_ref().is_some_and(|method| !is_method(method)) {
        let method = check.method.take().unwrap_or_default();
        ledger.left_out_that_decides(
            at,
            format!("{method:?} is no HTTP method that asks for an answer: GET is asked"),
        );
    }
    if check.method.as_deref() == Some("HEAD") && (check.body.is_some() || check.reject_body.is_some()) {
        ledger.fault_that_decides(at, "the answer to a HEAD has no body to be looked at: the body is not");
        (check.body, check.reject_body) = (None, None);
    }
    if check.request_body.as_ref().is_some_and(|body| body.len() > LONGEST_BODY) {
        ledger.left_out_that_decides(at, "a body of more than 64 KiB is not sent with a probe");
        check.request_body = None;
    }
    let ours = ["host", "connection", "content-length", "transfer-encoding"];
    check.headers.retain(|(name, value)| {
        let fits = is_token(name)
            && !ours.contains(&name.to_ascii_lowercase().as_str())
            && value.chars().all(|c| c == '\t' || (' '..='~').contains(&c));
        if !fits {
            ledger
                .differs(at, format!("the header {name:?} is not sent: dtr-lb sends its own, or it is none"));
        }
        fits
    });
    let is_pattern = |what: &str, pattern: &str, ledger: &mut Ledger| {
        let fits = regex::bytes::Regex::new(pattern).is_ok();
        if !fits {
            ledger.left_out_that_decides(at, format!("{what} is not held against {pattern:?}, which dtr-lb does not read as a regular expression"));
        }
        fits
    };
    for (what, pattern) in [("the body", &mut check.body), ("the body", &mut check.reject_body)] {
        *pattern = pattern.take().filter(|pattern| is_pattern(what, pattern, ledger));
    }
    for list in [&mut check.expect_headers, &mut check.reject_headers] {
        list.retain(|(name, pattern)| is_token(name) && is_pattern("a header", pattern, ledger));
    }
    steps(check, is_pattern, ledger);
    let is_http = matches!(check.scheme, Scheme::Http | Scheme::Https);
    check.alpn.retain(|name| {
        let fits = if is_http {
            ["http/1.1", "http/1.0"].contains(&name.as_str())
        } else {
            visible(name) && name.len() < 256
        };
        if !fits {
            ledger.differs(at, format!("ALPN {name:?} is not offered: dtr-lb asks by HTTP/1.1"));
        }
        fits
    });
    let mut seen = Vec::new();
    check.alpn.retain(|name| {
        let new = !seen.contains(name);
        seen.push(name.clone());
        new
    });
    if !matches!(check.scheme, Scheme::Https | Scheme::Tls) {
        check.alpn.clear();
        check.verify = Verify::No;
    }
}

/// Leaves out steps that dtr-lb's config refuses.
fn steps(check: &mut Check, is_pattern: impl Fn(&str, &str, &mut Ledger) -> bool, ledger: &mut Ledger) {
    let at = check.at;
    let mut collected = false;
    check.steps.retain(|step| match step {
        Step::Send(bytes) => !bytes.is_empty(),
        Step::Expect(pattern) => {
            let fits = is_pattern("an answer", pattern, ledger);
            collected |= fits;
            fits
        }
        Step::Reject(pattern) if !collected => {
            ledger.left_out_that_decides(
                at,
                format!("{pattern:?} is looked for before there is an answer: it is not"),
            );
            false
        }
        Step::Reject(pattern) => is_pattern("an answer", pattern, ledger),
    });
    if check.steps.len() > MOST_STEPS {
        ledger.left_out_that_decides(
            at,
            format!("a check has {MOST_STEPS} steps at most: those behind them are not taken"),
        );
        check.steps.truncate(MOST_STEPS);
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(token)
}

/// Ranges in order that do not touch, within 100 to 599.
fn merged(ranges: &[RangeInclusive<u16>]) -> Vec<RangeInclusive<u16>> {
    let mut all: Vec<bool> = vec![false; 600];
    for range in ranges {
        for code in range.clone().filter(|code| (100..600).contains(code)) {
            all[usize::from(code)] = true;
        }
    }
    let mut merged = Vec::new();
    let mut start = None;
    for code in 100..=600u16 {
        let is_in = all.get(usize::from(code)).copied().unwrap_or(false);
        match (is_in, start) {
            (true, None) => start = Some(code),
            (false, Some(first)) => {
                merged.push(first..=code - 1);
                start = None;
            }
            _ => {}
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_merged() {
        assert_eq!(
            merged(&[200..=299, 250..=350, 404..=404, 0..=99, 599..=700]),
            [200..=350, 404..=404, 599..=599]
        );
        assert_eq!(merged(&[]), []);
    }
}
