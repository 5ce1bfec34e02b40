//! Times as HAProxy writes them: a number, and a unit or none.

use std::time::Duration;

/// Longer ones are as good as none.
pub(super) const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Reads a time; without a unit it is one of milliseconds.
pub(super) fn read(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let micros: u64 = match unit {
        "us" => 1,
        "" | "ms" => 1000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        _ => return None,
    };
    number.checked_mul(micros).map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        for (text, expected) in [
            ("50000", Some(Duration::from_secs(50))),
            ("0", Some(Duration::ZERO)),
            ("1500us", Some(Duration::from_micros(1500))),
            ("250ms", Some(Duration::from_millis(250))),
            ("10s", Some(Duration::from_secs(10))),
            ("5m", Some(Duration::from_secs(300))),
            ("2h", Some(Duration::from_secs(7200))),
            ("1d", Some(Duration::from_secs(86_400))),
            ("1h30m", None),
            ("s", None),
            ("", None),
            ("-1s", None),
            ("99999999999999999999s", None),
            ("9999999999999999999d", None),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }
}
