//! The config as text: TOML with a comment on where each part comes from.

mod probe;

use std::{fmt::Display, time::Duration};

use toml_edit::{Array, Value};

use crate::{
    draft::{Draft, DraftReplica, DraftService},
    job::Mode,
    report::{At, Ledger},
};

/// Lines of TOML.
struct Text<'a> {
    ledger: &'a Ledger,
    text: String,
}

impl Text<'_> {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn comment(&mut self, comment: &str) {
        self.line(&format!("# {}", comment.replace(|c: char| c.is_control(), " ")));
    }

    fn header(&mut self, table: &str, at: At) {
        let place = self.place(at);
        self.line(&format!("\n{table}{place}"));
    }

    fn key(&mut self, key: &str, value: impl Into<Value>) {
        self.line(&format!("{key} = {}", value.into()));
    }

    /// A key, and where its value comes from.
    fn key_from(&mut self, key: &str, value: impl Into<Value>, at: At) {
        let place = self.place(at);
        self.line(&format!("{key} = {}{place}", value.into()));
    }

    fn place(&self, at: At) -> String {
        let place = self.ledger.place(at).replace(|c: char| c.is_control(), " ");
        if place.is_empty() { place } else { format!("  # {place}") }
    }
}

fn duration(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

fn list<T: Display>(items: impl IntoIterator<Item = T>) -> Array {
    items.into_iter().map(|item| item.to_string()).collect()
}

/// One alone stands without brackets.
fn one_or_many<T: Display>(items: &[T]) -> Value {
    match items {
        [one] => one.to_string().into(),
        many => list(many).into(),
    }
}

/// Writes the config.
pub fn write(draft: &Draft, ledger: &Ledger) -> String {
    let mut text = Text { ledger, text: String::new() };
    text.comment("Written by `dtr-lb import`. Comments say where each part comes from; what was not taken over is in its report.");
    text.comment(
        "Unwritten keys have dtr-lb's defaults. `dtr-lb check` says what this would do on this host.",
    );
    if draft.idle.is_some() || draft.refuses_if_all_down {
        text.line("\n[datapath]");
        if let Some(idle) = draft.idle {
            text.key_from("idle_timeout", duration(idle.value), idle.at);
        }
        if draft.refuses_if_all_down {
            text.key("all_down", "refuse");
        }
    }
    if let Some(port) = draft.http_port {
        text.line("\n[agent]");
        text.key_from("http", format!("127.0.0.1:{}", port.value), port.at);
    }
    for one in &draft.services {
        service(one, &mut text);
    }
    for one in &draft.replicas {
        replica(one, &mut text);
    }
    text.text
}

fn service(service: &DraftService, text: &mut Text<'_>) {
    text.header("[[service]]", service.at);
    text.key("name", service.name.as_str());
    text.key("port", i64::from(service.port));
    if service.vip_missing {
        text.comment(
            "An address for documentation stands in for the VIP: write the real one, or give --vip.",
        );
    }
    text.key("vip", one_or_many(&service.vips));
    if service.replica_port != service.port {
        text.key("replica_port", i64::from(service.replica_port));
    }
    if let Some(mode) = service.mode {
        let name = match mode.value {
            Mode::Nat => "nat",
            Mode::Dnat => "dnat",
            Mode::Dsr => "dsr",
            Mode::Ipip => "ipip",
        };
        text.key_from("mode", name, mode.at);
    }
    if let Some(affinity) = service.affinity {
        text.key_from("affinity", "source-ip", affinity.at);
        if let Some(timeout) = affinity.value.timeout.filter(|timeout| !timeout.is_zero()) {
            text.key_from(
                "affinity_timeout",
                duration(timeout.min(Duration::from_secs(7 * 24 * 3600))),
                affinity.at,
            );
        }
    }
    text.key("replicas", list(&service.replicas));
    if !service.backup.is_empty() {
        text.key("backup", list(&service.backup));
    }
    if let Some(passive) = service.passive {
        let (fails, time) = passive.value;
        text.key_from("max_fails", i64::from(fails.min(1000)), passive.at);
        let time = time.clamp(Duration::from_secs(1), Duration::from_secs(3600));
        text.key_from("fail_timeout", duration(time), passive.at);
    }
    if !service.access.allow.is_empty() {
        text.key("allow", list(&service.access.allow));
    }
    if !service.access.deny.is_empty() {
        text.key("deny", list(&service.access.deny));
        if service.denied_are_reset {
            text.key("denied", "reset");
        }
    }
    if let Some(most) = service.max_flows_per_replica {
        text.key("max_flows_per_replica", i64::from(most));
    }
    if let Some(most) = service.max_new_flows_per_source {
        text.key_from("max_new_flows_per_source", i64::from(most.value.min(1_000_000)), most.at);
    }
    if let Some(check) = &service.check {
        probe::write(check, service, text);
    }
}

fn replica(replica: &DraftReplica, text: &mut Text<'_>) {
    text.header("[[replica]]", replica.at);
    text.key("name", replica.name.as_str());
    if let Some(placeholder) = &replica.placeholder {
        text.comment(&format!(
            "An address for documentation stands in for {placeholder}: write the replica's own."
        ));
    }
    text.key("address", replica.host.as_str());
    if replica.weight != 100 {
        text.key("weight", i64::from(replica.weight));
    }
    if let Some(time) = replica.slow_start {
        text.key("slow_start", duration(time));
    }
}
