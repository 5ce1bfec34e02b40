//! Why a probe failed, in the words an operator reads, and how to find it out from an error of the HTTP client.
//!
//! Causes are wrapped several deep (HTTP, TLS, socket). What an operator needs is one of the inner ones, so
//! [`Failure::from_http`] and [`Failure::from_io`] walk the chain and name the first error that they know.

use std::{error::Error, io, net::IpAddr, time::Duration};

use rustls::{AlertDescription, CertificateError, InvalidMessage};

use super::bounded::TooMuch;

mod step;

pub use step::StepFailure;

/// Why a probe failed. `Display` is one short line without the replica's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The connection was answered by a reset: nothing listens there.
    #[error("connection refused")]
    Refused,
    /// No way to the replica, or a router or the neighbour table says that it is not there.
    #[error("unreachable: {reason}")]
    Unreachable {
        /// What the system says.
        reason: String,
    },
    /// Nothing, or not enough, came in time.
    #[error("{}", describe_timeout(*.after, *.phase))]
    Timeout {
        /// How long the probe waited.
        after: Duration,
        /// What it was waiting for.
        phase: Phase,
    },
    /// The replica took the connection and closed it before its answer was complete.
    #[error("connection closed without a complete answer")]
    Closed,
    /// The answer's body ended before its announced end.
    #[error("{}", describe_cut(*.came, *.announced))]
    CutShort {
        /// What came of the body, in bytes.
        came: usize,
        /// Its whole length, in bytes, where it was announced; chunks announce none.
        announced: Option<u64>,
    },
    /// The replica's certificate is not one that the config accepts.
    #[error("certificate {reason}")]
    Certificate {
        /// What is wrong with it.
        reason: String,
    },
    /// TLS failed for a reason other than the certificate.
    #[error("TLS failed: {reason}")]
    Tls {
        /// What the TLS library, or the replica by its alert, says.
        reason: String,
    },
    /// Something answered, but not in HTTP.
    #[error("not an HTTP answer: {reason}")]
    NotHttp {
        /// Where the answer departs from HTTP.
        reason: String,
    },
    /// The answer's status is not one of those accepted.
    #[error("status {got}, expected {expected}")]
    Status {
        /// The status that came.
        got: u16,
        /// Those accepted, as in the config.
        expected: String,
    },
    /// The body is longer than a probe reads.
    #[error("body longer than {} KiB, not searched", limit / 1024)]
    BodyTooLong {
        /// The most that a probe reads, in bytes.
        limit: usize,
    },
    /// The body comes in more pieces (chunks, packets) than a probe reads.
    #[error("body in more than {limit} pieces, not read on")]
    TooManyPieces {
        /// The most that a probe reads.
        limit: usize,
    },
    /// The answer, with all that came before it on the connection, is longer than a probe reads.
    #[error("answer longer than {} KiB, not read on", limit / 1024)]
    AnswerTooLong {
        /// The most that a probe reads, in bytes.
        limit: usize,
    },
    /// The body does not match the pattern.
    #[error("body does not match /{pattern}/")]
    BodyMismatch {
        /// The pattern, as in the config.
        pattern: String,
    },
    /// The body matches a pattern that it must not.
    #[error("body matches /{pattern}/, which is rejected")]
    BodyRejected {
        /// The pattern, as in the config.
        pattern: String,
    },
    /// A header that has to be there is not.
    #[error("no header `{name}`")]
    HeaderMissing {
        /// Its name, in lower case.
        name: String,
    },
    /// No value of a header matches the pattern.
    #[error("header `{name}` does not match /{pattern}/")]
    HeaderMismatch {
        /// Its name, in lower case.
        name: String,
        /// The pattern, as in the config.
        pattern: String,
    },
    /// A value of a header matches a pattern that it must not.
    #[error("header `{name}` matches /{pattern}/, which is rejected")]
    HeaderRejected {
        /// Its name, in lower case.
        name: String,
        /// The pattern, as in the config.
        pattern: String,
    },
    /// One of the `steps` failed.
    #[error("step {step}: {what}")]
    Step {
        /// Which, from 1.
        step: usize,
        /// What is wrong.
        what: StepFailure,
    },
    /// The replica takes connections from this host, and not those from the VIP: its answers to clients go another way.
    #[error("answers {vip} past this balancer: its route to it does not lead here")]
    AnswersPast {
        /// The VIP that it was asked from.
        vip: IpAddr,
    },
    /// This host could not ask: it is out of sockets, ports or memory, or its own firewall forbids it. Says
    /// nothing about the replica.
    #[error("this host could not ask: {reason}")]
    Local {
        /// What the system says.
        reason: String,
    },
    /// Anything else.
    #[error("{reason}")]
    Other {
        /// The innermost cause.
        reason: String,
    },
}

