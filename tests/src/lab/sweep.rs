//! Cleaning up: what a lab does when it is dropped, and what the next one does for a lab whose owner was killed.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    directory::{self, Owner},
    error::Error,
    namespace::{self, DIRECTORY, Namespace},
    wait,
};

/// How long killed processes may take to leave their namespaces.
const LEAVE_LIMIT: Duration = Duration::from_secs(5);

/// Removes the labs whose owner no longer lives, and returns their ids.
///
/// A lab whose owner lives, in this process or another, is left alone. One that cannot be removed does not keep
/// the others from it; the first error is returned at the end.
pub(super) fn sweep_stale() -> Result<Vec<String>, Error> {
    let mut swept = Vec::new();
    let mut failure = None;
    for id in known_ids() {
        match sweep_one(&id) {
            Ok(true) => swept.push(id),
            Ok(false) => {}
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    failure.map_or(Ok(swept), Err)
}

/// Ends what still runs in the namespaces, deletes them, and removes the directory. Tries all of it, whatever
/// fails, and returns what did.
pub(super) fn remove(id: &str, namespaces: &[Namespace]) -> Vec<Error> {
    end_processes_in(namespaces);
    let deleted = namespace::delete(namespaces);
    let removed = directory::remove(&directory::path_of(id));
    [deleted, removed].into_iter().filter_map(Result::err).collect()
}

fn sweep_one(id: &str) -> Result<bool, Error> {
    // Held while the lab is removed: another sweep of the same lab finds it locked.
    let owner = directory::owner(id)?;
    if matches!(owner, Owner::Lives) {
        return Ok(false);
    }
    let namespaces: Vec<_> = names_in(Path::new(DIRECTORY))
        .filter(|name| directory::id_in(name) == Some(id))
        .map(Namespace::new)
        .collect();
    let failure = remove(id, &namespaces).into_iter().next();
    drop(owner);
    failure.map_or(Ok(true), Err)
}

/// Kills whatever is in a lab's namespaces: nothing but the lab's own processes ever is.
fn end_processes_in(namespaces: &[Namespace]) {
    wait::until(LEAVE_LIMIT, || {
        let left = namespace::processes_in(namespaces);
        for &pid in &left {
            // ESRCH: it ended in between. Anything else shows in that the namespace stays in use.
            if let Err(errno) = kill(Pid::from_raw(pid), Signal::SIGKILL)
                && errno != Errno::ESRCH
            {
                eprintln!("lab: cannot kill process {pid}: {errno}");
            }
        }
        left.is_empty()
    });
}

fn known_ids() -> BTreeSet<String> {
    names_in(&std::env::temp_dir())
        .chain(names_in(Path::new(DIRECTORY)))
        .filter_map(|name| directory::id_in(&name).map(str::to_owned))
        .collect()
}

fn names_in(directory: &Path) -> impl Iterator<Item = String> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
}
