//! `GET /v1/verdicts`: what each verdict means, in the words of docs/operations.md, and what becomes of the packet.

use std::sync::LazyLock;

use axum::{Json, Router, routing::get};
use dtr_lb_common::verdict::{Action, Verdict};
use serde::Serialize;

/// The table of verdicts is read from there: what they mean is written once.
const OPERATIONS: &str = include_str!("../../../docs/operations.md");

/// A verdict in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct VerdictWords {
    name: &'static str,
    /// `forward`, `pass`, `answer` or `drop`.
    action: &'static str,
    meaning: String,
    /// What to do where there are many; empty where there is nothing to do.
    advice: String,
}

static WORDS: LazyLock<Vec<VerdictWords>> =
    LazyLock::new(|| Verdict::ALL.iter().map(|verdict| words(*verdict)).collect());

pub(super) fn routes() -> Router {
    Router::new().route("/v1/verdicts", get(|| async { Json(WORDS.as_slice()) }))
}

fn words(verdict: Verdict) -> VerdictWords {
    let row = format!("| `{}` |", verdict.name());
    let row = OPERATIONS.lines().find_map(|line| line.strip_prefix(&row)).unwrap_or_default();
    let mut cells = row.trim_end_matches('|').split(" | ").map(plain);
    let (meaning, advice) = (cells.next().unwrap_or_default(), cells.next().unwrap_or_default());
    let action = match verdict.action() {
        Action::Forward => "forward",
        Action::Pass => "pass",
        Action::Answer => "answer",
        Action::Drop => "drop",
    };
    VerdictWords { name: verdict.name(), action, meaning, advice }
}

/// Markdown without its marks: links are their words.
fn plain(markdown: &str) -> String {
    let mut out = String::new();
    let mut rest = markdown.trim();
    while let Some((before, after)) = rest.split_once('[') {
        out.push_str(before);
        rest = match after.split_once("](").and_then(|(words, tail)| Some((words, tail.split_once(')')?.1))) {
            Some((words, tail)) => {
                out.push_str(words);
                tail
            }
            None => {
                out.push('[');
                after
            }
        };
    }
    out.push_str(rest);
    out.replace(['`', '*'], "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verdict_has_words_and_no_marks() {
        for VerdictWords { name, meaning, advice, .. } in WORDS.iter() {
            assert!(meaning.len() > 10, "{name}: `{meaning}`");
            let marked = |text: &str| text.contains(['`', '|']) || text.contains("](");
            assert!(!marked(meaning) && !marked(advice), "{name}: {meaning} / {advice}");
        }
        let denied = WORDS.iter().find(|words| words.name == "dropped_denied").expect("it is there");
        assert_eq!(denied.action, "drop");
        assert_eq!(denied.advice, "It sees a time-out. Wanted? See allow and deny");
    }

    #[test]
    fn a_link_is_its_words() {
        for (markdown, text) in [
            (" see [the `a` table](x.md#y), or [b] ", "see the a table, or [b]"),
            ("plain", "plain"),
            ("[a](b)[c](d)", "ac"),
            ("[never closed](", "[never closed]("),
        ] {
            assert_eq!(plain(markdown), text);
        }
    }
}
