//! What dtr-lb noticed, from its own log: the changes of a replica's state, to the microsecond.
//!
//! The status has them too, but only the last of each; who asks for it now and then may miss one.

use std::time::Duration;

use jiff::Timestamp;

/// A change of a replica's state for one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sighting {
    /// Since the beginning of the run; zero for what was before it.
    pub(super) at: Duration,
    pub(super) service: String,
    pub(super) replica: String,
    /// The state it left.
    pub(super) from: String,
    /// The state it is in from then on.
    pub(super) to: String,
    /// What the probe said.
    pub(super) reason: String,
}

/// The change in a line of the log, if it tells one.
pub(super) fn parse(line: &str, begun: Timestamp) -> Option<Sighting> {
    let time: Timestamp = line.split_ascii_whitespace().next()?.parse().ok()?;
    let field = |name: &str| quoted(line, name);
    Some(Sighting {
        at: Duration::try_from(time.duration_since(begun)).unwrap_or_default(),
        service: field("service")?,
        replica: field("replica")?,
        from: field("from")?,
        to: field("to")?,
        reason: field("reason")?,
    })
}

/// The value of ` name="value"`, in which a quote is escaped by a backslash, as is a backslash.
fn quoted(line: &str, name: &str) -> Option<String> {
    let (_, after) = line.split_once(&format!(" {name}=\""))?;
    let mut value = String::new();
    let mut characters = after.chars();
    loop {
        match characters.next()? {
            '"' => return Some(value),
            '\\' => value.push(characters.next()?),
            other => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"2026-01-02T03:04:06.250000Z  WARN replica is down service="http" replica="r2" address=10.77.0.12 port=80 from="up" to="down" reason="the \"body\" differs""#;

    #[test]
    fn a_change_is_read_with_its_time() {
        let begun = "2026-01-02T03:04:05Z".parse().unwrap();
        let sighting = Sighting {
            at: Duration::from_millis(1250),
            service: "http".into(),
            replica: "r2".into(),
            from: "up".into(),
            to: "down".into(),
            reason: "the \"body\" differs".into(),
        };
        assert_eq!(parse(LINE, begun), Some(sighting));
    }

    #[test]
    fn what_was_before_the_run_counts_as_its_beginning() {
        let begun = "2026-01-02T03:05:00Z".parse().unwrap();
        assert_eq!(parse(LINE, begun).unwrap().at, Duration::ZERO);
    }

    #[test]
    fn other_lines_are_no_change() {
        for line in [
            "",
            "2026-01-02T03:04:06Z  INFO datapath attached hook=\"xdp\"",
            r#"2026-01-02T03:04:06Z  WARN no replica of the service is up service="http" consequence="…""#,
            LINE.trim_end_matches('"'),
            LINE.trim_start_matches("2026"),
        ] {
            assert_eq!(parse(line, Timestamp::UNIX_EPOCH), None, "{line}");
        }
    }
}
