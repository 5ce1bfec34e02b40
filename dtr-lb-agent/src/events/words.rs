//! From the fields of a log line to one sentence for people, and to who it was.

use serde_json::{Map, Value};

use super::{By, STARTED};

/// Fields that say why or what, in words, in the order in which one is looked for.
const REASONS: &[&str] = &["reason", "failure", "change", "done", "error", "consequence", "hint"];

/// Takes out of the fields who it was.
pub(super) fn by(fields: &mut Map<String, Value>) -> Option<By> {
    let mut text = |key: &str| match fields.remove(key) {
        Some(Value::String(text)) => Some(text),
        Some(_) | None => None,
    };
    let (user, token, peer) = (text("user"), text("token"), text("peer"));
    let uid = fields.remove("uid").and_then(|uid| u32::try_from(uid.as_u64()?).ok());
    match (uid, token, peer.and_then(|peer| peer.parse().ok())) {
        (Some(uid), _, _) => Some(By::User { uid, user }),
        (None, Some(token), Some(address)) => Some(By::Http { token, address }),
        (None, _, _) => None,
    }
}

/// The sentence: about whom, what, and why.
pub(super) fn sentence(
    name: &str,
    message: &str,
    service: Option<&str>,
    replica: Option<&str>,
    fields: &Map<String, Value>,
) -> String {
    let text = |key: &str| fields.get(key).and_then(Value::as_str);
    if name == STARTED {
        return started(message, fields);
    }
    // Whoever asked is told all of it: it says whom it is about.
    if name == "order_done"
        && let Some(done) = text("done")
    {
        return format!("operator's order: {done}");
    }
    if name == "order_undone"
        && let (Some(order), Some(done)) = (text("order"), text("done"))
    {
        return format!("operator's order `{order}` is taken back: {done}");
    }
    let mut sentence = about(message, service, replica);
    for key in ["interface", "vip"] {
        if let Some(value) = text(key) {
            sentence = format!("{key} {value}: {sentence}");
        }
    }
    if let Some(reason) = REASONS.iter().find_map(|key| text(key)).filter(|reason| !reason.is_empty()) {
        sentence.push_str(": ");
        sentence.push_str(reason);
    }
    if let (Some(hook), Some(interfaces)) = (text("hook"), text("interfaces")) {
        sentence.push_str(&format!(": {hook} on {interfaces}"));
    }
    if let (Some(from), Some(after)) = (text("from"), text("after")) {
        sentence.push_str(&format!(" (was {from} for {after}{})", left(fields)));
    }
    sentence
}

/// The message with names in the place of its subject; or behind them, where it has another one.
fn about(message: &str, service: Option<&str>, replica: Option<&str>) -> String {
    let whom = match (service, replica) {
        (Some(service), Some(replica)) => format!("replica {replica} of service {service}"),
        (Some(service), None) => format!("service {service}"),
        (None, Some(replica)) => format!("replica {replica}"),
        (None, None) => return message.to_owned(),
    };
    let subject = if replica.is_some() { "replica" } else { "service" };
    let rest = message.strip_prefix("the ").unwrap_or(message).strip_prefix(subject);
    match rest {
        Some(rest) if rest.starts_with(' ') => format!("{whom}{rest}"),
        Some(rest) if rest.starts_with("'s ") => format!("{whom}: its{}", &rest[2..]),
        _ => format!("{whom}: {message}"),
    }
}

fn left(fields: &Map<String, Value>) -> String {
    let number = |key: &str| fields.get(key).and_then(Value::as_u64);
    let mut words = String::new();
    if let Some(left) = number("replicas_left") {
        words.push_str(&format!("; replicas left: {left}"));
    }
    if let Some(connections) = number("connections") {
        let reset = fields.get("reset").and_then(Value::as_bool) == Some(true);
        let fate = if reset && connections > 0 { ", which are reset" } else { "" };
        words.push_str(&format!("; connections: {connections}{fate}"));
    }
    words
}

fn started(message: &str, fields: &Map<String, Value>) -> String {
    let text = |key: &str| fields.get(key).and_then(Value::as_str);
    let datapath = match fields.get("adopted").and_then(Value::as_bool) {
        Some(true) => "it adopted the datapath that it found",
        Some(false) | None => "with a new datapath",
    };
    let version = text("version").map(|version| format!(" (version {version})")).unwrap_or_default();
    let previous = match text("previous") {
        Some("killed") => "; the agent before it did not end by itself",
        Some(_) | None => "",
    };
    format!("{message}{version}: {datapath}{previous}")
}
