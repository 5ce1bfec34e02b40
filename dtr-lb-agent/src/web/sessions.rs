//! Sessions of the dashboard: random names in memory, so that they end with the agent.
//!
//! Time and randomness are the caller's.

use std::{
    collections::VecDeque,
    fmt,
    time::{Duration, Instant},
};

use subtle::ConstantTimeEq as _;

/// How long one lasts, however much it is used.
pub(super) const LIFETIME: Duration = Duration::from_secs(12 * 3600);
/// More than this many at once are not kept: the oldest ends.
const MOST: usize = 64;
/// Random bytes of a name: nobody guesses 256 bits.
const BYTES: usize = 32;

/// The name of a session, as it stands in the cookie: hexadecimal. Its debug print hides it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct SessionName(String);

impl SessionName {
    pub(super) fn new(random: [u8; BYTES]) -> Self {
        Self(random.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("SessionName(hidden)")
    }
}

/// Those that are open, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Sessions(VecDeque<(SessionName, Instant)>);

impl Sessions {
    pub(super) fn open(&mut self, name: SessionName, now: Instant) {
        self.forget_old(now);
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back((name, now));
    }

    pub(super) fn is_open(&mut self, name: &[u8], now: Instant) -> bool {
        self.forget_old(now);
        // All are looked at: how long this takes tells nothing.
        self.0.iter().fold(false, |found, (open, _)| found | bool::from(open.0.as_bytes().ct_eq(name)))
    }

    pub(super) fn close(&mut self, name: &[u8]) {
        self.0.retain(|(open, _)| !bool::from(open.0.as_bytes().ct_eq(name)));
    }

    pub(super) fn close_all(&mut self) {
        self.0.clear();
    }

    fn forget_old(&mut self, now: Instant) {
        self.0.retain(|(_, opened)| now.saturating_duration_since(*opened) < LIFETIME);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: u8) -> SessionName {
        SessionName::new([number; BYTES])
    }

    #[test]
    fn one_ends_when_it_is_closed_and_after_twelve_hours() {
        let begin = Instant::now();
        let mut sessions = Sessions::default();
        sessions.open(name(1), begin);
        sessions.open(name(2), begin + Duration::from_secs(1));
        let open = |sessions: &mut Sessions, number, after| {
            sessions.is_open(name(number).as_str().as_bytes(), begin + after)
        };
        assert!(open(&mut sessions, 1, Duration::ZERO) && open(&mut sessions, 2, Duration::ZERO));
        assert!(!open(&mut sessions, 3, Duration::ZERO));
        assert!(!sessions.is_open(b"", begin));
        assert!(open(&mut sessions, 1, LIFETIME - Duration::from_millis(1)), "use does not end it");
        assert!(!open(&mut sessions, 1, LIFETIME), "nor does it make it longer");
        assert!(open(&mut sessions, 2, LIFETIME));
        sessions.close(name(2).as_str().as_bytes());
        assert!(!open(&mut sessions, 2, LIFETIME));
    }

    #[test]
    fn there_are_never_more_than_so_many() {
        let now = Instant::now();
        let mut sessions = Sessions::default();
        for number in 0..=u8::try_from(MOST).expect("small") {
            sessions.open(name(number), now);
        }
        assert_eq!(sessions.0.len(), MOST);
        assert!(!sessions.is_open(name(0).as_str().as_bytes(), now), "the oldest is gone");
        assert!(sessions.is_open(name(1).as_str().as_bytes(), now));
    }

    #[test]
    fn no_print_shows_a_name() {
        let mut sessions = Sessions::default();
        sessions.open(name(0xab), Instant::now());
        assert!(!format!("{sessions:?}").contains("abab"));
    }
}
