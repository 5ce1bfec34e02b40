//! `[service.probe]`.

use toml_edit::{Array, InlineTable, Value};

use super::{Text, duration, list};
use crate::{
    draft::DraftService,
    job::{Check, Scheme, Step, Verify},
};

pub(super) fn write(check: &Check, service: &DraftService, text: &mut Text<'_>) {
    text.line("");
    if service.check_is_ours {
        text.comment("The original asks nothing.");
        text.line("[service.probe]");
    } else {
        text.text.pop();
        text.header("[service.probe]", check.at);
    }
    let scheme = match check.scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
        Scheme::Tcp => "tcp",
        Scheme::Tls => "tls",
    };
    text.key("scheme", scheme);
    if let Some(port) = check.port.filter(|port| *port != 0 && *port != service.replica_port) {
        text.key("port", i64::from(port));
    }
    if matches!(check.scheme, Scheme::Http | Scheme::Https) {
        http(check, text);
    }
    if matches!(check.scheme, Scheme::Https | Scheme::Tls) {
        tls(check, text);
    }
    if matches!(check.scheme, Scheme::Tcp | Scheme::Tls) && !check.steps.is_empty() {
        text.key("steps", steps(&check.steps));
    }
    for (key, time) in [
        ("interval", check.interval),
        ("fast_interval", check.fast_interval),
        ("down_interval", check.down_interval),
        ("timeout", check.timeout),
    ] {
        if let Some(time) = time {
            text.key(key, duration(time));
        }
    }
    for (key, count) in [("rise", check.rise), ("fall", check.fall)] {
        if let Some(count) = count {
            text.key(key, i64::from(count));
        }
    }
    if let Some(port) = check.agent_port.filter(|port| *port != 0) {
        text.key("agent_port", i64::from(port));
    }
}

fn http(check: &Check, text: &mut Text<'_>) {
    if let Some(method) = check.method.as_deref().filter(|method| *method != "GET") {
        text.key("method", method);
    }
    text.key("path", check.path.as_deref().unwrap_or("/"));
    if let Some(host) = &check.host {
        text.key("host", host.as_str());
    }
    let line = |(name, value): &(String, String)| format!("{name}: {value}");
    if !check.headers.is_empty() {
        text.key("headers", list(check.headers.iter().map(line)));
    }
    if let Some(body) = &check.request_body {
        text.key("request_body", body.as_str());
    }
    let range = |range: &std::ops::RangeInclusive<u16>| {
        if range.start() == range.end() {
            range.start().to_string()
        } else {
            format!("{}-{}", range.start(), range.end())
        }
    };
    if !check.status.is_empty() {
        text.key("status", list(check.status.iter().map(range)));
    }
    for (key, pattern) in [("body", &check.body), ("reject_body", &check.reject_body)] {
        if let Some(pattern) = pattern {
            text.key(key, pattern.as_str());
        }
    }
    for (key, matches) in
        [("expect_headers", &check.expect_headers), ("reject_headers", &check.reject_headers)]
    {
        if !matches.is_empty() {
            text.key(key, list(matches.iter().map(line)));
        }
    }
}

fn tls(check: &Check, text: &mut Text<'_>) {
    if check.scheme == Scheme::Tls
        && let Some(host) = &check.host
    {
        text.key("host", host.as_str());
    }
    match &check.verify {
        Verify::No => {}
        Verify::System => text.key("verify", true),
        Verify::Ca(file) => text.key("verify", file.as_str()),
    }
    if !check.alpn.is_empty() {
        text.key("alpn", list(&check.alpn));
    }
}

fn steps(steps: &[Step]) -> Array {
    let step = |step: &Step| {
        let (key, value): (&str, Value) = match step {
            Step::Send(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => ("send", text.into()),
                Err(_) => {
                    ("send_hex", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into())
                }
            },
            Step::Expect(pattern) => ("expect", pattern.as_str().into()),
            Step::Reject(pattern) => ("reject", pattern.as_str().into()),
        };
        InlineTable::from_iter([(key, value)])
    };
    steps.iter().map(step).collect()
}
