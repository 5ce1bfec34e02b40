//! Whether anybody wants records: the log has a place, or somebody follows. While nobody does, none need be made.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

#[derive(Debug)]
pub(super) struct Wanted {
    by: Mutex<By>,
    told: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct By {
    log: bool,
    followers: usize,
}

/// Somebody who follows; no longer when it is dropped.
#[derive(Debug)]
pub(super) struct Follower(Arc<Wanted>);

impl Wanted {
    pub(super) fn new(log: bool) -> Self {
        Self { by: Mutex::new(By { log, followers: 0 }), told: watch::Sender::new(log) }
    }

    pub(super) fn is(&self) -> bool {
        *self.told.borrow()
    }

    pub(super) fn watch(&self) -> watch::Receiver<bool> {
        self.told.subscribe()
    }

    pub(super) fn by_log(&self, log: bool) {
        self.change(|by| by.log = log);
    }

    pub(super) fn by_one_more(self: &Arc<Self>) -> Follower {
        self.change(|by| by.followers += 1);
        Follower(Arc::clone(self))
    }

    fn change(&self, change: impl FnOnce(&mut By)) {
        let mut by = self.by.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut by);
        let wanted = by.log || by.followers > 0;
        self.told.send_if_modified(|told| std::mem::replace(told, wanted) != wanted);
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.change(|by| by.followers -= 1);
    }
}
