//! Answers that are given when the datapath goes by what was asked for, and not before: who reads "done" may rely on it.

use super::Agent;
use crate::api::{Answer, Ordered, Reloaded};

/// Who waits for what was done to be in force, and what they will be told.
#[derive(Debug)]
pub(super) enum Waiting {
    Reload(Answer<Reloaded>, Reloaded),
    Order(Answer<Ordered>, Ordered),
}

impl Agent {
    /// Answers all who wait. `behind`: why the datapath is not up to date.
    pub(super) fn answer_waiting(&mut self, behind: Option<&str>) {
        let note = behind.map(|error| {
            format!("the datapath does not go by it yet, and it is tried again each second: {error}")
        });
        for waiting in self.waiting.drain(..) {
            // Who asked may have gone.
            match waiting {
                Waiting::Reload(answer, mut done) => {
                    done.notes.extend(note.clone());
                    drop(answer.send(Ok(done)));
                }
                Waiting::Order(answer, mut done) => {
                    done.notes.extend(note.clone());
                    drop(answer.send(Ok(done)));
                }
            }
        }
    }
}
