//! Whatever is written, each line is in one row, and reading ends.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::{finish, known, read};
use crate::{
    expected::rows_of_lines,
    job::Job,
    report::{Ledger, Report},
};

fn report(text: &str) -> Report {
    let mut ledger = Ledger::default();
    let file = ledger.file("k");
    let mut job = Job::default();
    read(text, file, &mut ledger, &mut job).unwrap();
    finish(&mut job, &mut ledger);
    ledger.into_report()
}

fn word() -> impl Strategy<Value = String> {
    let names: Vec<&str> = known().map(|(name, _)| name).collect();
    prop_oneof![
        8 => prop::sample::select(names).prop_map(str::to_owned),
        6 => prop::sample::select(vec![
            "{", "}", "{", "}", "10.0.0.1", "443", "80", "group", "fwmark", "1", "0", "NAT", "DR", "TUN", "TCP", "UDP", "rr",
            "sh", "/health", "\"a b", "'", "\"", "$A=", "$A", "${A}", "@x", "@^x", "~SEQ(A, 1, 3)", "~LST(A, 1, 2)", "\\", "#", "!",
            "include", "10.0.0.1-9", "2001:db8::/120", "\u{e9}", "${_ENV X}", "200-299",
        ]).prop_map(str::to_owned),
        1 => "[ -~]{0,6}",
    ]
}

fn text() -> impl Strategy<Value = String> {
    let line = prop::collection::vec(word(), 0..5).prop_map(|words| words.join(" "));
    prop::collection::vec(line, 0..40).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn each_line_is_in_one_row(text in text()) {
        let report = report(&text);
        if let Err((line, count)) = rows_of_lines(&report, "k", &text) {
            let line_text = text.lines().nth(line - 1).unwrap_or_default();
            // What is nothing but braces and a comment says nothing.
            let bare = super::super::words::without_comment(line_text);
            let says_nothing = bare.chars().all(|c| c == '}' || c.is_whitespace());
            prop_assert!(count == 0 && says_nothing, "line {} is in {} rows: {:?}", line, count, line_text);
        }
    }

    #[test]
    fn nothing_panics(text in "\\PC{0,200}") {
        report(&text);
    }
}

#[test]
fn the_time_grows_with_the_size() {
    for piece in [
        "{",
        "}",
        "a {\n",
        "virtual_server 10.0.0.1 80 {\n",
        "real_server 10.0.0.1 80 { TCP_CHECK { } }\n",
        "\"",
        "'\n",
        "$A=$A\n$A\n",
        "${",
        "${ ",
        "$A=${A}${A}\n",
        "~SEQ(A, 1, 99) $A\n",
        "~LST({A},{",
        "@a ",
        "\\\n",
        "#",
        "x\n{\n",
        "virtual_ipaddress {\n10.0.0.0/8\n}\n",
        "virtual_server_group a {\n10.0.0.1-60 80\n}\nvirtual_server group a {\n}\n",
        "\n",
        "é",
        "include a\n",
        "url {\n",
    ] {
        let text = piece.repeat((1 << 17) / piece.len());
        let start = Instant::now();
        report(&text);
        // Two seconds without optimization, on a busy machine; what grows with the square takes minutes.
        assert!(start.elapsed() < Duration::from_secs(20), "{piece:?}: {:?}", start.elapsed());
    }
}
