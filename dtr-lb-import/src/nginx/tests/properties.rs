use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::{
    Format, Given, Input, import,
    job::Job,
    nginx::{Files, is_one, known},
    report::{Ledger, Report},
    wrapping,
};

fn report(text: &str) -> Option<Report> {
    let mut ledger = Ledger::default();
    let file = ledger.file("a");
    let mut files = Files::default();
    files.add(text, file, &mut ledger).ok()?;
    files.finish(&mut ledger, &mut Job::default());
    Some(ledger.into_report())
}

/// Rows by the lines that they hold.
fn lines(report: &Report) -> Vec<(usize, usize)> {
    [&report.taken, &report.differs, &report.left_out, &report.faults]
        .into_iter()
        .flatten()
        .map(|row| (row.line, row.last_line.unwrap_or(row.line)))
        .collect()
}

/// Words of the format, and what may stand between them.
fn word() -> impl Strategy<Value = String> {
    let own = "stream http events server upstream location map geo listen proxy_pass proxy_timeout weight=2 backup down \
        10.0.0.1:80 [::]:443 a.example.com:80 443 udp ssl on off $a $ssl_preread_server_name ${a} default hash \
        $remote_addr allow deny all 10.0.0.0/8 return 301 https://$host health_check match=x interval=1s match send expect ~ \
        check type=http check_http_send include x_by_lua_block set if unix:/x http://a http://a/b / <X> 1-3 0-99999 é … ... {{ }} {% %} \
        { } ; ;; # \" ' \\ \\\" \n \t \r\n {2,3} ${ $$ ''";
    let own: Vec<String> =
        own.split(' ').map(|word| word.replace("\\n", "\n")).filter(|word| !word.is_empty()).collect();
    prop_oneof![8 => prop::sample::select(own), 1 => "\\PC{0,6}"]
}

fn directive(depth: u32) -> BoxedStrategy<String> {
    let names: Vec<&str> = known()
        .map(|(name, _)| name)
        .filter(|name| !name.contains(':') && !name.ends_with("_by_lua_block"))
        .collect();
    let name = prop_oneof![
        prop::sample::select(names),
        Just("server"),
        Just("upstream"),
        Just("listen"),
        Just("proxy_pass"),
        Just("whatever")
    ];
    let words = prop::collection::vec(
        prop::sample::select(vec![
            "a",
            "443",
            "10.0.0.1:80",
            "'x y'",
            "$a",
            "\"b\"",
            "on",
            "udp",
            "/",
            "weight=1",
            "unix:/x",
        ]),
        0..4,
    );
    let simple =
        (name.clone(), words.clone()).prop_map(|(name, words)| format!("{name} {};\n", words.join(" ")));
    if depth == 0 {
        return simple.boxed();
    }
    let block = prop_oneof![
        Just("stream"),
        Just("http"),
        Just("server"),
        Just("upstream"),
        Just("location"),
        Just("map"),
        Just("other")
    ];
    let block =
        (block, words, prop::collection::vec(directive(depth - 1), 0..6)).prop_map(|(name, words, inner)| {
            format!("{name} {} {{\n{}\n# a comment\n}}\n", words.join(" "), inner.concat())
        });
    prop_oneof![2 => simple, 1 => block].boxed()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn each_line_is_in_one_statement(text in prop::collection::vec(directive(3), 1..6).prop_map(|parts| parts.concat())) {
        let report = report(&text).expect("this is well-formed");
        let rows = lines(&report);
        for (index, line) in text.lines().enumerate() {
            let bare = line.trim();
            let count = rows.iter().filter(|(first, last)| (*first..=*last).contains(&(index + 1))).count();
            let is_none = bare.is_empty() || bare.starts_with('#') || bare == "}";
            if is_none {
                prop_assert!(count <= 1, "line {} is in {count} statements:\n{text}", index + 1);
            } else {
                prop_assert_eq!(count, 1, "line {}:\n{}", index + 1, &text);
            }
        }
    }

    #[test]
    fn any_text_is_read_or_refused(words in prop::collection::vec((word(), prop::bool::ANY), 0..80)) {
        let text: String = words.into_iter().flat_map(|(word, blank)| [word, if blank { " ".to_owned() } else { String::new() }]).collect();
        let _ = is_one(&text);
        if let Some(report) = report(&text) {
            let last = text.lines().count().max(1);
            for (first, end) in lines(&report) {
                prop_assert!(1 <= first && first <= end && end <= last, "{first}-{end} of {last}:\n{text}");
            }
        }
        let files = [Input { name: "a".to_owned(), text }];
        let _ = import(&files, &Given { from: vec![Format::Nginx], ..Given::default() }, &|_| true);
    }

    #[test]
    fn unwrapping_keeps_lines(words in prop::collection::vec((word(), prop::bool::ANY), 0..80)) {
        let text: String = words
            .into_iter()
            .flat_map(|(word, blank)| [word, if blank { "\n```\n".to_owned() } else { " ".to_owned() }])
            .collect();
        let mut ledger = Ledger::default();
        let file = ledger.file("a");
        if let Ok(parts) = wrapping::unwrap(&text, file, &[], &Format::of, &mut ledger) {
            let count = text.replace("\r\n", "\n").split('\n').count();
            for part in parts {
                prop_assert_eq!(part.text.split('\n').count(), count);
            }
        }
    }
}

