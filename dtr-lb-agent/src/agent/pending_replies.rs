//! Replies that are given when the datapath goes by what was asked for, and not before: who reads "done" may rely on it.

use super::applier::DatapathState;
use crate::api::{Answer, Ordered, Reloaded};

/// Who waits for what was done to be in force, and what they will be told.
#[derive(Debug)]
pub(super) enum Reply {
    Reload(Answer<Reloaded>, Reloaded),
    Order(Answer<Ordered>, Ordered),
}

/// Those that wait.
#[derive(Debug, Default)]
pub(super) struct PendingReplies {
    /// What they ask for was decided, and not yet handed to the datapath.
    decided: Vec<Reply>,
    /// It was, as the wish of this number.
    wanted: Vec<(u64, Reply)>,
}

impl PendingReplies {
    pub(super) fn push(&mut self, reply: Reply) {
        self.decided.push(reply);
    }

    /// All that was decided is in the wish of this number.
    pub(super) fn wanted(&mut self, number: u64) {
        self.wanted.extend(self.decided.drain(..).map(|reply| (number, reply)));
    }

    /// Answers those whose wish was tried.
    pub(super) fn answer(&mut self, state: &DatapathState) {
        let note = state.behind.as_ref().map(|error| {
            format!("the datapath's tables are not up to date; the agent retries every second: {error}")
        });
        for (_, reply) in self.wanted.extract_if(.., |(number, _)| *number <= state.tried) {
            // Who asked may have gone.
            match reply {
                Reply::Reload(answer, mut done) => {
                    done.notes.extend(note.clone());
                    drop(answer.send(Ok(done)));
                }
                Reply::Order(answer, mut done) => {
                    done.notes.extend(note.clone());
                    drop(answer.send(Ok(done)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn a_reply_waits_for_the_wish_that_has_it() {
        let reloaded = || Reloaded { changes: vec!["port".to_owned()], notes: Vec::new() };
        let mut replies = PendingReplies::default();
        let state = |tried, behind: Option<&str>| DatapathState {
            tried,
            behind: behind.map(Into::into),
            ..DatapathState::default()
        };
        let (answer, mut first) = oneshot::channel();
        replies.push(Reply::Reload(answer, reloaded()));
        replies.answer(&state(7, None));
        assert!(first.try_recv().is_err(), "it is in no wish yet");
        replies.wanted(8);
        let (answer, mut second) = oneshot::channel();
        replies.push(Reply::Reload(answer, reloaded()));
        replies.wanted(9);
        replies.answer(&state(8, None));
        assert_eq!(first.try_recv().expect("it is in force"), Ok(reloaded()));
        assert!(second.try_recv().is_err());
        replies.answer(&state(9, Some("no room")));
        let notes = second.try_recv().expect("it was tried").expect("done").notes;
        assert!(notes.len() == 1 && notes[0].ends_with("retries every second: no room"), "{notes:?}");
    }
}