/// What a probe was waiting for when its time ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The TCP connection.
    Connecting,
    /// The TLS handshake on it. The kernel of a process that is frozen still accepts connections.
    Handshake,
    /// The first line and headers of the answer.
    Waiting,
    /// The rest of the body.
    Reading,
}

impl Failure {
    /// Its name in metrics: one word for each kind, whatever the reason in it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable { .. } => "unreachable",
            Self::Timeout { .. } => "timeout",
            Self::Closed => "closed",
            Self::CutShort { .. } => "cut_short",
            Self::Certificate { .. } => "certificate",
            Self::Tls { .. } => "tls",
            Self::NotHttp { .. } => "not_http",
            Self::Status { .. } => "status",
            Self::AnswerTooLong { .. } | Self::TooManyPieces { .. } => "answer_too_long",
            Self::BodyTooLong { .. } | Self::BodyMismatch { .. } | Self::BodyRejected { .. } => "body",
            Self::HeaderMissing { .. } | Self::HeaderMismatch { .. } | Self::HeaderRejected { .. } => {
                "header"
            }
            Self::Step { .. } => "step",
            Self::AnswersPast { .. } => "answers_past",
            Self::Local { .. } => "local",
            Self::Other { .. } => "other",
        }
    }

    /// Something at the replica answered, be it wrongly, so that connections it has may still be good. False if
    /// the replica is dead as far as a probe can tell: it refuses, cannot be reached, or is silent.
    ///
    /// A connection that is taken and at once closed counts as answered: it is what a server at its limit of
    /// connections does, and resetting those it serves would make that worse. So does a local failure, which is
    /// no evidence against the replica.
    #[must_use]
    pub fn answered(&self) -> bool {
        match self {
            Self::Refused | Self::Unreachable { .. } => false,
            Self::Timeout { phase, .. } => match phase {
                Phase::Connecting | Phase::Handshake | Phase::Waiting => false,
                Phase::Reading => true,
            },
            Self::Step { what, .. } => match what {
                StepFailure::NotTaken { .. } => false,
                StepFailure::NoMatch { heard, .. } => !heard.is_empty(),
                StepFailure::Closed { .. }
                | StepFailure::Rejected { .. }
                | StepFailure::TooLong { .. }
                | StepFailure::TooManyPieces { .. }
                | StepFailure::Broken { .. } => true,
            },
            Self::Closed
            | Self::CutShort { .. }
            | Self::Certificate { .. }
            | Self::Tls { .. }
            | Self::NotHttp { .. }
            | Self::Status { .. }
            | Self::BodyTooLong { .. }
            | Self::TooManyPieces { .. }
            | Self::AnswerTooLong { .. }
            | Self::BodyMismatch { .. }
            | Self::BodyRejected { .. }
            | Self::HeaderMissing { .. }
            | Self::HeaderMismatch { .. }
            | Self::HeaderRejected { .. }
            | Self::AnswersPast { .. }
            | Self::Local { .. }
            | Self::Other { .. } => true,
        }
    }

    /// TLS was answered by something that is not TLS.
    pub(crate) fn clear_text() -> Self {
        Self::Tls { reason: "the answer is not TLS; does this port speak plain HTTP?".to_owned() }
    }

    /// It is that.
    #[must_use]
    pub fn is_clear_text(&self) -> bool {
        *self == Self::clear_text()
    }

    /// The failure is this host's own and must not count against the replica.
    #[must_use]
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Local { .. })
    }

    /// Names a socket's error.
    pub(super) fn from_io(error: &io::Error, timeout: Duration) -> Self {
        use io::ErrorKind as Kind;

        // `io::Error::source` skips what it wraps, so a wrapped cause is looked for here.
        if let Some(wrapped) = error.get_ref() {
            if let Some(tls) = wrapped.downcast_ref() {
                return Self::from_tls(tls);
            }
            if let Some(inner) = wrapped.downcast_ref() {
                return Self::from_io(inner, timeout);
            }
            if let Some(TooMuch { limit }) = wrapped.downcast_ref() {
                return Self::AnswerTooLong { limit: *limit };
            }
        }
        match error.raw_os_error() {
            Some(libc::EMFILE) => {
                return Self::Local { reason: format!("{}; {RAISE_LIMIT}", describe_io(error)) };
            }
            Some(libc::ENFILE | libc::ENOBUFS) => return Self::Local { reason: describe_io(error) },
            _ => {}
        }
        match error.kind() {
            Kind::ConnectionRefused => Self::Refused,
            Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::NetworkDown => {
                Self::Unreachable { reason: describe_io(error) }
            }
            Kind::TimedOut => Self::Timeout { after: timeout, phase: Phase::Connecting },
            Kind::ConnectionReset
            | Kind::ConnectionAborted
            | Kind::BrokenPipe
            | Kind::NotConnected
            | Kind::UnexpectedEof => Self::Closed,
            Kind::AddrNotAvailable | Kind::OutOfMemory | Kind::PermissionDenied => {
                Self::Local { reason: describe_io(error) }
            }
            // A chunk size that is no number, and the like: the body's decoder reports it as these.
            Kind::InvalidData | Kind::InvalidInput => Self::NotHttp { reason: describe_io(error) },
            _ => Self::Other { reason: describe_io(error) },
        }
    }

    /// Names an error of the HTTP client.
    pub(super) fn from_http(error: &hyper::Error, timeout: Duration) -> Self {
        // Canceled: the connection ended before the request was sent.
        if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
            return Self::Closed;
        }
        if error.is_parse() {
            return Self::NotHttp { reason: error.to_string() };
        }
        let mut innermost: &(dyn Error + 'static) = error;
        while let Some(cause) = innermost.source() {
            if let Some(io) = cause.downcast_ref::<io::Error>() {
                return Self::from_io(io, timeout);
            }
            innermost = cause;
        }
        Self::Other { reason: innermost.to_string() }
    }

    fn from_tls(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(certificate) => {
                Self::Certificate { reason: describe_certificate(certificate) }
            }
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => Self::clear_text(),
            rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
                Self::Tls { reason: "the replica speaks none of the protocols in `alpn`".to_owned() }
            }
            other => Self::Tls { reason: other.to_string() },
        }
    }
}

