//! The file that the agent was started with, to be read again.

use std::path::PathBuf;

use crate::config::{Config, ConfigError, Edit, EditError};

/// Where the config comes from: the same at the start and at each reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFile {
    pub path: PathBuf,
    /// The `--set` items of the command line.
    pub overrides: Vec<String>,
    /// The `--socket` of the command line, which goes before `agent.socket`.
    pub socket: Option<PathBuf>,
}

impl ConfigFile {
    /// Reads it and checks it whole.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn read(&self) -> Result<Config, ConfigError> {
        Config::load(&self.path, &self.overrides).map(|config| self.complete(config))
    }

    /// Makes a change in it. Returns what it says now.
    ///
    /// # Errors
    /// As [`Edit::save`]. The file is as it was then.
    pub fn edit(&self, edit: &Edit) -> Result<Config, EditError> {
        edit.save(&self.path, &self.overrides).map(|config| self.complete(config))
    }

    fn complete(&self, mut config: Config) -> Config {
        if let Some(socket) = &self.socket {
            config.agent.socket.clone_from(socket);
        }
        config
    }
}
