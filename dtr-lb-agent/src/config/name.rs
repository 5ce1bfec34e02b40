//! The names of services and replicas: they are typed on the command line and are labels in the metrics.

use super::takes::Text;

/// A key that takes one.
pub(super) const NAME: Text<String> = Text {
    words: "1 to 64 of the characters A-Z a-z 0-9 . _ : - in quotes",
    parse: |text| is_name(text).then(|| text.to_owned()).ok_or_else(|| "not usable as a name".to_owned()),
    show: String::clone,
};

/// Whether it may be the name of a service or a replica.
pub(crate) fn is_name(text: &str) -> bool {
    const LONGEST: usize = 64;
    let good = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
    (1..=LONGEST).contains(&text.len()) && text.chars().all(good)
}
