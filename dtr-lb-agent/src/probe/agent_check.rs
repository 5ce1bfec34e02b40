//! The agent check: a program on the replica that says, in one line, which share the replica wants, and whether it wants any.
//!
//! The language is HAProxy's (its configuration manual, `agent-check`), so that the programs that are there can stay. What a line does not
//! say stays as it was: only the agent revokes what the agent has said. The line is one of words with spaces, tabs or commas between them,
//! and everything from a `#` on is a reason. Words are read without regard to case.

use std::{net::SocketAddr, time::Duration};

use tokio::{io::AsyncReadExt as _, time::timeout};

use super::{Failure, connector::Connector};

/// The most that is read before the end of the line, in bytes; all words together are some sixty.
const LINE_LIMIT: usize = 1024;

/// What a replica says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentWord {
    /// The share of its configured weight that it wants, in percent.
    pub share: Option<u16>,
    /// Whether it wants new connections.
    pub wants: Option<Wants>,
    /// Whether it calls itself fit to serve.
    pub fitness: Option<Fitness>,
}

/// Whether a replica wants new connections, by its own word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// `ready`: it does.
    Connections,
    /// `drain`: it does not.
    Drain,
    /// `maint`: it does not, either.
    Maint,
}

/// Whether a replica is fit to serve, by its own word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fitness {
    /// `up`
    Up,
    /// `down`, `stopped` or `fail`.
    Down {
        /// Which of the words.
        word: &'static str,
        /// What it says about it.
        reason: Option<String>,
    },
}

/// Why nothing was learnt from the agent. It says nothing about the replica.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AgentFailure {
    /// The agent could not be connected to, or the connection broke.
    #[error("{0}")]
    Connection(Failure),
    /// It took the connection, and said no whole line in time.
    #[error("no whole line within {after:?}")]
    Silent {
        /// How long it had.
        after: Duration,
    },
    /// It closed the connection before the end of a line: what came may be a part of a word.
    #[error("closed before the end of the line")]
    Cut,
    /// The line is too long.
    #[error("a line longer than {LINE_LIMIT} bytes")]
    TooLong,
    /// No word of the line is one that an agent says.
    #[error("unknown words: \"{said}\"")]
    Unknown {
        /// The start of what it said, escaped.
        said: String,
    },
}

/// Asks one replica's agent, at the replica's own address.
#[derive(Debug)]
pub(super) struct AgentCheck {
    connector: Connector,
    timeout: Duration,
}

impl AgentCheck {
    pub(super) fn new(agent: SocketAddr, timeout: Duration) -> Self {
        Self { connector: Connector::own(agent), timeout }
    }

    /// Asks once, and ends within the time-out.
    pub(super) async fn ask(&self) -> Result<AgentWord, AgentFailure> {
        match timeout(self.timeout, self.line()).await {
            Ok(line) => parse(&line?),
            Err(_elapsed) => Err(AgentFailure::Silent { after: self.timeout }),
        }
    }

    async fn line(&self) -> Result<Vec<u8>, AgentFailure> {
        let mut stream = self.connector.connect(self.timeout).await.map_err(AgentFailure::Connection)?;
        let mut came = Vec::new();
        let mut piece = [0; LINE_LIMIT];
        loop {
            let read = stream.read(&mut piece[..LINE_LIMIT - came.len()]).await;
            let count =
                read.map_err(|error| AgentFailure::Connection(Failure::from_io(&error, self.timeout)))?;
            came.extend_from_slice(&piece[..count]);
            if let Some(end) = came.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
                came.truncate(end);
                return Ok(came);
            }
            if came.len() == LINE_LIMIT {
                return Err(AgentFailure::TooLong);
            }
            if count == 0 {
                return Err(AgentFailure::Cut);
            }
        }
    }
}

