//! The config file is read again: by SIGHUP, `dtr-lb reload` and `POST /v1/reload`.

use std::sync::Arc;

use tracing::{error, info};

use super::{
    Agent, AgentError, NoFile,
    effective::{Given, TakenIn},
    log::log_differences,
    probes::Files,
};
use crate::{
    api::{Refusal, RefusalKind, Reloaded},
    config::ConfigError,
    datapath::Datapath,
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
        self.source.file(NoFile::Reload)?;
        let mut given = Given { file: Arc::new(self.source.read()?), ..self.sources.given() };
        given.find_interfaces().await.map_err(AgentError::from)?;
        let TakenIn { changes, notes } = self.take_in(datapath, given, Files::ReadAgain).await?;
        log_differences(&changes);
        Ok(Reloaded { changes, notes })
    }
}

impl From<ReloadError> for Refusal {
    fn from(error: ReloadError) -> Self {
        let kind = match &error {
            ReloadError::Config(_)
            | ReloadError::Agent(AgentError::Fixed(_) | AgentError::NatAddress(_) | AgentError::Web(_)) => {
                RefusalKind::BadConfig
            }
            ReloadError::NoFile(_) => RefusalKind::Conflict,
            ReloadError::Agent(_) => RefusalKind::Failed,
        };
        Self::new(kind, error)
    }
}
