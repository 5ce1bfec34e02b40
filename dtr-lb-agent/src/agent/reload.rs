//! The config file is read again: by SIGHUP, `dtr-lb reload` and `POST /v1/reload`. `dtr-lb check --diff` and `GET /v1/reload` ask
//! what that would change.

use std::sync::Arc;

use jiff::Timestamp;
use tracing::{error, info};

use super::{
    AgentError, NoFile,
    driver::{Configuration, Driver},
    effective::{Applied, Given},
    immutable,
    log::log_differences,
    pending_replies::Reply,
    probes::Files,
};
use crate::{
    api::{Answer, Refusal, RefusalKind, Reloaded, WouldReload},
    changes::effective,
    config::{self, ConfigError},
    datapath::Desired,
    events::{By, ByFields},
    flow_log::check_target,
    interface::ByRoutes,
};

/// Why the agent goes on with the config that it has.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReloadError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    NoFile(#[from] NoFile),
    #[error(transparent)]
    Agent(#[from] AgentError),
}

impl Driver {
    /// Reads the config file again, with the `--set` items of the start on top.
    pub(super) async fn read_again(&self) -> Result<(Given, ByRoutes), ReloadError> {
        let Configuration { source, sources, .. } = &self.configuration;
        source.file(NoFile::Reload)?;
        let mut given = Given { file: Arc::new(source.read()?), ..sources.given() };
        let found = given.find_interfaces().await.map_err(AgentError::from)?;
        Ok((given, found))
    }

    /// What a reload would do now, as far as it can be told here, and what the datapath's thread is to be asked about it. Nothing is
    /// changed.
    ///
    /// # Errors
    /// The file is not valid, or there is none.
    pub(super) async fn would_reload(&self) -> Result<(WouldReload, Option<Desired>), ReloadError> {
        let Configuration { source, sources, .. } = &self.configuration;
        let path = source.file(NoFile::Reload)?;
        let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        let (Given { file, names, changes }, by_routes) = self.read_again().await?;
        let found = effective(&file, &names, &changes);
        let (before, config) = (self.health.control.config(), Arc::new(found.config.clone()));
        let mut refused: Vec<_> =
            immutable::changed(before, &config).iter().map(ToString::to_string).collect();
        let mut notes = by_routes.notes;
        notes.extend(found.news(sources.notes()).map(ToString::to_string));
        let desired = match self.look_at(&config, Files::ReadAgain).await {
            Ok(looked) => {
                notes.extend(looked.warnings.iter().map(ToString::to_string));
                Some(looked.desired)
            }
            Err(error) => {
                refused.push(error.to_string());
                None
            }
        };
        refused.extend(self.endpoints.http.try_config(&config.agent).err().map(|error| error.to_string()));
        if before.agent.flow_log != config.agent.flow_log {
            let checked = check_target(config.agent.flow_log.as_ref());
            refused.extend(checked.err().map(|error| error.to_string()));
        }
        let changes = config::differences(before, &config);
        Ok((WouldReload { config: path.display().to_string(), changes, refused, notes }, desired))
    }

    /// Says what came of it; to who asked, if somebody did and it is done, once it is in force.
    pub(super) fn reloaded(
        &mut self,
        by: Option<&By>,
        answer: Option<Answer<Reloaded>>,
        result: Result<Applied, ReloadError>,
    ) {
        self.manager.ready(&self.health.control);
        let path = self.configuration.source.origin.to_string();
        let reloads = &mut self.configuration.reloads;
        let ByFields { uid, user, token, peer } = By::fields(by);
        // Nobody says who has sent a signal.
        let signal = answer.is_none().then_some("SIGHUP");
        match result {
            Ok(Applied { changes, notes }) => {
                reloads.ok += 1;
                reloads.last = Some(Timestamp::now());
                log_differences(&changes, "reload", by);
                let event = "config_reloaded";
                match changes.len() {
                    0 => info!(
                        event,
                        path, signal, uid, user, token, peer, "reloaded the config: nothing has changed"
                    ),
                    changes => {
                        info!(event, path, changes, signal, uid, user, token, peer, "reloaded the config");
                    }
                }
                if let Some(answer) = answer {
                    self.replies.push(Reply::Reload(answer, Reloaded { changes, notes }));
                }
            }
            Err(error) => {
                reloads.failed += 1;
                error!(
                    event = "config_refused",
                    path,
                    %error,
                    signal,
                    uid,
                    user,
                    token,
                    peer,
                    "the config was not reloaded; the agent goes on with the one that it has"
                );
                if let Some(answer) = answer {
                    // Who asked may have gone.
                    drop(answer.send(Err(error.into())));
                }
            }
        }
    }
}

impl From<ReloadError> for Refusal {
    fn from(error: ReloadError) -> Self {
        let kind = match &error {
            ReloadError::Config(_)
            | ReloadError::Agent(
                AgentError::Immutable(_)
                | AgentError::Refused(_)
                | AgentError::Web(_)
                | AgentError::FlowLog(_),
            ) => RefusalKind::BadConfig,
            ReloadError::NoFile(_) => RefusalKind::Conflict,
            ReloadError::Agent(_) => RefusalKind::Failed,
        };
        Self::new(kind, error)
    }
}
