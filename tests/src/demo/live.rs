//! The live view: dtr-lb's status, again and again, and commands to try.
//!
//! On a terminal the status is redrawn in place, above the line that is being typed; elsewhere a line is printed now
//! and then.

use std::{
    fmt::Display,
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use dtr_lb_agent::status::{ServiceStatus, Status};

use super::{
    End, hints,
    interrupt::{Interrupt, Wake},
    say, seconds,
    stage::Stage,
    typed::{self, Typed, Verb},
};
use crate::lab::Replica;

/// Between two looks, on a terminal.
const REFRESH: Duration = Duration::from_secs(1);
/// Between two lines, elsewhere.
const LINE: Duration = Duration::from_secs(5);

/// The image that can be pushed, in bytes by layer.
const LAYERS: [u64; 3] = [256 << 10, 4 << 20, 8 << 20];

const CLEAR: &str = "\x1b[2J\x1b[H";
const SAVE_CURSOR: &str = "\x1b7";
const RESTORE_CURSOR: &str = "\x1b8";
const ERASE_TO_LINE_END: &str = "\x1b[K";
/// A line that is too long is cut off, so that the number of lines is what it seems.
const NO_WRAP: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";

/// Shows the status until it is ended.
pub(super) fn run(stage: &Stage, interrupt: &Interrupt) -> Result<End> {
    // A seed of its own for each lab: skopeo remembers blobs that it pushed to this address before.
    let image = stage.lab.image("demo", u64::from(std::process::id()), &LAYERS)?;
    let hints = hints::of(stage, &image)?;
    interrupt.listen();
    if io::stdout().is_terminal() {
        on_terminal(stage, interrupt, &hints)
    } else {
        on_lines(stage, interrupt, &hints)
    }
}

fn on_terminal(stage: &Stage, interrupt: &Interrupt, hints: &str) -> Result<End> {
    let mut message = format!("lab {}", stage.lab.id());
    let mut drawn = 0;
    loop {
        let frame = frame(stage, &message);
        // The signal of a Ctrl-C also reached the command that asked for the status: there is none to draw.
        if interrupt.pending() {
            say("");
            return Ok(End::Interrupted);
        }
        draw(hints, &frame, &mut drawn).context("writing to the terminal")?;
        match interrupt.wait_until(Instant::now() + REFRESH) {
            Wake::Time => {}
            Wake::Signal => {
                say("");
                return Ok(End::Interrupted);
            }
            Wake::Typed(line) => {
                // The line that was typed has moved the cursor: all is drawn anew.
                drawn = 0;
                match obey(stage, &line) {
                    Some(answer) => message = answer,
                    None => return Ok(End::Good),
                }
            }
        }
    }
}

fn on_lines(stage: &Stage, interrupt: &Interrupt, hints: &str) -> Result<End> {
    let begun = Instant::now();
    let print = |line: &dyn Display| {
        writeln!(io::stdout(), "{:>9}  {line}", seconds(begun.elapsed()))
            .context("writing to standard output")
    };
    say(hints);
    let mut next = begun;
    loop {
        if Instant::now() >= next {
            next += LINE;
            match stage.balancer.status(&stage.lab) {
                Ok(status) => print(&line(&status))?,
                Err(_) if interrupt.pending() => {}
                Err(error) => print(&format_args!("{error:#}"))?,
            }
        }
        match interrupt.wait_until(next) {
            Wake::Time => {}
            Wake::Signal => return Ok(End::Interrupted),
            Wake::Typed(line) => match obey(stage, &line) {
                Some(answer) => print(&answer)?,
                None => return Ok(End::Good),
            },
        }
    }
}

/// Does what was typed, and says what was done. `None`: quit.
fn obey(stage: &Stage, line: &str) -> Option<String> {
    let names: Vec<_> = stage.lab.replicas().iter().map(Replica::name).collect();
    Some(match typed::parse(line, &names) {
        Typed::Quit => return None,
        Typed::Nothing => String::new(),
        Typed::Unknown(answer) => answer,
        Typed::Replica(verb, name) => {
            stage.lab.replica(&name).map(|replica| act(verb, replica)).unwrap_or_default()
        }
    })
}

fn act(verb: Verb, replica: &Replica) -> String {
    match verb.apply(replica) {
        Ok(()) => format!("{} {}", replica.name(), verb.done()),
        Err(error) => error.to_string(),
    }
}

/// What is redrawn: the status as `dtr-lb status` prints it, and the last message.
fn frame(stage: &Stage, message: &str) -> Vec<String> {
    let status = match stage.balancer.command(&stage.lab, &["status"]) {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => format!("{error:#}\n"),
    };
    let mut lines: Vec<_> = status.lines().map(str::to_owned).collect();
    lines.push(String::new());
    lines.push(message.lines().next().unwrap_or_default().to_owned());
    lines
}

/// Draws the frame over the one of `drawn` lines that is there; if that had another height, everything anew.
fn draw(hints: &str, frame: &[String], drawn: &mut usize) -> io::Result<()> {
    let body: String = frame.iter().map(|line| format!("{line}{ERASE_TO_LINE_END}\n")).collect();
    let text = if *drawn == frame.len() {
        format!("{SAVE_CURSOR}{NO_WRAP}\x1b[{drawn}A\r{body}{WRAP}{RESTORE_CURSOR}")
    } else {
        format!("{CLEAR}{hints}\n{NO_WRAP}{body}{WRAP}> ")
    };
    *drawn = frame.len();
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// The status in a line.
fn line(status: &Status) -> String {
    let service = |service: &ServiceStatus| {
        let replicas: Vec<_> = service
            .replicas
            .iter()
            .map(|replica| {
                let why = replica.last_probe.as_ref().and_then(|probe| probe.error.as_ref());
                let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
                format!("{} {}{why} {} new", replica.name, replica.state, replica.new_flows)
            })
            .collect();
        format!("{}: {}", service.name, replicas.join(", "))
    };
    status.services.iter().map(service).collect::<Vec<_>>().join("; ")
}
