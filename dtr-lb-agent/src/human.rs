//! Times and amounts as people read them, in the units of the field.

use jiff::SignedDuration;

/// How long ago or how long: `12 s`, `3 min`, `2 h 5 min`, `2 d 4 h`. What is negative is no time.
#[must_use]
pub fn age(time: SignedDuration) -> String {
    let seconds = time.as_secs().max(0);
    let two = |large: i64, large_unit: &str, small: i64, small_unit: &str| match small {
        0 => format!("{large} {large_unit}"),
        _ => format!("{large} {large_unit} {small} {small_unit}"),
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => two(seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

/// `512 B`, `3.4 MiB`.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    scaled(bytes, 1024.0, &["KiB", "MiB", "GiB", "TiB", "PiB"]).unwrap_or_else(|| format!("{bytes} B"))
}

/// As it is up to 9,999; then `12.3 k`, `1.2 M`.
#[must_use]
pub fn count(count: u64) -> String {
    let scaled = (count > 9_999).then(|| scaled(count, 1000.0, &["k", "M", "G", "T", "P"])).flatten();
    scaled.unwrap_or_else(|| count.to_string())
}

/// In the largest unit of which there is one at least; `None` if there is not one of the smallest.
fn scaled(amount: u64, step: f64, units: &[&str]) -> Option<String> {
    let mut amount = amount as f64;
    let mut found = None;
    for unit in units {
        // What would be shown as "1000.0" is one of the next unit.
        if amount < step - 0.05 && found.is_some() || amount < step && found.is_none() {
            break;
        }
        amount /= step;
        found = Some(format!("{amount:.1} {unit}"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_two_units_at_most() {
        for (seconds, text) in [
            (-5, "0 s"),
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3599, "59 min"),
            (3600, "1 h"),
            (7500, "2 h 5 min"),
            (86_400, "1 d"),
            (2 * 86_400 + 4 * 3600 + 59, "2 d 4 h"),
        ] {
            assert_eq!(age(SignedDuration::from_secs(seconds)), text, "{seconds}");
        }
    }

    #[test]
    fn amounts_are_in_the_largest_unit_that_fits() {
        for (amount, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (3_565_158, "3.4 MiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (u64::MAX, "16384.0 PiB"),
        ] {
            assert_eq!(bytes(amount), text, "{amount}");
        }
        for (amount, text) in
            [(0, "0"), (9_999, "9999"), (12_345, "12.3 k"), (999_960, "1.0 M"), (1_200_000, "1.2 M")]
        {
            assert_eq!(count(amount), text, "{amount}");
        }
    }
}
