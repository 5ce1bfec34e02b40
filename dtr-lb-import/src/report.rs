//! What becomes of each statement of the files that are read.
//!
//! A reader enters every statement of its file in a [`Ledger`], and says of each what was made of it. At the end each stands in one
//! list of the [`Report`]: the gravest that was said of it, with all that was said as the reason. A statement that nothing was said
//! of was left out.

use serde::Serialize;

/// A file, by its place among those that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId(usize);

/// A statement in a [`Ledger`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct At(usize);

/// Where a row stands in the report, from the least grave on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum List {
    Taken,
    Differs,
    LeftOut,
    Faults,
}

#[derive(Debug)]
struct Note {
    list: List,
    why: String,
    decides: bool,
}

#[derive(Debug)]
struct Statement {
    file: FileId,
    line: usize,
    last_line: usize,
    text: String,
    notes: Vec<Note>,
}

/// The statements of all files, and what was said of them.
#[derive(Debug, Default)]
pub struct Ledger {
    files: Vec<String>,
    statements: Vec<Statement>,
}

impl Ledger {
    /// Begins a file of this name.
    pub fn file(&mut self, name: &str) -> FileId {
        self.files.push(name.to_owned());
        FileId(self.files.len() - 1)
    }

    /// The names of the files other than the one in which this statement stands.
    pub fn other_files(&self, at: At) -> impl Iterator<Item = &str> {
        let own = self.statements[at.0].file;
        self.files.iter().enumerate().filter(move |(file, _)| *file != own.0).map(|(_, name)| name.as_str())
    }

    /// Enters a statement that stands on these lines, which count from 1.
    pub fn statement(&mut self, file: FileId, lines: (usize, usize), text: &str) -> At {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        self.statements.push(Statement {
            file,
            line: lines.0,
            last_line: lines.1.max(lines.0),
            text,
            notes: Vec::new(),
        });
        At(self.statements.len() - 1)
    }

    /// It does the same in dtr-lb. `why` may be empty; else it says by what.
    pub fn taken(&mut self, at: At, why: impl Into<String>) {
        self.note(at, List::Taken, why.into(), false);
    }

    /// dtr-lb does it in another way, with this consequence; or does not have to.
    pub fn differs(&mut self, at: At, why: impl Into<String>) {
        self.note(at, List::Differs, why.into(), false);
    }

    /// Nothing was made of it, and nobody is served or let in otherwise for that.
    pub fn left_out(&mut self, at: At, why: impl Into<String>) {
        self.note(at, List::LeftOut, why.into(), false);
    }

    /// Nothing was made of it, though it decides who is served or who is let in.
    pub fn left_out_that_decides(&mut self, at: At, why: impl Into<String>) {
        self.note(at, List::LeftOut, why.into(), true);
    }

    /// It is wrong in the original.
    pub fn fault(&mut self, at: At, why: impl Into<String>) {
        self.note(at, List::Faults, why.into(), false);
    }

    /// It is wrong in the original, and who is served depends on how that is put right.
    pub fn fault_that_decides(&mut self, at: At, why: impl Into<String>) {
        self.note(at, List::Faults, why.into(), true);
    }

    fn note(&mut self, At(at): At, list: List, why: String, decides: bool) {
        if let Some(statement) = self.statements.get_mut(at) {
            let notes = &mut statement.notes;
            match notes.iter_mut().find(|note| note.list == list && note.why == why) {
                Some(same) => same.decides |= decides,
                None => notes.push(Note { list, why, decides }),
            }
        }
    }

    /// `file:line` of a statement.
    pub fn place(&self, At(at): At) -> String {
        self.statements.get(at).map_or_else(String::new, |statement| {
            format!("{}:{}", self.files[statement.file.0], statement.line)
        })
    }

    /// Whether nothing was said of a statement yet.
    pub fn is_open(&self, At(at): At) -> bool {
        self.statements.get(at).is_some_and(|statement| statement.notes.is_empty())
    }

