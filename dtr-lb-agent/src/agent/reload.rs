//! The config file is read again: by SIGHUP, `dtr-lb reload` and `POST /v1/reload`.

use std::sync::Arc;

use tracing::{error, info};

use super::{
    AgentError, NoFile,
    driver::{Configuration, Driver},
    effective::{Applied, Given},
    log::log_differences,
    pending_replies::Reply,
};
use crate::{
    api::{Answer, Refusal, RefusalKind, Reloaded},
    config::ConfigError,
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
    pub(super) async fn read_again(&mut self) -> Result<Given, ReloadError> {
        self.manager.reloading();
        let Configuration { source, sources, .. } = &self.configuration;
        source.file(NoFile::Reload)?;
        let mut given = Given { file: Arc::new(source.read()?), ..sources.given() };
        given.find_interfaces().await.map_err(AgentError::from)?;
        Ok(given)
    }

    /// Says what came of it; to who asked, if somebody did and it is done, once it is in force.
    pub(super) fn reloaded(
        &mut self,
        answer: Option<Answer<Reloaded>>,
        result: Result<Applied, ReloadError>,
    ) {
        self.manager.ready(&self.health.control);
        let path = self.configuration.source.origin.to_string();
        let reloads = &mut self.configuration.reloads;
        match result {
            Ok(Applied { changes, notes }) => {
                reloads.ok += 1;
                log_differences(&changes);
                match changes.len() {
                    0 => info!(path, "reloaded the config: nothing has changed"),
                    changes => info!(path, changes, "reloaded the config"),
                }
                if let Some(answer) = answer {
                    self.replies.push(Reply::Reload(answer, Reloaded { changes, notes }));
                }
            }
            Err(error) => {
                reloads.failed += 1;
                error!(path, %error, "the config was not reloaded; the agent goes on with the one that it has");
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
            | ReloadError::Agent(AgentError::Immutable(_) | AgentError::NatAddress(_) | AgentError::Web(_)) => {
                RefusalKind::BadConfig
            }
            ReloadError::NoFile(_) => RefusalKind::Conflict,
            ReloadError::Agent(_) => RefusalKind::Failed,
        };
        Self::new(kind, error)
    }
}
