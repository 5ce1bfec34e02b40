//! `GET /v1/verdicts`: what each verdict means, what becomes of the packet, and what to do, out of the catalogue in
//! `dtr_lb_common::verdict`.

use axum::{Json, Router, routing::get};
use dtr_lb_common::verdict::Verdict;
use serde::Serialize;

/// A verdict in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct VerdictWords {
    name: &'static str,
    /// `forward`, `pass`, `answer` or `drop`.
    action: &'static str,
    /// A sentence; keys, values and commands in it stand in backticks.
    meaning: &'static str,
    /// What to do, in the same form; empty where there is nothing to do.
    advice: &'static str,
}

impl From<Verdict> for VerdictWords {
    fn from(verdict: Verdict) -> Self {
        Self {
            name: verdict.name(),
            action: verdict.action().name(),
            meaning: verdict.meaning(),
            advice: verdict.advice(),
        }
    }
}

pub(super) fn routes() -> Router {
    Router::new().route("/v1/verdicts", get(|| async { Json(all()) }))
}

/// In the order of their counters.
fn all() -> Vec<VerdictWords> {
    Verdict::ALL.iter().copied().map(VerdictWords::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verdict_has_words_and_no_markdown_but_code() {
        let all = all();
        assert_eq!(all.len(), Verdict::ALL.len());
        for VerdictWords { name, meaning, advice, .. } in &all {
            assert!(meaning.len() > 10, "{name}: `{meaning}`");
            let marked = |text: &str| text.contains(['|', '*']) || text.contains("](");
            assert!(!marked(meaning) && !marked(advice), "{name}: {meaning} / {advice}");
        }
        let denied = all.iter().find(|words| words.name == "dropped_denied").expect("it is there");
        assert_eq!(denied.action, "drop");
        assert_eq!(denied.meaning, "A SYN from a client that `allow` and `deny` do not let in.");
        let advice = "The client sees a timeout. If it should connect, see docs/networks.md#who-may-connect.";
        assert_eq!(denied.advice, advice);
    }
}
