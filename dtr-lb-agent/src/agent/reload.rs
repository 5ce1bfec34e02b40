//! The config file is read again: by SIGHUP, `dtr-lb reload` and `POST /v1/reload`. `dtr-lb check --diff` and `GET /v1/reload` ask
//! what that would change.

use std::sync::Arc;

use tracing::{error, info};

use super::{
    Agent, AgentError, NoFile,
    effective::{Given, TakenIn},
    fixed,
    probes::Files,
    reconfigure::look_elsewhere,
};
use crate::{
    api::{Refusal, RefusalKind, Reloaded, WouldReload},
    changes::effective,
    config::{self, Config, ConfigError},
    datapath::Datapath,
    preflight::Finding,
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

impl Agent {
    /// Reads the config file again, with the `--set` items of the start on top, and applies it if it is good.
    pub(super) async fn reload(&mut self, datapath: &mut Datapath) -> Result<Reloaded, ReloadError> {
        let path = self.source.origin.to_string();
        self.manager.reloading();
        let result = self.read_again(datapath).await;
        self.manager.ready(&self.control);
        match &result {
            Ok(_) => self.reloads.ok += 1,
            Err(_) => self.reloads.failed += 1,
        }
        match &result {
            Ok(Reloaded { changes, .. }) if changes.is_empty() => {
                info!(path, "reloaded the config: nothing has changed");
            }
            Ok(Reloaded { changes, .. }) => info!(path, changes = changes.len(), "reloaded the config"),
            Err(error) => {
                error!(path, %error, "the config was not reloaded; the agent goes on with the one that it has");
            }
        }
        result
    }

    async fn read_again(&mut self, datapath: &mut Datapath) -> Result<Reloaded, ReloadError> {
        let given = self.read_file().await?;
        let TakenIn { changes, notes } = self.take_in(datapath, given, Files::ReadAgain).await?;
        Ok(Reloaded { changes, notes })
    }

    async fn read_file(&self) -> Result<Given, ReloadError> {
        self.source.file(NoFile::Reload)?;
        let mut given = Given { file: Arc::new(self.source.read()?), ..self.sources.given() };
        given.find_interfaces().await.map_err(AgentError::from)?;
        Ok(given)
    }

    /// What a reload would do now. Nothing is changed.
    ///
    /// # Errors
    /// The file is not valid, or there is none.
    pub(super) async fn would_reload(&self, datapath: &Datapath) -> Result<WouldReload, ReloadError> {
        let path = self.source.file(NoFile::Reload)?;
        let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        let Given { file, names, changes } = self.read_file().await?;
        let found = effective(&file, &names, &changes);
        let (before, config) = (self.control.config(), Arc::new(found.config.clone()));
        let mut refused: Vec<_> = fixed::changed(before, &config).iter().map(ToString::to_string).collect();
        let mut notes: Vec<_> = found.news(self.sources.notes()).map(ToString::to_string).collect();
        match self.could_apply(datapath, before, &config).await {
            Ok(warnings) => notes.extend(warnings.iter().map(ToString::to_string)),
            Err(error) => refused.push(error.to_string()),
        }
        let changes = config::differences(before, &config);
        Ok(WouldReload { config: path.display().to_string(), changes, refused, notes })
    }

    /// All that can fail of applying a config, as far as it can be tried. Returns what would be logged.
    async fn could_apply(
        &self,
        datapath: &Datapath,
        before: &Config,
        config: &Arc<Config>,
    ) -> Result<Vec<Finding>, AgentError> {
        let warnings = self.prepare(datapath, config, Files::ReadAgain)?.warnings;
        self.http.try_config(&config.agent)?;
        look_elsewhere(before, config).await?;
        Ok(warnings)
    }
}

impl From<ReloadError> for Refusal {
    fn from(error: ReloadError) -> Self {
        let kind = match &error {
            ReloadError::Config(_)
            | ReloadError::Agent(AgentError::Fixed(_) | AgentError::Refused(_) | AgentError::Web(_)) => {
                RefusalKind::BadConfig
            }
            ReloadError::NoFile(_) => RefusalKind::Conflict,
            ReloadError::Agent(_) => RefusalKind::Failed,
        };
        Self::new(kind, error)
    }
}