    /// All statements, each in one list, in the order of the files.
    pub fn into_report(mut self) -> Report {
        let mut report = Report::default();
        self.statements.sort_by_key(|statement| (statement.file.0, statement.line));
        for Statement { file, line, last_line, text, mut notes } in self.statements {
            if notes.is_empty() {
                let why = "dtr-lb does not know it; nothing was made of it".to_owned();
                notes.push(Note { list: List::LeftOut, why, decides: true });
            }
            notes.sort_by_key(|note| std::cmp::Reverse(note.list));
            let list = match notes[0].list {
                List::Taken => &mut report.taken,
                List::Differs => &mut report.differs,
                List::LeftOut => &mut report.left_out,
                List::Faults => &mut report.faults,
            };
            report.decides |= notes.iter().any(|note| note.decides);
            let reasons: Vec<_> =
                notes.iter().map(|note| note.why.as_str()).filter(|why| !why.is_empty()).collect();
            list.push(Row {
                file: self.files[file.0].clone(),
                line,
                last_line: (last_line > line).then_some(last_line),
                what: text,
                why: reasons.join("; "),
                decides: notes.iter().any(|note| note.decides),
            });
        }
        report
    }
}

/// What becomes of a statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// As it was named.
    pub file: String,
    /// Counts from 1.
    pub line: usize,
    /// Of a statement of several lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_line: Option<usize>,
    /// The statement, on one line.
    pub what: String,
    /// The consequence, and what to do; empty where it was taken as it is.
    pub why: String,
    /// Whether who is served or who is let in depends on it, and dtr-lb does not do as it says.
    pub decides: bool,
}

/// What becomes of all statements: each is in one list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Does the same in dtr-lb.
    pub taken: Vec<Row>,
    /// Behaves otherwise.
    pub differs: Vec<Row>,
    /// Nothing was made of it.
    pub left_out: Vec<Row>,
    /// Wrong in the original.
    pub faults: Vec<Row>,
    /// Whether something was not taken over that decides who is served or who is let in.
    #[serde(skip)]
    pub decides: bool,
}

impl Report {
    /// The lists for a terminal: what is wrong and what is missing comes last, where it is seen. Rows that decide who is served or
    /// who is let in are marked `!`.
    pub fn text(&self) -> String {
        let lists = [
            ("taken", &self.taken),
            ("differs", &self.differs),
            ("left out", &self.left_out),
            ("faults", &self.faults),
        ];
        let mut text = String::new();
        for (name, rows) in lists {
            text.push_str(&format!("{name}: {}\n", rows.len()));
            for row in rows {
                let mark = if row.decides { '!' } else { ' ' };
                text.push_str(&format!("{mark} {}:{}  {}\n", row.file, row.line, shortened(&row.what)));
                if !row.why.is_empty() {
                    text.push_str(&format!("      {}\n", row.why));
                }
            }
        }
        text
    }
}

/// A statement of many words is known by its first ones.
fn shortened(what: &str) -> String {
    const MOST: usize = 100;
    // What would change a terminal is not shown.
    let mut text: String = what.chars().filter(|c| !c.is_control()).take(MOST).collect();
    if what.chars().count() > MOST {
        text.push_str(" ...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_in_one_list_with_all_that_was_said_of_it() {
        let mut ledger = Ledger::default();
        let file = ledger.file("a.conf");
        let one = ledger.statement(file, (3, 4), "server  10.0.0.1:80\n  weight=3;");
        let two = ledger.statement(file, (1, 1), "worker_processes 2;");
        let three = ledger.statement(file, (9, 9), "whatever;");
        ledger.taken(one, "");
        ledger.fault(one, "it is there twice");
        ledger.differs(one, "its weight is 30");
        ledger.left_out(two, "there are no worker processes");
        assert_eq!(ledger.place(one), "a.conf:3");
        assert!(ledger.is_open(three) && !ledger.is_open(two));
        let report = ledger.into_report();
        assert!(report.taken.is_empty() && report.differs.is_empty());
        let [fault] = &report.faults[..] else { panic!("{report:?}") };
        assert_eq!((fault.line, fault.last_line), (3, Some(4)));
        assert_eq!(fault.what, "server 10.0.0.1:80 weight=3;");
        assert_eq!(fault.why, "it is there twice; its weight is 30");
        let lines: Vec<_> = report.left_out.iter().map(|row| (row.line, row.decides)).collect();
        assert_eq!(lines, [(1, false), (9, true)]);
        assert!(report.decides);
    }
}
