//! The file that the agent was started with, to be read again.

use std::path::PathBuf;

use crate::config::{Config, ConfigError};

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
        let Self { path, overrides, socket } = self;
        let mut config = Config::load(path, overrides)?;
        if let Some(socket) = socket {
            config.agent.socket.clone_from(socket);
        }
        Ok(config)
    }
}
