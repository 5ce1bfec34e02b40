//! The one way in which a running agent comes to another config, wherever that is from: everything that can fail comes
//! first, and where it fails nothing has changed.
//!
//! Changes come one after the other. Each is prepared here, then by the datapath's thread, to which that may take a while;
//! meanwhile everything else goes on.

use std::{collections::VecDeque, future::pending, sync::Arc};

use tokio::sync::oneshot;
use tracing::{info, warn};

use super::{
    AgentError,
    admin_commands::Ordering,
    applier::{Prepared, Trial},
    driver::Driver,
    effective::{Applied, Given, log_by_routes},
    http, immutable,
    log::{log, log_all_by, log_differences},
    probes::{Files, Plan},
    reload::ReloadError,
    start::{mtus, wanted},
    undo::Undoing,
};
use crate::{
    api::{Answer, Ordered, Refusal, Reloaded, ReplicaOrder, WouldReload},
    changes::{Effective, Names, effective},
    config::{self, Config},
    control::Moment,
    datapath::{DatapathError, Desired, Interface},
    directory::Directory,
    events::By,
    flow_log::{self, check_target},
    interface::{self, InterfaceError, Links, Seen},
    preflight::{Finding, check_addresses, check_steering, probes_are_steered},
};

/// Why there is to be another config.
#[derive(Debug)]
pub(super) enum Requested {
    /// The config file is to be read again. By a signal, nobody waits for an answer.
    Reload(Option<By>, Option<Answer<Reloaded>>),
    /// An operator wants something else of a replica.
    Order(ReplicaOrder, Option<By>, Answer<Ordered>),
    /// The last order is to be taken back.
    Undo(Option<By>, Answer<Ordered>),
    /// DNS was asked.
    Names,
    /// Somebody wants to know what a reload would do.
    WouldReload(Answer<WouldReload>),
}

/// The same, once it is known what the config is to be made of.
pub(super) enum Origin {
    Reload(Option<By>, Option<Answer<Reloaded>>),
    Order(Ordering),
    Undo(Undoing),
    Names,
}

impl Origin {
    /// Who wanted it, where that is known.
    const fn by(&self) -> Option<&By> {
        match self {
            Self::Reload(by, _) => by.as_ref(),
            Self::Order(ordering) => ordering.by(),
            Self::Undo(undoing) => undoing.by(),
            Self::Names => None,
        }
    }
}

/// Those that were asked for, and the one under way.
#[derive(Default)]
pub(super) struct Changes {
    requested: VecDeque<Requested>,
    under_way: Option<(Work, Prepares)>,
}

/// Changes that may wait for the one under way.
const MOST_WAITING: usize = 16;

/// What the datapath's thread says.
type Prepares = oneshot::Receiver<Result<Prepared, DatapathError>>;

/// What the datapath's thread is asked for.
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
enum Work {
    Config(Origin, UnderWay),
    DryRun(Answer<WouldReload>, WouldReload),
}

/// What a look at another config shows; nothing is touched.
pub(super) struct Looked {
    plan: Plan,
    /// What the datapath is to say by it, by all that is known now.
    pub(super) desired: Desired,
    pub(super) warnings: Vec<Finding>,
    /// What was seen of the interfaces, and those that are there, if they are others than before.
    moved: Option<(Links, Vec<Seen>, Vec<Interface>)>,
}

/// A config that can come into force as far as the agent is concerned.
struct UnderWay {
    file: Arc<Config>,
    names: Names,
    found: Effective,
    config: Arc<Config>,
    /// In words.
    differences: Vec<String>,
    plan: Plan,
    http: http::Prepared,
    /// What was seen of the interfaces, if they are others than before.
    moved: Option<(Links, Vec<Seen>)>,
    warnings: Vec<Finding>,
}

/// What is to be done next for a change.
pub(super) enum Step {
    Begin(Requested),
    /// What the datapath's thread says of the change under way.
    Prepared(Result<Prepared, DatapathError>),
}

impl Changes {
    /// Puts it behind those that wait. Where there are too many, whoever asked is told so; what nobody waits for is there once at
    /// most, and always has room.
    pub(super) fn request(&mut self, requested: Requested) {
        let again = |other: &Requested| {
            matches!(
                (&requested, other),
                (Requested::Names, Requested::Names)
                    | (Requested::Reload(_, None), Requested::Reload(_, None))
            )
        };
        // One look at the names, or at the file, is as good as several.
        if self.requested.iter().any(again) {
            return;
        }
        let is_awaited = !matches!(requested, Requested::Names | Requested::Reload(_, None));
        if is_awaited && self.requested.len() >= MOST_WAITING {
            requested.refuse();
        } else {
            self.requested.push_back(requested);
        }
    }

