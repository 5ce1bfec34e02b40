//! `dtr-lb undo`: takes back the last order about replicas. It comes into force as the order did: as another config.

use std::sync::Arc;

use jiff::Timestamp;
use tracing::info;

use super::{
    AgentError, NoFile,
    admin_commands::{not_edited, refuse_what_is_left_out, without_replicas},
    driver::Driver,
    effective::{Applied, Given},
    orders::called,
    pending_replies::Reply,
};
use crate::{
    api::{Answer, Ordered, Refusal, RefusalKind},
    changes::{FileTexts, Step},
    config::{Admin, Config, Replica},
    events::{By, ByFields},
    human::age,
};

/// An order that is being taken back.
pub(super) struct Undoing {
    step: Step,
    by: Option<By>,
    answer: Answer<Ordered>,
    /// The config before it is taken back.
    before: Arc<Config>,
}

impl Undoing {
    /// Who wants it.
    pub(super) const fn by(&self) -> Option<&By> {
        self.by.as_ref()
    }
}

impl Driver {
    /// Finds out what there is without the last order, and puts the config file back, if that was saved. `None` where it cannot be
    /// done, which is told to whoever asked.
    pub(super) fn undo(&mut self, by: Option<By>, answer: Answer<Ordered>) -> Option<(Undoing, Given)> {
        let before = Arc::clone(self.health.control.config());
        match self.without_the_last_order(&before) {
            Ok((step, given)) => Some((Undoing { step, by, answer, before }, given)),
            Err(refusal) => {
                // Who asked may have gone.
                drop(answer.send(Err(refusal)));
                None
            }
        }
    }

    fn without_the_last_order(&self, before: &Config) -> Result<(Step, Given), Refusal> {
        let conflict = |error: &dyn std::fmt::Display| Refusal::new(RefusalKind::Conflict, error);
        let configuration = &self.configuration;
        let mut given = configuration.sources.given();
        let step = given.changes.take_back(before).map_err(|error| conflict(&error))?;
        match &step.file {
            // What is too long is refused above.
            None | Some(FileTexts::TooLong) => {
                refuse_what_is_left_out(&given, &configuration.sources.given())?;
            }
            Some(FileTexts::Texts { before, after }) => {
                let path = configuration.source.file(NoFile::Save).map_err(|error| conflict(&error))?;
                let file = configuration.source.put_back(path, before, after).map_err(not_edited)?;
                given.file = Arc::new(file.at_interfaces_of(&configuration.sources.file));
            }
        }
        Ok((step, given))
    }

    /// Tells who asked for it what came of it; where it was done, once it is in force.
    pub(super) fn undone(&mut self, undoing: Undoing, result: Result<Applied, AgentError>) {
        let Undoing { step, by, answer, before } = undoing;
        let Applied { changes: _, mut notes } = match result {
            Ok(applied) => applied,
            Err(error) => {
                let refusal = match &step.file {
                    None => Refusal::failed(error),
                    Some(_) => Refusal::failed(format!(
                        "the config file has its earlier text again, but that is not in force: {error}"
                    )),
                };
                // Who asked may have gone.
                return drop(answer.send(Err(refusal)));
            }
        };
        let after = Arc::clone(self.health.control.config());
        let mut done = vec![headline(&step, Timestamp::now())];
        done.extend(words(&before, &after));
        if step.file.is_some() {
            done.push(format!("{} has its earlier text again", self.configuration.source.origin));
        }
        notes.extend(without_replicas(&before, &after));
        let ByFields { uid, user, token, peer } = By::fields(by.as_ref());
        info!(
            event = "order_undone",
            order = step.order,
            done = done[1..].join("; "),
            uid,
            user,
            token,
            peer,
            "an operator's order is taken back"
        );
        self.replies.push(Reply::Order(answer, Ordered { done, notes }));
    }
}

fn headline(step: &Step, now: Timestamp) -> String {
    let Step { order, at, .. } = step;
    format!("took back `{order}`, which was given {} ago", age(now.duration_since(*at)))
}

/// What replicas are again, one line each.
fn words(before: &Config, after: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    let find = |config: &Config, service: &str, replica: &Replica| {
        let service = config.services.iter().find(|known| known.name == service)?;
        let is_it = |known: &&Replica| (known.address, known.port) == (replica.address, replica.port);
        service.replicas.iter().find(is_it).cloned()
    };
    for service in &after.services {
        for replica in &service.replicas {
            let what = match find(before, &service.name, replica) {
                None => Some(format!("is back{}", standing(replica))),
                Some(old) => again(&old, replica),
            };
            lines.extend(
                what.map(|what| format!("service `{}`: replica {} {what}", service.name, called(replica))),
            );
        }
    }
    for service in &before.services {
        let gone = service.replicas.iter().filter(|replica| find(after, &service.name, replica).is_none());
        let line = |replica| {
            format!(
                "service `{}`: replica {} is removed; its connections may end by themselves",
                service.name,
                called(replica)
            )
        };
        lines.extend(gone.map(line));
    }
    lines
}

/// How one that was removed is back.
fn standing(replica: &Replica) -> &'static str {
    match replica.admin {
        Admin::Ready => "; it gets connections once a probe finds it up",
        Admin::Drain => ", drained: it gets no new connections",
        Admin::Maint => ", in maintenance: no new connections, no probes",
    }
}

/// What a replica that stays is again; `None` where it is as it was.
fn again(before: &Replica, after: &Replica) -> Option<String> {
    let state = (before.admin != after.admin).then(|| match (after.admin, before.admin) {
        (Admin::Ready, Admin::Maint) => {
            "is ready again; it gets connections once a probe finds it up".to_owned()
        }
        (Admin::Ready, _) => "is ready again".to_owned(),
        (Admin::Drain, _) => "is drained again: it gets no new connections".to_owned(),
        (Admin::Maint, _) => "is in maintenance again: no new connections, no probes".to_owned(),
    });
    let weight = (before.weight != after.weight).then(|| format!("has weight {} again", after.weight));
    let all: Vec<_> = [state, weight].into_iter().flatten().collect();
    (!all.is_empty()).then(|| all.join(" and "))
}

#[cfg(test)]
mod tests;
