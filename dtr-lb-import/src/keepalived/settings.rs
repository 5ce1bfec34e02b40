//! What a virtual server says for its servers, and these for their checks, unless they say it themselves.

use std::time::Duration;

use super::tree::Node;
use crate::report::Ledger;

/// Times and counts of checks; `None` where nothing is said.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    pub(super) interval: Option<Duration>,
    pub(super) before_retry: Option<Duration>,
    pub(super) timeout: Option<Duration>,
    /// After the first failure.
    pub(super) retries: Option<u32>,
    pub(super) virtualhost: Option<String>,
}

impl Settings {
    /// Takes what a statement says, if it is one of these. What becomes of it, the table says.
    pub(super) fn take(&mut self, node: &Node, ledger: &mut Ledger) {
        let argument = node.arg(0).unwrap_or_default();
        match node.name.as_str() {
            "delay_loop" => seconds(node, &mut self.interval, ledger),
            "delay_before_retry" => seconds(node, &mut self.before_retry, ledger),
            "connect_timeout" | "misc_timeout" => seconds(node, &mut self.timeout, ledger),
            "retry" | "nb_get_retry" => match argument.parse() {
                Ok(retries) => self.retries = Some(retries),
                Err(_) => ledger.fault(node.at, format!("{argument:?} is no number: the default stands")),
            },
            "virtualhost" => self.virtualhost = Some(argument.to_owned()),
            _ => {}
        }
    }
}

/// Seconds with a fraction.
fn seconds(node: &Node, into: &mut Option<Duration>, ledger: &mut Ledger) {
    let text = node.arg(0).unwrap_or_default();
    match duration(text) {
        Some(time) => *into = Some(time),
        None => ledger.fault(node.at, format!("{text:?} is no number of seconds: the default stands")),
    }
}

/// Seconds; keepalived has no units.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.parse::<f64>()
        .ok()
        .filter(|_| fits)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|time| *time < Duration::from_secs(1 << 32))
}

/// `on`, `true`, `yes`, or nothing.
pub(super) fn is_on(node: &Node) -> bool {
    node.arg(0).is_none_or(|word| matches!(word, "on" | "true" | "yes"))
}
