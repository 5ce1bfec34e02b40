//! Checks that speak one protocol, as conversations that find out the same.

use crate::{
    haproxy::{sections::Line, settings::CheckKind},
    job::{Check, Scheme, Step},
    report::Ledger,
};

/// The last line of a good answer of SMTP, with the whole of it.
const SMTP_GOOD: &str = r"(?m-u)^2[0-9]{2}[ \r][^\n]*\n";

/// What this kind of check asks.
pub(super) fn read(kind: CheckKind, line: &Line, check: &mut Check, ledger: &mut Ledger) {
    let steps = match kind {
        CheckKind::TlsHello => {
            check.scheme = Scheme::Tls;
            ledger.taken(line.at, "a whole TLS handshake");
            return;
        }
        CheckKind::Redis => vec![send(b"*1\r\n$4\r\nPING\r\n"), expect(r"^\+PONG\r\n")],
        CheckKind::Smtp => {
            let hello = if line.word(2) == "EHLO" { "EHLO" } else { "HELO" };
            let domain = if line.word(3).is_empty() { "localhost" } else { line.word(3) };
            vec![
                expect(SMTP_GOOD),
                send(format!("{hello} {domain}\r\n").as_bytes()),
                expect(SMTP_GOOD),
                send(b"QUIT\r\n"),
                expect(SMTP_GOOD),
            ]
        }
        // An authentication request, of any kind: it lets this user begin.
        CheckKind::Postgres => {
            vec![Step::Send(postgres_hello(line)), expect(r"(?s-u)^R\x00\x00\x00.\x00\x00\x00")]
        }
        // A greeting of version 10 of the protocol, and not an error.
        CheckKind::Mysql => vec![expect(r"(?s-u)^.{3}\x00\x0a")],
        // An anonymous bind, that succeeds.
        CheckKind::Ldap => vec![
            send(b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00"),
            expect(r"(?s-u)^\x30.{1,5}\x02\x01\x01\x61.{1,5}\x0a\x01\x00"),
        ],
        CheckKind::Connection | CheckKind::Http | CheckKind::Tcp => Vec::new(),
    };
    if !steps.is_empty() && kind != CheckKind::Mysql {
        ledger.taken(line.at, "the same questions and answers, as `steps`");
    }
    check.steps = steps;
}

fn send(bytes: &[u8]) -> Step {
    Step::Send(bytes.to_vec())
}

fn expect(pattern: &str) -> Step {
    Step::Expect(pattern.to_owned())
}

/// `option pgsql-check user NAME`: the first message of version 3 of the protocol.
fn postgres_hello(line: &Line) -> Vec<u8> {
    let name = if line.word(2) == "user" { line.word(3) } else { "" };
    let mut message = vec![0, 3, 0, 0];
    message.extend(b"user\0");
    message.extend(name.as_bytes());
    message.extend(b"\0\0");
    let length = u32::try_from(message.len() + 4).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &message].concat()
}
