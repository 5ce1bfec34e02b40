//! What the service manager (systemd) is told, by the protocol of sd_notify(3): that the agent is ready, reloads or ends,
//! one line about the replicas, and that the main loop still turns. Without a manager, nothing is said to anyone.

use std::{fmt::Write as _, time::Duration};

use sd_notify::NotifyState;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use crate::control::{Control, ReplicaState};

/// Of the time that the manager waits for a sign of life, the part after which it gets one: sd_watchdog_enabled(3) asks for
/// half of it, and a busy machine may be late.
const BEATS: u32 = 3;
/// Services that the line names; of others it has the number.
const NAMED: usize = 4;

/// The service manager.
#[derive(Debug)]
pub(super) struct Manager {
    /// From one sign of life to the next; `None` where none is asked for.
    pace: Option<Duration>,
    next_beat: Instant,
    /// What it was last told about the replicas.
    line: String,
    /// Whether it could not be told, so that this is said once.
    deaf: bool,
}

impl Manager {
    /// As the environment says (`NOTIFY_SOCKET`, `WATCHDOG_USEC`).
    pub(super) fn of_this_process() -> Self {
        let pace = sd_notify::watchdog_enabled().map(|limit| limit / BEATS);
        Self { pace, next_beat: Instant::now(), line: String::new(), deaf: false }
    }

    /// The datapath is attached and says what was decided; or a reload is over, whatever came of it.
    pub(super) fn ready(&mut self, control: &Control) {
        self.line = line(&counts(control));
        let line = std::mem::take(&mut self.line);
        self.tell(&[NotifyState::Ready, NotifyState::Status(&line)]);
        self.line = line;
    }

    /// A reload begins.
    pub(super) fn reloading(&mut self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(error) => {
                warn!(%error, "the clock cannot be read: the service manager is not told of the reload");
            }
        }
    }

    /// The agent ends, and the datapath stays or goes, as `what` says.
    pub(super) fn stopping(&mut self, what: &str) {
        self.tell(&[NotifyState::Stopping, NotifyState::Status(what)]);
    }

    /// Says how many replicas are up, if that has changed.
    pub(super) fn replicas(&mut self, control: &Control) {
        let now = line(&counts(control));
        if now != self.line {
            self.tell(&[NotifyState::Status(&now)]);
            self.line = now;
        }
    }

    /// Waits until a sign of life is due; for ever where none is asked for.
    pub(super) async fn beat_due(&self) {
        match self.pace {
            Some(_) => sleep_until(self.next_beat).await,
            None => std::future::pending().await,
        }
    }

    /// Gives a sign of life. From the main loop, and from nowhere else: it is to show that the loop is not stuck. None where the
    /// datapath's thread is (`stuck`): the manager restarts the agent then.
    pub(super) fn beat(&mut self, stuck: bool) {
        let Some(pace) = self.pace else { return };
        if !stuck {
            self.tell(&[NotifyState::Watchdog]);
        }
        self.next_beat = Instant::now() + pace;
    }

    fn tell(&mut self, state: &[NotifyState<'_>]) {
        match sd_notify::notify(state) {
            Ok(()) => self.deaf = false,
            Err(error) if !self.deaf => {
                self.deaf = true;
                warn!(
                    %error,
                    "the service manager cannot be told how the agent is (NOTIFY_SOCKET); it may end it for that"
                );
            }
            Err(_) => {}
        }
    }
}

/// Of each service: its name, the replicas that are up, and all.
fn counts(control: &Control) -> Vec<(&str, usize, usize)> {
    let services = control.config().services.iter().enumerate();
    services
        .map(|(place, service)| {
            let up = control.conditions(place).filter(|known| known.state == ReplicaState::Up).count();
            (service.name.as_str(), up, service.replicas.len())
        })
        .collect()
}

/// The line about them.
fn line(services: &[(&str, usize, usize)]) -> String {
    let mut line = String::new();
    for (place, (name, up, all)) in services.iter().take(NAMED).enumerate() {
        let (comma, words) = if place == 0 { ("", " replicas up") } else { (", ", "") };
        // Writing to a string does not fail.
        let _ = write!(line, "{comma}{name}: {up} of {all}{words}");
    }
    if let Some(rest) = services.get(NAMED..).filter(|rest| !rest.is_empty()) {
        let (up, all) = rest.iter().fold((0, 0), |(up, all), service| (up + service.1, all + service.2));
        let _ = write!(line, ", {} more: {up} of {all}", rest.len());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_few_services_by_name() {
        let cases: [(&[_], _); 4] = [
            (&[("http", 3, 3)], "http: 3 of 3 replicas up"),
            (&[("http", 3, 3), ("https", 0, 3)], "http: 3 of 3 replicas up, https: 0 of 3"),
            (
                &[("a", 1, 1), ("b", 1, 1), ("c", 1, 1), ("d", 1, 1)],
                "a: 1 of 1 replicas up, b: 1 of 1, c: 1 of 1, d: 1 of 1",
            ),
            (
                &[("a", 1, 1), ("b", 1, 1), ("c", 1, 1), ("d", 1, 1), ("e", 2, 3), ("f", 1, 2)],
                "a: 1 of 1 replicas up, b: 1 of 1, c: 1 of 1, d: 1 of 1, 2 more: 3 of 5",
            ),
        ];
        for (services, expected) in cases {
            assert_eq!(line(services), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn signs_of_life_come_well_before_the_limit_and_only_where_they_are_asked_for() {
        let limit = Duration::from_secs(30);
        let mut asked = Manager { pace: Some(limit / BEATS), ..Manager::of_this_process() };
        let begun = Instant::now();
        for beats in 0..4 {
            asked.beat_due().await;
            assert_eq!(begun.elapsed(), limit / BEATS * beats);
            asked.beat(false);
        }
        let silent = Manager { pace: None, ..Manager::of_this_process() };
        let waited = tokio::time::timeout(limit * 1000, silent.beat_due()).await;
        assert!(waited.is_err(), "nobody asked for it");
    }
}
