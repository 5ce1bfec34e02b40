//! Orders about replicas are carried out: drain, maint, ready, weight, add, remove.

use std::sync::Arc;

use tracing::{debug, info};

use super::{
    Agent, NoFile,
    effective::TakenIn,
    orders::{self, Target, called},
    probes::Files,
};
use crate::{
    api::{Ordered, Refusal, RefusalKind, ReplicaOrder},
    config::{Admin, Config, Edit, EditError, OnDown, Replica},
    control::{ReplicaKey, ReplicaState},
    datapath::Datapath,
};

impl Agent {
    /// Does what an operator wants of a replica, and says what was done.
    pub(super) async fn order(
        &mut self,
        datapath: &mut Datapath,
        order: &ReplicaOrder,
    ) -> Result<Ordered, Refusal> {
        let before = Arc::clone(self.control.config());
        let mut given = self.sources.given();
        let targets = orders::apply(order, &before, &mut given.changes)?;
        if let ReplicaOrder::Add { .. } = order {
            refuse_what_is_left_out(&given, &self.sources.given())?;
        }
        let edit = orders::edit(order, &before, &targets)?;
        let states = self.states(&targets);
        let flows: Vec<_> = targets.iter().map(|target| self.flows(datapath, &before, target)).collect();
        if let Some(edit) = &edit {
            given.file = Arc::new(self.save(edit)?);
            if let ReplicaOrder::Add { .. } = order {
                // The file has it now.
                given.changes = self.sources.given().changes;
            }
        }
        let taken = self.take_in(datapath, given, Files::AsTheyWere).await;
        let TakenIn { changes, mut notes } = taken.map_err(|error| match edit {
            None => Refusal::failed(error),
            Some(_) => {
                Refusal::failed(format!("it is saved to the config file, but is not in force: {error}"))
            }
        })?;
        let after = Arc::clone(self.control.config());
        let mut done: Vec<_> = targets
            .iter()
            .zip(flows)
            .map(|(target, flows)| {
                let replica = find(&after, target);
                words(order, target, replica, flows, after.datapath.on_down)
            })
            .collect();
        if let ReplicaOrder::Add { address, .. } = order {
            done.extend(
                changes
                    .iter()
                    .map(|change| format!("{change}; it gets connections once a probe finds it up")),
            );
            if changes.is_empty() {
                done.push(format!("`{address}` is added; it has no address yet"));
            }
        }
        if edit.is_some() {
            done.push(format!("saved to {}", self.source.origin));
        }
        notes.extend(without_replicas(&before, &after));
        // A change of state has a line of its own, with the order as its cause: an order that is one is not told twice.
        let in_words = done.join("; ");
        if edit.is_none() && all_changed(&states, &self.states(&targets)) {
            debug!(event = "order_done", done = in_words, "an operator's order is carried out");
        } else {
            info!(event = "order_done", done = in_words, "an operator's order is carried out");
        }
        Ok(Ordered { done, notes })
    }

    /// The states of the replicas that an order is about; `None` of one that is gone.
    fn states(&self, targets: &[Target]) -> Vec<Option<ReplicaState>> {
        let of = |Target { service, replica }: &Target| {
            let Replica { address, port, .. } = *replica;
            let key = ReplicaKey { service: service.clone(), address, port };
            self.control.condition(&key).map(|condition| condition.state)
        };
        targets.iter().map(of).collect()
    }

    /// Writes a change to the config file. Returns what it says then.
    fn save(&self, edit: &Edit) -> Result<Config, Refusal> {
        let bad = |error: &dyn std::fmt::Display| Refusal::new(RefusalKind::BadConfig, error);
        let path =
            self.source.file(NoFile::Save).map_err(|error| Refusal::new(RefusalKind::Conflict, error))?;
        let now = self.source.read().map_err(|error| bad(&error))?.at_interfaces_of(&self.sources.file);
        if now != *self.sources.file {
            return Err(Refusal::new(
                RefusalKind::Conflict,
                format!(
                    "the config file {} has changes that the agent has not read, and --save would bring them into force: \
                     `dtr-lb reload` first, or leave out --save",
                    path.display()
                ),
            ));
        }
        let edited = self.source.edit(edit, path).map_err(|error| match &error {
            EditError::Config(_) | EditError::WouldBeInvalid(_) => bad(&error),
            EditError::NoSuchReplica { .. } | EditError::Cannot { .. } | EditError::Overridden => {
                Refusal::new(RefusalKind::Conflict, error)
            }
            EditError::ChangedMeanwhile(_) | EditError::Write { .. } => Refusal::failed(error),
        })?;
        Ok(edited.at_interfaces_of(&self.sources.file))
    }

