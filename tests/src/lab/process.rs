//! Processes that run for as long as the lab does: started in a process group of their own, logging to a file,
//! ended exactly.
//!
//! A process is reaped only here, and only after its whole group was signalled: until then its id, and with it
//! the group's, cannot be given to anyone else. So no signal ever reaches a stranger.

use std::{
    fmt, fs,
    fs::File,
    io,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        prctl,
        signal::{Signal, kill, killpg},
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
    unistd::Pid,
};

use super::{command, error::Error, wait};

/// How long a process may take to end after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(3);
/// How long the kernel may take to end a killed process group.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// A running (or ended) process. A handle: the lab keeps another, and ends the process when the lab is dropped.
#[derive(Clone)]
pub struct Process {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    pid: Pid,
    log: PathBuf,
    child: Mutex<Running>,
}

struct Running {
    child: Child,
    /// Set when it was reaped; from then on its id means nothing.
    ended: Option<ExitStatus>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { name, pid, log, child: _ } = &*self.inner;
        f.debug_struct("Process").field("name", name).field("pid", pid).field("log", log).finish()
    }
}

impl Process {
    /// Starts a command in a process group of its own, its output appended to `log`.
    pub(super) fn spawn(name: &str, mut command: Command, log: &Path) -> Result<Self, Error> {
        let file =
            File::options().create(true).append(true).open(log).map_err(Error::file("open the log", log))?;
        let other = file.try_clone().map_err(Error::file("open the log", log))?;
        command.stdin(Stdio::null()).stdout(file).stderr(other).process_group(0);
        end_with_parent(&mut command);
        let line = command::line(&command);
        let child = on_lasting_thread(command).map_err(|source| Error::Start { command: line, source })?;
        let pid = Pid::from_raw(child.id().cast_signed());
        let child = Mutex::new(Running { child, ended: None });
        Ok(Self { inner: Arc::new(Inner { name: name.to_owned(), pid, log: log.to_owned(), child }) })
    }

    /// The name it was started under.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Its process id: the program's own.
    pub fn pid(&self) -> i32 {
        self.inner.pid.as_raw()
    }

    /// A number that the kernel tells of it (proc_pid_status(5)), in the unit that it is written in: `VmRSS:` is in KiB.
    pub fn figure(&self, field: &str) -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = text.lines().find_map(|line| line.strip_prefix(field));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.ok_or_else(|| io::Error::other(format!("there is no {field} of process {}", self.pid())))
    }

    /// The file that has its standard output and standard error.
    pub fn log(&self) -> &Path {
        &self.inner.log
    }

    /// The last `lines` lines of its log.
    pub fn log_tail(&self, lines: usize) -> String {
        log_tail(&self.inner.log, lines)
    }

    /// Whether the process itself still runs (whatever its children do).
    pub fn is_running(&self) -> bool {
        self.lock().ended.is_none() && !self.has_exited()
    }

    /// Sends a signal to the process alone, such as SIGHUP to reload. An ended process is an error.
    pub fn signal(&self, signal: Signal) -> Result<(), Error> {
        self.send("signal it", signal, kill)
    }

    /// Sends a signal to the process and its children, such as SIGSTOP. An ended process is an error.
    pub fn signal_group(&self, signal: Signal) -> Result<(), Error> {
        self.send("signal its process group", signal, killpg)
    }

    /// Waits until the process ends by itself, at most for `limit`, and says how. `None`: it still runs.
    pub fn wait(&self, limit: Duration) -> Result<Option<ExitStatus>, Error> {
        if self.lock().ended.is_none() && !wait::until(limit, || self.has_exited()) {
            return Ok(None);
        }
        self.kill().map(Some)
    }

    /// Asks the process group to end (SIGTERM), and kills what is left of it after a few seconds.
    pub fn stop(&self) -> Result<ExitStatus, Error> {
        self.ask_to_end();
        self.finish(Instant::now() + GRACE)
    }

    /// Kills the process group (SIGKILL), waits until it is gone, and says how the process ended. On an ended
    /// process this kills only what it left behind.
    pub fn kill(&self) -> Result<ExitStatus, Error> {
        self.finish(Instant::now())
    }

    /// SIGTERM, without waiting. A stopped (SIGSTOP) process is woken to see it.
    fn ask_to_end(&self) {
        let running = self.lock();
        if running.ended.is_none() {
            // The group exists: its leader was not reaped. Nothing to report, `finish` looks at the result.
            let _ = killpg(self.inner.pid, Signal::SIGTERM);
            let _ = killpg(self.inner.pid, Signal::SIGCONT);
        }
    }

    /// Waits for the process until `deadline`, kills what is left of its group then, and reaps it.
    fn finish(&self, deadline: Instant) -> Result<ExitStatus, Error> {
        let mut running = self.lock();
        if let Some(status) = running.ended {
            return Ok(status);
        }
        wait::until(deadline.saturating_duration_since(Instant::now()), || self.has_exited());
        // Also if the process itself has ended: children of it may live on. ESRCH: none does.
        match killpg(self.inner.pid, Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(self.error("kill it", errno.into())),
        }
        wait::until(KILL_LIMIT, || self.has_exited() && !group_lives(self.inner.pid));
        let status = running.child.wait().map_err(|source| self.error("wait for it", source))?;
        running.ended = Some(status);
        Ok(status)
    }

    fn send<S>(
        &self,
        doing: &'static str,
        signal: S,
        send: impl FnOnce(Pid, S) -> nix::Result<()>,
    ) -> Result<(), Error> {
        let running = self.lock();
        if let Some(status) = running.ended {
            let reason = match status.signal() {
                Some(signal) => format!("it was ended by signal {signal}"),
                None => format!("it has ended with {status}"),
            };
            return Err(self.error(doing, io::Error::other(reason)));
        }
        send(self.inner.pid, signal).map_err(|errno| self.error(doing, errno.into()))
    }

    /// Whether the process has exited, without reaping it. Only to be asked while it is not reaped.
    fn has_exited(&self) -> bool {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG;
        !matches!(waitid(Id::Pid(self.inner.pid), flags), Ok(WaitStatus::StillAlive))
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.inner.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, doing: &'static str, source: io::Error) -> Error {
        Error::Process { name: self.inner.name.clone(), pid: self.pid(), doing, source }
    }
}

