//! `--for`: traffic for so long, a replica that turns sick and heals, one that is killed and comes back, and a report.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use jiff::Timestamp;

use super::{
    End,
    errand::{Courier, Download, Return},
    interrupt::{Interrupt, Wake},
    report::{self, Answer, Record},
    say,
    script::{self, Step},
    seconds, sighting,
    stage::Stage,
    timeline::{Deed, Event, Timeline},
};
use crate::lab::{BackgroundLoad, Error, Image, Replica, Request};

/// So many requests are under way at once, each on a connection of its own.
const WORKERS: usize = 3;
/// Between a worker's requests: enough to leave the machine to what it is to show.
const PAUSE: Duration = Duration::from_millis(20);
/// Of one request.
const LIMIT: Duration = Duration::from_secs(3);
/// For errands that are still under way at the end.
const GRACE: Duration = Duration::from_secs(10);

/// The layers of the image, in bytes: one that is one piece, and two that take a while.
const LAYERS: [u64; 3] = [256 << 10, 4 << 20, 8 << 20];

/// The run, as far as it has come.
struct Run<'a> {
    stage: &'a Stage,
    length: Duration,
    begun: Instant,
    /// The same moment by the clock of the agent's log.
    began: Timestamp,
    events: Vec<Event>,
    download: Option<Download>,
    image: Option<Image>,
    reference: String,
    courier: Option<Courier>,
    returning: Option<Return>,
    killed: Option<&'a Replica>,
}

/// Plays the script and prints the report.
pub(super) fn run(stage: &Stage, length: Duration, interrupt: &Interrupt) -> Result<End> {
    let image = stage.lab.image("unattended", u64::from(std::process::id()), &LAYERS)?;
    let target = (stage.lab.vip(), 80).into();
    let client = stage.lab.client();
    let mut run = Run {
        stage,
        length,
        begun: Instant::now(),
        began: Timestamp::now(),
        events: Vec::new(),
        download: None,
        image: Some(image),
        reference: format!("{}/library/unattended:1", stage.lab.vip()),
        courier: None,
        returning: None,
        killed: None,
    };
    let loads: Result<Vec<_>, _> =
        (0..WORKERS).map(|_| client.background_load(target, PAUSE, LIMIT)).collect();
    let loads = loads?;
    run.say(&format!(
        "GET http://{target}/whoami begins, {WORKERS} at a time, each on a connection of its own"
    ));
    for (time, step) in script::steps(length) {
        if interrupt.wait_until(run.begun + time) == Wake::Signal {
            return Ok(run.interrupted());
        }
        run.take(step).with_context(|| format!("the script's step {step:?} could not be taken"))?;
    }
    if interrupt.wait_until(run.begun + length) == Wake::Signal {
        return Ok(run.interrupted());
    }
    let record = run.finish(loads)?;
    let report = report::Report::of(&record);
    say(format_args!("\n{}", report.text));
    Ok(if report.good { End::Good } else { End::Bad })
}

impl<'a> Run<'a> {
    fn take(&mut self, step: Step) -> Result<()> {
        let lab = &self.stage.lab;
        match step {
            Step::Download => {
                let rate = script::download_rate(self.length, self.stage.big_bytes);
                self.download = Some(Download::start(self.stage, rate, self.length + GRACE)?);
                self.say(&format!("a download of {} MiB over HTTPS begins", self.stage.big_bytes >> 20));
            }
            Step::Push => {
                if let Some(image) = self.image.take() {
                    self.courier = Some(Courier::push(lab.client(), image, &self.reference, self.begun));
                    self.say(&format!("skopeo pushes {}, {} layers", self.reference, LAYERS.len()));
                }
            }
            Step::Sicken => self.doing(&lab.replicas()[0], Deed::Sickened, "its /health answers 503")?,
            Step::Heal => self.doing(&lab.replicas()[0], Deed::Healed, "its /health answers 200")?,
            Step::Pull => {
                if let Some(courier) = self.courier.take() {
                    let directory = lab.directory().join("pulled");
                    self.returning = Some(courier.pull(lab.client(), &self.reference, directory, self.begun));
                    self.say(&format!("skopeo pulls {}", self.reference));
                }
            }
            Step::Kill => {
                let downloading = self.download.as_ref().and_then(Download::replica);
                let victim = victim(lab.replicas(), Replica::name, downloading.as_deref());
                self.killed = Some(victim);
                let why = match &downloading {
                    Some(other) => format!("SIGKILL to nginx and registry; the download comes from {other}"),
                    None => "SIGKILL to nginx and registry".to_owned(),
                };
                self.doing(victim, Deed::Killed, &why)?;
            }
            Step::Start => {
                if let Some(killed) = self.killed {
                    self.doing(killed, Deed::Started, "nginx and registry accept connections")?;
                }
            }
        }
        Ok(())
    }