    /// Whether a change has been begun with.
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Waits for the next step; for ever where there is none. One change at a time, and one step, so that everything else has its
    /// turn between. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Step {
        if let Some((_, prepares)) = &mut self.under_way {
            let unanswered = || DatapathError::Object {
                reason: "the thread that writes the datapath does not answer; look into the log".into(),
            };
            return Step::Prepared(prepares.await.unwrap_or_else(|_| Err(unanswered())));
        }
        // Who asked for it and has gone knows of no success, and will ask again.
        while let Some(requested) = self.requested.pop_front() {
            if !requested.is_given_up() {
                return Step::Begin(requested);
            }
        }
        pending().await
    }
}

impl Requested {
    fn is_given_up(&self) -> bool {
        match self {
            Self::Reload(_, answer) => answer.as_ref().is_some_and(Answer::is_closed),
            Self::Order(_, _, answer) | Self::Undo(_, answer) => answer.is_closed(),
            Self::WouldReload(answer) => answer.is_closed(),
            Self::Names => false,
        }
    }

    fn refuse(self) {
        let refusal = Refusal::failed(format!(
            "{MOST_WAITING} changes of the config wait already; try again in a moment"
        ));
        // Who asked may have gone.
        match self {
            Self::Reload(_, Some(answer)) => drop(answer.send(Err(refusal))),
            Self::Order(_, _, answer) | Self::Undo(_, answer) => drop(answer.send(Err(refusal))),
            Self::WouldReload(answer) => drop(answer.send(Err(refusal))),
            Self::Reload(_, None) | Self::Names => {}
        }
    }
}

impl Driver {
    /// Begins with a change. One that fails at once is over with that.
    pub(super) async fn begin_change(&mut self, requested: Requested) {
        let Some((origin, given, files)) = self.given(requested).await else { return };
        match self.prepare(given, files).await {
            Ok((under_way, prepares)) => {
                self.changes.under_way = Some((Work::Config(origin, under_way), prepares));
            }
            Err(error) => self.conclude(origin, Err(error)),
        }
    }

    /// Brings the change under way to its end, if there is one.
    pub(super) async fn finish_change(&mut self) {
        if self.changes.is_under_way()
            && let Step::Prepared(prepared) = self.changes.next().await
            && self.take_prepared(prepared)
        {
            self.publish();
        }
    }

    /// What the config is to be made of. `None` where it stays as it is, which is told to whoever asked.
    async fn given(&mut self, requested: Requested) -> Option<(Origin, Given, Files)> {
        match requested {
            Requested::Reload(by, answer) => {
                self.manager.reloading();
                match self.read_again().await {
                    Ok((given, by_routes)) => {
                        log_by_routes(&by_routes);
                        Some((Origin::Reload(by, answer), given, Files::ReadAgain))
                    }
                    Err(error) => {
                        self.reloaded(by.as_ref(), answer, Err(error));
                        None
                    }
                }
            }
            Requested::Order(order, by, answer) => {
                let (ordering, given) = self.order(order, by, answer)?;
                Some((Origin::Order(ordering), given, Files::AsTheyWere))
            }
            Requested::Undo(by, answer) => {
                let (undoing, given) = self.undo(by, answer)?;
                Some((Origin::Undo(undoing), given, Files::AsTheyWere))
            }
            Requested::Names => Some((Origin::Names, self.with_new_names()?, Files::AsTheyWere)),
            Requested::WouldReload(answer) => {
                self.begin_dry_run(answer).await;
                None
            }
        }
    }

    async fn begin_dry_run(&mut self, answer: Answer<WouldReload>) {
        match self.would_reload().await {
            Ok((would, Some(desired))) => {
                let trial = Trial { desired, steer: false, attach: None };
                let prepares = self.applier.prepare(trial);
                self.changes.under_way = Some((Work::DryRun(answer, would), prepares));
            }
            // Who asked may have gone.
            Ok((would, None)) => drop(answer.send(Ok(would))),
            Err(error) => drop(answer.send(Err(error.into()))),
        }
    }

    /// Does all that can fail here, and asks the datapath's thread for the rest.
    ///
    /// # Errors
    /// The config asks for something that cannot change while the agent runs, or that this host does not have. Nothing has
    /// changed then.
    async fn prepare(&mut self, given: Given, files: Files) -> Result<(UnderWay, Prepares), AgentError> {
        let Given { file, names, changes } = given;
        let found = effective(&file, &names, &changes);
        let config = Arc::new(found.config.clone());
        let before = Arc::clone(self.health.control.config());
        let differences = config::differences(&before, &config);
        immutable::check(&before, &config)?;
        let Looked { plan, desired, warnings, moved } = self.look_at(&config, files).await?;
        let http = self.endpoints.http.prepare(&config.agent, files)?;
        if before.agent.flow_log != config.agent.flow_log {
            check_target(config.agent.flow_log.as_ref())?;
        }
        let (moved, attach) = match moved {
            Some((links, seen, interfaces)) => {
                (Some((links, seen)), Some((wanted(config.datapath.attach), interfaces)))
            }
            None => (None, None),
        };
        let steer = probes_are_steered(&config) && self.steering.is_none();
        let prepares = self.applier.prepare(Trial { desired, steer, attach });
        Ok((UnderWay { file, names, found, config, differences, plan, http, moved, warnings }, prepares))
    }

