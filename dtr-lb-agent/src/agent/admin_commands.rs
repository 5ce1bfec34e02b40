//! The commands about replicas: drain, maint, ready, weight, add, remove.

use std::sync::Arc;

use jiff::Timestamp;
use tracing::{debug, info};

use super::{
    AgentError, NoFile,
    driver::Driver,
    effective::{Applied, Given},
    orders::{self, Target, called},
    pending_replies::Reply,
};
use crate::{
    api::{Answer, Ordered, Refusal, RefusalKind, ReplicaOrder},
    changes::{FileTexts, effective},
    config::{Admin, Config, Edit, EditError, OnDown, Replica, Saved},
    control::{ReplicaKey, ReplicaState},
    datapath::{Census, Meter},
    events::{By, ByFields},
};

/// Whom an order is about, and the connections that they had.
type Targets = Vec<(Target, u64)>;

/// An order that is being carried out.
pub(super) struct Ordering {
    order: ReplicaOrder,
    by: Option<By>,
    answer: Answer<Ordered>,
    /// The config before it.
    before: Arc<Config>,
    targets: Targets,
    /// The states of these before it.
    states: Vec<Option<ReplicaState>>,
    /// It is in the config file already.
    saved: bool,
}

impl Ordering {
    /// Who ordered it, where that is known.
    pub(super) const fn by(&self) -> Option<&By> {
        self.by.as_ref()
    }
}

impl Driver {
    /// Finds out what an order makes of the config, and saves it, if that is asked for. `None` where it cannot be done, which
    /// is told to whoever asked.
    pub(super) fn order(
        &mut self,
        order: ReplicaOrder,
        by: Option<By>,
        answer: Answer<Ordered>,
    ) -> Option<(Ordering, Given)> {
        let before = Arc::clone(self.health.control.config());
        match self.what_is_ordered(&order, &before) {
            Ok((targets, given, saved)) => {
                let states = self.states(&targets);
                Some((Ordering { order, by, answer, before, targets, states, saved }, given))
            }
            Err(refusal) => {
                // Who asked may have gone.
                drop(answer.send(Err(refusal)));
                None
            }
        }
    }

    fn what_is_ordered(
        &mut self,
        order: &ReplicaOrder,
        before: &Config,
    ) -> Result<(Targets, Given, bool), Refusal> {
        let sources = &self.configuration.sources;
        let mut given = sources.given();
        let targets = orders::apply(order, before, &mut given.changes)?;
        if let ReplicaOrder::Add { .. } = order {
            refuse_what_is_left_out(&given, &sources.given())?;
        }
        let edit = orders::edit(order, before, &targets)?;
        let now = Timestamp::now();
        given.changes.ordered(&sources.changes, now);
        let census = Arc::clone(&self.applier.state().census);
        let flows = |target: &Target| flows(self.applier.meter(), &census, before, target);
        let targets = targets.into_iter().map(|target| (flows(&target), target));
        let targets = targets.map(|(flows, target)| (target, flows)).collect();
        let mut texts = None;
        if let Some(edit) = &edit {
            let Saved { config, before, after } = self.save(edit)?;
            given.file = Arc::new(config);
            texts = Some(FileTexts::new(before, after));
            if let ReplicaOrder::Add { .. } = order {
                // The file has it now.
                given.changes = self.configuration.sources.given().changes;
            }
        }
        // What is kept is what holds in the end: of a change that the file has come to say nothing is left.
        let mut changes = effective(&given.file, &given.names, &given.changes).changes;
        changes.remember(&self.configuration.sources.changes, order.to_string(), now, texts);
        given.changes = changes;
        Ok((targets, given, edit.is_some()))
    }

    /// Tells who ordered it what came of it; where it was done, once it is in force.
    pub(super) fn ordered(&mut self, ordering: Ordering, result: Result<Applied, AgentError>) {
        let Ordering { order, by, answer, before, targets, states, saved } = ordering;
        let Applied { changes, mut notes } = match result {
            Ok(applied) => applied,
            Err(error) => {
                let refusal = if saved {
                    Refusal::failed(format!("it is saved to the config file, but is not in force: {error}"))
                } else {
                    Refusal::failed(error)
                };
                // Who asked may have gone.
                return drop(answer.send(Err(refusal)));
            }
        };
        let after = Arc::clone(self.health.control.config());
        let on_down = after.datapath.on_down;
        let mut done: Vec<_> = targets
            .iter()
            .map(|(target, flows)| words(&order, target, find(&after, target), *flows, on_down))
            .collect();
        if let ReplicaOrder::Add { address, .. } = &order {
            done.extend(
                changes
                    .iter()
                    .map(|change| format!("{change}; it gets connections once a probe finds it up")),
            );
            if changes.is_empty() {
                done.push(format!("`{address}` is added; it has no address yet"));
            }
        }
        if saved {
            done.push(format!("saved to {}", self.configuration.source.origin));
        }
        notes.extend(without_replicas(&before, &after));
        // A change of state has a line of its own, with the order as its cause: an order that is one is not told twice.
        let in_words = done.join("; ");
        let ByFields { uid, user, token, peer } = By::fields(by.as_ref());
        let (service, replica) = (only_service(&targets), about(&order, &targets));
        // The level of an event cannot be a variable.
        macro_rules! line {
            ($level:ident) => {
                $level!(
                    event = "order_done",
                    service,
                    replica,
                    order = order.to_string(),
                    done = in_words,
                    uid,
                    user,
                    token,
                    peer,
                    "an operator's order is carried out"
                )
            };
        }
        if !saved && all_changed(&states, &self.states(&targets)) {
            line!(debug);
        } else {
            line!(info);
        }
        self.replies.push(Reply::Order(answer, Ordered { done, notes }));
    }

