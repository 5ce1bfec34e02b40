//! `tcp-check`: a conversation.

use super::{Plan, connect, expect};
use crate::{haproxy::sections::Line, job::Step, report::Ledger};

/// Any byte.
const SOMETHING: &str = "(?s-u).";

/// Reads the rules in their order.
pub(super) fn read(rules: &[&Line], plan: &mut Plan, ledger: &mut Ledger) {
    let mut over = false;
    for rule in rules {
        if rule.word(1) == "connect" && (plan.connect.is_some() || !plan.check.steps.is_empty()) {
            over = true;
        }
        if over && rule.word(1) != "comment" {
            ledger.left_out_that_decides(
                rule.at,
                "a probe opens one connection: this second one is not asked for",
            );
            continue;
        }
        match rule.word(1) {
            "connect" => plan.connect = Some(connect(rule, ledger)),
            "send" => plan.check.steps.push(Step::Send(rule.word(2).as_bytes().to_vec())),
            "send-binary" => match expect::hex(rule.word(2)) {
                Some(bytes) => plan.check.steps.push(Step::Send(bytes)),
                None => ledger.fault_that_decides(
                    rule.at,
                    "it is no even number of hexadecimal digits: HAProxy refuses this",
                ),
            },
            "expect" => expectation(rule, &mut plan.check.steps, ledger),
            _ => {}
        }
    }
}

fn expectation(line: &Line, steps: &mut Vec<Step>, ledger: &mut Ledger) {
    let Some(expect::Expect { negated, kind, pattern }) = expect::read(line, ledger) else { return };
    let text = pattern[0].as_str();
    let pattern = match kind {
        "string" => expect::literal(text),
        "rstring" => expect::pattern(text),
        "binary" => match expect::hex(text) {
            Some(bytes) => expect::bytes(&bytes),
            None => {
                ledger.fault_that_decides(
                    line.at,
                    "it is no even number of hexadecimal digits: HAProxy refuses this",
                );
                return;
            }
        },
        "rbinary" => match of_hexadecimal(text) {
            Some(pattern) => pattern,
            None => {
                ledger.left_out_that_decides(line.at, "dtr-lb looks at bytes, not at their hexadecimal digits: write this as a regular expression of bytes into `steps`");
                return;
            }
        },
        "string-lf" | "binary-lf" => {
            ledger
                .left_out_that_decides(line.at, "dtr-lb works out no expressions: nothing is expected here");
            return;
        }
        kind => {
            ledger.left_out_that_decides(line.at, format!("dtr-lb does not know `{kind}` here"));
            return;
        }
    };
    let follows = matches!(steps.last(), Some(Step::Expect(_) | Step::Reject(_)));
    match (negated, follows) {
        (true, true) => steps.push(Step::Reject(pattern)),
        (true, false) => steps.extend([Step::Expect(SOMETHING.to_owned()), Step::Reject(pattern)]),
        (false, follows) => {
            if follows {
                ledger.differs(line.at, "it is looked for behind what the line before it has found");
            }
            steps.push(Step::Expect(pattern));
        }
    }
}

/// A regular expression over hexadecimal digits as one over bytes, where each byte is two digits, or one of two dots.
fn of_hexadecimal(text: &str) -> Option<String> {
    let (anchor, digits) = match text.strip_prefix('^') {
        Some(rest) => ("^", rest),
        None => ("", text),
    };
    let (digits, end) = match digits.strip_suffix('$') {
        Some(rest) => (rest, "$"),
        None => (digits, ""),
    };
    if digits.is_empty() || !digits.is_ascii() || !digits.len().is_multiple_of(2) {
        return None;
    }
    let mut pattern = format!("(?s-u){anchor}");
    for index in (0..digits.len()).step_by(2) {
        match &digits[index..index + 2] {
            ".." => pattern.push('.'),
            pair => pattern.push_str(&format!("\\x{:02x}", expect::hex(pair)?[0])),
        }
    }
    pattern.push_str(end);
    Some(pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_become_bytes() {
        assert_eq!(of_hexadecimal("^4a..00$").as_deref(), Some(r"(?s-u)^\x4a.\x00$"));
        assert_eq!(of_hexadecimal("4a.{2}"), None);
        assert_eq!(of_hexadecimal("é"), None);
        assert_eq!(of_hexadecimal(""), None);
    }
}
