//! The agent is killed at each step: of a start on a host without a datapath, of one that takes a datapath over, of a
//! write, and of the end. The next agent makes of it what a start from nothing makes, and what was forwarded goes on.
//!
//! Nothing in the product knows of this: strace kills the real agent at its n-th system call of a kind, before the kernel
//! does what it asks for.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use dtr_lb_tests::{
    balancer::{Balancer, DOWN_WITHIN, binary, service_with, write_config},
    lab::{Lab, Process, SERVICE_NAME, until},
    pinned::Picture,
};
use nix::sys::signal::Signal;

use super::nothing_left;
use crate::{Place, Stage};

/// The calls by which an agent changes the world: maps, programs, links and pins; directories and files; the lock; the
/// socket. Those with a question mark are not there on every processor.
const CALLS: &str =
    "bpf,flock,bind,listen,?mkdir,mkdirat,?unlink,unlinkat,?rmdir,?chmod,fchmodat,?rename,renameat,renameat2";
/// A start in strace's hands, until the step at which it is killed. It takes a second.
const KILLED_WITHIN: Duration = Duration::from_secs(15);
/// When an agent serves, each replica has been asked once; a dead one's flows are reset after three probes.
const SETTLED_WITHIN: Duration = Duration::from_secs(4);

/// The n-th call of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    call: String,
    number: usize,
    /// The line that strace wrote for it.
    line: String,
}

impl Step {
    /// Whether what survives an agent is made or removed: the few calls between which a state may be left that no agent
    /// wrote on purpose.
    fn is_landmark(&self) -> bool {
        match self.call.as_str() {
            "bpf" => {
                ["OBJ_PIN", "LINK_CREATE", "LINK_UPDATE"].iter().any(|command| self.line.contains(command))
            }
            // Sockets of netlink are bound, too.
            "bind" => self.line.contains("AF_UNIX"),
            _ => true,
        }
    }
}

/// A lab in which agents come and go: one service, so that a start is short.
struct Yard {
    lab: Lab,
    balancer: Balancer,
    config: PathBuf,
    trace: PathBuf,
    /// What an agent writes that starts from nothing.
    fresh: Picture,
}

impl Yard {
    fn open(place: Place) -> Result<Self> {
        let mut options = place.options();
        options.services = service_with("http", "http", 80, 80, "max_fails = 0");
        let Stage { lab, balancer } = place.stage_with(place.lab_options().without_registry(), &options)?;
        let config = write_config(&lab, &options)?;
        let (trace, fresh) = (lab.directory().join("trace"), Picture::take(&bpffs(&lab))?);
        Ok(Self { lab, balancer, config, trace, fresh })
    }

    /// strace, which writes down the calls of an agent, and kills it at `step`: the n-th call of a thread.
    fn strace(&self, step: Option<&Step>) -> Command {
        let mut command = self.lab.balancer().command("strace");
        command.args(["-qq", "-s", "100", "-e"]).arg(format!("trace={CALLS}")).arg("-o").arg(&self.trace);
        if let Some(Step { call, number, .. }) = step {
            command.arg("-e").arg(format!("inject={call}:signal=SIGKILL:when={number}"));
        }
        command
    }

    /// Starts an agent in strace's hands.
    fn start_traced(&self, step: Option<&Step>) -> Result<Process> {
        let mut command = self.strace(step);
        command.arg("-f").arg("--").arg(binary()?).arg("--config").arg(&self.config).arg("run");
        Ok(self.lab.spawn("traced", command)?)
    }

    /// Puts the running agent into strace's hands.
    fn trace_agent(&self, step: &Step) -> Result<Process> {
        let mut command = self.strace(Some(step));
        command.arg("-f").arg("-p").arg(self.balancer.process().pid().to_string());
        self.trace(command, |_| true)
    }

