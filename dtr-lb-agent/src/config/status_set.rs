//! Which HTTP status codes mean that a replica is well.

use std::fmt;
use std::ops::RangeInclusive;

use super::takes::{List, Made};

/// What can be written: the classes that HTTP has (RFC 9110, section 15).
const CODES: RangeInclusive<u16> = 100..=599;

/// A set of HTTP status codes; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusSet(Vec<RangeInclusive<u16>>);

impl StatusSet {
    /// Is `status` one of them?
    #[must_use]
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }

    /// These codes.
    #[must_use]
    pub fn of(codes: &[u16]) -> Self {
        Self(codes.iter().map(|code| *code..=*code).collect())
    }
}

/// A key that takes one.
pub(super) const STATUSES: Made<StatusSet, RangeInclusive<u16>> = Made {
    list: List::of(
        "a list of HTTP status codes and ranges within 100 to 599, as in [\"200-299\", \"304\"]",
        |text| range(text).ok_or_else(|| "neither a status code nor a range of them".to_owned()),
        |range| StatusSet(vec![range.clone()]).to_string(),
    )
    .not_empty("no status would ever count as good"),
    make: |ranges| Ok(StatusSet(ranges)),
    parts: |set| set.0.clone(),
};

impl Default for StatusSet {
    /// 200 to 399: answered, and not with an error.
    fn default() -> Self {
        Self(vec![200..=399])
    }
}

impl fmt::Display for StatusSet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let (first, last) = (range.start(), range.end());
            if first == last {
                write!(out, "{comma}{first}")?;
            } else {
                write!(out, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let code = |text: &str| {
        let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten().filter(|code| CODES.contains(code))
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (code(first.trim())?, code(last.trim())?);
    (first <= last).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_ranges() {
        let cases = [
            ("200", Some(200..=200)),
            ("200-399", Some(200..=399)),
            (" 204 - 206 ", Some(204..=206)),
            ("100-599", Some(100..=599)),
            ("", None),
            ("-", None),
            ("2xx", None),
            ("399-200", None),
            ("200-", None),
            ("99", None),
            ("600", None),
            ("+200", None),
            ("0200", None),
            ("200-300-400", None),
        ];
        for (text, expected) in cases {
            assert_eq!(range(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_set_holds_what_its_ranges_hold() {
        let set = StatusSet(vec![200..=200, 204..=206]);
        let held: Vec<u16> = (0..=999).filter(|status| set.contains(*status)).collect();
        assert_eq!(held, [200, 204, 205, 206]);
        assert_eq!(set.to_string(), "200, 204-206");
        assert_eq!(StatusSet::default().to_string(), "200-399");
    }
}
