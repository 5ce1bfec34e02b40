//! `option httpchk` and `http-check`.

use super::{Plan, connect, expect, is_expression};
use crate::{
    haproxy::sections::Line,
    job::{Check, HeaderMatch, Scheme},
    report::Ledger,
};

/// The codes that may come at all.
const CODES: std::ops::RangeInclusive<u16> = 100..=599;

/// Reads `option httpchk ...`, and what `http-check` says beside it.
pub(super) fn read(option: &Line, rules: &[&Line], plan: &mut Plan, ledger: &mut Ledger) {
    let check = &mut plan.check;
    check.scheme = Scheme::Http;
    // HAProxy's default.
    check.method = Some("OPTIONS".to_owned());
    check.path = Some("/".to_owned());
    request_line(option, check, ledger);
    let mut statuses = Statuses::default();
    // One request is asked for; what belongs to others is not.
    let (mut sent, mut expected, mut over) = (false, false, false);
    for rule in rules {
        let is_second = match rule.word(1) {
            "connect" => plan.connect.is_some() || sent || expected,
            // The first one adds to what `option httpchk` says, wherever it stands.
            "send" => sent,
            _ => false,
        };
        over |= is_second;
        if over {
            ledger.left_out_that_decides(rule.at, "a probe asks for one thing: this is not asked for");
            continue;
        }
        match rule.word(1) {
            "connect" => plan.connect = Some(connect(rule, ledger)),
            "send" => {
                sent = true;
                send(rule, &mut plan.check, ledger);
            }
            "expect" => {
                expected = true;
                expectation(rule, &mut plan.check, &mut statuses, ledger);
            }
            "disable-on-404" => statuses.without_404 = true,
            _ => {}
        }
    }
    let any = expected.then_some(CODES);
    statuses.write(any.unwrap_or(200..=399), &mut plan.check);
    let check = &mut plan.check;
    if check.status.is_empty() {
        ledger.fault_that_decides(
            option.at,
            "no status code is let through by what it expects: 200 to 399 are taken for good",
        );
    }
    if let Some(method) = &mut check.method {
        if method == "CONNECT" {
            ledger.left_out_that_decides(option.at, "checks do not ask by CONNECT: GET is asked");
            *method = "GET".to_owned();
        } else if method.bytes().any(|byte| byte.is_ascii_lowercase()) {
            ledger.fault(
                option.at,
                format!("methods of HTTP are in upper case: {} is asked", method.to_ascii_uppercase()),
            );
            *method = method.to_ascii_uppercase();
        }
    }
    if check.path.as_deref() == Some("*") {
        ledger.differs(option.at, "`*` is no path that dtr-lb asks for: / is");
        check.path = Some("/".to_owned());
    }
    check.request_body.take_if(|body| body.is_empty());
    ledger.taken(option.at, "asked by HTTP/1.1, with a Host header");
}

/// `option httpchk [METHOD] [URI [VERSION]]`, with headers behind the version in its old form.
fn request_line(line: &Line, check: &mut Check, ledger: &mut Ledger) {
    let words = line.from(2);
    let (method, uri, version) = match words {
        [] => return,
        [uri] if uri.starts_with(['/', '*', '<']) => (None, Some(uri), &words[1..]),
        [method] => {
            ledger.fault(line.at, format!("HAProxy takes one word alone for the path, and asks for {method:?}: {method} / is asked here"));
            (Some(method), None, &words[1..])
        }
        [method, uri, version @ ..] => (Some(method), Some(uri), version),
    };
    if let Some(method) = method {
        check.method = Some(method.clone());
    }
    if let Some(uri) = uri {
        path(uri, line, check, ledger);
    }
    if version.len() > 1 {
        ledger.fault(
            line.at,
            "a space in it is not escaped by a backslash: HAProxy refuses this; it is taken as it is meant",
        );
    }
    headers(&version.join(" "), line, check, ledger);
}

