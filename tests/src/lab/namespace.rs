//! One network namespace of the lab: running programs and closures in it, and setting it up.
//!
//! Programs run through `ip netns exec`, which sets up the namespace and then *becomes* the program: the child's
//! process id is the program's own, so that ending it by id is exact. Closures run on a thread that enters the
//! namespace and is thrown away afterwards; threads and sockets made by the closure belong to the namespace.

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    panic,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use nix::sched::{CloneFlags, setns};

use super::{command, error::Error};

/// Where `ip netns` keeps the namespaces' names.
pub(super) const DIRECTORY: &str = "/run/netns";

/// A proxy is out of reach from within a namespace, and curl and skopeo would ask it for the VIP.
const PROXY_VARIABLES: [&str; 6] =
    ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];

/// A network namespace by name. It is the lab that creates and deletes it; this is a cheap handle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    pub(super) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    /// The name, as `ip netns list` shows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for the namespace, to be opened for setns(2).
    pub fn path(&self) -> PathBuf {
        Path::new(DIRECTORY).join(&self.name)
    }

    /// A command that will run in this namespace; add arguments and run it like any other.
    ///
    /// It has its own mount namespace and a `/sys` of its own, so `/sys/fs/bpf` is not the host's there: use
    /// the lab's own bpffs. For something that keeps running use [`Lab::spawn`](super::Lab::spawn), which ends
    /// it with the lab.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        for variable in PROXY_VARIABLES {
            command.env_remove(variable);
        }
        command
    }

    /// Runs a closure in this namespace, on a thread of its own, and returns what it returned.
    ///
    /// # Panics
    /// If the closure panics.
    pub fn run<T: Send>(&self, task: impl FnOnce() -> T + Send) -> Result<T, Error> {
        let entered = thread::scope(|scope| scope.spawn(|| self.enter().map(|()| task())).join());
        entered.unwrap_or_else(|panicked| panic::resume_unwind(panicked))
    }

    /// Starts a thread in this namespace. The namespace was entered, or the error is returned, before this
    /// returns.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        task: impl FnOnce() -> T + Send + 'static,
    ) -> Result<thread::JoinHandle<T>, Error> {
        // Threads inherit the namespace of the thread that starts them.
        self.run(|| thread::spawn(task))
    }

    /// Runs `ip` with these arguments in this namespace, and returns its output.
    pub fn ip(&self, arguments: &[&str]) -> Result<String, Error> {
        let output = command::success(Command::new("ip").args(["-n", &self.name]).args(arguments))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Takes an interface of this namespace up. Of a switch's port: the cable is whole again.
    pub(super) fn link_up(&self, interface: &str) -> Result<(), Error> {
        self.ip(&["link", "set", interface, "up"]).map(drop)
    }

    /// Takes it down. Of a switch's port: the cable is cut.
    pub(super) fn link_down(&self, interface: &str) -> Result<(), Error> {
        self.ip(&["link", "set", interface, "down"]).map(drop)
    }

    /// Sets a sysctl of this namespace, by its dotted name: `net.ipv4.ip_forward`.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<(), Error> {
        let path = Path::new("/proc/sys").join(key.replace('.', "/"));
        self.run(|| fs::write(path, value))?
            .map_err(|source| self.error(format!("set {key} to {value}"), source))
    }

    /// Moves the calling thread into this namespace, for good.
    fn enter(&self) -> Result<(), Error> {
        let file = File::open(self.path()).map_err(|source| self.error("open it", source))?;
        setns(file, CloneFlags::CLONE_NEWNET).map_err(|errno| self.error("enter it", errno.into()))
    }

    fn error(&self, doing: impl Into<String>, source: io::Error) -> Error {
        Error::Namespace { namespace: self.name.clone(), doing: doing.into(), source }
    }
}

/// The ids of all processes in any of these namespaces, except the caller's own.
pub(super) fn processes_in(namespaces: &[Namespace]) -> Vec<i32> {
    let identity = |path: &Path| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    let wanted: HashSet<_> = namespaces.iter().filter_map(|namespace| identity(&namespace.path())).collect();
    let own = std::process::id().cast_signed();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&pid| pid != own)
        .filter(|pid| {
            identity(Path::new(&format!("/proc/{pid}/ns/net"))).is_some_and(|found| wanted.contains(&found))
        })
        .collect()
}

/// Makes the namespaces, all in one call of `ip`.
pub(super) fn create(namespaces: &[Namespace]) -> Result<(), Error> {
    command::ip_batch(None, &batch("add", namespaces))
}

/// Deletes those of the namespaces that exist.
pub(super) fn delete(namespaces: &[Namespace]) -> Result<(), Error> {
    let present: Vec<_> = namespaces.iter().filter(|namespace| namespace.path().exists()).cloned().collect();
    if present.is_empty() {
        return Ok(());
    }
    command::ip_batch(None, &batch("delete", &present))
}

fn batch(verb: &str, namespaces: &[Namespace]) -> String {
    namespaces.iter().map(|namespace| format!("netns {verb} {}\n", namespace.name)).collect()
}
