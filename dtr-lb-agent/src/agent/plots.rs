//! What the dashboard's plots show, kept for the next agent: every half a minute, and at the end.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use jiff::Timestamp;
use tokio::task::{JoinHandle, spawn_blocking};
use tracing::info;

use crate::{
    history::{History, HistoryError},
    status::Status,
};

/// It is kept every so many samples: half a minute.
const SAMPLES: u32 = 15;

/// A history and its file.
#[derive(Debug)]
pub(super) struct Plots {
    history: History,
    path: PathBuf,
    /// Since it was kept last.
    samples: u32,
    under_way: Option<JoinHandle<()>>,
    /// That it cannot be kept is told once.
    failing: Arc<AtomicBool>,
}

impl Plots {
    /// With what an earlier agent kept in the file at `path`.
    pub(super) fn open(path: PathBuf, now: Timestamp) -> Self {
        let history = match History::read(&path, now) {
            Ok(history) => history,
            Err(HistoryError::Io(error)) if error.kind() == io::ErrorKind::NotFound => History::default(),
            Err(error) => {
                info!(path = %path.display(), %error, "the plots begin anew: what an earlier agent kept is not used");
                History::default()
            }
        };
        Self { history, path, samples: 0, under_way: None, failing: Arc::default() }
    }

    /// For whoever shows it.
    pub(super) fn history(&self) -> History {
        self.history.clone()
    }

    /// Adds a sample, within a tokio runtime.
    pub(super) fn add(&mut self, status: &Status, now: Timestamp) {
        self.history.add(status, now);
        self.samples += 1;
        let busy = self.under_way.as_ref().is_some_and(|work| !work.is_finished());
        if self.samples >= SAMPLES && !busy {
            self.samples = 0;
            let (history, path, failing) =
                (self.history.clone(), self.path.clone(), Arc::clone(&self.failing));
            self.under_way = Some(spawn_blocking(move || {
                let written = history.write(&path);
                let was_failing = failing.swap(written.is_err(), Ordering::Relaxed);
                if let Err(error) = written
                    && !was_failing
                {
                    info!(path = %path.display(), %error, "what the plots show would not outlast the agent");
                }
            }));
        }
    }

    /// Keeps it for the next agent.
    pub(super) fn finish(&self) {
        if let Err(error) = self.history.write(&self.path)
            && !self.failing.load(Ordering::Relaxed)
        {
            info!(path = %self.path.display(), %error, "what the plots show does not outlast the agent");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::plain;

    #[tokio::test]
    async fn it_is_kept_every_half_a_minute_and_at_the_end() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("history");
        let kept =
            || History::read(&path, Timestamp::now()).map(|history| history.answer(None).times.len()).ok();
        let mut plots = Plots::open(path.clone(), Timestamp::now());
        for _ in 1..SAMPLES {
            plots.add(&plain(), Timestamp::now());
        }
        assert_eq!((kept(), plots.under_way.is_some()), (None, false));
        plots.add(&plain(), Timestamp::now());
        plots.under_way.take().expect("it is its time").await.expect("no panic");
        assert_eq!(kept(), Some(15));
        plots.add(&plain(), Timestamp::now());
        plots.finish();
        assert_eq!(kept(), Some(16));
        assert_eq!(Plots::open(path.clone(), Timestamp::now()).history().answer(None).times.len(), 16);
        std::fs::write(&path, "no history").expect("it is written");
        assert_eq!(Plots::open(path, Timestamp::now()).history().answer(None).times.len(), 0);
    }
}
