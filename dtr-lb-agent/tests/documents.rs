//! What the documents list is what the code has.

use dtr_lb_common::verdict::Verdict;

/// What an operator is told of each verdict.
const OPERATIONS: &str = include_str!("../../docs/operations.md");

/// The table below `## Verdicts` has each verdict once, in the order of the code, with what it means.
#[test]
fn each_verdict_is_described() {
    let section = OPERATIONS.split("\n## ").find(|section| section.starts_with("Verdicts\n"));
    let rows: Vec<Vec<&str>> = section
        .expect("docs/operations.md has a section `Verdicts`")
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let described: Vec<_> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
    let all: Vec<_> = Verdict::ALL.iter().map(|verdict| verdict.name()).collect();
    assert_eq!(described, all);
    for row in &rows {
        assert_eq!(row.len(), 3, "verdict, meaning, what to do: {row:?}");
        assert!(!row[1].is_empty(), "no meaning: {row:?}");
    }
}
