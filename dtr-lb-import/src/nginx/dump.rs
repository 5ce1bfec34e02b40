//! What `nginx -T` prints: all files of a configuration, each behind a comment with its path.

use regex::Regex;

/// Before each file.
const MARK: &str = "# configuration file ";

/// Files behind these are a part of the last one.
const MOST: usize = 256;

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct File<'a> {
    path: &'a str,
    /// How many lines are before it.
    pub(super) line: usize,
    pub(super) text: &'a str,
}

/// Those that no `include` has named yet.
#[derive(Debug, Default)]
pub(super) struct Files<'a>(Vec<File<'a>>);

impl<'a> Files<'a> {
    /// The first file of a text, and the others.
    pub(super) fn of(text: &'a str) -> (File<'a>, Self) {
        let mut starts = vec![(0, "")];
        let mut offset = 0;
        for line in text.split_inclusive('\n') {
            if starts.len() <= MOST
                && let Some(path) = line.trim_end().strip_prefix(MARK).and_then(|path| path.strip_suffix(':'))
            {
                starts.push((offset, path));
            }
            offset += line.len();
        }
        // What stands before the first path belongs to the first file.
        if starts.len() > 1 {
            starts[1].0 = 0;
            starts.remove(0);
        }
        let mut files = Vec::new();
        let mut line = 0;
        for (index, (start, path)) in starts.iter().enumerate() {
            let end = starts.get(index + 1).map_or(text.len(), |(start, _)| *start);
            let text = &text[*start..end];
            files.push(File { path, line, text });
            line += text.matches('\n').count();
        }
        let first = files.remove(0);
        (first, Self(files))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that an `include` names, which may have `*` in it and begin where nginx's configuration is.
    pub(super) fn take(&mut self, pattern: &str) -> Vec<File<'a>> {
        let is_plain = !pattern.contains(['*', '?']);
        let plain = |file: &File<'_>| {
            file.path.strip_suffix(pattern).is_some_and(|before| before.is_empty() || before.ends_with('/'))
        };
        if is_plain && !self.0.iter().any(plain) {
            return Vec::new();
        }
        let pattern = regex::escape(pattern).replace("\\*", "[^/]*").replace("\\?", "[^/]");
        let Ok(pattern) = Regex::new(&format!("^(?:/.*/)?{pattern}$")) else { return Vec::new() };
        let (named, others) =
            std::mem::take(&mut self.0).into_iter().partition(|file| pattern.is_match(file.path));
        self.0 = others;
        named
    }

    /// One that none names.
    pub(super) fn next(&mut self) -> Option<File<'a>> {
        self.0.pop()
    }
}