/// All processes of one lab. Cheap to clone: the lab and its replicas share one.
#[derive(Clone, Debug, Default)]
pub(super) struct Processes {
    started: Arc<Mutex<Vec<Process>>>,
}

impl Processes {
    pub(super) fn spawn(&self, name: &str, command: Command, log: &Path) -> Result<Process, Error> {
        let process = Process::spawn(name, command, log)?;
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        started.retain(|process| process.lock().ended.is_none());
        started.push(process.clone());
        Ok(process)
    }

    /// Ends all of them together: SIGTERM to each group, one common grace period, SIGKILL.
    pub(super) fn end_all(&self) -> Vec<Error> {
        let started = std::mem::take(&mut *self.started.lock().unwrap_or_else(PoisonError::into_inner));
        started.iter().for_each(Process::ask_to_end);
        let deadline = Instant::now() + GRACE;
        started.iter().filter_map(|process| process.finish(deadline).err()).collect()
    }
}

/// The log file of the process of this name.
pub(super) fn log_file(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.log"))
}

/// The last `lines` lines of a log file; says so if there are none.
pub(super) fn log_tail(log: &Path, lines: usize) -> String {
    let text = match fs::read(log) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => return format!("(cannot read {}: {error})", log.display()),
    };
    let all: Vec<_> = text.lines().collect();
    if all.is_empty() { "(empty)".to_owned() } else { all[all.len().saturating_sub(lines)..].join("\n") }
}

/// Whether a process group has a member that is not a zombie.
fn group_lives(group: Pid) -> bool {
    let Ok(entries) = fs::read_dir("/proc") else { return false };
    entries
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok())
        .filter_map(|stat| state_and_group(&stat))
        .any(|(state, of)| of == group.as_raw() && !matches!(state, 'Z' | 'X'))
}

/// The state and the process group in `/proc/<pid>/stat`: the first and third field after the name, which is in
/// parentheses and may contain any character.
fn state_and_group(stat: &str) -> Option<(char, i32)> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let group = fields.nth(1)?.parse().ok()?;
    Some((state, group))
}

/// Has the kernel send SIGTERM to the child when the thread that started it is gone: even `kill -9` of the tests
/// leaves no server behind. Not SIGKILL, because nginx's master must take its workers along.
fn end_with_parent(command: &mut Command) {
    // SAFETY: the closure runs in the child between fork and exec, where only async-signal-safe calls are
    // allowed: it makes one system call, and neither allocates nor locks.
    unsafe {
        command.pre_exec(|| prctl::set_pdeathsig(Signal::SIGTERM).map_err(io::Error::from));
    }
}

type SpawnRequest = (Command, mpsc::Sender<io::Result<Child>>);

/// Starts a command on a thread that lives as long as this program: the parent-death signal is sent when the
/// *thread* that started the child ends, and a test's thread may well end before its lab.
fn on_lasting_thread(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<mpsc::Sender<SpawnRequest>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, requests) = mpsc::channel::<SpawnRequest>();
        thread::spawn(move || {
            for (mut command, reply) in requests {
                // Whoever asked waits for the reply.
                let _ = reply.send(command.spawn());
            }
        });
        sender
    });
    let (reply, answer) = mpsc::channel();
    let gone = |_| io::Error::other("the thread that starts the lab's processes is gone");
    spawner.send((command, reply)).map_err(|error| gone(error.to_string()))?;
    answer.recv().map_err(|error| gone(error.to_string()))?
}

#[cfg(test)]
mod tests;
