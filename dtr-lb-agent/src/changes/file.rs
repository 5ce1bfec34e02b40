//! The file that keeps the changes for the next agent. It stands beside the agent's socket, below /run as a rule, and
//! so ends with a reboot, as the datapath does. `detach` removes it.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::Changes;

/// Raised when an older agent could not make sense of the file.
const VERSION: u32 = 1;
/// A larger file is not ours.
const LARGEST: u64 = 16 << 20;
/// Read and write for its owner, who owns the socket, too.
const MODE: u32 = 0o600;

/// What it means that [`remove`] failed when the datapath was removed, and what to do.
pub const NOT_REMOVED: &str = "the datapath is removed, but not the file with the changes that were made at run time, so that \
     the next agent takes them up; remove it by hand";

/// Why the changes were not kept.
#[derive(Debug, thiserror::Error)]
#[error(
    "changes made at run time could not be kept in `{}`: {source}; they hold for now, but are lost when the agent is restarted",
    .path.display()
)]
pub struct ChangesError {
    path: PathBuf,
    source: io::Error,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Loaded {
    pub changes: Changes,
    /// What was wrong with the file, and what became of it.
    pub problem: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    #[serde(flatten)]
    changes: Changes,
}

/// Where the changes are kept by an agent with this socket.
#[must_use]
pub fn path(socket: &Path) -> PathBuf {
    socket.with_extension("changes.json")
}

/// Reads what an earlier agent kept. No file is no changes; neither are what cannot be read, and what makes no sense,
/// which is moved aside: an agent without these changes is better than none.
#[must_use]
pub fn load(path: &Path) -> Loaded {
    let bytes = match read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Loaded::default(),
        Err(error) => return Loaded { problem: Some(unused(path, &error)), ..Loaded::default() },
    };
    let reason = match serde_json::from_slice(&bytes) {
        Ok(Stored { version: VERSION, changes }) => return Loaded { changes, problem: None },
        Ok(Stored { version, .. }) => format!("it is of version {version}, and this dtr-lb knows {VERSION}"),
        Err(error) => error.to_string(),
    };
    let aside = with_suffix(path, ".broken");
    let moved = match fs::rename(path, &aside) {
        Ok(()) => format!("it is moved to `{}`", aside.display()),
        Err(error) => format!("it could not be moved aside ({error}), and the next change replaces it"),
    };
    Loaded { problem: Some(format!("{}; {moved}", unused(path, &reason))), ..Loaded::default() }
}

fn unused(path: &Path, reason: &dyn std::fmt::Display) -> String {
    format!("changes that an earlier agent kept in `{}` are not used: {reason}", path.display())
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Removes what was kept. Returns whether there was anything.
///
/// # Errors
/// The file is there and cannot be removed.
pub fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

impl Changes {
    /// Keeps them for the next agent. Whoever reads the file finds it as it was or as it is, never half of it.
    ///
    /// # Errors
    /// See [`ChangesError`]. What was kept before stays.
    pub fn store(&self, path: &Path) -> Result<(), ChangesError> {
        self.try_store(path).map_err(|source| ChangesError { path: path.into(), source })
    }

    fn try_store(&self, path: &Path) -> io::Result<()> {
        if self.is_empty() {
            return remove(path).map(drop);
        }
        let stored = Stored { version: VERSION, changes: self.clone() };
        let mut text = serde_json::to_vec_pretty(&stored)?;
        text.push(b'\n');
        let new = with_suffix(path, ".new");
        // What is left of an agent that was killed here.
        remove(&new)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&new)?;
        let written =
            file.write_all(&text).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&new, path));
        if written.is_err() {
            // It would only take up space.
            let _ = remove(&new);
        }
        written
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
