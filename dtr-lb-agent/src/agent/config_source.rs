//! Where the config of the agent is from: a file, to be read again, or the command line.

use std::{fmt, path::PathBuf};

use crate::config::{CommandLine, Config, ConfigError, Edit, EditError, Saved, put_back};

/// Where the config comes from: the same at the start and at each reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSource {
    pub origin: Origin,
    /// The `--set` items of the command line.
    pub overrides: Vec<String>,
    /// The `--socket` of the command line, which goes before `agent.socket`.
    pub socket: Option<PathBuf>,
}

/// What the config is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    File(PathBuf),
    /// The options of the command line, or variables of the environment. They stay what they are while the agent runs.
    CommandLine(Box<CommandLine>),
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(out),
            Self::CommandLine(_) => out.write_str("of the command line"),
        }
    }
}

/// There is no file to read again, or to write to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoFile {
    #[error(
        "the agent was started without a config file, by --vip and --replica or their variables, so there is none to read again; \
         start it anew with other options, or with --config FILE (`dtr-lb init` with the same options prints one); connections \
         stay meanwhile"
    )]
    Reload,
    #[error(
        "the agent was started without a config file, by --vip and --replica or their variables, so there is none to save to; \
         leave out --save, or start the agent with --config FILE (`dtr-lb init` with the same options prints one)"
    )]
    Save,
}

impl ConfigSource {
    /// Reads it and checks it whole.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn read(&self) -> Result<Config, ConfigError> {
        let config = match &self.origin {
            Origin::File(path) => Config::load(path, &self.overrides)?,
            Origin::CommandLine(options) => options.read(&self.overrides)?,
        };
        Ok(self.complete(config))
    }

    /// The file, if it is one.
    ///
    /// # Errors
    /// `instead`, if it is not.
    pub fn file(&self, instead: NoFile) -> Result<&PathBuf, NoFile> {
        match &self.origin {
            Origin::File(path) => Ok(path),
            Origin::CommandLine(_) => Err(instead),
        }
    }

    /// Makes a change in the file. Returns what it says now, and what it said.
    ///
    /// # Errors
    /// As [`Edit::save`]. The file is as it was then.
    pub fn edit(&self, edit: &Edit, path: &std::path::Path) -> Result<Saved, EditError> {
        let saved = edit.save(path, &self.overrides)?;
        Ok(Saved { config: self.complete(saved.config), ..saved })
    }

    /// Takes a change of the file back. Returns what it says now.
    ///
    /// # Errors
    /// As [`put_back`]. The file is as it was then.
    pub fn put_back(&self, path: &std::path::Path, before: &str, after: &str) -> Result<Config, EditError> {
        put_back(path, &self.overrides, before, after).map(|config| self.complete(config))
    }

    fn complete(&self, mut config: Config) -> Config {
        if let Some(socket) = &self.socket {
            config.agent.socket.clone_from(socket);
        }
        config
    }
}