    /// What can be found out about another config without touching anything.
    ///
    /// # Errors
    /// It asks for something that this host does not have.
    pub(super) async fn look_at(&self, config: &Arc<Config>, files: Files) -> Result<Looked, AgentError> {
        let before = self.health.control.config();
        let warnings = check_addresses(config, before, &interface::host_addresses()?)?;
        check_steering(config)?;
        let plan = self.health.probes.plan(config, files)?;
        let moved = elsewhere(before, config).await?;
        let now = Moment::now();
        let mut control = self.health.control.clone();
        drop(control.reconfigure(Arc::clone(config), now));
        Ok(Looked { plan, desired: control.desired(now.clock), warnings, moved })
    }

    /// Takes in what the datapath's thread says of the change under way. Returns whether the config is another one now.
    pub(super) fn take_prepared(&mut self, prepared: Result<Prepared, DatapathError>) -> bool {
        let Some((work, _)) = self.changes.under_way.take() else { return false };
        match (work, prepared) {
            (Work::Config(origin, under_way), Ok(prepared)) => {
                let applied = self.apply_config(origin.by(), under_way, prepared);
                self.conclude(origin, Ok(applied));
                return true;
            }
            (Work::Config(origin, _), Err(error)) => self.conclude(origin, Err(error.into())),
            (Work::DryRun(answer, mut would), prepared) => {
                would.refused.extend(prepared.err().map(|error| error.to_string()));
                // Who asked may have gone.
                drop(answer.send(Ok(would)));
            }
        }
        false
    }

    /// Decides, probes and forwards by another config from here on. Flows stay, and so does what is known of replicas that
    /// stay. Nothing of it can fail.
    fn apply_config(&mut self, by: Option<&By>, under_way: UnderWay, prepared: Prepared) -> Applied {
        let UnderWay { file, names, found, config, differences, mut plan, http, moved, warnings } = under_way;
        let Prepared { steering, attached } = prepared;
        for warning in &warnings {
            warn!(about = warning.about, "{warning}");
        }
        if steering.is_some() {
            self.steering = steering;
        }
        if let Some(steering) = self.steering.as_ref().filter(|_| probes_are_steered(&config)) {
            plan.steer_by(steering);
        }
        let health = &mut self.health;
        let changes = health.control.reconfigure(Arc::clone(&config), Moment::now());
        health.probes.carry_out(plan, &health.control);
        self.endpoints.http.carry_out(http);
        self.flow_log.apply(flow_log::Settings::of(&config.agent));
        self.flow_watch.name(Directory::new(&health.control, std::time::Instant::now()));
        if let Some((links, seen)) = moved {
            self.network.follow_interfaces(config.interfaces.clone(), links);
            health.control.ingress(mtus(&seen)).into_iter().for_each(log);
        }
        if let Some(attached) = attached {
            info!(
                event = "datapath_attached",
                hook = attached.hook.label(),
                interfaces = config.interfaces.join(","),
                why = attached.why,
                "datapath attached"
            );
        }
        self.network.follow_addresses(health.control.addresses());
        // What is different is logged by whoever knows what it comes from: an order, the file, DNS.
        let census = self.applier.census();
        log_all_by(by, changes, &health.control, self.applier.meter(), census.as_deref());
        health.reconfigured(&config);
        let configuration = &mut self.configuration;
        let notes = configuration.sources.replace(file, names, found);
        configuration.following.follow(&configuration.sources);
        notes.iter().for_each(|note| warn!("{note}"));
        let notes = notes.into_iter().chain(warnings.iter().map(ToString::to_string)).collect();
        Applied { changes: differences, notes }
    }

    /// Tells whoever asked what came of it.
    fn conclude(&mut self, origin: Origin, result: Result<Applied, AgentError>) {
        match origin {
            Origin::Reload(by, answer) => {
                self.reloaded(by.as_ref(), answer, result.map_err(ReloadError::from));
            }
            Origin::Order(ordering) => self.ordered(ordering, result),
            Origin::Undo(undoing) => self.undone(undoing, result),
            Origin::Names => {
                if let Ok(Applied { changes, .. }) = &result {
                    log_differences(changes, "dns", None);
                }
                self.configuration.following.used(result.err().as_ref());
            }
        }
    }
}

/// What is seen of the interfaces, if they or the hook are others than before, and those that are there.
///
/// # Errors
/// One is not there.
async fn elsewhere(
    before: &Config,
    config: &Config,
) -> Result<Option<(Links, Vec<Seen>, Vec<Interface>)>, InterfaceError> {
    if (&before.interfaces, before.datapath.attach) == (&config.interfaces, config.datapath.attach) {
        return Ok(None);
    }
    let links = Links::open()?;
    let seen = links.look(&config.interfaces).await?;
    let interfaces = interface::all_there(&seen)?;
    Ok(Some((links, seen, interfaces)))
}

#[cfg(test)]
mod tests;