/// A mebibyte of anything is read in a second by a release build; one for debugging gets less of it.
#[test]
fn large_texts_take_time_in_proportion() {
    let size = if cfg!(debug_assertions) { 1 << 16 } else { 1 << 20 };
    // The processors may be busy with something else.
    let most = Duration::from_secs(20);
    let units = [
        "{",
        "}",
        ";",
        "a ",
        "a{",
        "a;",
        "\"",
        "'",
        "a'b ",
        "\\\"",
        "${",
        "$a",
        "{{",
        "{%",
        "<%",
        "{#",
        "a {2} ",
        "#\n",
        "...\n",
        "\n",
        "```\n",
        "cat <<EOF\n",
        "a: |\n",
        "a: |\n  b\n",
        "x_by_lua_block {",
        "server 10.0.0.1:80;\n",
        "upstream a { server b:1; }\n",
        "server { listen 1; proxy_pass a; }\n",
        "listen 80\n",
        "“",
        "é",
        "map $a $b { c d; }\n",
        "docker run \\\n",
        "%{ if ",
        "${a{b",
        "$(a",
        "[...] x",
        ";[",
        "# configuration file /a/b:\ninclude b;\ninclude c*;\n",
        ";...",
        "a;{% for ",
    ];
    for unit in units {
        for head in ["", "stream {\n", "stream { server {\n", "stream { upstream x {\n"] {
            if !head.is_empty() && !unit.contains(';') {
                continue;
            }
            let text = format!("{head}{}", unit.repeat(size / unit.len()));
            let begin = Instant::now();
            let files = [Input { name: "a".to_owned(), text }];
            let _ = import(&files, &Given { from: vec![Format::Nginx], ..Given::default() }, &|_| true);
            let took = begin.elapsed();
            assert!(took < most, "{head:?} {unit:?}: {took:?}");
        }
    }
}

#[test]
fn others_texts_are_none() {
    let others = [
        "global\n    log /dev/log local0\nfrontend x\n    bind :443\n    default_backend y\nbackend y\n    server a 10.0.0.1:443 check\n",
        "vrrp_instance VI_1 {\n    state MASTER\n    virtual_ipaddress {\n        10.0.0.1\n    }\n}\nvirtual_server 10.0.0.1 443 {\n  real_server 10.0.0.2 443 {\n  }\n}\n",
        "{\n  \"LoadBalancerDescriptions\": [{ \"server\": {}, \"a\": \"b;c\" }]\n}\n",
        "hello; world",
        "",
    ];
    for text in others {
        assert!(!is_one(text), "{text}");
    }
    let own = [
        "stream { server { listen 1; proxy_pass a:1; } }",
        "http {\n  server {\n    location / { root /x; }\n  }\n}",
        "upstream dtr\n{\n server a:1;\n}",
        "server 10.0.0.1:80 weight=5;\nserver 10.0.0.2:80 backup;",
        "server {\n  listen 443;\n}",
    ];
    for text in own {
        assert!(is_one(text), "{text}");
    }
}
