//! Whole configurations, and what comes of them.

mod access;
mod checks;
mod databases;
mod document;
mod forms;
mod http;
mod kubernetes;
mod properties;
mod registries;

use crate::{
    Format, Given, Import, Input,
    haproxy::is_one,
    import,
    report::{Report, Row},
};

/// A list of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum List {
    Taken,
    Differs,
    LeftOut,
    /// Left out, or a fault, that decides who is served.
    Decides,
    Fault,
}
use List::{Decides, Differs, Fault, LeftOut, Taken};

/// A configuration, and what is expected of it.
struct Case {
    text: &'static str,
    /// Lines of the config.
    config: &'static [&'static str],
    /// What is not in it.
    not: &'static [&'static str],
    /// Where a line stands, and what is among the reasons.
    rows: &'static [(usize, List, &'static str)],
    decides: bool,
}

fn of(text: &str) -> Import {
    let input = Input { name: "haproxy.cfg".to_owned(), text: text.to_owned() };
    let given = Given { vips: vec!["10.0.0.100".parse().unwrap()], ..Given::default() };
    import(&[input], &given, &|_| true).unwrap()
}

fn row(report: &Report, line: usize) -> (List, &Row) {
    let lists = [
        (Taken, &report.taken),
        (Differs, &report.differs),
        (LeftOut, &report.left_out),
        (Fault, &report.faults),
    ];
    let mut rows = lists
        .into_iter()
        .flat_map(|(list, rows)| rows.iter().map(move |row| (list, row)))
        .filter(|(_, row)| row.line == line);
    let row = rows.next().unwrap_or_else(|| panic!("line {line} is in no list"));
    assert!(rows.next().is_none(), "line {line} is in two lists");
    row
}

fn check(case: &Case) {
    // The first line is empty, so that the text stands as in a file.
    let text = case.text.strip_prefix('\n').unwrap_or(case.text);
    assert!(is_one(text));
    assert_eq!(Format::of(text), Some(Format::Haproxy));
    let Import { config, report } = of(text);
    let lines: Vec<_> = config.lines().map(|line| line.split("  # ").next().unwrap_or(line)).collect();
    for line in case.config {
        assert!(lines.contains(line), "{line} is not in\n{config}");
    }
    for part in case.not {
        assert!(!config.contains(part), "{part} is in\n{config}");
    }
    for (line, list, why) in case.rows {
        let (is, row) = row(&report, *line);
        let fits = is == *list || (*list == Decides && row.decides);
        assert!(fits, "line {line} is in {is:?}, not {list:?}: {row:?}");
        assert!(row.why.contains(why), "line {line}: {:?} has no {why:?}", row.why);
    }
    let deciding = || {
        let all = [&report.taken, &report.differs, &report.left_out, &report.faults].into_iter().flatten();
        all.filter(|row| row.decides).collect::<Vec<_>>()
    };
    assert_eq!(report.decides, case.decides, "{:#?}", deciding());
}