    /// Puts the thread that writes the datapath into strace's hands, and no other: the others read counters.
    fn trace_writer(&self, step: &Step) -> Result<Process> {
        let is_writer =
            |task: &Path| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "datapath");
        let writer = self.tasks().into_iter().find(|task| is_writer(task)).context("no thread `datapath`")?;
        let mut command = self.strace(Some(step));
        command.arg("-p").arg(writer.file_name().context("a thread has a number")?);
        self.trace(command, is_writer)
    }

    /// The threads of the running agent, in `/proc`.
    fn tasks(&self) -> Vec<PathBuf> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.balancer.process().pid()));
        tasks.into_iter().flatten().flatten().map(|task| task.path()).collect()
    }

    /// Starts strace, and waits until it traces all of these threads.
    fn trace(&self, command: Command, of: impl Fn(&Path) -> bool) -> Result<Process> {
        let strace = self.lab.spawn("strace", command)?;
        let traced = || {
            self.tasks().iter().filter(|task| of(task)).all(|task| {
                let status = fs::read_to_string(task.join("status")).unwrap_or_default();
                status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
            })
        };
        ensure!(until(Duration::from_secs(5), traced), "strace does not trace: {}", strace.log_tail(5));
        Ok(strace)
    }

    /// The steps that were written down: of the thread that took most of the landmarks. Others may read counters meanwhile, and
    /// be the first to be written down.
    fn steps(&self) -> Result<Vec<Step>> {
        let text = fs::read_to_string(&self.trace).context("reading strace's output")?;
        let mut threads: HashMap<&str, Vec<Step>> = HashMap::new();
        for line in text.lines() {
            // With one thread there is no column for it.
            let (thread, rest) = match line.split_once(' ') {
                Some((thread, rest)) if thread.bytes().all(|byte| byte.is_ascii_digit()) => (thread, rest),
                _ => ("", line),
            };
            let Some((call, _)) = rest.trim_start().split_once('(') else { continue };
            let steps = threads.entry(thread).or_default();
            let number = 1 + steps.iter().filter(|step| step.call == call).count();
            steps.push(Step { call: call.to_owned(), number, line: rest.trim_start().to_owned() });
        }
        let landmarks = |steps: &Vec<Step>| steps.iter().filter(|step| step.is_landmark()).count();
        Ok(threads.into_values().max_by_key(landmarks).unwrap_or_default())
    }

    /// The steps of a start, up to the one that lets packets in.
    fn steps_of_start(&self) -> Result<Vec<Step>> {
        let traced = self.start_traced(None)?;
        let serves = || self.balancer.status(&self.lab).is_ok();
        ensure!(until(KILLED_WITHIN, serves), "it does not serve: {}", traced.log_tail(20));
        traced.kill()?;
        let mut steps = self.steps()?;
        let last = steps.iter().rposition(Step::is_landmark).context("no landmark in a start")?;
        steps.truncate(last + 3);
        Ok(steps)
    }

    /// Starts an agent and has it killed at a step.
    fn kill_start_at(&self, step: &Step) -> Result<()> {
        let traced = self.start_traced(Some(step))?;
        let ended = traced.wait(KILLED_WITHIN)?.with_context(|| format!("not killed at {step:?}"))?;
        ensure!(
            ended.signal() == Some(Signal::SIGKILL as i32),
            "at {step:?} it ended with {ended}: {}",
            traced.log_tail(10)
        );
        Ok(())
    }

    /// Starts the next agent, which must serve and say so, and have made the maps what they are to be.
    fn recover(&mut self, state_of_r2: &str, wanted: &Picture) -> Result<()> {
        self.recover_to(state_of_r2, |found| found.must_equal(wanted))
    }

    fn recover_to(&mut self, state_of_r2: &str, right: impl Fn(&Picture) -> Result<()>) -> Result<()> {
        self.balancer.start_again(&self.lab)?;
        for (replica, state) in [("r1", "up"), ("r2", state_of_r2), ("r3", "up")] {
            self.balancer.wait_for_state(&self.lab, replica, state, SETTLED_WITHIN)?;
        }
        let mut found = Picture::take(&bpffs(&self.lab))?;
        until(SETTLED_WITHIN, || {
            found = Picture::take(&bpffs(&self.lab)).unwrap_or_else(|_| found.clone());
            right(&found).is_ok()
        });
        right(&found)?;
        self.serves()
    }

    /// One request through the VIP.
    fn serves(&self) -> Result<()> {
        let address = (self.lab.vip(), 80).into();
        let tally = self.lab.client().connections(address, 1, 1)?;
        ensure!(tally.errors.is_empty(), "{:?}", tally.errors);
        Ok(())
    }
}

fn bpffs(lab: &Lab) -> PathBuf {
    lab.bpffs().join("dtr-lb")
}

/// A connection that stays open and is used again and again.
struct Held(TcpStream);

impl Held {
    fn open(lab: &Lab) -> Result<Self> {
        let vip = lab.vip();
        let connected = lab.client().namespace().run(|| TcpStream::connect((vip, 80)))?;
        let stream = connected.context("connecting")?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(Self(stream))
    }

    fn ask(&mut self) -> Result<()> {
        write!(self.0, "GET /whoami HTTP/1.1\r\nHost: {SERVICE_NAME}\r\n\r\n")?;
        let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
        // The body is `r1`, `r2` or `r3` and a line's end; so ends no header.
        while !answer.ends_with(b"\n") || answer.ends_with(b"\r\n") {
            match self.0.read(&mut buffer).context("on the connection that was open before")? {
                0 => bail!("the connection that was open before is closed"),
                read => answer.extend_from_slice(&buffer[..read]),
            }
        }
        ensure!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        Ok(())
    }
}