    /// Connections that may still carry data, as last counted.
    fn flows(&self, datapath: &Datapath, config: &Config, target: &Target) -> u64 {
        let Some(service) = config.services.iter().find(|service| service.name == target.service) else {
            return 0;
        };
        let Replica { address, port, .. } = target.replica;
        let of = |vip: &std::net::IpAddr| {
            let counted = datapath.replica(*vip, service.port, address, port, &self.census);
            counted.map_or(0, |(_, flows)| flows)
        };
        service.vips.iter().map(of).sum()
    }
}

/// Whether there are replicas, and each has come into another state.
fn all_changed(before: &[Option<ReplicaState>], after: &[Option<ReplicaState>]) -> bool {
    let mut pairs = before.iter().zip(after);
    !before.is_empty() && pairs.all(|(before, after)| after.is_some() && before != after)
}

/// What the order would add and no service would take: see [`crate::changes::Note`].
fn refuse_what_is_left_out(
    given: &super::effective::Given,
    before: &super::effective::Given,
) -> Result<(), Refusal> {
    let notes = |given: &super::effective::Given| {
        crate::changes::effective(&given.file, &given.names, &given.changes).notes
    };
    let known = notes(before);
    match notes(given).into_iter().find(|note| !known.contains(note)) {
        Some(note) => Err(Refusal::new(RefusalKind::Conflict, note)),
        None => Ok(()),
    }
}

fn find<'a>(config: &'a Config, target: &Target) -> Option<&'a Replica> {
    let service = config.services.iter().find(|service| service.name == target.service)?;
    let end = (target.replica.address, target.replica.port);
    service.replicas.iter().find(|replica| (replica.address, replica.port) == end)
}

/// What was done with one replica, which is now `replica`.
fn words(
    order: &ReplicaOrder,
    target: &Target,
    replica: Option<&Replica>,
    flows: u64,
    on_down: OnDown,
) -> String {
    let Target { service, replica: before } = target;
    let connections = if flows == 1 { "connection" } else { "connections" };
    let already = |admin: Admin| if before.admin == admin { " already" } else { "" };
    let what = match order {
        ReplicaOrder::Drain { .. } => {
            format!("gets no new connections{}; it has {flows} {connections} left", already(Admin::Drain))
        }
        ReplicaOrder::Maint { .. } => {
            let fate = if on_down == OnDown::Leave { "left alone (datapath.on_down)" } else { "reset" };
            let is = if flows == 1 { "is" } else { "are" };
            format!(
                "is in maintenance{}: no new connections, no probes; its {flows} {connections} {is} {fate}",
                already(Admin::Maint)
            )
        }
        ReplicaOrder::Ready { .. } => match before.admin {
            Admin::Ready => "is ready already".to_owned(),
            Admin::Drain => "is ready".to_owned(),
            Admin::Maint => "is ready; it gets connections once a probe finds it up".to_owned(),
        },
        ReplicaOrder::Weight { weight, .. } => {
            let file = replica.and_then(|replica| replica.file_weight).filter(|file| file != weight);
            let file = file.map(|file| format!(" ({file} in the file)")).unwrap_or_default();
            format!("has weight {weight}{}{file}", if before.weight == *weight { " already" } else { "" })
        }
        ReplicaOrder::Remove { .. } => format!("is removed; its {flows} {connections} may end by themselves"),
        ReplicaOrder::Add { .. } => "is added".to_owned(),
    };
    format!("service `{service}`: replica {} {what}", called(before))
}

/// The services that have come to have nobody for new connections.
fn without_replicas(before: &Config, after: &Config) -> Vec<String> {
    let offers = |config: &Config, name: &str| {
        let mut of = config.services.iter().filter(|service| service.name == name);
        of.any(|service| service.replicas.iter().any(|replica| replica.offered() > 0))
    };
    let lost = after.services.iter().map(|service| service.name.as_str());
    let lost = lost.filter(|name| offers(before, name) && !offers(after, name));
    lost.map(|name| format!("service `{name}` has no replica left that takes new connections: they fail"))
        .collect()
}