/// A path, or a whole URL.
fn path(uri: &str, line: &Line, check: &mut Check, ledger: &mut Ledger) {
    if is_expression(uri) {
        ledger.left_out_that_decides(line.at, "dtr-lb works out no expressions: / is asked for");
        return;
    }
    let Some((_, rest)) = uri.split_once("://") else {
        check.path = Some(uri.to_owned());
        return;
    };
    let (authority, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
    check.path = Some(path.to_owned());
    set_host(authority, check);
}

fn set_host(authority: &str, check: &mut Check) {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    check.host =
        Some(host.trim_start_matches('[').trim_end_matches(']').to_owned()).filter(|host| !host.is_empty());
}

/// What hides behind the version: `HTTP/1.1\r\nHost: a\r\n...`.
fn headers(text: &str, line: &Line, check: &mut Check, ledger: &mut Ledger) {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    for header in head.split(['\r', '\n']).skip(1).filter(|header| !header.trim().is_empty()) {
        match header.split_once(':') {
            Some((name, value)) => add_header(name.trim(), value.trim(), line, check, ledger),
            None => ledger.fault(line.at, format!("{header:?} is no header, and is not sent")),
        }
    }
    let version = head.split(['\r', '\n']).next().unwrap_or_default().trim();
    if !version.is_empty() && !version.starts_with("HTTP/1.") {
        ledger.differs(line.at, "checks speak HTTP/1.1");
    }
    if !body.is_empty() {
        check.request_body = Some(body.to_owned());
    }
}

fn add_header(name: &str, value: &str, line: &Line, check: &mut Check, ledger: &mut Ledger) {
    if is_expression(value) {
        ledger.left_out_that_decides(
            line.at,
            format!("dtr-lb works out no expressions: the header {name} is not sent"),
        );
    } else if name.eq_ignore_ascii_case("host") {
        set_host(value, check);
    } else if ["connection", "content-length", "transfer-encoding"]
        .contains(&name.to_ascii_lowercase().as_str())
    {
        // The probe's own.
    } else {
        check.headers.push((name.to_owned(), value.to_owned()));
    }
}

/// `http-check send ...`.
fn send(line: &Line, check: &mut Check, ledger: &mut Ledger) {
    let mut words = line.from(2).iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "hdr" => {
                if let (Some(name), Some(value)) = (words.next(), words.next()) {
                    add_header(name, value, line, check, ledger);
                }
                continue;
            }
            "meth" | "uri" | "uri-lf" | "ver" | "body" | "body-lf" | "comment" => {}
            word => {
                ledger.left_out_that_decides(line.at, format!("dtr-lb does not know `{word}` here"));
                continue;
            }
        }
        let Some(value) = words.next() else {
            ledger.fault(line.at, format!("no value stands behind `{word}`: HAProxy refuses this"));
            return;
        };
        match word.as_str() {
            "meth" => check.method = Some(value.clone()),
            "uri" | "uri-lf" => path(value, line, check, ledger),
            "body" => check.request_body = Some(value.clone()),
            "body-lf" if is_expression(value) => {
                ledger.left_out_that_decides(line.at, "dtr-lb works out no expressions: no body is sent");
            }
            "body-lf" => check.request_body = Some(value.clone()),
            "ver" if !value.starts_with("HTTP/1.") => ledger.differs(line.at, "checks speak HTTP/1.1"),
            _ => {}
        }
    }
}

/// The codes that are let through by all that is expected.
#[derive(Default)]
struct Statuses {
    list: Vec<Box<dyn Fn(u16) -> bool>>,
    without_404: bool,
}

impl Statuses {
    fn write(self, default: std::ops::RangeInclusive<u16>, check: &mut Check) {
        let fits = |code: u16| {
            let is_default = !self.list.is_empty() || default.contains(&code);
            is_default && self.list.iter().all(|fits| fits(code)) && !(self.without_404 && code == 404)
        };
        let mut start = None;
        for code in *CODES.start()..=*CODES.end() + 1 {
            match (start, CODES.contains(&code) && fits(code)) {
                (None, true) => start = Some(code),
                (Some(first), false) => {
                    check.status.push(first..=code - 1);
                    start = None;
                }
                _ => {}
            }
        }
    }
}

