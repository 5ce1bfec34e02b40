//! Whether the log could be written where the config wants it: found out without making anything.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nix::unistd::{AccessFlags, access};

use super::journal;
use crate::config::FlowLogTarget;

/// Where the package's systemd unit lets the agent write logs (`LogsDirectory=`).
pub const LOGS_DIRECTORY: &str = "/var/log/dtr-lb";

/// Why the log cannot be where the config wants it.
#[derive(Debug, thiserror::Error)]
pub enum FlowLogError {
    #[error("the flow log cannot be `{}`: it is a directory; set agent.flow_log to a file in it", .0.display())]
    Directory(PathBuf),
    #[error(
        "the flow log cannot be `{}`: `{}` is not a directory that exists; make it, or set agent.flow_log to \
         {LOGS_DIRECTORY}/flows.log",
        .path.display(), .directory.display()
    )]
    NoDirectory { path: PathBuf, directory: PathBuf },
    #[error(
        "the flow log cannot be `{}`: this process may not write there ({source}); set agent.flow_log to {LOGS_DIRECTORY}/flows.log, \
         where the systemd unit lets it, or permit it (the owner of the directory, or ReadWritePaths= in the unit)",
        .path.display()
    )]
    NotWritable { path: PathBuf, source: io::Error },
    #[error(
        "the flow log cannot be sent to the journal: nobody takes entries at `{}` ({source}); start systemd-journald, or set \
         agent.flow_log to a file",
        .path.display()
    )]
    NoJournal { path: PathBuf, source: io::Error },
    #[error(
        "the thread of the flow log cannot be started: {0}; free memory or threads, and start the agent again"
    )]
    Thread(io::Error),
}

/// Whether the log could be there.
///
/// # Errors
/// It could not.
pub fn check_target(target: Option<&FlowLogTarget>) -> Result<(), FlowLogError> {
    match target {
        None => Ok(()),
        Some(FlowLogTarget::Journal) => check_journal(Path::new(journal::SOCKET)),
        Some(FlowLogTarget::File(path)) => check_file(path),
    }
}

pub(super) fn check_journal(path: &Path) -> Result<(), FlowLogError> {
    let no_journal = |source| FlowLogError::NoJournal { path: path.into(), source };
    journal::connect(path).map(drop).map_err(no_journal)
}

fn check_file(path: &Path) -> Result<(), FlowLogError> {
    let not_writable =
        |error: nix::Error| FlowLogError::NotWritable { path: path.into(), source: error.into() };
    let directory = path.parent().unwrap_or(path);
    match fs::metadata(path) {
        Ok(there) if there.is_dir() => Err(FlowLogError::Directory(path.into())),
        Ok(_) => access(path, AccessFlags::W_OK).map_err(not_writable),
        Err(_) if !directory.is_dir() => {
            Err(FlowLogError::NoDirectory { path: path.into(), directory: directory.into() })
        }
        Err(_) => access(directory, AccessFlags::W_OK | AccessFlags::X_OK).map_err(not_writable),
    }
}
