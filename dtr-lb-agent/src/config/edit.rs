//! `--save`: one change in the config file, with everything else in it as its author wrote it.
//!
//! The text is edited, not made anew: comments, order and formatting stay. What comes out has to be a config that says
//! what was asked for, by the same check as any other, before it takes the file's place.

mod replace;
mod text;

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::error::ConfigError;
use super::host_facts::HostFacts;
use super::listed::Listed;
use super::service::Service;
use super::{Config, Host};

/// A change to the file. A replica is called by its name in the file; those of a host name are one there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Its weight, 0 to [`super::MAX_WEIGHT`], in all services.
    Weight { replica: String, weight: u16 },
    /// A new `[[replica]]`, for these services. Those that list no replicas take every one.
    Add { replica: Listed, services: Vec<String> },
    /// Takes it out of these services, and its `[[replica]]` away if no other has it.
    Remove { replica: String, services: Vec<String> },
}

/// What became of the file.
#[derive(Debug)]
pub struct Saved {
    pub config: Config,
    /// Its text, before and after.
    pub before: String,
    pub after: String,
}

/// Why the file stays as it is.
#[derive(Debug, Error)]
pub enum EditError {
    /// The file cannot be read, or is no valid config as it is.
    #[error("the config file is not changed: {0}")]
    Config(#[from] ConfigError),
    /// The file has no such replica.
    #[error("the config file is not changed: it has no replica `{replica}`; it has {known}")]
    NoSuchReplica { replica: String, known: String },
    /// The file cannot say that.
    #[error("the config file is not changed, as it cannot say this: {why}; {instead}")]
    Cannot { why: String, instead: &'static str },
    /// The changed file would be no valid config.
    #[error("the config file is not changed, as it would not be valid any more:\n{0}")]
    WouldBeInvalid(ConfigError),
    /// The file would have been changed, but a `--set` of the command line goes before it.
    #[error(
        "the config file is not changed: the agent was started with --set items, which would still say otherwise; end the \
         agent and start it without them"
    )]
    Overridden,
    /// Somebody else changed the file meanwhile.
    #[error("the config file `{}` was changed by somebody else at the same time; it stays as they wrote it, try again", .0.display())]
    ChangedMeanwhile(PathBuf),
    /// It is to say again what it said before a change, and has been changed once more.
    #[error(
        "the config file `{}` was changed after that order was saved to it, so that its earlier text is not put back; make the \
         change in the file by hand, and `dtr-lb reload`",
        .0.display()
    )]
    ChangedSince(PathBuf),
    /// The new file could not take the place of the old.
    #[error("writing the config file `{}` failed: {source}; {}", .path.display(), what_to_do(.source))]
    Write { path: PathBuf, source: io::Error },
}

impl Edit {
    /// Makes the change in the file at `path`: the config of an agent that was started with these `--set` items. A symbolic
    /// link stays one; the file keeps owner and permissions, and whoever reads it finds the old text or the new.
    ///
    /// Returns what the file says now, with the items on top, and both texts.
    ///
    /// # Errors
    /// See [`EditError`]. The file is as it was then.
    pub fn save(&self, path: &Path, overrides: &[String]) -> Result<Saved, EditError> {
        let read = |source| ConfigError::Read { path: path.to_path_buf(), source };
        let real = path.canonicalize().map_err(read)?;
        // What is in it must be valid before: a slip that somebody is still writing is not ours to save.
        let before = Config::load(path, overrides)?;
        let text = std::fs::read_to_string(&real).map_err(read)?;
        let host = HostFacts::read()?;
        let edited = self.apply(&text, &before)?;
        let after = Config::parse(&edited, &path.to_string_lossy(), overrides, &host)
            .map_err(EditError::WouldBeInvalid)?;
        if !self.is_done(&after) {
            return Err(EditError::Overridden);
        }
        if edited != text {
            replace::replace(&real, &text, &edited)?;
        }
        Ok(Saved { config: after, before: text, after: edited })
    }

