//! Whole configurations, and texts at random.

mod http;
mod properties;
mod stream;

use crate::{Given, Import, Input, import};

/// Reads a text, with a VIP given, and looks for what is expected: `config|...`, or a row of the report: `taken 3|...`,
/// `differs 3|...`, `left 3|...`, `fault 3|...`, of which `!` behind the line says that it decides. The text behind `|` is a part
/// of the config or of the reason. Without `!` a row does not decide.
#[track_caller]
fn expect(text: &str, expected: &[&str]) -> Import {
    let given = Given { vips: vec!["10.0.0.100".parse().unwrap()], ..Given::default() };
    let files = [Input { name: "nginx.conf".to_owned(), text: text.to_owned() }];
    let import = import(&files, &given, &|_| true).unwrap_or_else(|error| panic!("{error}"));
    let report = &import.report;
    for line in expected {
        let (place, part) = line.split_once('|').unwrap();
        let holds = if place == "config" {
            import.config.contains(part)
        } else {
            let (list, number) = place.split_once(' ').unwrap();
            let (number, decides) =
                (number.trim_end_matches('!').parse::<usize>().unwrap(), number.ends_with('!'));
            let rows = match list {
                "taken" => &report.taken,
                "differs" => &report.differs,
                "left" => &report.left_out,
                "fault" => &report.faults,
                _ => panic!("{list}"),
            };
            rows.iter().any(|row| row.line == number && row.decides == decides && row.why.contains(part))
        };
        assert!(holds, "{line}\n{}\n{report:#?}", import.config);
    }
    assert_eq!(
        report.decides,
        expected.iter().any(|line| line.split('|').next().unwrap().ends_with('!')),
        "{report:#?}"
    );
    import
}

#[test]
fn an_upstream_may_stand_in_another_file_than_its_server() {
    let given = Given { vips: vec!["10.0.0.100".parse().unwrap()], ..Given::default() };
    let input = |name: &str, text: &str| Input { name: name.to_owned(), text: text.to_owned() };
    let whole = input(
        "nginx.conf",
        "events {}\nstream {\n  include /etc/nginx/stream.d/*.conf;\n  proxy_timeout 10m;\n  server {\n    listen 443;\n    proxy_pass dtr;\n  }\n}\n",
    );
    let upstream =
        input("stream.d/dtr.conf", "upstream dtr {\n  server 10.0.0.11:443;\n  server 10.0.0.12:443;\n}\n");
    for files in [[whole.clone(), upstream.clone()], [upstream.clone(), whole.clone()]] {
        let import = import(&files, &given, &|_| true).unwrap_or_else(|error| panic!("{error}"));
        assert!(import.config.contains("10.0.0.12"), "{}", import.config);
        assert!(!import.report.decides, "{:#?}", import.report);
    }
    // Two that are whole by themselves are two nginx: the one does not see the other's upstream.
    let other = input("other.conf", "stream {\n  upstream dtr {\n    server 10.0.0.11:443;\n  }\n}\n");
    let import = import(&[whole, other], &given, &|_| true);
    assert!(import.is_err(), "{import:#?}");
}
