//! What is known of the replicas' host names.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::resolve::{Answers, Known};

/// A host name that stands for replicas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameStatus {
    pub name: String,
    /// By the last good answer; empty: there was none yet.
    pub addresses: Vec<IpAddr>,
    /// When DNS last gave a good answer.
    pub answered: Option<Timestamp>,
    /// Seconds since then.
    pub age_seconds: Option<u64>,
    /// Why DNS gave none when it was last asked, if it did not.
    pub error: Option<String>,
}

/// All that are followed, at `now`.
pub(crate) fn names(answers: &Answers, now: Timestamp) -> Vec<NameStatus> {
    let of = |(name, known): (&String, &Known)| NameStatus {
        name: name.clone(),
        addresses: known.addresses().into_iter().collect(),
        answered: known.answered(),
        age_seconds: known.answered().map(|at| now.duration_since(at).as_secs().try_into().unwrap_or(0)),
        error: known.error().map(str::to_owned),
    };
    answers.iter().map(of).collect()
}

/// A line a name.
pub(super) fn text(names: &[NameStatus]) -> String {
    let line = |status: &NameStatus| {
        let NameStatus { name, addresses, answered: _, age_seconds, error } = status;
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let mut line = format!("name {name}");
        match age_seconds {
            Some(age) => line.push_str(&format!(" {} ({age} s ago)", addresses.join(", "))),
            None => line.push_str(" no answer yet"),
        }
        if let Some(error) = error {
            line.push_str(&format!("; DNS: {error}"));
        }
        line + "\n"
    };
    names.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::resolve::{LookError, Looked, Records};

    #[test]
    fn a_name_tells_its_last_answer_its_age_and_what_is_wrong() {
        let mut known = Known::default();
        let none = || LookError::None("the name has no addresses".into());
        let later = Timestamp::UNIX_EPOCH + Duration::from_secs(90);
        let said = |known: &Known| text(&names(&Answers::from([("dtr".to_owned(), known.clone())]), later));
        assert_eq!(said(&known), "name dtr no answer yet\n");
        known.take(&Looked { v4: Err(none()), v6: Err(none()) }, Timestamp::UNIX_EPOCH);
        assert_eq!(said(&known), "name dtr no answer yet; DNS: the name has no addresses\n");
        let addresses = ["10.0.0.12", "10.0.0.3"].map(|text| text.parse().unwrap()).into();
        let found = Records { addresses, ttl: Duration::from_secs(1) };
        known.take(&Looked { v4: Ok(found), v6: Err(none()) }, Timestamp::UNIX_EPOCH);
        assert_eq!(said(&known), "name dtr 10.0.0.3, 10.0.0.12 (90 s ago)\n");
        known.take(&Looked { v4: Err(none()), v6: Err(none()) }, later);
        assert_eq!(said(&known), "name dtr 10.0.0.3, 10.0.0.12 (90 s ago); DNS: the name has no addresses\n");
    }
}
