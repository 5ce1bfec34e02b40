//! `steps`: a conversation with a replica over TCP or TLS.

use toml::Spanned;

use super::super::field::{Field, Table};
use super::super::pattern::Pattern;
use super::super::problems::Problems;
use super::super::raw::{RawStep, TableOf};

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

/// Every step is checked, also after a bad one.
pub(super) fn read(
    probe: &Table,
    raw: &Option<Spanned<Vec<Spanned<TableOf<RawStep>>>>>,
    problems: &mut Problems<'_>,
) -> Option<Vec<Step>> {
    let Some(raw) = raw else { return Some(Vec::new()) };
    let (at, raw) = (raw.span().start, raw.get_ref());
    if raw.len() > MOST {
        problems.key(at, &probe.key_of("steps"), format!("more than {MOST} steps"));
        return None;
    }
    let mut collected = false;
    let steps: Vec<_> = raw
        .iter()
        .enumerate()
        .map(|(index, raw)| {
            let table = probe.nth("steps", index, raw);
            let step = step(&table, raw.get_ref(), problems)?;
            if matches!(step, Step::Reject(_)) && !collected {
                problems.key(
                    table.at,
                    table.key(),
                    "nothing is collected before it; write an `expect` first",
                );
                return None;
            }
            collected |= matches!(step, Step::Expect(_));
            Some(step)
        })
        .collect();
    steps.into_iter().collect()
}

/// Makes a step of the value of one key.
type Reader = fn(&Field<'_, String>, &mut Problems<'_>) -> Option<Step>;

fn step(table: &Table, raw: &RawStep, problems: &mut Problems<'_>) -> Option<Step> {
    let RawStep { send, send_hex, expect, reject } = raw;
    let read: [(_, Reader); 4] = [
        (table.field("send", send), sent),
        (table.field("send_hex", send_hex), sent_hex),
        (table.field("expect", expect), |field, problems| Pattern::read(field, problems).map(Step::Expect)),
        (table.field("reject", reject), |field, problems| Pattern::read(field, problems).map(Step::Reject)),
    ];
    let mut written = read.into_iter().filter_map(|(field, read)| Some((field?, read)));
    match (written.next(), written.next()) {
        (Some((field, read)), None) => read(&field, problems),
        (Some(_), Some(_)) => {
            problems.key(table.at, table.key(), "more than one key; each step has a table of its own");
            None
        }
        (None, _) => {
            problems.key(table.at, table.key(), "no key: it does nothing");
            None
        }
    }
}

fn sent(field: &Field<'_, String>, problems: &mut Problems<'_>) -> Option<Step> {
    if field.value.is_empty() {
        problems.refuse(field, "nothing to send");
        return None;
    }
    Some(Step::Send(field.value.clone().into_bytes()))
}

fn sent_hex(field: &Field<'_, String>, problems: &mut Problems<'_>) -> Option<Step> {
    let bytes = hex(field.value);
    if bytes.is_none() {
        problems.refuse(field, "not pairs of hexadecimal digits");
    }
    bytes.map(Step::Send)
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
