//! What one `[service.probe]` says otherwise than another. What a probe sends may be a password: only that it is another is told.

use super::{Lines, list, option, time};
use crate::config::{Header, Probe, Step, Verify};

impl Lines {
    pub(super) fn probe(&mut self, before: &Probe, after: &Probe) {
        // Named one by one, so that a new key is not forgotten here.
        let Probe {
            scheme,
            port,
            method,
            path,
            host,
            headers,
            request_body,
            verify,
            alpn,
            status,
            body,
            reject_body,
            expect_headers,
            reject_headers,
            steps,
            interval,
            fast_interval,
            down_interval,
            timeout,
            rise,
            fall,
            jitter,
            agent_port,
        } = after;
        self.key("probe.scheme", &before.scheme, scheme);
        self.key("probe.port", &before.port, port);
        self.key("probe.method", &before.method, method);
        self.key("probe.path", &before.path, path);
        self.shown("probe.host", &before.host, host, |host| option(host.as_ref()));
        self.secret("probe.headers", &before.headers, headers, |headers: &Vec<Header>| {
            list(&headers.iter().map(|header| &header.name).collect::<Vec<_>>())
        });
        self.secret("probe.request_body", &before.request_body, request_body, |body| {
            option(body.as_ref().map(|body| format!("{} bytes", body.len())))
        });
        self.shown("probe.verify", &before.verify, verify, |verify| match verify {
            Verify::No => "false".to_owned(),
            Verify::Yes => "true".to_owned(),
            Verify::Ca(file) => file.display().to_string(),
        });
        self.key("probe.alpn", &list(&before.alpn), &list(alpn));
        self.key("probe.status", &before.status, status);
        self.shown("probe.body", &before.body, body, |body| option(body.as_ref()));
        self.shown("probe.reject_body", &before.reject_body, reject_body, |body| option(body.as_ref()));
        self.key("probe.expect_headers", &list(&before.expect_headers), &list(expect_headers));
        self.key("probe.reject_headers", &list(&before.reject_headers), &list(reject_headers));
        self.secret("probe.steps", &before.steps, steps, |steps: &Vec<Step>| {
            list(&steps.iter().map(step).collect::<Vec<_>>())
        });
        self.shown("probe.interval", &before.interval, interval, time);
        self.shown("probe.fast_interval", &before.fast_interval, fast_interval, time);
        self.shown("probe.down_interval", &before.down_interval, down_interval, time);
        self.shown("probe.timeout", &before.timeout, timeout, time);
        self.key("probe.rise", &before.rise, rise);
        self.key("probe.fall", &before.fall, fall);
        self.shown("probe.jitter", &before.jitter, jitter, |jitter| format!("{}%", jitter * 100.0));
        self.shown("probe.agent_port", &before.agent_port, agent_port, |port| option(port.as_ref()));
    }

    /// Of what `show` does not show everything.
    fn secret<T: PartialEq>(&mut self, key: &str, before: &T, after: &T, show: impl Fn(&T) -> String) {
        let same = show(before) == show(after);
        if same && before != after {
            self.0.push(format!("{key}: {}, with other contents", show(after)));
        } else {
            self.shown(key, before, after, show);
        }
    }
}

fn step(step: &Step) -> String {
    match step {
        Step::Send(bytes) => format!("send {} bytes", bytes.len()),
        Step::Expect(pattern) => format!("expect /{pattern}/"),
        Step::Reject(pattern) => format!("reject /{pattern}/"),
    }
}
