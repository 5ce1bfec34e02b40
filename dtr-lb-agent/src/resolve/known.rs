//! What is known of one name. Pure: looks in, news and the time to the next look out.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use jiff::Timestamp;

use super::{LookError, Looked, Records};

/// Bounds for the time that an answer holds. The upper one: a TTL of days would make an address that has moved lost for days.
const LEAST_TTL: Duration = Duration::from_secs(1);
const MOST_TTL: Duration = Duration::from_secs(3600);
/// From a look that failed to the next: doubled with each that fails.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What is known of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    v4: BTreeSet<IpAddr>,
    v6: BTreeSet<IpAddr>,
    answered: Option<Timestamp>,
    error: Option<String>,
    failures: u32,
    looked: bool,
}

/// What an operator wants to read once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The first look that failed, and why. `kept`: there is an earlier answer, which holds.
    Failed { error: String, kept: bool },
    /// The first that did not.
    Back,
    /// The addresses are others than before.
    Changed { added: Vec<IpAddr>, removed: Vec<IpAddr> },
}

impl Known {
    /// What an earlier agent knew: addresses, and since when.
    #[must_use]
    pub fn from_before(addresses: &BTreeSet<IpAddr>, at: Timestamp) -> Self {
        let (v4, v6) = addresses.iter().partition(|address| address.is_ipv4());
        Self { v4, v6, answered: Some(at), ..Self::default() }
    }

    /// The last good answer; empty: there was none.
    #[must_use]
    pub fn addresses(&self) -> BTreeSet<IpAddr> {
        self.v4.union(&self.v6).copied().collect()
    }

    /// When DNS last gave a good answer, this agent or an earlier one.
    #[must_use]
    pub fn answered(&self) -> Option<Timestamp> {
        self.answered
    }

    /// Why the last look failed, if it did.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// Whether DNS has been asked, whatever came of it.
    #[must_use]
    pub fn looked(&self) -> bool {
        self.looked
    }

    /// Takes in a look. Returns what there is to say, and when to look again.
    pub fn take(&mut self, looked: &Looked, now: Timestamp) -> (Vec<News>, Duration) {
        self.looked = true;
        let before = self.addresses();
        let found: Vec<&Records> = [&looked.v4, &looked.v6].into_iter().flatten().collect();
        if !found.is_empty() {
            take_family(&mut self.v4, &looked.v4);
            take_family(&mut self.v6, &looked.v6);
            self.answered = Some(now);
        }
        let mut news = Vec::new();
        let error = failure(looked);
        match (&error, &self.error) {
            (Some(error), None) => {
                news.push(News::Failed { error: error.clone(), kept: !self.addresses().is_empty() });
            }
            (None, Some(_)) => news.push(News::Back),
            (Some(_), Some(_)) | (None, None) => {}
        }
        self.error = error;
        let after = self.addresses();
        if after != before {
            let added = after.difference(&before).copied().collect();
            let removed = before.difference(&after).copied().collect();
            news.push(News::Changed { added, removed });
        }
        (news, self.pause(&found))
    }

    /// Until the next look: the answer's time, or, after a failure, no longer than the back-off.
    fn pause(&mut self, found: &[&Records]) -> Duration {
        let ttl = found.iter().map(|records| records.ttl.clamp(LEAST_TTL, MOST_TTL)).min();
        if self.error.is_none() {
            self.failures = 0;
            return ttl.unwrap_or(MOST_TTL);
        }
        let doubled = FIRST_PAUSE.saturating_mul(2u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        doubled.min(LONGEST_PAUSE).min(ttl.unwrap_or(LONGEST_PAUSE))
    }
}

/// A family that DNS could not say anything of stays as it was.
fn take_family(known: &mut BTreeSet<IpAddr>, looked: &Result<Records, LookError>) {
    match looked {
        Ok(records) => known.clone_from(&records.addresses),
        Err(LookError::None(_)) => known.clear(),
        Err(LookError::Failed(_)) => {}
    }
}

/// Why the look was no good answer: a family failed, or there are no addresses at all.
fn failure(looked: &Looked) -> Option<String> {
    match (&looked.v4, &looked.v6) {
        (Err(v4 @ LookError::Failed(_)), Err(v6 @ LookError::Failed(_))) if v4 != v6 => {
            Some(format!("IPv4: {v4}; IPv6: {v6}"))
        }
        (Err(v4 @ LookError::Failed(_)), Err(_)) => Some(v4.to_string()),
        (Err(v4 @ LookError::Failed(_)), Ok(_)) => Some(format!("IPv4: {v4}")),
        (Err(_), Err(v6 @ LookError::Failed(_))) => Some(v6.to_string()),
        (Ok(_), Err(v6 @ LookError::Failed(_))) => Some(format!("IPv6: {v6}")),
        (Err(none), Err(_)) => Some(none.to_string()),
        (Ok(_), Ok(_) | Err(LookError::None(_))) | (Err(LookError::None(_)), Ok(_)) => None,
    }
}
