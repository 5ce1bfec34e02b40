//! The long jobs of an unattended run: a slow download that is to survive, and an image pushed and pulled.

use std::{
    fs,
    path::PathBuf,
    process::ExitStatus,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::stage::Stage;
use crate::lab::{self, Client, Image, Process, until};

/// A long job and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Errand {
    pub(super) what: String,
    /// Since the beginning of the run.
    pub(super) started: Duration,
    pub(super) ended: Duration,
    /// Whether it is a single connection.
    pub(super) single: bool,
    /// The replica it was connected to, where that is known.
    pub(super) replica: Option<String>,
    /// What the client was told if it failed.
    pub(super) error: Option<String>,
}

/// A download over HTTPS that is under way.
pub(super) struct Download {
    started: Instant,
    log: PathBuf,
    bytes: u64,
    end: thread::JoinHandle<(Instant, Result<Option<ExitStatus>, lab::Error>)>,
}

impl Download {
    /// Starts it at `rate` bytes a second; it is given up after `limit`.
    pub(super) fn start(stage: &Stage, rate: u64, limit: Duration) -> Result<Self> {
        let (lab, client) = (&stage.lab, stage.lab.client());
        let mut curl = client.namespace().command("curl");
        // --verbose shows the certificate, which has the replica's name in it.
        curl.args(["-q", "--no-progress-meter", "--verbose", "--output", "/dev/null", "--cacert"])
            .arg(client.authority())
            .args([
                "--max-time",
                &limit.as_secs().to_string(),
                "--write-out",
                "\n%{http_code} %{size_download}\n",
            ])
            .arg(format!("https://{}/slow/big?rate={rate}", lab.vip()));
        let started = Instant::now();
        let process = lab.spawn("download", curl)?;
        let log = process.log().to_owned();
        let end = thread::spawn(move || watch(&process, limit));
        Ok(Self { started, log, bytes: stage.big_bytes, end })
    }

    /// The replica that it comes from, once it has shown its certificate.
    pub(super) fn replica(&self) -> Option<String> {
        replica_in(&self.text())
    }