    /// Does it to the replica and notes when.
    fn doing(&mut self, replica: &'a Replica, deed: Deed, means: &str) -> Result<(), Error> {
        let at = self.begun.elapsed();
        match deed {
            Deed::Sickened => replica.sicken(),
            Deed::Healed => replica.heal(),
            Deed::Killed => replica.kill(),
            Deed::Started => replica.start(),
        }?;
        let replica = replica.name().to_owned();
        self.say(&format!("{replica} {deed}: {means}"));
        self.events.push(Event { at, done: self.begun.elapsed(), replica, deed });
        Ok(())
    }

    /// With the time of it.
    fn say(&self, what: &str) {
        say(format_args!("{:>9}  {what}", seconds(self.begun.elapsed())));
    }

    fn interrupted(&self) -> End {
        self.say("interrupted: there is no report");
        End::Interrupted
    }

    /// Waits for what is under way, and puts together what happened.
    fn finish(self, loads: Vec<BackgroundLoad>) -> Result<Record> {
        let Self { stage, begun, began, events, .. } = self;
        let mut answers: Vec<_> =
            loads.into_iter().flat_map(BackgroundLoad::stop).map(|request| answer(request, begun)).collect();
        answers.sort_by_key(|answer| answer.started);
        let mut errands = Vec::new();
        errands.extend(self.download.map(|download| download.finish(begun)));
        errands.extend(self.returning.into_iter().flat_map(|returning| returning.finish(begun, GRACE)));
        let log = stage.balancer.log_lines(&[" replica=", " from=", " to="])?;
        let sightings = log.iter().filter_map(|line| sighting::parse(line, began)).collect();
        Ok(Record {
            replicas: stage.lab.replicas().iter().map(|replica| replica.name().to_owned()).collect(),
            length: begun.elapsed(),
            answers,
            errands,
            timeline: Timeline { events, sightings },
            status: stage.balancer.status(&stage.lab)?,
            probes: stage
                .services
                .iter()
                .map(|service| (service.name.clone(), service.probe.clone()))
                .collect(),
        })
    }
}

fn answer(request: Request, begun: Instant) -> Answer {
    let Request { started, took, outcome } = request;
    Answer { started: started - begun, took, outcome }
}

/// The replica to kill: not the one that the download comes from, which is to survive, and if possible not the one
/// that was sick, which would be the same one twice.
fn victim<'a, T>(replicas: &'a [T], name: impl Fn(&T) -> &str, downloading: Option<&str>) -> &'a T {
    let others = || replicas.iter().filter(|replica| Some(name(replica)) != downloading);
    others()
        .find(|replica| !std::ptr::eq(*replica, &replicas[0]))
        .or_else(|| others().next())
        .unwrap_or(&replicas[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_victim_is_neither_the_sick_one_nor_the_downloads_where_there_is_a_choice() {
        for (replicas, downloading, want) in [
            (&["r1", "r2", "r3"][..], Some("r1"), "r2"),
            (&["r1", "r2", "r3"], Some("r2"), "r3"),
            (&["r1", "r2", "r3"], None, "r2"),
            (&["r1", "r2"], Some("r1"), "r2"),
            (&["r1", "r2"], Some("r2"), "r1"),
        ] {
            assert_eq!(*victim(replicas, |name| name, downloading), want, "{replicas:?} {downloading:?}");
        }
    }
}
