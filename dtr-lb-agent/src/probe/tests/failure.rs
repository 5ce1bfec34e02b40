//! What sockets report, what an operator reads, and whether it means that the replica is dead.

use std::{io, time::Duration};

use crate::probe::{Failure, Phase, StepFailure};

#[test]
fn socket_errors() {
    for (number, text, answered, local) in [
        (libc::ECONNREFUSED, "connection refused", false, false),
        (libc::EHOSTUNREACH, "unreachable: No route to host", false, false),
        (libc::ENETUNREACH, "unreachable: Network is unreachable", false, false),
        (libc::ETIMEDOUT, "no answer within 2s (connecting)", false, false),
        (libc::ECONNRESET, "connection closed without a complete answer", true, false),
        (libc::EPIPE, "connection closed without a complete answer", true, false),
        (
            libc::EMFILE,
            "this host could not ask: Too many open files; raise the agent's limit of open files (LimitNOFILE= in its \
             systemd unit, or `ulimit -n`)",
            true,
            true,
        ),
        (libc::ENFILE, "this host could not ask: Too many open files in system", true, true),
        (libc::ENOBUFS, "this host could not ask: No buffer space available", true, true),
        (libc::EADDRNOTAVAIL, "this host could not ask: Cannot assign requested address", true, true),
        (libc::EPERM, "this host could not ask: Operation not permitted", true, true),
        (libc::EPROTO, "Protocol error", true, false),
    ] {
        let failure = Failure::from_io(&io::Error::from_raw_os_error(number), Duration::from_secs(2));
        assert_eq!(failure.to_string(), text);
        assert_eq!(failure.answered(), answered, "{text}");
        assert_eq!(failure.is_local(), local, "{text}");
    }
}

#[test]
fn a_replica_is_dead_only_if_it_is_silent_or_refuses() {
    let after = Duration::from_millis(250);
    for (failure, text, answered) in [
        (Failure::Refused, "connection refused", false),
        (Failure::Timeout { after, phase: Phase::Connecting }, "no answer within 250ms (connecting)", false),
        (
            Failure::Timeout { after, phase: Phase::Waiting },
            "no answer within 250ms (waiting for the answer)",
            false,
        ),
        (Failure::Timeout { after, phase: Phase::Reading }, "answer not complete within 250ms", true),
        (Failure::Closed, "connection closed without a complete answer", true),
        (Failure::Status { got: 503, expected: "200-399".to_owned() }, "status 503, expected 200-399", true),
        (
            Failure::Timeout { after, phase: Phase::Handshake },
            "no answer within 250ms (TCP accepted, frozen in the TLS handshake)",
            false,
        ),
        (Failure::CutShort { came: 10, announced: Some(100) }, "answer cut short: 10 of 100 bytes", true),
        (
            Failure::CutShort { came: 10, announced: None },
            "answer cut short: connection closed after 10 bytes, before the last chunk",
            true,
        ),
        (
            Failure::Step { step: 2, what: StepFailure::NotTaken { after } },
            "step 2: not taken within 250ms",
            false,
        ),
        (step("", after), "step 3: no match of /a/ within 250ms, heard nothing", false),
        (step("-ERR", after), "step 3: no match of /a/ within 250ms, heard \"-ERR\"", true),
        (
            Failure::Step { step: 1, what: StepFailure::Rejected { pattern: "ERR".to_owned() } },
            "step 1: the answer matches /ERR/, which is rejected",
            true,
        ),
        (Failure::HeaderMissing { name: "x-a".to_owned() }, "no header `x-a`", true),
        (Failure::BodyMismatch { pattern: "ok".to_owned() }, "body does not match /ok/", true),
        (Failure::AnswerTooLong { limit: 1 << 18 }, "answer longer than 256 KiB, not read on", true),
        (Failure::TooManyPieces { limit: 4096 }, "body in more than 4096 pieces, not read on", true),
        (Failure::BodyTooLong { limit: 65536 }, "body longer than 64 KiB, not searched", true),
        (
            Failure::AnswersPast { vip: [10, 0, 0, 10].into() },
            "answers 10.0.0.10 past this balancer: its route to it does not lead here",
            true,
        ),
    ] {
        assert_eq!(failure.to_string(), text);
        assert_eq!(failure.answered(), answered, "{text}");
    }
}

fn step(heard: &str, after: Duration) -> Failure {
    let what = StepFailure::NoMatch { after, pattern: "a".to_owned(), heard: heard.to_owned() };
    Failure::Step { step: 3, what }
}
