//! `dtr-lb top` in a pseudo-terminal: a real one as far as the kernel and the program can tell.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use dtr_lb_agent::config::Admin;
use dtr_lb_tests::{balancer::binary, lab::until};
use nix::{
    pty::{OpenptyResult, Winsize, openpty},
    sys::{
        signal::{Signal, kill},
        termios::{LocalFlags, Termios, tcgetattr},
    },
    unistd::Pid,
};

use crate::{Place, Stage};

/// A second until the next status, and a busy machine.
const LIMIT: Duration = Duration::from_secs(10);
const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";
const HIDE: &str = "\x1b[?25l";
const SHOW: &str = "\x1b[?25h";

/// A program in a terminal of 80 by 24.
struct Terminal {
    child: Child,
    keys: File,
    /// The terminal's other end, kept so that its settings can be read.
    own: OwnedFd,
    /// All that the program has written.
    shown: Arc<Mutex<String>>,
    before: Termios,
}

impl Terminal {
    fn start(mut command: Command) -> Result<Self> {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(&size, None).context("a pseudo-terminal")?;
        let before = tcgetattr(&slave)?;
        command.env("TERM", "xterm-256color");
        command.stdin(Stdio::from(slave.try_clone()?)).stdout(Stdio::from(slave.try_clone()?));
        let child = command.stderr(Stdio::from(slave.try_clone()?)).spawn().context("starting it")?;
        let mut screen = File::from(master.try_clone()?);
        let shown = Arc::new(Mutex::new(String::new()));
        let sink = Arc::clone(&shown);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
                sink.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
            }
        });
        Ok(Self { child, keys: File::from(master), own: slave, shown, before })
    }

    fn shown(&self) -> String {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it has written `text` after the first `from` bytes. Returns how much it has written by then.
    fn wait_for(&self, text: &str, from: usize) -> Result<usize> {
        let there = until(LIMIT, || self.shown()[from..].contains(text));
        let shown = self.shown();
        ensure!(there, "`{text}` is not shown within {LIMIT:?}: {:?}", &shown[from..]);
        Ok(shown.len())
    }

    fn press(&mut self, keys: &str) -> Result<()> {
        Ok(self.keys.write_all(keys.as_bytes())?)
    }

    fn end(&mut self) -> Result<ExitStatus> {
        let mut ended = None;
        until(LIMIT, || {
            ended = self.child.try_wait().ok().flatten();
            ended.is_some()
        });
        let Some(ended) = ended else {
            self.child.kill()?;
            self.child.wait()?;
            anyhow::bail!("it does not end: {:?}", self.shown());
        };
        Ok(ended)
    }

    /// The settings are what they were, the program's screen is left, and the cursor is seen.
    fn is_as_before(&self) -> Result<()> {
        let given_back =
            |shown: &str| shown.rfind(ENTER) < shown.rfind(LEAVE) && shown.rfind(HIDE) < shown.rfind(SHOW);
        // What it has written last may still be on its way here.
        until(LIMIT, || given_back(&self.shown()));
        ensure!(given_back(&self.shown()), "the screen of before is not back: {:?}", self.shown());
        let after = tcgetattr(self.own.as_fd())?;
        ensure!(after == self.before, "the terminal is not as it was: {after:?}, not {:?}", self.before);
        Ok(())
    }
}

/// `dtr-lb top`, as the leader of the session that has the terminal.
fn start(stage: &Stage) -> Result<Terminal> {
    let mut command = stage.lab.balancer().command("setsid");
    command.arg("--ctty").arg(binary()?).arg("top").arg("--socket");
    command.arg(stage.lab.directory().join("dtr-lb.sock"));
    let terminal = Terminal::start(command)?;
    terminal.wait_for("q quit", 0)?;
    let settings = tcgetattr(terminal.own.as_fd())?;
    ensure!(!settings.local_flags.contains(LocalFlags::ECHO), "keys would be seen");
    Ok(terminal)
}

fn admins(stage: &Stage) -> Result<Vec<Admin>> {
    Ok(stage.replica_statuses()?.into_iter().map(|replica| replica.admin).collect())
}

pub(super) fn top(place: Place) -> Result<()> {
    let mut stage = place.stage()?;
    let mut terminal = start(&stage)?;
    for text in [ENTER, "dtr-lb", "eth0 tc", "r1", "r3", "UP"] {
        terminal.wait_for(text, 0)?;
    }
    // Rates come with the second status.
    let mut seen = terminal.wait_for("packets", 0)?;
    terminal.press("?")?;
    seen = terminal.wait_for("Ctrl-C", seen)?;
    terminal.press("?s")?;
    seen = terminal.wait_for("new/s", seen)?;

    // An order is asked about first, and what became of it is shown; so is why a replica is not up.
    terminal.press("d")?;
    seen = terminal.wait_for("y/n", seen)?;
    ensure!(admins(&stage)?.iter().all(|admin| *admin == Admin::Ready), "it was not confirmed yet");
    terminal.press("y")?;
    let before = seen;
    // What is drawn by the same frame may be there at once.
    for text in ["gets no new connections", "draining", "an operator drains it"] {
        seen = terminal.wait_for(text, before)?;
    }
    let drained = admins(&stage)?.into_iter().filter(|admin| *admin == Admin::Drain).count();
    ensure!(drained == 1, "{drained} are drained");
    terminal.press("u")?;
    seen = terminal.wait_for("take back", seen)?;
    terminal.press("y")?;
    seen = terminal.wait_for("took back", seen)?;
    ensure!(admins(&stage)?.iter().all(|admin| *admin == Admin::Ready), "{:?}", admins(&stage)?);

    // Another size: all is drawn anew, and there is room for addresses.
    let pid = terminal.child.id();
    let resize = Command::new("stty")
        .args(["rows", "30", "cols", "140"])
        .stdin(Stdio::from(terminal.own.try_clone()?))
        .output()
        .context("running stty")?;
    ensure!(resize.status.success(), "{resize:?}");
    seen = terminal.wait_for("address", seen)?;

    // The agent goes and comes back.
    stage.balancer.process().stop()?;
    seen = terminal.wait_for("no answer, retrying every second", seen)?;
    let Stage { lab, balancer } = &mut stage;
    balancer.start_again(lab)?;
    seen = terminal.wait_for("rates: from the second answer on", seen)?;
    // Only what differs is drawn, so that a word is all that can be waited for.
    terminal.wait_for("clients", seen)?;
    ensure!(terminal.child.id() == pid && terminal.child.try_wait()?.is_none());
    terminal.press("q")?;
    ensure!(terminal.end()?.success(), "q: {:?}", terminal.shown());
    terminal.is_as_before()?;

    for signal in [Signal::SIGTERM, Signal::SIGHUP] {
        let mut terminal = start(&stage)?;
        kill(Pid::from_raw(terminal.child.id().cast_signed()), signal)?;
        ensure!(terminal.end()?.success(), "{signal}: {:?}", terminal.shown());
        terminal.is_as_before()?;
    }
    Ok(())
}
