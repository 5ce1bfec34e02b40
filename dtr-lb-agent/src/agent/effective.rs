//! What the effective config is made of, and the way of each of them into it: the file, what DNS says, and what was changed
//! at run time.

use std::{path::PathBuf, sync::Arc};

use jiff::Timestamp;
use tracing::{info, warn};

use crate::{
    changes::{self, Changes, Effective, Names, Note, effective},
    config::Config,
    interface::{self, ByRoutes, Chosen, InterfaceError},
};

/// What the effective config is made of.
#[derive(Debug)]
pub(super) struct Sources {
    /// What the file said when it was last good.
    pub(super) file: Arc<Config>,
    /// What DNS said last.
    pub(super) names: Names,
    /// What was changed at run time.
    pub(super) changes: Changes,
    /// What of these did not become part of it.
    notes: Vec<Note>,
    /// Where the changes are kept for the next agent.
    kept: PathBuf,
    /// Whether the file of the changes has them.
    stored: bool,
}

/// What another effective config is to be made of.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) file: Arc<Config>,
    pub(super) names: Names,
    pub(super) changes: Changes,
}

/// What became of it, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Applied {
    /// What is different.
    pub(super) changes: Vec<String>,
    /// What is to be known besides.
    pub(super) notes: Vec<String>,
}

impl Sources {
    /// At the agent's start: with what an earlier agent kept.
    pub(super) fn at_start(file: Config) -> Self {
        let kept = changes::path(&file.agent.socket);
        let loaded = changes::load(&kept);
        if let Some(problem) = loaded.problem {
            warn!("{problem}");
        }
        let changes = loaded.changes;
        Self { file: Arc::new(file), names: changes.names(), changes, notes: Vec::new(), kept, stored: true }
    }

    /// The first effective config, with what DNS says at the start.
    pub(super) fn begin(&mut self, names: Names) -> Arc<Config> {
        let before = self.changes.clone();
        self.changes.answered(&names, Timestamp::now());
        self.names = names;
        let Effective { config, changes, notes } = effective(&self.file, &self.names, &self.changes);
        notes.iter().for_each(|note| warn!("{note}"));
        self.stored = changes == before;
        (self.changes, self.notes) = (changes, notes);
        Arc::new(config)
    }

    /// Works out the interfaces of a config that does not name them, and says why they are these. `config` is the effective one.
    ///
    /// # Errors
    /// Nothing says which they are, or the kernel does not answer. Nothing has changed then.
    pub(super) async fn find_interfaces(&mut self, config: &mut Arc<Config>) -> Result<(), InterfaceError> {
        if config.by_routes {
            let found = interface::by_routes(config).await?;
            log_by_routes(&found);
            let names = found.names();
            Arc::make_mut(&mut self.file).interfaces.clone_from(&names);
            Arc::make_mut(config).interfaces = names;
        }
        Ok(())
    }

    /// What did not become part of the config, and has been told.
    pub(super) fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// What there is now, to be changed in part.
    pub(super) fn given(&self) -> Given {
        Given { file: Arc::clone(&self.file), names: self.names.clone(), changes: self.changes.clone() }
    }

    /// They are others from now on, and `found` is what they come to. Returns what is to be known of it.
    pub(super) fn replace(&mut self, file: Arc<Config>, names: Names, found: Effective) -> Vec<String> {
        let mut told: Vec<_> = found.news(&self.notes).map(ToString::to_string).collect();
        let Effective { config: _, changes, notes } = found;
        self.stored &= self.changes == changes;
        (self.file, self.names, self.changes, self.notes) = (file, names, changes, notes);
        told.extend(self.store());
        told
    }

    /// Keeps the changes for the next agent, if that is not done yet. Returns why they are not kept, if that is news.
    pub(super) fn store(&mut self) -> Option<String> {
        if self.stored {
            return None;
        }
        match self.changes.store(&self.kept) {
            Ok(()) => {
                self.stored = true;
                None
            }
            Err(error) => Some(format!("what was changed at run time would not outlast the agent: {error}")),
        }
    }
}

impl Given {
    /// The same, for another file: by what DNS and the operator have said before. Returns what is to be logged if it comes into force;
    /// nothing where the file names them.
    pub(super) async fn find_interfaces(&mut self) -> Result<ByRoutes, InterfaceError> {
        if !self.file.by_routes {
            return Ok(ByRoutes::default());
        }
        let config = effective(&self.file, &self.names, &self.changes).config;
        let found = interface::by_routes(&config).await?;
        Arc::make_mut(&mut self.file).interfaces = found.names();
        Ok(found)
    }
}

/// Says which they are, with the reason for each.
pub(super) fn log_by_routes(found: &ByRoutes) {
    found.notes.iter().for_each(|note| warn!("{note}"));
    for Chosen { name, why } in &found.interfaces {
        info!(interface = name, why = why.join("; "), "an interface of the datapath, found by the routes");
    }
}