/// Reads a line. Words that are not known are passed over if others are.
fn parse(line: &[u8]) -> Result<AgentWord, AgentFailure> {
    let text = String::from_utf8_lossy(line);
    let (words, reason) = match text.split_once('#') {
        Some((words, reason)) => (words, shown(reason.trim())),
        None => (&*text, None),
    };
    let mut word = AgentWord::default();
    let mut known = false;
    for said in words.split([' ', '\t', ',']).map(str::to_ascii_lowercase) {
        match said.as_str() {
            "up" => word.fitness = Some(Fitness::Up),
            "down" => word.fitness = Some(Fitness::Down { word: "down", reason: reason.clone() }),
            "stopped" => word.fitness = Some(Fitness::Down { word: "stopped", reason: reason.clone() }),
            "fail" => word.fitness = Some(Fitness::Down { word: "fail", reason: reason.clone() }),
            "ready" => word.wants = Some(Wants::Connections),
            "drain" => word.wants = Some(Wants::Drain),
            "maint" => word.wants = Some(Wants::Maint),
            other => {
                let percent = other.strip_suffix('%').and_then(number);
                word.share = percent.or(word.share);
                // Connections are limited for all replicas of a service alike, by `max_flows_per_replica`.
                let limit = other.strip_prefix("maxconn:").and_then(number);
                if percent.is_none() && limit.is_none() {
                    continue;
                }
            }
        }
        known = true;
    }
    if known {
        return Ok(word);
    }
    Err(AgentFailure::Unknown { said: shown(&text).unwrap_or_default() })
}

/// Digits only: `parse` would take a sign, too. One beyond all measure is the most there is.
fn number(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u16::MAX))
}

/// Its start, without what a terminal would take for commands; `None` if nothing is left.
fn shown(text: &str) -> Option<String> {
    const MOST: usize = 80;
    let shown: String = text.chars().filter(|c| !c.is_control()).take(MOST).collect();
    (!shown.is_empty()).then_some(shown)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn down(word: &'static str, reason: Option<&str>) -> Option<Fitness> {
        Some(Fitness::Down { word, reason: reason.map(str::to_owned) })
    }

    #[test]
    fn what_lines_mean() {
        let cases = [
            ("75%", AgentWord { share: Some(75), ..AgentWord::default() }),
            ("0%", AgentWord { share: Some(0), ..AgentWord::default() }),
            ("150%", AgentWord { share: Some(150), ..AgentWord::default() }),
            ("99999%", AgentWord { share: Some(u16::MAX), ..AgentWord::default() }),
            ("up", AgentWord { fitness: Some(Fitness::Up), ..AgentWord::default() }),
            ("down", AgentWord { fitness: down("down", None), ..AgentWord::default() }),
            ("stopped", AgentWord { fitness: down("stopped", None), ..AgentWord::default() }),
            ("fail", AgentWord { fitness: down("fail", None), ..AgentWord::default() }),
            (
                "down#disk full",
                AgentWord { fitness: down("down", Some("disk full")), ..AgentWord::default() },
            ),
            ("fail # up, 3%", AgentWord { fitness: down("fail", Some("up, 3%")), ..AgentWord::default() }),
            ("ready", AgentWord { wants: Some(Wants::Connections), ..AgentWord::default() }),
            ("drain", AgentWord { wants: Some(Wants::Drain), ..AgentWord::default() }),
            ("maint", AgentWord { wants: Some(Wants::Maint), ..AgentWord::default() }),
            ("maxconn:30", AgentWord::default()),
            (
                "  Ready,UP\t50%,maxconn:30 ",
                AgentWord { share: Some(50), wants: Some(Wants::Connections), fitness: Some(Fitness::Up) },
            ),
            ("hello up", AgentWord { fitness: Some(Fitness::Up), ..AgentWord::default() }),
        ];
        for (line, expected) in cases {
            assert_eq!(parse(line.as_bytes()), Ok(expected), "{line:?}");
        }
        for line in
            ["", " , ", "#up", "hello", "75", "%", "-5%", "+5%", "maxconn:", "upward", "HTTP/1.1 400 Bad"]
        {
            assert!(matches!(parse(line.as_bytes()), Err(AgentFailure::Unknown { .. })), "{line:?}");
        }
        let escape = parse(b"down #\x1b[31mred").expect("it is down");
        assert_eq!(escape.fitness, down("down", Some("[31mred")));
    }

    proptest! {
        #[test]
        fn any_line_has_a_meaning_or_a_reason(line in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Err(failure) = parse(&line) {
                prop_assert!(failure.to_string().chars().all(|c| !c.is_control()));
            }
        }
    }
}
