//! The TCP and TLS probes: a connection, with TLS a handshake on it, and then the steps, if there are any. Without them it is closed
//! at once: it proves that something listens, no more.

use std::{pin::Pin, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{Instant, timeout_at},
};

use super::{
    Failure, ProberError,
    connector::Connector,
    failure::StepFailure,
    stream::{Opener, PIECES_LIMIT, Stream},
    tls::TlsConfigs,
};
use crate::config::{Pattern, Probe, Step};

/// The most that is collected for one match, in bytes.
pub(super) const COLLECTED_LIMIT: usize = 64 * 1024;

/// What is said to one replica, and what it has to answer.
#[derive(Debug)]
pub(super) struct Conversation {
    opener: Opener,
    steps: Vec<Step>,
    timeout: Duration,
}

impl Conversation {
    pub(super) fn new(
        connector: Connector,
        probe: &Probe,
        configs: &mut TlsConfigs,
    ) -> Result<Self, ProberError> {
        let opener = Opener::new(connector, probe, configs)?;
        Ok(Self { opener, steps: probe.steps.clone(), timeout: probe.timeout })
    }

    pub(super) fn connector(&mut self) -> &mut Connector {
        self.opener.connector()
    }

    /// Holds it once.
    pub(super) async fn hold(&self) -> Result<(), Failure> {
        let deadline = Instant::now() + self.timeout;
        let mut stream = self.opener.open(deadline).await?;
        let mut heard = Heard::default();
        for (step, number) in self.steps.iter().zip(1..) {
            let failed = |what| Failure::Step { step: number, what };
            match step {
                Step::Send(bytes) => {
                    let sent = timeout_at(deadline, send(&mut stream, bytes)).await;
                    sent.map_err(|_elapsed| failed(StepFailure::NotTaken { after: self.timeout }))??;
                }
                Step::Expect(pattern) => {
                    let expected = timeout_at(deadline, heard.expect(&mut stream, pattern)).await;
                    expected
                        .unwrap_or_else(|_elapsed| Err(heard.nothing_within(self.timeout, pattern)))
                        .map_err(failed)?;
                }
                Step::Reject(pattern) if pattern.is_match(&heard.looked_at) => {
                    return Err(failed(StepFailure::Rejected { pattern: pattern.to_string() }));
                }
                Step::Reject(_) => {}
            }
        }
        // A server whose TLS is cut off would log that; whether it takes the goodbye does not matter.
        let _ended = timeout_at(deadline, stream.shutdown()).await;
        Ok(())
    }
}

async fn send(stream: &mut Pin<Box<dyn Stream>>, bytes: &[u8]) -> Result<(), Failure> {
    let sent = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    sent.await.map_err(|error| Failure::from_io(&error, Duration::ZERO))
}

/// What has come.
#[derive(Default)]
struct Heard {
    /// Not matched yet.
    collected: Vec<u8>,
    /// All that was there when the last pattern matched.
    looked_at: Vec<u8>,
}

impl Heard {
    /// Collects until it matches, and forgets what was matched.
    async fn expect(
        &mut self,
        stream: &mut Pin<Box<dyn Stream>>,
        pattern: &Pattern,
    ) -> Result<(), StepFailure> {
        let mut piece = [0; 4096];
        for _ in 0..PIECES_LIMIT {
            if let Some(end) = pattern.end_of_match(&self.collected) {
                let rest = self.collected.split_off(end);
                self.looked_at = std::mem::replace(&mut self.collected, rest);
                self.looked_at.extend_from_slice(&self.collected);
                return Ok(());
            }
            let room = (COLLECTED_LIMIT - self.collected.len()).min(piece.len());
            if room == 0 {
                return Err(StepFailure::TooLong { limit: COLLECTED_LIMIT, pattern: pattern.to_string() });
            }
            match stream.read(&mut piece[..room]).await {
                Ok(0) => return Err(self.closed(pattern)),
                Ok(count) => self.collected.extend_from_slice(&piece[..count]),
                Err(error) => {
                    return Err(match Failure::from_io(&error, Duration::ZERO) {
                        Failure::Closed => self.closed(pattern),
                        other => StepFailure::Broken { reason: other.to_string() },
                    });
                }
            }
        }
        Err(StepFailure::TooManyPieces { limit: PIECES_LIMIT })
    }

    fn closed(&self, pattern: &Pattern) -> StepFailure {
        StepFailure::Closed { pattern: pattern.to_string(), heard: shown(&self.collected) }
    }

    fn nothing_within(&self, after: Duration, pattern: &Pattern) -> StepFailure {
        let (pattern, heard) = (pattern.to_string(), shown(&self.collected));
        StepFailure::NoMatch { after, pattern, heard }
    }
}

/// The start of what came, for people; empty if nothing did.
fn shown(bytes: &[u8]) -> String {
    const MOST: usize = 40;
    let start = bytes[..bytes.len().min(MOST)].escape_ascii();
    format!("{start}{}", if bytes.len() > MOST { "…" } else { "" })
}
