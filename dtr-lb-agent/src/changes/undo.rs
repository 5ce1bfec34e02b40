//! The last orders, as they can be taken back: of each, what the changes of the services that it touched were before and after.
//! Pure.
//!
//! Kept are states, not inverse orders: what an order did shows in what it left. An order is taken back only where all that it
//! changed still is as it left it; what a reload, DNS or another program has changed since is not overwritten.

use std::{collections::BTreeSet, net::IpAddr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Adjusted, Changes, ServiceChanges};
use crate::config::{Config, Host, Service};

/// So many orders can be taken back.
pub const MOST_STEPS: usize = 16;
/// A longer config file, in bytes, is not kept beside each order that was saved to it.
const LONGEST_FILE: usize = 256 << 10;

/// An order that can be taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// As it would be typed, as in "replica drain r1 r2".
    pub order: String,
    /// When it was given.
    pub at: Timestamp,
    services: Vec<Touched>,
    /// What it did to the config file, if it was saved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileTexts>,
}

/// What an order did to the config file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileTexts {
    Texts {
        before: String,
        after: String,
    },
    /// The texts are not kept.
    TooLong,
}

/// What was changed of one service, before an order and after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Touched {
    service: String,
    before: ServiceChanges,
    after: ServiceChanges,
}

/// Why the last order is not taken back. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UndoError {
    #[error(
        "there is no order to take back: none was given since the datapath was made, or all of the last {MOST_STEPS} were taken back"
    )]
    Nothing,
    #[error("`{order}` cannot be taken back: {why}; give an order that says what is wanted instead")]
    Changed { order: String, why: String },
    #[error(
        "`{order}` cannot be taken back: it was saved to a config file of more than {} KiB, whose earlier text is not kept; \
         change the file by hand, and `dtr-lb reload`",
        LONGEST_FILE >> 10
    )]
    TooLong { order: String },
}

impl FileTexts {
    /// What `undo` has to know of a file that said `before`, and says `after` now.
    #[must_use]
    pub fn new(before: String, after: String) -> Self {
        if before.len().max(after.len()) > LONGEST_FILE {
            return Self::TooLong;
        }
        Self::Texts { before, after }
    }
}

impl Changes {
    /// Remembers that `order` made these changes of `before`, and what it did to the file. An order that changed nothing is none.
    pub fn remember(&mut self, before: &Self, order: String, at: Timestamp, file: Option<FileTexts>) {
        let names: BTreeSet<_> = before.services.keys().chain(self.services.keys()).collect();
        let of = |changes: &Self, name: &String| changes.services.get(name).cloned().unwrap_or_default();
        let touched = names.into_iter().map(|name| Touched {
            service: name.clone(),
            before: of(before, name),
            after: of(self, name),
        });
        let services: Vec<_> = touched.filter(|touched| touched.before != touched.after).collect();
        if services.is_empty() && file.is_none() {
            return;
        }
        self.steps.push(Step { order, at, services, file });
        let surplus = self.steps.len().saturating_sub(MOST_STEPS);
        self.steps.drain(..surplus);
    }

    /// The last order that was not taken back.
    #[must_use]
    pub fn last_order(&self) -> Option<&Step> {
        self.steps.last()
    }

    /// Takes the last order back, as far as it is no matter of the file. `config` is the effective config so far.
    ///
    /// # Errors
    /// See [`UndoError`].
    pub fn take_back(&mut self, config: &Config) -> Result<Step, UndoError> {
        let mut now = self.clone();
        let step = now.steps.pop().ok_or(UndoError::Nothing)?;
        if step.file == Some(FileTexts::TooLong) {
            return Err(UndoError::TooLong { order: step.order });
        }
        for touched in &step.services {
            let service = now.services.entry(touched.service.clone()).or_default();
            touched.restore(service).map_err(|different| UndoError::Changed {
                order: step.order.clone(),
                why: different.words(&touched.service, config),
            })?;
            now.forget_unchanged(&touched.service);
        }
        *self = now;
        Ok(step)
    }
}

/// What is no longer as an order left it.
struct Different {
    host: Host,
    left: String,
    now: String,
}

impl Touched {
    fn restore(&self, service: &mut ServiceChanges) -> Result<(), Different> {
        let Self { service: _, before, after } = self;
        let addresses: BTreeSet<IpAddr> =
            before.replicas.keys().chain(after.replicas.keys()).copied().collect();
        for address in addresses {
            let of = |changes: &ServiceChanges| changes.replicas.get(&address).copied();
            let said = |adjusted: Option<Adjusted>| {
                adjusted.map_or_else(|| "as the config file says".into(), Adjusted::words)
            };
            if of(before) == of(after) {
                continue;
            }
            if of(service) != of(after) {
                let (left, now) = (said(of(after)), said(of(service)));
                return Err(Different { host: Host::Address(address), left, now });
            }
            match of(before) {
                Some(adjusted) => service.replicas.insert(address, adjusted),
                None => service.replicas.remove(&address),
            };
        }
        for address in before.removed.symmetric_difference(&after.removed) {
            let said = |changes: &ServiceChanges| {
                if changes.removed.contains(address) { "removed" } else { "not removed" }
            };
            if said(service) != said(after) {
                let (left, now) = (said(after).into(), said(service).into());
                return Err(Different { host: Host::Address(*address), left, now });
            }
            if before.removed.contains(address) {
                service.removed.insert(*address);
            } else {
                service.removed.remove(address);
            }
        }
        for added in before.added.iter().chain(&after.added) {
            let of = |changes: &ServiceChanges| {
                changes.added.iter().find(|other| other.host == added.host).cloned()
            };
            let (before, after) = (of(before), of(after));
            // One that is in both comes twice; by then it is what it was.
            if before == after || of(service) == before {
                continue;
            }
            if of(service) != after {
                let said = |there: bool| if there { "added" } else { "not added" }.to_owned();
                let (left, now) = (said(after.is_some()), said(of(service).is_some()));
                return Err(Different { host: added.host.clone(), left, now });
            }
            service.added.retain(|other| other.host != added.host);
            service.added.extend(before);
        }
        Ok(())
    }
}

impl Different {
    fn words(&self, name: &str, config: &Config) -> String {
        let Self { host, left, now } = self;
        let Some(service) = config.services.iter().find(|service| service.name == name) else {
            return format!("the config has no service `{name}` any more");
        };
        if !has(service, host) {
            return format!(
                "service `{name}` has no replica `{host}` any more, as the config was changed since"
            );
        }
        format!(
            "replica `{host}` of service `{name}` was changed since: the order left it {left}, and now it is {now}"
        )
    }
}

fn has(service: &Service, host: &Host) -> bool {
    let replicas = service.replicas.iter().any(|replica| Some(replica.address) == host.address());
    replicas || service.listed.iter().any(|listed| listed.host == *host)
}

#[cfg(test)]
mod tests;