    /// The text after the change. `config` is what the text says.
    fn apply(&self, text: &str, config: &Config) -> Result<String, EditError> {
        let mut document = text::Document::parse(text)?;
        match self {
            Self::Weight { replica, weight } => {
                let place = place(&document, replica)?;
                document.set_weight(place, *weight);
            }
            Self::Add { replica, services } => {
                let left_out = config
                    .services
                    .iter()
                    .find(|service| !services.contains(&service.name) && !document.lists(&service.name));
                if let Some(service) = left_out {
                    return Err(takes_all(service));
                }
                document.add(replica);
                for service in services {
                    document.list(service, &replica.name);
                }
            }
            Self::Remove { replica, services } => {
                let place = place(&document, replica)?;
                let has = |service: &&Service| service.listed.iter().any(|listed| listed.name == *replica);
                let (going, staying): (Vec<_>, Vec<_>) =
                    config.services.iter().filter(has).partition(|service| services.contains(&service.name));
                if !staying.is_empty()
                    && let Some(service) = going.iter().find(|service| !document.lists(&service.name))
                {
                    return Err(takes_all(service));
                }
                for service in going {
                    document.unlist(&service.name, "replicas", replica);
                    document.unlist(&service.name, "backup", replica);
                }
                if staying.is_empty() {
                    document.remove(place);
                }
            }
        }
        Ok(document.into_text())
    }

    /// Whether a config says what was asked for.
    fn is_done(&self, config: &Config) -> bool {
        let has = |service: &Service, name: &str| service.listed.iter().any(|listed| listed.name == name);
        match self {
            Self::Weight { replica, weight } => {
                let mut all = config.services.iter().flat_map(|service| &service.listed);
                all.all(|listed| listed.name != *replica || listed.weight == *weight)
            }
            Self::Add { replica, services } => config
                .services
                .iter()
                .all(|service| services.contains(&service.name) == service.listed.contains(replica)),
            Self::Remove { replica, services } => config
                .services
                .iter()
                .all(|service| !services.contains(&service.name) || !has(service, replica)),
        }
    }
}

/// Puts an earlier text back into the file at `path`, if it says what it said `after` the change. Returns what it says then, with the
/// items on top.
///
/// # Errors
/// See [`EditError`]. The file is as it was then.
pub fn put_back(path: &Path, overrides: &[String], before: &str, after: &str) -> Result<Config, EditError> {
    let read = |source| ConfigError::Read { path: path.to_path_buf(), source };
    let real = path.canonicalize().map_err(read)?;
    if std::fs::read_to_string(&real).map_err(read)? != after {
        return Err(EditError::ChangedSince(path.to_path_buf()));
    }
    let config = Config::parse(before, &path.to_string_lossy(), overrides, &HostFacts::read()?)
        .map_err(EditError::WouldBeInvalid)?;
    if before != after {
        replace::replace(&real, after, before)?;
    }
    Ok(config)
}

fn place(document: &text::Document, replica: &str) -> Result<usize, EditError> {
    let names = document.names();
    if let Some(place) = names.iter().position(|name| name == replica) {
        return Ok(place);
    }
    if let Some((name, _)) = replica.split_once('/')
        && names.iter().any(|known| known == name)
    {
        return Err(EditError::Cannot {
            why: format!(
                "`{replica}` is one of the addresses of `{name}`, which stand in the file as one replica"
            ),
            instead: "change them all by the name, or leave out --save",
        });
    }
    Err(EditError::NoSuchReplica { replica: replica.to_owned(), known: names.join(", ") })
}

fn takes_all(service: &Service) -> EditError {
    EditError::Cannot {
        why: format!("service `{}` has no list `replicas`, and so takes every [[replica]]", service.name),
        instead: "write its `replicas` into the file first, or leave out --service or --save",
    }
}

fn what_to_do(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            "the agent may not write there (a read-only file system, ProtectSystem= of its unit, a mounted ConfigMap): make \
             the change in the file where it comes from, and leave out --save"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room on its file system, and try again"
        }
        _ => "make the change in the file by hand, and leave out --save",
    }
}

/// What an unnamed `[[replica]]` with this address is called.
fn unwritten_name(address: &str) -> String {
    match Host::parse(address) {
        Ok(Host::Address(address)) => address.to_string(),
        Ok(Host::Name(_)) | Err(_) => address.to_owned(),
    }
}
