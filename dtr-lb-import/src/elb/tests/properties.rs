//! Whatever is written, each line is in one row, and reading ends.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::{finish, known, read};
use crate::{
    expected::rows_of_lines,
    job::Job,
    report::{Ledger, Report},
};

fn report(text: &str) -> Option<Report> {
    let mut ledger = Ledger::default();
    let file = ledger.file("k");
    let mut job = Job::default();
    read(text, file, &mut ledger, &mut job).ok()?;
    finish(&mut job, &mut ledger);
    Some(ledger.into_report())
}

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        prop::sample::select(vec![
            "443",
            "\"TCP\"",
            "\"HTTPS:443/health\"",
            "\"i-0a\"",
            "\"10.0.0.1\"",
            "true",
            "null",
            "[]",
            "{}",
            "\"\"",
            "\"arn\"",
            "\"TLS\"",
            "\"forward\"",
            "\"stickiness.enabled\"",
            "<X>",
            "...",
            "\"open",
            "0",
            "-1",
            "99999999999",
        ])
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(6, 64, 5, |inner| {
        let names: Vec<&str> = known().map(|(name, _)| name).collect();
        let member = (prop::sample::select(names), inner.clone(), prop::sample::select(vec!["", "\n", "\n\n"]))
            .prop_map(|(name, value, space)| format!("{space}\"{name}\": {space}{value}"));
        prop_oneof![
            3 => prop::collection::vec(member, 0..6).prop_map(|members| format!("{{{}\n}}", members.join(","))),
            1 => prop::collection::vec(inner, 0..4).prop_map(|items| format!("[\n{}]", items.join(",\n"))),
        ]
    })
}

fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => value(),
        1 => prop::sample::select(vec!["{", "}", "[", "]", ",", "\"", "// x", "$ aws", "\"Instances\":", "\n"]).prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.join("\n"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn each_line_is_in_one_row(text in text()) {
        if let Some(report) = report(&text) {
            let found = rows_of_lines(&report, "k", &text);
            prop_assert!(found.is_ok(), "{:?} in {}", found, text);
        }
    }

    #[test]
    fn nothing_panics(text in "\\PC{0,200}", cut in 0usize..2000) {
        report(&text);
        let document = super::DOCUMENT;
        report(&document[..document.floor_char_boundary(cut)]);
        report(&document[document.floor_char_boundary(cut)..]);
    }
}

#[test]
fn the_time_grows_with_the_size() {
    for piece in [
        "{",
        "[",
        "}",
        "{\"a\":",
        "\"",
        "\"\n",
        "\\",
        "'",
        "@",
        "/*",
        "// a\n",
        "{\"Instances\": [",
        "{\"Listeners\": [{\"Port\": 1}]}\n",
        "{\"Attributes\": [{\"Key\": \"stickiness.enabled\", \"Value\": \"true\"}]}\n",
        "{\"TargetHealthDescriptions\": [{\"Target\": {\"Id\": \"a\"}}]}\n",
        "{\"TargetGroups\": [{\"TargetGroupArn\": \"a\", \"Port\": 1}]}\n",
        "{\"ListenerDescriptions\": [{\"Listener\": {\"LoadBalancerPort\": 1}}]}\n",
        "\"a\": 1, ",
        "é",
        "a\n",
        "{\n",
        ":",
        ",",
    ] {
        let text = piece.repeat((1 << 17) / piece.len());
        let start = Instant::now();
        report(&text);
        // Seconds without optimization, on a busy machine; what grows with the square takes minutes.
        println!("{piece:?} {:?}", start.elapsed());
        assert!(start.elapsed() < Duration::from_secs(20), "{piece:?}: {:?}", start.elapsed());
    }
}