    /// Waits for its end and says what became of it. `begun`: the beginning of the run.
    pub(super) fn finish(self, begun: Instant) -> Errand {
        let text = self.text();
        let (ended, status) = self.end.join().unwrap_or_else(|panicked| std::panic::resume_unwind(panicked));
        // Read again: the end is what matters.
        let text = fs::read_to_string(&self.log).unwrap_or(text);
        let error = match status {
            Ok(Some(status)) if status.success() && is_complete(&text, self.bytes) => None,
            Ok(Some(status)) => Some(complaint(&text).unwrap_or_else(|| format!("curl ended with {status}"))),
            Ok(None) => Some("timed out: curl still ran after its own limit".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        Errand {
            what: format!("download of {} MiB over HTTPS", self.bytes >> 20),
            started: self.started - begun,
            ended: ended - begun,
            single: true,
            replica: replica_in(&text),
            error,
        }
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

fn watch(process: &Process, limit: Duration) -> (Instant, Result<Option<ExitStatus>, lab::Error>) {
    let status = process.wait(limit + Duration::from_secs(1));
    (Instant::now(), status)
}

/// The name in the certificate that `curl --verbose` was shown: `*  subject: CN=r2`.
fn replica_in(text: &str) -> Option<String> {
    let (_, names) = text.lines().find_map(|line| line.split_once("subject:"))?;
    let (_, name) = names.split_once("CN=").or_else(|| names.split_once("CN = "))?;
    Some(name.split([',', ';']).next()?.trim().to_owned())
}

/// Whether the last line tells of an answer 200 of so many bytes.
fn is_complete(text: &str, bytes: u64) -> bool {
    text.trim_end().lines().next_back() == Some(format!("200 {bytes}").as_str())
}

/// curl's own words for what went wrong.
fn complaint(text: &str) -> Option<String> {
    text.lines().rev().find(|line| line.starts_with("curl: (")).map(str::to_owned)
}

/// An image on its way to the registry and back.
pub(super) struct Courier {
    push: thread::JoinHandle<(Errand, Image)>,
}

/// The way back.
pub(super) struct Return {
    thread: thread::JoinHandle<Vec<Errand>>,
    started: Instant,
}

impl Courier {
    /// Starts to push.
    pub(super) fn push(client: &Client, image: Image, reference: &str, begun: Instant) -> Self {
        let (client, reference) = (client.clone(), reference.to_owned());
        let push = move || {
            let errand = errand(format!("push of {reference}"), begun, || client.push(&image, &reference));
            (errand, image)
        };
        Self { push: thread::spawn(push) }
    }

    /// Pulls into `directory`, which does not exist yet, as soon as the push is over; if that failed, not at all.
    pub(super) fn pull(self, client: &Client, reference: &str, directory: PathBuf, begun: Instant) -> Return {
        let (client, reference) = (client.clone(), reference.to_owned());
        let both = move || {
            let (push, pushed) =
                self.push.join().unwrap_or_else(|panicked| std::panic::resume_unwind(panicked));
            if push.error.is_some() {
                return vec![push];
            }
            let mut pulled = None;
            let mut pull = errand(format!("pull of {reference}"), begun, || {
                pulled = Some(client.pull(&reference, &directory)?);
                Ok(())
            });
            if let Some(pulled) = pulled.filter(|pulled| pulled.digest() != pushed.digest()) {
                pull.error = Some(format!("{} came back for {}", pulled.digest(), pushed.digest()));
            }
            vec![push, pull]
        };
        Return { thread: thread::spawn(both), started: Instant::now() }
    }
}

impl Return {
    /// What became of the push and the pull; they get `limit` to end.
    pub(super) fn finish(self, begun: Instant, limit: Duration) -> Vec<Errand> {
        if until(limit, || self.thread.is_finished()) {
            return self.thread.join().unwrap_or_else(|panicked| std::panic::resume_unwind(panicked));
        }
        // What it still runs ends with the lab.
        vec![Errand {
            what: "push and pull".to_owned(),
            started: self.started - begun,
            ended: begun.elapsed(),
            single: false,
            replica: None,
            error: Some(format!("timed out: skopeo still ran {limit:?} after the end of the run")),
        }]
    }
}

fn errand(what: String, begun: Instant, task: impl FnOnce() -> Result<(), lab::Error>) -> Errand {
    let started = begun.elapsed();
    let error = task().err().map(|error| words(&error));
    Errand { what, started, ended: begun.elapsed(), single: false, replica: None, error }
}

/// The last line a program wrote is the reason; its command line is of no interest here.
fn words(error: &lab::Error) -> String {
    match error {
        lab::Error::Command { stderr, .. } => {
            stderr.lines().next_back().unwrap_or("it said nothing").to_owned()
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_replica_is_read_from_the_certificate() {
        for (line, want) in [
            ("*  subject: CN=r2", Some("r2")),
            ("*  subject: CN = r2", Some("r2")),
            ("* subject: O=lab; CN=r12, OU=x", Some("r12")),
            ("*  issuer: CN=lab", None),
        ] {
            assert_eq!(replica_in(&format!("* Connected\n{line}\n")).as_deref(), want, "{line}");
        }
    }

    #[test]
    fn a_download_is_complete_with_its_last_byte() {
        let text = |end: &str| format!("* Connection #0 left intact\n\n{end}\n");
        assert!(is_complete(&text("200 1000"), 1000));
        for end in ["200 999", "503 1000", "000 0"] {
            assert!(!is_complete(&text(end), 1000), "{end}");
        }
        assert_eq!(
            complaint("* a\ncurl: (56) Recv failure\n\n200 7\n").as_deref(),
            Some("curl: (56) Recv failure")
        );
    }
}
