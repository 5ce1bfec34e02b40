//! Whatever is in a text, each of its lines is in one list, soon.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::{
    Given,
    draft::draft,
    haproxy::{is_one, read},
    job::Job,
    report::{Ledger, Report},
};

fn report(text: &str) -> Option<Report> {
    let mut ledger = Ledger::default();
    let mut job = Job::default();
    let file = ledger.file("a");
    is_one(text);
    read(text, file, &mut ledger, &mut job).ok()?;
    draft(&job, &Given::default(), &|_| true, &mut ledger);
    Some(ledger.into_report())
}

fn each_line_is_in_one_list(text: &str) {
    let Some(report) = report(text) else { return };
    let rows = [&report.taken, &report.differs, &report.left_out, &report.faults].into_iter().flatten();
    let mut lines: Vec<usize> = rows.map(|row| row.line).collect();
    lines.sort_unstable();
    let is_statement = |line: &str| !line.trim().is_empty() && !line.trim().starts_with('#');
    let expected: Vec<usize> = text
        .split('\n')
        .enumerate()
        .filter(|(_, line)| is_statement(line))
        .map(|(index, _)| index + 1)
        .collect();
    assert_eq!(lines, expected, "{text}");
}

/// Words of the format's own, and what stands between them.
fn line() -> impl Strategy<Value = String> {
    const WORDS: &[&str] = &[
        "global",
        "defaults",
        "frontend",
        "backend",
        "listen",
        "peers",
        "a",
        "b",
        "from",
        "no",
        "bind",
        ":80",
        "*:443,:::443",
        "10.0.0.1:80-90",
        "server",
        "10.0.0.2:80",
        "10.0.0.3:+1",
        "/a",
        "ssl",
        "check",
        "verify",
        "none",
        "track",
        "a/a",
        "weight",
        "5",
        "option",
        "httpchk",
        "GET",
        "/health",
        r"HTTP/1.1\r\nHost:\ a",
        "http-check",
        "expect",
        "!",
        "status",
        "200",
        "string",
        "connect",
        "send",
        "meth",
        "uri",
        "hdr",
        "tcp-check",
        "port",
        "acl",
        "src",
        "10.0.0.0/8",
        "{",
        "}",
        "if",
        "unless",
        "or",
        "tcp-request",
        "connection",
        "content",
        "reject",
        "accept",
        "use_backend",
        "default_backend",
        "mode",
        "http",
        "tcp",
        "stick",
        "on",
        "stick-table",
        "type",
        "ip",
        "expire",
        "30m",
        "timeout",
        "client",
        "balance",
        "source",
        "default-server",
        "inter",
        "1s",
        ".if",
        ".else",
        ".endif",
        "'",
        "\"",
        "#",
        "\\",
        "\"${A}\"",
        "$A",
        "<X>:80",
        "é",
        "\r",
        "\t",
        "dispatch",
        "server-template",
        "1-3",
        "a.example.com:80",
        "agent-check",
        "backup",
        "setenv",
        "A",
        "track-sc0",
        "src_conn_rate",
        "gt",
    ];
    let word = prop::sample::select(WORDS);
    prop::collection::vec(word, 0..9).prop_map(|words| words.join(" "))
}

proptest! {
    #[test]
    fn lines_of_its_own_words(lines in prop::collection::vec(line(), 0..40)) {
        each_line_is_in_one_list(&format!("global\n{}", lines.join("\n")));
    }

    #[test]
    fn lines_behind_sections_and_servers(
        front in prop::collection::vec(line(), 0..10),
        back in prop::collection::vec(line(), 0..10),
    ) {
        let text = format!(
            "defaults\n mode tcp\nfrontend a\n bind :80\n default_backend b\n{}\nbackend b\n server a 10.0.0.1:80 check\n{}",
            front.join("\n"),
            back.join("\n"),
        );
        each_line_is_in_one_list(&text);
    }

    #[test]
    fn any_text(text in "(?s).{0,200}") {
        each_line_is_in_one_list(&text);
        each_line_is_in_one_list(&format!("listen a\n{text}"));
    }
}

/// The reader alone, in time that is far more than it takes.
#[test]
fn large_texts_are_read_soon() {
    const SIZE: usize = 1 << 18;
    let fill = |head: &str, line: &dyn Fn(usize) -> String| {
        let mut text = head.to_owned();
        let mut number = 0;
        while text.len() < SIZE {
            text.push_str(&line(number));
            number += 1;
        }
        text
    };
    let half = |text: String| text[..text.floor_char_boundary(SIZE / 2)].to_owned();
    let rules =
        half(fill("", &|n| format!(" tcp-request connection reject if big !{{ src 10.0.{}.1 }}\n", n % 256)));
    let nets = half(fill("listen a\n bind :80\n", &|n| {
        format!(" acl big src 10.{}.{}.0/24 11.0.0.0/8\n", n / 256 % 256, n % 256)
    }));
    let servers = half(fill("backend b\n", &|n| format!(" server s{n} 10.0.0.1:80 check\n")));
    for (name, text) in [
        ("one line", fill("listen a\n bind :80\n", &|_| " x".to_owned())),
        ("a word", format!("listen a\n bind {}", "1".repeat(SIZE))),
        ("quotes", format!("listen a\n bind {}", "\"'\\".repeat(SIZE / 3))),
        ("conditions", fill("listen a\n", &|_| ".if 1\n".to_owned())),
        ("sections", fill("", &|n| format!("frontend f{n}\nbind :1\ndefault_backend b\n"))),
        (
            "frontends and servers",
            format!(
                "{}{servers}",
                half(fill("", &|n| format!("frontend f{n}\nbind :1\ndefault_backend b\n")))
            ),
        ),
        ("rules and networks", format!("{nets}\n{rules} server a 10.0.0.1:80\n")),
        (
            "defaults",
            fill("", &|n| format!("defaults d{n} from d{}\n default-server inter {n}\n", n.max(1) - 1)),
        ),
        (
            "rules of defaults",
            format!(
                "{}{}",
                half(fill("defaults d\n", &|_| " tcp-request connection reject if { src 10.0.0.1 }\n"
                    .to_owned())),
                half(fill("", &|n| format!(
                    "listen l{n}\n bind :1\n server a 10.0.0.1:80\n tcp-request connection accept\n"
                )))
            ),
        ),
        (
            "checks",
            format!(
                "{}{}",
                half(fill("defaults d\n option tcp-check\n", &|_| " tcp-check send aaaaaaaaaaaaaaaaaaaaa\n"
                    .to_owned())),
                half(fill("", &|n| format!("listen l{n}\n bind :1\n server a 10.0.0.1:80 check\n")))
            ),
        ),
        (
            "who follows whom",
            fill("listen a\n bind :1\n", &|n| format!(" server s{n} 10.0.0.1:80 track s{}\n", n + 1)),
        ),
        (
            "alternatives",
            fill("listen a\n bind :1\n server a 10.0.0.1\n", &|_| {
                format!(" tcp-request connection reject if {}\n", "LOCALHOST or ".repeat(200))
            }),
        ),
    ] {
        let begin = Instant::now();
        let mut ledger = Ledger::default();
        let file = ledger.file("a");
        let _read = read(&text, file, &mut ledger, &mut Job::default());
        // Without optimization, beside other tests.
        assert!(begin.elapsed() < Duration::from_secs(10), "{name}: {:?}", begin.elapsed());
    }
}
