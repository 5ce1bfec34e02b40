//! A datapath that could not be brought up to date: when to try again, and when to say so.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::datapath::DatapathError;

/// From a try that failed to the next.
const PAUSE: Duration = Duration::from_secs(1);

/// Whether the datapath says what was decided last.
#[derive(Debug, Default)]
pub(super) struct Retry {
    /// When to try again; `None` while it is up to date.
    retry: Option<Instant>,
}

/// What an operator wants to read about a try.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// The first that failed, and why.
    Behind(String),
    /// The first that did not.
    UpToDate,
}

impl Retry {
    /// Waits until it is time to try again; for ever while there is no need. May be dropped and called again.
    pub(super) async fn due(&self) {
        match self.retry {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// Takes in how a try went.
    pub(super) fn attempted(&mut self, result: Result<(), DatapathError>, now: Instant) -> Option<News> {
        let was_behind = self.retry.is_some();
        self.retry = result.is_err().then(|| now + PAUSE);
        match result {
            Err(error) if !was_behind => Some(News::Behind(error.to_string())),
            Ok(()) if was_behind => Some(News::UpToDate),
            Ok(()) | Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn failed() -> Result<(), DatapathError> {
        Err(DatapathError::Clock { reason: "it stands still".into() })
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_is_retried_each_second_until_it_works() {
        let mut retry = Retry::default();
        assert!(timeout(LONG, retry.due()).await.is_err(), "nothing is to be done");
        assert_eq!(retry.attempted(Ok(()), Instant::now()), None);
        assert!(timeout(LONG, retry.due()).await.is_err());

        let news = retry.attempted(failed(), Instant::now());
        assert!(matches!(&news, Some(News::Behind(why)) if why.contains("stands still")), "{news:?}");
        for _ in 0..3 {
            let begun = Instant::now();
            retry.due().await;
            assert_eq!(begun.elapsed(), PAUSE);
            assert_eq!(retry.attempted(failed(), Instant::now()), None, "told once");
        }
        retry.due().await;
        assert_eq!(retry.attempted(Ok(()), Instant::now()), Some(News::UpToDate));
        assert!(timeout(LONG, retry.due()).await.is_err(), "it is over");
        assert!(matches!(retry.attempted(failed(), Instant::now()), Some(News::Behind(_))), "and told again");
    }
}
