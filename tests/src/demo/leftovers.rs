//! Looks, after a lab was removed, for anything of it that is still there.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::lab::Lab;

const NETNS: &str = "/run/netns";

/// What a lab had that must be gone when it is.
pub(super) struct Leftovers {
    /// What the names of its namespaces and of its directory begin with.
    prefix: String,
    directory: PathBuf,
    /// Its network namespaces, as (device, inode). A process in one would keep it, and its links and programs, alive
    /// without a name.
    namespaces: BTreeSet<(u64, u64)>,
    /// This host's links before the lab was made.
    links: BTreeSet<String>,
}

impl Leftovers {
    pub(super) const LOOKED_AT: &str =
        "looked for namespaces, processes, mounts and their pins, links, files";

    pub(super) fn of(lab: &Lab, links: BTreeSet<String>) -> Self {
        let namespaces = lab.namespaces().filter_map(|(_, namespace)| identity(&namespace.path())).collect();
        Self { prefix: format!("dlb-{}", lab.id()), directory: lab.directory().to_owned(), namespaces, links }
    }

    /// The names of this host's links.
    pub(super) fn host_links() -> BTreeSet<String> {
        names_in(Path::new("/sys/class/net")).collect()
    }

    /// The lab's name.
    pub(super) fn name(&self) -> &str {
        &self.prefix
    }

    /// What is still there, one line each.
    pub(super) fn find(&self) -> Vec<String> {
        let Self { prefix, directory, namespaces, links } = self;
        let mut found = Vec::new();
        found.extend(
            names_in(Path::new(NETNS))
                .filter(|name| name.starts_with(prefix.as_str()))
                .map(|name| format!("namespace {name}")),
        );
        let inside = |pid: &String| {
            identity(&Path::new("/proc").join(pid).join("ns/net"))
                .is_some_and(|own| namespaces.contains(&own))
        };
        let processes = names_in(Path::new("/proc")).filter(|name| name.parse::<u32>().is_ok());
        found.extend(processes.filter(inside).map(|pid| format!("process {pid} in one of its namespaces")));
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        found.extend(
            mount_points(&mounts).filter(|at| at.contains(prefix.as_str())).map(|at| format!("mount {at}")),
        );
        if directory.exists() {
            found.push(format!("directory {}", directory.display()));
        }
        // The lab's own cables never show on the host, unless one escaped from a namespace that was deleted.
        let new = Self::host_links().into_iter().filter(|name| !links.contains(name));
        found.extend(new.filter(|name| name.starts_with("p-")).map(|name| format!("link {name}")));
        found
    }
}

/// The fifth field of each line of `/proc/<pid>/mountinfo`.
fn mount_points(mountinfo: &str) -> impl Iterator<Item = &str> {
    mountinfo.lines().filter_map(|line| line.split(' ').nth(4))
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

fn names_in(directory: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_found_and_what_is_gone_is_not() {
        let directory = tempfile::TempDir::new().unwrap();
        let own = identity(Path::new("/proc/self/ns/net")).unwrap();
        let mut leftovers = Leftovers {
            prefix: "dlb-no-such-lab".to_owned(),
            directory: directory.path().to_owned(),
            namespaces: BTreeSet::from([own]),
            links: Leftovers::host_links(),
        };
        let found = leftovers.find();
        let own_process = format!("process {} in", std::process::id());
        assert!(found.iter().any(|line| line.starts_with(&own_process)), "{found:?}");
        assert!(found.iter().any(|line| line.starts_with("directory ")), "{found:?}");
        leftovers.namespaces.clear();
        drop(directory);
        assert_eq!(leftovers.find(), Vec::<String>::new());
    }

    #[test]
    fn mount_points_are_read() {
        let text =
            "22 27 0:21 / /proc rw,nosuid - proc proc rw\n99 27 0:50 / /tmp/dlb-00/bpf rw - bpf bpf rw\n";
        assert_eq!(mount_points(text).collect::<Vec<_>>(), ["/proc", "/tmp/dlb-00/bpf"]);
    }
}
