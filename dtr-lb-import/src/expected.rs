//! What tests of readers expect.

use crate::{
    Format, Given, Import, Input, import,
    report::{Report, Row},
};

/// Reads files as one job.
pub(crate) fn read(files: &[(&str, &str)], given: &Given) -> Import {
    let files: Vec<_> = files
        .iter()
        .map(|(name, text)| Input { name: (*name).to_owned(), text: (*text).to_owned() })
        .collect();
    import(&files, given, &|_| true).unwrap_or_else(|error| panic!("{error}"))
}

/// Whatever a text is, what is made of it is TOML.
pub(crate) fn is_toml(format: Format, text: &str) {
    let given = Given { from: vec![format], ..Given::default() };
    let file = Input { name: "k".to_owned(), text: text.to_owned() };
    if let Ok(import) = import(&[file], &given, &|_| true) {
        let parsed = import.config.parse::<toml_edit::DocumentMut>();
        assert!(parsed.is_ok(), "{parsed:?} of {text}");
    }
}

/// A config without its comments.
pub(crate) fn bare(config: &str) -> String {
    let code = |line: &str| line.split("  # ").next().unwrap_or_default().trim().to_owned();
    config
        .lines()
        .map(code)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Holds what files of one format become against a config without comments, and rows as `list line part-of-why`, where the list is one of
/// `taken`, `differs`, `out`, `fault`, with `!` behind it if it decides. What decides has to be among them.
pub(crate) fn check(format: Format, files: &[(&str, &str)], config: &str, rows: &[&str]) {
    for (name, text) in files {
        assert_eq!(Format::of(text), Some(format), "{name}");
    }
    let import = read(files, &Given::default());
    let expected: Vec<_> = config.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(bare(&import.config), expected.join("\n"), "{}", shown(&import.report));
    hold(&import.report, rows);
    for (name, text) in files {
        accounted(&import.report, name, text);
    }
}

fn lists(report: &Report) -> impl Iterator<Item = (&'static str, &Row)> {
    let Report { taken, differs, left_out, faults, decides: _ } = report;
    [("taken", taken), ("differs", differs), ("out", left_out), ("fault", faults)]
        .into_iter()
        .flat_map(|(name, rows)| rows.iter().map(move |row| (name, row)))
}

/// Holds the rows of a report against those that are expected.
pub(crate) fn hold(report: &Report, expected: &[&str]) {
    let mut decides = Vec::new();
    for row in expected {
        let mut words = row.splitn(3, ' ');
        let (list, line, part) =
            (words.next().unwrap(), words.next().unwrap().parse::<usize>().unwrap(), words.next().unwrap());
        let (list, decisive) = list.strip_suffix('!').map_or((list, false), |list| (list, true));
        let found =
            lists(report).find(|(name, row)| *name == list && row.line == line && row.why.contains(part));
        let Some((_, found)) = found else { panic!("no {row:?} in\n{}", shown(report)) };
        assert_eq!(found.decides, decisive, "{found:?}");
        decides.extend(decisive.then_some(line));
    }
    for (_, row) in lists(report).filter(|(_, row)| row.decides) {
        assert!(decides.contains(&row.line), "it decides: {row:?}");
    }
    assert_eq!(report.decides, !decides.is_empty());
}

/// The rows, but those that were taken as they are.
fn shown(report: &Report) -> String {
    let rows = lists(report).filter(|(list, row)| *list != "taken" || !row.why.is_empty());
    let show = |(list, row): (&str, &Row)| {
        let decides = if row.decides { "!" } else { "" };
        format!("{list}{decides} {}:{} {} | {}\n", row.file, row.line, row.what, row.why)
    };
    rows.map(show).collect()
}

/// Each line that says something is in one row, and no other is in more.
pub(crate) fn accounted(report: &Report, file: &str, text: &str) {
    if let Err((line, count)) = rows_of_lines(report, file, text) {
        panic!("{file}:{line} is in {count} rows: {:?}", text.lines().nth(line - 1));
    }
}

/// The first line that is in more or fewer rows than it should be.
pub(crate) fn rows_of_lines(report: &Report, file: &str, text: &str) -> Result<(), (usize, usize)> {
    let mut counts = vec![0usize; text.lines().count() + 2];
    for (_, row) in lists(report).filter(|(_, row)| row.file == file) {
        for count in &mut counts[row.line..=row.last_line.unwrap_or(row.line)] {
            *count += 1;
        }
    }
    for (index, line) in text.lines().enumerate() {
        let count = counts[index + 1];
        let line = line.trim();
        let code = line.split(['#', '!']).next().unwrap_or_default();
        let says_nothing =
            line.starts_with("//") || code.chars().all(|c| "}],".contains(c) || c.is_whitespace());
        if count > 1 || (count == 0 && !says_nothing) {
            return Err((index + 1, count));
        }
    }
    Ok(())
}