/// What to do about this process having no file descriptor left.
const RAISE_LIMIT: &str =
    "raise the agent's limit of open files (LimitNOFILE= in its systemd unit, or `ulimit -n`)";

fn describe_timeout(after: Duration, phase: Phase) -> String {
    match phase {
        Phase::Connecting => format!("no answer within {after:?} (connecting)"),
        Phase::Handshake => {
            format!("no answer within {after:?} (TCP accepted, frozen in the TLS handshake)")
        }
        Phase::Waiting => format!("no answer within {after:?} (waiting for the answer)"),
        Phase::Reading => format!("answer not complete within {after:?}"),
    }
}

fn describe_cut(came: usize, announced: Option<u64>) -> String {
    match announced {
        Some(whole) => format!("answer cut short: {came} of {whole} bytes"),
        None => format!("answer cut short: connection closed after {came} bytes, before the last chunk"),
    }
}

/// The system's text without its number: "No route to host (os error 113)" becomes "No route to host".
fn describe_io(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error ") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

fn describe_certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::NotValidForNameContext { expected, presented } if presented.is_empty() => {
            format!("not valid for {}: it names no host", expected.to_str())
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            format!("not valid for {}, only for {}", expected.to_str(), list_names(presented))
        }
        CertificateError::UnknownIssuer => "not issued by a trusted CA".to_owned(),
        CertificateError::BadSignature => {
            "not signed by the trusted CA of that name; has the CA been renewed?".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "not valid yet; check the clocks".to_owned()
        }
        CertificateError::Revoked => "revoked".to_owned(),
        other => format!("not accepted: {other}"),
    }
}

/// The first few of a certificate's names. The TLS library gives them as `DnsName("a.example")`.
fn list_names(presented: &[String]) -> String {
    const SHOWN: usize = 3;
    let bare = |name: &String| {
        let inner = name.split_once('(').and_then(|(_kind, rest)| rest.strip_suffix(')'));
        inner.unwrap_or(name).trim_matches('"').to_owned()
    };
    let shown = presented.iter().take(SHOWN).map(bare).collect::<Vec<_>>().join(", ");
    match presented.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
