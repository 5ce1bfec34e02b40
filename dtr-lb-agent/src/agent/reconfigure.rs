//! The one way in which a running agent comes to another config, wherever that is from: everything that can fail comes
//! first, and where it fails nothing has changed.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tracing::{info, warn};

use super::{
    Agent, AgentError, fixed,
    log::log,
    probes::{Files, Plan},
    start::{mtus, wanted},
};
use crate::{
    config::{self, Admin, Config, Replica},
    control::{Change, Control, Moment},
    datapath::{Datapath, Interface},
    interface::{self, InterfaceError, Links, Seen, Watch},
    preflight::{Finding, check_addresses, check_steering, probes_are_steered},
};

/// For how long the datapath may go on as it was while replicas that are new to it are asked for the first time: what is
/// decided before is a guess.
const HOLD: Duration = Duration::from_millis(500);

/// What another config makes of the agent; nothing is touched yet.
#[derive(Debug)]
pub(super) struct Prepared {
    plan: Plan,
    control: Control,
    changes: Vec<Change>,
    pub(super) warnings: Vec<Finding>,
}

/// Looks at the interfaces of `config`, if they or the hook are others than before.
///
/// # Errors
/// One is not there.
pub(super) async fn look_elsewhere(
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

impl Agent {
    /// Decides, probes and forwards by another config from here on. Flows stay, and so does what is known of replicas that
    /// stay. Returns what is different, in words; where nothing is, nothing is done.
    ///
    /// # Errors
    /// The config asks for something that cannot change while the agent runs, that this host does not have, or that the
    /// datapath does not hold. Nothing has changed then.
    pub(super) async fn reconfigure(
        &mut self,
        datapath: &mut Datapath,
        config: Arc<Config>,
        files: Files,
    ) -> Result<Vec<String>, AgentError> {
        let before = Arc::clone(self.control.config());
        let differences = config::differences(&before, &config);
        fixed::check(&before, &config)?;
        let Prepared { mut plan, control, changes, warnings } = self.prepare(datapath, &config, files)?;
        let http = self.http.prepare(&config.agent, files)?;
        self.steer(datapath, &config, &mut plan)?;
        let moved = self.move_datapath(datapath, &before, &config).await?;
        for warning in &warnings {
            warn!(about = warning.about, "{warning}");
        }

        self.control = control;
        self.probes.carry_out(plan, &self.control);
        self.http.carry_out(http);
        if let Some((links, seen)) = moved {
            (self.interfaces, self.looks) = Watch::spawn(config.interfaces.clone(), links);
            self.presence.keep(&config.interfaces);
            self.control.ingress(mtus(&seen)).into_iter().for_each(log);
        }
        self.addresses.send_if_modified(|addresses| {
            let wanted = self.control.addresses();
            let changed = *addresses != wanted;
            *addresses = wanted;
            changed
        });
        for difference in &differences {
            info!(change = difference, "the config has changed");
        }
        changes.into_iter().for_each(log);
        self.unasked.keep(|service, replica| {
            let mut services = config.services.iter().filter(|known| known.name == service);
            let asked = |known: &Replica| known.name == replica && known.admin != Admin::Maint;
            services.any(|known| known.replicas.iter().any(asked))
        });
        if !self.control.informed() {
            self.held_until.get_or_insert_with(|| Instant::now() + HOLD);
        }
        Ok(differences)
    }

    /// What can be done for another config without touching anything.
    ///
    /// # Errors
    /// As [`Self::reconfigure`].
    pub(super) fn prepare(
        &self,
        datapath: &Datapath,
        config: &Arc<Config>,
        files: Files,
    ) -> Result<Prepared, AgentError> {
        let warnings = check_addresses(config, self.control.config(), &interface::host_addresses()?)?;
        check_steering(config)?;
        let plan = self.probes.plan(config, files)?;
        let now = Moment::now();
        let mut control = self.control.clone();
        let changes = control.reconfigure(Arc::clone(config), now);
        datapath.fits(&control.desired(now.clock))?;
        Ok(Prepared { plan, control, changes, warnings })
    }

    /// Makes ready to steer probes that are to be, if there are any.
    fn steer(&mut self, datapath: &mut Datapath, config: &Config, plan: &mut Plan) -> Result<(), AgentError> {
        if !probes_are_steered(config) {
            return Ok(());
        }
        let steering = match &self.steering {
            Some(steering) => steering,
            None => {
                let interfaces = datapath.attached().map(|attached| attached.interfaces.clone());
                self.steering.insert(datapath.start_probing(&interfaces.unwrap_or_default())?)
            }
        };
        plan.steer_by(steering);
        Ok(())
    }

    /// Attaches to the interfaces of `config`, and to no other, if they or the hook are others than before. Returns what
    /// was seen of them then.
    async fn move_datapath(
        &mut self,
        datapath: &mut Datapath,
        before: &Config,
        config: &Config,
    ) -> Result<Option<(Links, Vec<Seen>)>, AgentError> {
        let Some((links, seen, interfaces)) = look_elsewhere(before, config).await? else { return Ok(None) };
        let attached = datapath.attach(wanted(config.datapath.attach), &interfaces)?;
        info!(
            hook = attached.hook.label(),
            interfaces = config.interfaces.join(","),
            why = attached.why,
            "datapath attached"
        );
        self.attached_at = std::time::Instant::now();
        Ok(Some((links, seen)))
    }

    /// Whether the datapath is to wait for the first word about new replicas.
    pub(super) fn holds(&mut self) -> bool {
        let holds = self.held_until.is_some_and(|until| Instant::now() < until) && !self.control.informed();
        if !holds {
            self.held_until = None;
        }
        holds
    }
}
