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