fn expectation(line: &Line, check: &mut Check, statuses: &mut Statuses, ledger: &mut Ledger) {
    let Some(expect::Expect { negated, kind, pattern }) = expect::read(line, ledger) else { return };
    let first = pattern[0].as_str();
    match kind {
        "status" => match ranges(first) {
            Some(ranges) => {
                statuses
                    .list
                    .push(Box::new(move |code| ranges.iter().any(|range| range.contains(&code)) != negated));
            }
            None => ledger
                .fault_that_decides(line.at, format!("{first:?} are no status codes: HAProxy refuses this")),
        },
        "rstatus" => match regex::Regex::new(&expect::pattern(first)) {
            Ok(regex) => {
                statuses.list.push(Box::new(move |code| regex.is_match(&code.to_string()) != negated))
            }
            Err(_) => ledger.left_out_that_decides(
                line.at,
                "dtr-lb does not read this regular expression: write the codes as `status`",
            ),
        },
        "string" | "rstring" | "string-lf" => {
            if kind == "string-lf" && is_expression(first) {
                ledger.left_out_that_decides(
                    line.at,
                    "dtr-lb works out no expressions: the body is not looked at",
                );
                return;
            }
            let text = if kind == "rstring" { expect::pattern(first) } else { expect::literal(first) };
            match (negated, &mut check.body, &mut check.reject_body) {
                (false, body @ None, _) => *body = Some(text),
                (false, Some(_), _) => ledger.left_out_that_decides(
                    line.at,
                    "a probe looks for one thing in the body: not for this one",
                ),
                (true, _, reject @ None) => *reject = Some(text),
                (true, _, Some(reject)) => *reject = format!("(?:{reject})|(?:{text})"),
            }
        }
        "hdr" | "fhdr" => match header(pattern, kind == "hdr") {
            Some(header) if negated => check.reject_headers.push(header),
            Some(header) => check.expect_headers.push(header),
            None => ledger.left_out_that_decides(
                line.at,
                "dtr-lb looks for headers by their whole name, and no expressions: for this one it does not",
            ),
        },
        kind => ledger.left_out_that_decides(line.at, format!("dtr-lb does not know `{kind}` here")),
    }
}

/// `200,300-310`.
fn ranges(text: &str) -> Option<Vec<std::ops::RangeInclusive<u16>>> {
    text.split(',')
        .map(|one| {
            let (first, last) = one.trim().split_once('-').unwrap_or((one.trim(), one.trim()));
            Some(first.parse().ok()?..=last.parse().ok()?)
        })
        .collect()
}

/// `name [-m METHOD] NAME [value [-m METHOD] VALUE]`. `hdr` holds each of a list's values against it.
fn header(words: &[String], is_list: bool) -> Option<HeaderMatch> {
    let (name, rest) = match words {
        [word, rest @ ..] if word == "name" => rest.split_first()?,
        _ => return None,
    };
    let (name, rest) = match (name.as_str(), rest) {
        ("-m", [method, name, rest @ ..]) if method == "str" => (name, rest),
        ("-m", _) => return None,
        _ => (name, rest),
    };
    let (method, value) = match rest {
        [] => return Some((name.clone(), "^".to_owned())),
        [word, flag, method, value, ..] if word == "value" && flag == "-m" => (method.as_str(), value),
        [word, value, ..] if word == "value" => ("str", value),
        _ => return None,
    };
    let (begin, end) = if is_list { (r"(?:^|,)[ \t]*", r"[ \t]*(?:,|$)") } else { ("^", "$") };
    let literal = expect::literal(value);
    let pattern = match method {
        "str" => format!("{begin}{literal}{end}"),
        "beg" => format!("{begin}{literal}"),
        "end" => format!("{literal}{end}"),
        "sub" => literal,
        "reg" => expect::pattern(value),
        _ => return None,
    };
    Some((name.clone(), pattern))
}
