//! Where a value was written: from a byte offset to a line, or to the `--set` it came from.
//!
//! TOML values carry byte spans. Values of `--set` have no place in the file, so they get offsets past its end,
//! each its own: that keeps "where is this from?" one number for both kinds, and sorts the file's problems first.

use std::ops::Range;

use super::error::Place;

#[derive(Debug)]
pub(super) struct Source<'a> {
    name: &'a str,
    text: &'a str,
    /// Each override and the first offset that is its own, rising.
    overrides: Vec<(usize, &'a str)>,
    next: usize,
    /// Of a text that was made of options: that of each line. Empty if it is a file's.
    options: Vec<String>,
}

impl<'a> Source<'a> {
    pub(super) fn new(name: &'a str, text: &'a str) -> Self {
        // `text.len()` itself is a place in the file: "unexpected end".
        Self { name, text, overrides: Vec::new(), next: text.len() + 1, options: Vec::new() }
    }

    /// Of a text that was made of options, one for each line.
    pub(super) fn of_options(text: &'a str, options: Vec<String>) -> Self {
        Self { options, ..Self::new("the command line", text) }
    }

    /// From now on, [`Self::fresh`] spans belong to this `--set`. Returns an offset of its own as well.
    pub(super) fn begin_override(&mut self, item: &'a str) -> usize {
        self.overrides.push((self.next, item));
        self.fresh().start
    }

    /// A span that nothing else has.
    pub(super) fn fresh(&mut self) -> Range<usize> {
        let start = self.next;
        self.next += 1;
        start..self.next
    }

    pub(super) fn place(&self, at: usize) -> Place {
        if let Some((_, item)) = self.overrides.iter().rev().find(|(first, _)| *first <= at) {
            return Place::Override((*item).to_owned());
        }
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.matches('\n').count();
        if !self.options.is_empty() {
            let option = self.options.get(line).map_or(self.name, String::as_str);
            return Place::Option(option.to_owned());
        }
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        Place::File {
            name: self.name.to_owned(),
            line: line + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// The place for the middle of a sentence about another one: `line 7`, `--set vip=10.0.0.9`.
    pub(super) fn brief(&self, at: usize) -> String {
        match self.place(at) {
            Place::File { line, .. } => format!("line {line}"),
            Place::Override(item) => format!("--set {item}"),
            Place::Option(option) => option,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_become_lines_and_columns() {
        let text = "a = 1\nü = \"é\" # x\n\nb";
        let source = Source::new("f", text);
        let cases = [
            (0, 1, 1),
            (4, 1, 5),
            (5, 1, 6),
            (6, 2, 1),
            (text.find('#').unwrap(), 2, 9),
            (text.find('b').unwrap(), 4, 1),
            (text.len(), 4, 2),
        ];
        for (at, line, column) in cases {
            assert_eq!(source.place(at), Place::File { name: "f".into(), line, column }, "offset {at}");
        }
        // Inside a character: still an answer, not a panic.
        assert!(matches!(source.place(7), Place::File { .. }));
    }

    #[test]
    fn offsets_past_the_end_belong_to_the_override_that_made_them() {
        let mut source = Source::new("f", "x");
        let first = source.begin_override("a=1");
        let more = source.fresh().start;
        let second = source.begin_override("b=2");
        assert_eq!(source.place(first), Place::Override("a=1".into()));
        assert_eq!(source.place(more), Place::Override("a=1".into()));
        assert_eq!(source.place(second), Place::Override("b=2".into()));
        assert_eq!(source.place(1), Place::File { name: "f".into(), line: 1, column: 2 });
        assert_eq!(source.brief(second), "--set b=2");
        assert_eq!(source.brief(0), "line 1");
    }
}