    /// The states of the replicas that an order is about; `None` of one that is gone.
    fn states(&self, targets: &Targets) -> Vec<Option<ReplicaState>> {
        let of = |(Target { service, replica }, _): &(Target, u64)| {
            let Replica { address, port, .. } = *replica;
            let key = ReplicaKey { service: service.clone(), address, port };
            self.health.control.condition(&key).map(|condition| condition.state)
        };
        targets.iter().map(of).collect()
    }

    /// Writes a change to the config file. Returns what it says then.
    fn save(&self, edit: &Edit) -> Result<Saved, Refusal> {
        let bad = |error: &dyn std::fmt::Display| Refusal::new(RefusalKind::BadConfig, error);
        let path = self
            .configuration
            .source
            .file(NoFile::Save)
            .map_err(|error| Refusal::new(RefusalKind::Conflict, error))?;
        let now = self
            .configuration
            .source
            .read()
            .map_err(|error| bad(&error))?
            .at_interfaces_of(&self.configuration.sources.file);
        if now != *self.configuration.sources.file {
            return Err(Refusal::new(
                RefusalKind::Conflict,
                format!(
                    "the config file {} has changes that the agent has not read, and --save would bring them into force: \
                     `dtr-lb reload` first, or leave out --save",
                    path.display()
                ),
            ));
        }
        let Saved { config, before, after } =
            self.configuration.source.edit(edit, path).map_err(not_edited)?;
        Ok(Saved { config: config.at_interfaces_of(&self.configuration.sources.file), before, after })
    }
}

/// Why the config file stays as it is.
pub(super) fn not_edited(error: EditError) -> Refusal {
    let kind = match &error {
        EditError::Config(_) | EditError::WouldBeInvalid(_) => RefusalKind::BadConfig,
        EditError::NoSuchReplica { .. }
        | EditError::Cannot { .. }
        | EditError::Overridden
        | EditError::ChangedSince(_) => RefusalKind::Conflict,
        EditError::ChangedMeanwhile(_) | EditError::Write { .. } => RefusalKind::Failed,
    };
    Refusal::new(kind, error)
}

/// The service that an order is about, if it is about one.
fn only_service(targets: &Targets) -> Option<&str> {
    let (Target { service, .. }, _) = targets.first()?;
    targets.iter().all(|(target, _)| target.service == *service).then_some(service)
}

/// The replicas that an order is about, by their names; one that is added by what was given.
fn about(order: &ReplicaOrder, targets: &Targets) -> String {
    if let ReplicaOrder::Add { address, name, .. } = order {
        return name.as_ref().unwrap_or(address).clone();
    }
    let mut names: Vec<_> = targets.iter().map(|(target, _)| target.replica.name.as_str()).collect();
    names.dedup();
    names.join(", ")
}

/// Connections that may still carry data, as last counted.
fn flows(meter: &Meter, census: &Census, config: &Config, target: &Target) -> u64 {
    let Some(service) = config.services.iter().find(|service| service.name == target.service) else {
        return 0;
    };
    let Replica { address, port, .. } = target.replica;
    let of = |vip: &std::net::IpAddr| {
        let counted = meter.replica(*vip, service.port, address, port, census);
        counted.map_or(0, |(_, flows)| flows)
    };
    service.vips.iter().map(of).sum()
}

/// Whether there are replicas, and each has come into another state.
fn all_changed(before: &[Option<ReplicaState>], after: &[Option<ReplicaState>]) -> bool {
    let mut pairs = before.iter().zip(after);
    !before.is_empty() && pairs.all(|(before, after)| after.is_some() && before != after)
}

/// What the order would add and no service would take: see [`crate::changes::Note`].
pub(super) fn refuse_what_is_left_out(given: &Given, before: &Given) -> Result<(), Refusal> {
    let notes = |given: &Given| effective(&given.file, &given.names, &given.changes).notes;
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
pub(super) fn without_replicas(before: &Config, after: &Config) -> Vec<String> {
    let offers = |config: &Config, name: &str| {
        let mut of = config.services.iter().filter(|service| service.name == name);
        of.any(|service| service.replicas.iter().any(|replica| replica.offered() > 0))
    };
    let lost = after.services.iter().map(|service| service.name.as_str());
    let lost = lost.filter(|name| offers(before, name) && !offers(after, name));
    lost.map(|name| format!("service `{name}` has no replica left that takes new connections: they fail"))
        .collect()
}
