//! Which HTTP status codes mean that a replica is well.

use std::fmt;
use std::ops::RangeInclusive;

use toml::Spanned;

use super::field::Field;
use super::problems::Problems;

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

    /// Every element is checked, also after a bad one.
    pub(super) fn read(field: &Field<'_, Vec<Spanned<String>>>, problems: &mut Problems<'_>) -> Option<Self> {
        if field.value.is_empty() {
            problems.refuse(field, "no status would ever count as good");
            return None;
        }
        let ranges: Vec<_> = field
            .elements()
            .map(|element| {
                let range = range(element.value);
                if range.is_none() {
                    problems.refuse(&element, "neither a status code nor a range of them");
                }
                range
            })
            .collect();
        ranges.into_iter().collect::<Option<_>>().map(Self)
    }
}

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