/// All landmarks, and of the other steps so many, evenly.
fn sample(steps: &[Step], others: usize) -> Vec<Step> {
    let rest: Vec<_> = steps.iter().filter(|step| !step.is_landmark()).collect();
    let every = rest.len().div_ceil(others.max(1)).max(1);
    let taken: Vec<_> = rest.into_iter().step_by(every).collect();
    steps.iter().filter(|step| step.is_landmark() || taken.contains(step)).cloned().collect()
}

/// On a host without a datapath.
pub(super) fn while_it_starts(place: Place) -> Result<()> {
    let mut yard = Yard::open(place)?;
    yard.balancer.detach(&yard.lab)?;
    let steps = yard.steps_of_start()?;
    yard.balancer.detach(&yard.lab)?;
    // Before the first pin nothing is left but a directory: three of these steps stand for all.
    let first = steps.iter().position(|step| step.line.contains("OBJ_PIN")).context("nothing is pinned")?;
    let early = sample(&steps[..first], 3);
    let (wanted, late) = (yard.fresh.clone(), sample(&steps[first..], 8));
    for step in early.iter().chain(&late) {
        let mut tried = || -> Result<()> {
            yard.kill_start_at(step)?;
            yard.recover("up", &wanted)?;
            yard.balancer.detach(&yard.lab)?;
            nothing_left(&yard.lab)
        };
        tried().with_context(|| format!("killed at {step:?}"))?;
    }
    Ok(())
}

/// Over a datapath that forwards: it goes on, whatever becomes of the agents, and so does a connection that is open.
pub(super) fn while_it_takes_over(place: Place) -> Result<()> {
    let mut yard = Yard::open(place)?;
    yard.balancer.process().kill()?;
    let mut held = Held::open(&yard.lab)?;
    held.ask()?;
    let steps = yard.steps_of_start()?;
    let wanted = yard.fresh.clone();
    for (round, step) in sample(&steps, 12).iter().enumerate() {
        let mut tried = || -> Result<()> {
            yard.kill_start_at(step)?;
            yard.serves()?;
            held.ask()?;
            // What one that was killed leaves is the same for the next that is killed as for one that lives.
            if round % 8 == 7 {
                yard.recover("up", &wanted)?;
                held.ask()?;
                yard.balancer.process().kill()?;
            }
            Ok(())
        };
        tried().with_context(|| format!("killed at {step:?}"))?;
    }
    yard.recover("up", &wanted)?;
    ensure!(yard.balancer.status(&yard.lab)?.datapath.adopted, "it was not adopted");
    held.ask()
}

/// A replica dies, and the agent is killed at each write that this takes: the replica's entry, the table, the service.
pub(super) fn while_it_writes(place: Place) -> Result<()> {
    let mut yard = Yard::open(place)?;
    let r2 = yard.lab.replica("r2").context("no r2")?.name().to_owned();
    let kill_r2 = |yard: &Yard| yard.lab.replica(&r2).context("no r2").and_then(|r2| Ok(r2.kill()?));
    kill_r2(&yard)?;
    yard.balancer.detach(&yard.lab)?;
    yard.balancer.start_again(&yard.lab)?;
    yard.balancer.wait_for_state(&yard.lab, "r2", "down", DOWN_WITHIN)?;
    // When its flows are reset, nothing changes any more.
    let reset = || Picture::take(&bpffs(&yard.lab)).is_ok_and(|picture| picture.dead() == 1);
    ensure!(until(SETTLED_WITHIN, reset), "the flows of r2 are not reset");
    let (dead, fresh) = (Picture::take(&bpffs(&yard.lab))?, yard.fresh.clone());

    let mut hit = BTreeSet::new();
    // The agent looks at its maps every second and sweeps them: how many calls come before a write is left to chance, so that
    // the call to be hit moves on by what was met before it.
    let mut number = 1;
    for _ in 0..40 {
        if hit.len() == 3 {
            break;
        }
        yard.lab.replica(&r2).context("no r2")?.start()?;
        yard.balancer.wait_for_state(&yard.lab, "r2", "up", SETTLED_WITHIN)?;
        let mut held = Held::open(&yard.lab)?;
        held.ask()?;
        let strace = yard.trace_writer(&Step { call: "bpf".into(), number, line: String::new() })?;
        kill_r2(&yard)?;
        ensure!(until(KILLED_WITHIN, || !yard.balancer.process().is_running()), "it lives");
        strace.stop()?;
        let steps = yard.steps()?;
        let is_write = |step: &&Step| step.line.contains("BPF_MAP_UPDATE_ELEM");
        let writes = steps.iter().filter(is_write).count();
        if steps.last().is_some_and(|step| is_write(&step)) && writes <= 3 {
            hit.insert(writes);
        }
        number = if writes >= 3 { number - (writes - 2) } else { number + 1 };
        yard.recover("down", &dead).with_context(|| format!("killed at write {writes}: {steps:?}"))?;
    }
    ensure!(hit.len() == 3, "of the three writes only these were met: {hit:?}");
    yard.lab.replica(&r2).context("no r2")?.start()?;
    yard.balancer.process().kill()?;
    yard.recover("up", &fresh)
}

