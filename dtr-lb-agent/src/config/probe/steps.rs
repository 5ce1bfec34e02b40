//! `steps`: a conversation with a replica over TCP or TLS.

use super::super::key::{Level, depends, table};
use super::super::node::{Node, Table};
use super::super::pattern::{PATTERN, Pattern};
use super::super::problems::Problems;
use super::super::takes::{Takes, Text};

/// A conversation has no more steps than this.
const MOST: usize = 100;

/// One step of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// These bytes are sent; never none.
    Send(Vec<u8>),
    /// What comes is collected until this matches, and forgotten up to the end of the match.
    Expect(Pattern),
    /// What the last [`Step::Expect`] had collected, the match and what came behind it, does not match this.
    Reject(Pattern),
}

table! {
    WrittenStep {
        /// Sends this text; `\r\n` in double quotes is the end of a line.
        send: Vec<u8> = SENT, depends("–", "\"PING\\r\\n\"");
        /// Sends these bytes.
        send_hex: Vec<u8> = SENT_HEX, depends("–", "\"0d0a\"");
        /// Collects what comes until it matches, 64 KiB at most; forgets it up to the end of the match.
        expect: Pattern = PATTERN, depends("–", "'^\\+PONG'");
        /// Fails if it matches what the `expect` before it had collected: the match, and what came with it.
        reject: Pattern = PATTERN, depends("–", "'ERR'");
    }
}

const SENT: Text<Vec<u8>> = Text {
    words: "a text in double quotes, as in \"PING\\r\\n\"",
    parse: |text| {
        Some(text.as_bytes().to_vec()).filter(|bytes| !bytes.is_empty()).ok_or("nothing to send".to_owned())
    },
    show: |bytes| format!("{} bytes", bytes.len()),
};

const SENT_HEX: Text<Vec<u8>> = Text {
    words: "pairs of hexadecimal digits in quotes, as in \"0d0a\"",
    parse: |text| hex(text).ok_or_else(|| "not pairs of hexadecimal digits".to_owned()),
    show: |bytes| format!("{} bytes", bytes.len()),
};

/// A key that takes a conversation: a list of tables of one key each.
pub(super) struct Steps;

impl Takes for Steps {
    type Value = Vec<Step>;

    fn words(&self) -> String {
        format!(
            "a list of at most {MOST} tables of one key each, as in [{{ send = \"PING\\r\\n\" }}, {{ expect = '^\\+PONG' }}]"
        )
    }

    /// Every step is checked, also after a bad one.
    fn read(&self, node: &Node<'_>, problems: &mut Problems<'_>) -> Option<Vec<Step>> {
        let elements = node.elements(problems)?;
        if elements.len() > MOST {
            problems.key(node.at, &node.key, format!("more than {MOST} steps"));
            return None;
        }
        let mut collected = false;
        let steps = elements.iter().map(|element| {
            let table = element.table(problems)?;
            let step = step(&table, problems)?;
            if matches!(step, Step::Reject(_)) && !collected {
                problems.key(table.at, &table.key, "nothing is collected before it; write an `expect` first");
                return None;
            }
            collected |= matches!(step, Step::Expect(_));
            Some(step)
        });
        steps.collect::<Vec<_>>().into_iter().collect()
    }

    /// What is sent may be secret.
    fn shown(&self, value: &Vec<Step>) -> String {
        let shown = |step: &Step| match step {
            Step::Send(bytes) => format!("send {} bytes", bytes.len()),
            Step::Expect(pattern) => format!("expect /{pattern}/"),
            Step::Reject(pattern) => format!("reject /{pattern}/"),
        };
        match &value[..] {
            [] => "none".to_owned(),
            steps => steps.iter().map(shown).collect::<Vec<_>>().join(", "),
        }
    }

    /// Only of none: it is the default.
    fn toml(&self, _value: &Vec<Step>) -> String {
        "[]".to_owned()
    }

    fn below(&self) -> Level {
        &[WrittenStep::KEYS]
    }
}

fn step(table: &Table<'_>, problems: &mut Problems<'_>) -> Option<Step> {
    let WrittenStep { send, send_hex, expect, reject } = WrittenStep::read(table, problems);
    let written =
        [send.node.is_some(), send_hex.node.is_some(), expect.node.is_some(), reject.node.is_some()];
    match written.iter().filter(|written| **written).count() {
        1 => {}
        // What else is in it is reported as unknown.
        0 if table.entries().next().is_some() => return None,
        0 => {
            problems.key(table.at, &table.key, "no key: it does nothing");
            return None;
        }
        _ => {
            problems.key(table.at, &table.key, "more than one key; each step has a table of its own");
            return None;
        }
    }
    let sent = send.value.or(send_hex.value).map(Step::Send);
    sent.or(expect.value.map(Step::Expect)).or(reject.value.map(Step::Reject))
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<_>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    let (pairs, []) = digits.as_deref()?.as_chunks::<2>() else { return None };
    let bytes: Option<Vec<_>> = pairs.iter().map(|[high, low]| u8::try_from(high * 16 + low).ok()).collect();
    bytes.filter(|bytes| !bytes.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_text() {
        let cases: [(&str, Option<&[u8]>); 8] = [
            ("0d0a", Some(b"\r\n")),
            ("00fF", Some(&[0, 255])),
            ("", None),
            ("0", None),
            ("0d0", None),
            ("0x0d", None),
            ("0d 0a", None),
            ("+1", None),
        ];
        for (text, expected) in cases {
            assert_eq!(hex(text).as_deref(), expected, "{text:?}");
        }
    }
}
