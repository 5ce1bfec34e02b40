//! The host names of replicas: followed while the agent runs, and their answers' way into the effective config.

use std::{collections::BTreeSet, future::pending, time::Duration};

use jiff::Timestamp;
use tokio::{sync::watch, time::timeout};
use tracing::{info, warn};

use super::{Agent, effective::Sources, log::log_differences, probes::Files};
use crate::{
    changes::{Names, wanted_names},
    datapath::Datapath,
    resolve::{self, Answers, Dns, Resolver},
};

/// How long the start waits for names that no agent has ever had an answer for. Without it, the first table would lack their
/// replicas; a datapath that is not there yet forwards nothing, which is worse.
const FIRST_ANSWERS: Duration = Duration::from_secs(2);

/// Names that are followed.
#[derive(Debug)]
pub(super) struct Following {
    /// Dropped, it ends all of it.
    _resolver: Resolver,
    wanted: watch::Sender<BTreeSet<String>>,
    answers: watch::Receiver<Answers>,
    /// Why the last answers could not be used, once that was told.
    unused: Option<String>,
}

impl Following {
    /// Follows the names of these sources, within a tokio runtime.
    pub(super) fn start(sources: &Sources) -> Self {
        let (wanted, receiver) = watch::channel(wanted_names(&sources.file, &sources.changes));
        let (resolver, answers) = Resolver::spawn(Dns::of_host(), receiver, sources.changes.answers());
        Self { _resolver: resolver, wanted, answers, unused: None }
    }

    /// Waits until each name that has no addresses has been asked for once, but not for long. Returns what is known then.
    pub(super) async fn first_answers(&mut self) -> Names {
        let wanted = self.wanted.borrow().clone();
        let asked = |answers: &Answers| {
            let has_been = |known: &resolve::Known| known.looked() || !known.addresses().is_empty();
            wanted.iter().all(|name| answers.get(name).is_some_and(has_been))
        };
        let in_time = timeout(FIRST_ANSWERS, self.answers.wait_for(asked)).await.is_ok();
        if !in_time {
            info!("not every host name of replicas has an answer yet; starting with what is known");
        }
        resolve::names(&self.answers.borrow_and_update())
    }

    /// Follows the names of these sources from now on.
    pub(super) fn follow(&self, sources: &Sources) {
        let names = wanted_names(&sources.file, &sources.changes);
        self.wanted.send_if_modified(|wanted| {
            let changed = *wanted != names;
            *wanted = names;
            changed
        });
    }

    /// Waits for the next look at a name. May be dropped and called again.
    pub(super) async fn looked(&mut self) {
        if self.answers.changed().await.is_err() {
            pending::<()>().await;
        }
    }

    /// What is known of each.
    pub(super) fn answers(&self) -> Answers {
        self.answers.borrow().clone()
    }
}

impl Agent {
    /// Takes in what DNS says now. Returns whether it has changed anything.
    pub(super) async fn take_names(&mut self, datapath: &mut Datapath) -> bool {
        let names = resolve::names(&self.following.answers.borrow_and_update());
        let mut given = self.sources.given();
        if given.names == names {
            return false;
        }
        given.changes.answered(&names, Timestamp::now());
        given.names = names;
        match self.take_in(datapath, given, Files::AsTheyWere).await {
            Ok(taken) => {
                log_differences(&taken.changes);
                self.following.unused = None;
                true
            }
            // The next look tries again.
            Err(error) => {
                let error = error.to_string();
                if self.following.unused.as_ref() != Some(&error) {
                    warn!(
                        error,
                        "what DNS says of the replicas' host names cannot be used; they stay as they were"
                    );
                }
                self.following.unused = Some(error);
                false
            }
        }
    }
}