/// A reload that adds a service with a rule, killed at its first calls: some write to maps, some are the agent's other work.
pub(super) fn while_it_reloads(place: Place) -> Result<()> {
    let mut yard = Yard::open(place)?;
    let before = fs::read_to_string(&yard.config)?;
    let keys = "max_fails = 0\ndeny = [\"192.0.2.0/24\"]";
    let after = before.clone() + &service_with("more", "http", 8080, 80, keys);
    yard.balancer.detach(&yard.lab)?;
    fs::write(&yard.config, &after)?;
    yard.balancer.start_again(&yard.lab)?;
    let (old, new) = (yard.fresh.clone(), Picture::take(&bpffs(&yard.lab))?);
    ensure!(new.services.len() == 2, "{:?}", new.services.keys());
    let mut written = BTreeSet::new();
    for number in (2..=40).step_by(2) {
        // Its other work is not the same each time, so that the same number is not the same step.
        if number > 20 && written.len() > 1 {
            break;
        }
        let mut tried = || -> Result<()> {
            yard.balancer.process().kill()?;
            fs::write(&yard.config, &before)?;
            yard.recover_to("up", |found| found.must_forward_as(&old))?;
            let mut held = Held::open(&yard.lab)?;
            held.ask()?;
            let strace = yard.trace_writer(&Step { call: "bpf".into(), number, line: String::new() })?;
            fs::write(&yard.config, &after)?;
            yard.balancer.process().signal(Signal::SIGHUP)?;
            ensure!(until(KILLED_WITHIN, || !yard.balancer.process().is_running()), "it lives");
            strace.stop()?;
            written.insert(yard.steps()?.iter().filter(|step| step.line.contains("MAP_UPDATE_ELEM")).count());
            held.ask()?;
            yard.recover_to("up", |found| found.must_forward_as(&new))?;
            held.ask()
        };
        tried().with_context(|| format!("killed at call {number}"))?;
    }
    ensure!(
        written.len() > 1,
        "the agent was not killed in the midst of its writes, but after so many: {written:?}"
    );
    Ok(())
}

/// SIGTERM and `detach`, killed at each file that they remove: sometimes a part of the datapath is left, without its
/// programs, or without its tables.
pub(super) fn while_it_ends(place: Place) -> Result<()> {
    let mut yard = Yard::open(place)?;
    let wanted = yard.fresh.clone();
    let removals =
        |steps: Vec<Step>| steps.into_iter().filter(|step| step.is_landmark() && step.call != "bpf");
    // What an undisturbed detach removes.
    let never = Step { call: "unlink".into(), number: 10_000, line: String::new() };
    let strace = yard.trace_agent(&never)?;
    yard.balancer.detach(&yard.lab)?;
    yard.balancer.process().wait(KILLED_WITHIN)?.context("it does not end")?;
    strace.stop()?;
    let steps: Vec<_> = removals(yard.steps()?).collect();
    ensure!(steps.len() > 15, "links, maps and directories are not all there: {steps:?}");
    // Two maps that go one after the other make no difference; the first and the last of each kind do.
    let count = steps.len();
    for (place, step) in steps.iter().enumerate() {
        if place > 2 && place + 4 < count && place != count / 2 {
            continue;
        }
        let mut tried = || -> Result<()> {
            yard.balancer.start_again(&yard.lab)?;
            let strace = yard.trace_agent(step)?;
            let told = yard.balancer.detach(&yard.lab);
            // The socket's file goes when all else is gone, while the answer is on its way.
            let all_gone = step.line.contains(".sock");
            ensure!(told.is_err() || all_gone, "a detach that was killed says that it is done");
            ensure!(until(KILLED_WITHIN, || !yard.balancer.process().is_running()), "it lives");
            strace.stop()?;
            yard.recover("up", &wanted)?;
            yard.balancer.detach(&yard.lab)?;
            nothing_left(&yard.lab)
        };
        tried().with_context(|| format!("killed at {step:?}"))?;
    }
    // SIGTERM removes one file, the socket's.
    yard.balancer.start_again(&yard.lab)?;
    let strace = yard.trace_agent(&Step { call: "unlink".into(), number: 1, line: String::new() })?;
    yard.balancer.process().signal(Signal::SIGTERM)?;
    ensure!(until(KILLED_WITHIN, || !yard.balancer.process().is_running()), "it lives");
    strace.stop()?;
    yard.serves()?;
    yard.recover("up", &wanted)
}
