//! What the config says of who may do what over HTTP, and the sessions that are open. A reload replaces the first.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::{
    sessions::{SessionName, Sessions},
    token::{AdminToken, TokenError},
};
use crate::config;

/// What `[agent]` says of it, with the token read.
#[derive(Debug, Default)]
pub struct Rules {
    /// Names by which it may be asked for, in lower case; addresses and `localhost` always may.
    pub(super) names: Vec<String>,
    /// Without one nothing is changed over HTTP.
    pub(super) token: Option<AdminToken>,
}

impl Rules {
    /// Whether anything may be changed over HTTP, by who has the token.
    #[must_use]
    pub fn let_change(&self) -> bool {
        self.token.is_some()
    }

    /// Reads the token, if the config names one. `own`: this host's name.
    ///
    /// # Errors
    /// [`TokenError`]; nothing is changed by it.
    pub fn read(agent: &config::Agent, own: Option<String>) -> Result<Self, TokenError> {
        let own = own.map(|name| name.to_ascii_lowercase());
        Ok(Self {
            names: agent.http_names.iter().cloned().chain(own).collect(),
            token: agent.admin_token_file.as_deref().map(AdminToken::load).transpose()?,
        })
    }
}

/// The rules in force. A handle: all of them are one.
#[derive(Clone, Debug, Default)]
pub struct Access(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    rules: Rules,
    sessions: Sessions,
}

impl Access {
    pub(super) fn new(rules: Rules) -> Self {
        Self(Arc::new(Mutex::new(State { rules, sessions: Sessions::default() })))
    }

    /// Puts other rules in force. Sessions end if the token is another.
    pub fn replace(&self, rules: Rules) {
        let mut state = self.lock();
        let same = match (&state.rules.token, &rules.token) {
            (Some(old), Some(new)) => old.equals(new),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if !same {
            state.sessions.close_all();
        }
        state.rules = rules;
    }

    /// Whether there is a token at all.
    pub(super) fn can_change(&self) -> bool {
        self.lock().rules.token.is_some()
    }

    pub(super) fn is_token(&self, given: &[u8]) -> bool {
        self.lock().rules.token.as_ref().is_some_and(|token| token.is(given))
    }

    pub(super) fn is_name(&self, name: &str) -> bool {
        self.lock().rules.names.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    pub(super) fn open_session(&self, name: SessionName, now: Instant) {
        self.lock().sessions.open(name, now);
    }

    pub(super) fn is_session(&self, name: &[u8], now: Instant) -> bool {
        self.lock().sessions.is_open(name, now)
    }

    pub(super) fn close_session(&self, name: &[u8]) {
        self.lock().sessions.close(name);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(token: Option<&str>) -> Rules {
        Rules { names: Vec::new(), token: token.map(AdminToken::of) }
    }

    #[test]
    fn sessions_end_with_the_token_that_opened_them() {
        let (old, new) = ("0123456789abcdef", "fedcba9876543210");
        let now = Instant::now();
        let name = SessionName::new([7; 32]);
        for (replaced_by, stays) in [(Some(old), true), (Some(new), false), (None, false)] {
            let access = Access::new(rules(Some(old)));
            access.open_session(name.clone(), now);
            access.replace(rules(replaced_by));
            assert_eq!(access.is_session(name.as_str().as_bytes(), now), stays, "{replaced_by:?}");
            assert_eq!(access.is_token(old.as_bytes()), replaced_by == Some(old));
            assert_eq!(access.can_change(), replaced_by.is_some());
        }
    }
}
