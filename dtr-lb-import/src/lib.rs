//! Reads the configurations of other load balancers (nginx's `stream`, HAProxy, keepalived, AWS's ELB and NLB), and writes dtr-lb's
//! that does the same job, with a report of what became of each statement.
//!
//! ```text
//! files ── wrapping ──► a reader for each format ──► Job ── faults, draft ──► config (TOML)
//!                               └─────────► Ledger ◄──────────┘        └──► Report
//! ```
//!
//! Nothing here touches the host, or a network: what a file says is all there is.

use std::{net::IpAddr, path::Path};

pub mod access;
pub mod draft;
pub mod elb;
#[cfg(test)]
mod expected;
pub mod faults;
pub mod haproxy;
pub mod job;
pub mod keepalived;
pub mod nginx;
pub mod outcome;
pub mod report;
pub mod wrapping;
pub mod write;

use job::Job;
use report::{Ledger, Report};

/// What a file is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    Nginx,
    Haproxy,
    Keepalived,
    Elb,
}

impl Format {
    pub const ALL: [Self; 4] = [Self::Nginx, Self::Haproxy, Self::Keepalived, Self::Elb];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Keepalived => "keepalived",
            Self::Elb => "elb",
        }
    }

    /// What a text without wrapping is written in, by its words.
    pub fn of(text: &str) -> Option<Self> {
        let is = |format: &Self| match format {
            Self::Elb => elb::is_one(text),
            Self::Keepalived => keepalived::is_one(text),
            Self::Haproxy => haproxy::is_one(text),
            Self::Nginx => nginx::is_one(text),
        };
        // What can be told for certain comes first.
        [Self::Elb, Self::Keepalived, Self::Nginx, Self::Haproxy].into_iter().find(is)
    }
}

/// A file to be read.
#[derive(Clone, Debug)]
pub struct Input {
    /// As it is named in the report.
    pub name: String,
    pub text: String,
}

/// What the files do not say.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// The formats that files may have; empty: any.
    pub from: Vec<Format>,
    /// Where clients connect, for services that listen at every address of their host.
    pub vips: Vec<IpAddr>,
    /// Addresses of placeholders, by what stands in the file; an empty name is the next one that has none.
    pub replicas: Vec<(String, IpAddr)>,
}

/// dtr-lb's config, and what became of the original.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// TOML. It is valid wherever its CA files are there.
    pub config: String,
    pub report: Report,
}

/// Why nothing could be made of the files.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error(
        "{name}: neither nginx's `stream`, nor haproxy.cfg, nor keepalived.conf, nor JSON of AWS's load balancers{}; \
         `--from` says which it is",
        if *.restricted { ", of those that --from allows" } else { "" }
    )]
    Unknown { name: String, restricted: bool },
    #[error("{name}:{line}: {format} does not read this: {why}", format = .format.name())]
    Syntax { name: String, line: usize, format: Format, why: String },
    #[error("{name}: configs of several formats are in it ({blocks}); `--from` says which one to take")]
    Several { name: String, blocks: String },
    /// `why`: a line for each statement that was left out and decides.
    #[error("{names}: no service with a server in it; nothing to balance{why}")]
    Nothing { names: String, why: String },
}

/// A mistake in a file's syntax, found by a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// Counts from 1.
    pub line: usize,
    pub why: String,
}

/// Reads the files as one job. `exists` says whether this host has a file, of which a check needs the CA.
///
/// # Errors
/// A file is in none of the formats, or there is nothing to balance in all of them.
pub fn import(files: &[Input], given: &Given, exists: &dyn Fn(&Path) -> bool) -> Result<Import, Unreadable> {
    let mut ledger = Ledger::default();
    let mut job = Job::default();
    let mut nginx = nginx::Files::default();
    for Input { name, text } in files {
        let file = ledger.file(name);
        let parts = wrapping::unwrap(text, file, &given.from, &Format::of, &mut ledger)
            .map_err(|several| Unreadable::Several { name: name.clone(), blocks: several.to_string() })?;
        for part in parts {
            read(name, &part, given, file, &mut ledger, (&mut job, &mut nginx))?;
        }
    }
    // What several files say together.
    nginx.finish(&mut ledger, &mut job);
    keepalived::finish(&mut job, &mut ledger);
    elb::finish(&mut job, &mut ledger);
    faults::find(&job, &mut ledger);
    let draft = draft::draft(&job, given, exists, &mut ledger);
    if draft.services.is_empty() {
        let names = files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(Unreadable::Nothing { names, why: reasons(ledger.into_report()) });
    }
    let config = write::write(&draft, &ledger);
    Ok(Import { config, report: ledger.into_report() })
}

/// Reads one config of a file.
fn read(
    name: &str,
    part: &wrapping::Part,
    given: &Given,
    file: report::FileId,
    ledger: &mut Ledger,
    (job, nginx): (&mut Job, &mut nginx::Files),
) -> Result<(), Unreadable> {
    let allowed = |format: &Format| given.from.is_empty() || given.from.contains(format);
    let format = match &given.from[..] {
        [only] => Some(*only),
        _ => part.format.or_else(|| Format::of(&part.text)).filter(allowed),
    };
    let restricted = !given.from.is_empty();
    let format = format.ok_or_else(|| Unreadable::Unknown { name: name.to_owned(), restricted })?;
    let read = match format {
        Format::Nginx => nginx.add(&part.text, file, ledger),
        Format::Haproxy => haproxy::read(&part.text, file, ledger, job),
        Format::Keepalived => keepalived::read(&part.text, file, ledger, job),
        Format::Elb => elb::read(&part.text, file, ledger, job),
    };
    read.map_err(|SyntaxError { line, why }| Unreadable::Syntax { name: name.to_owned(), line, format, why })
}

/// What was left out that decides, for a job of which nothing is left.
fn reasons(report: Report) -> String {
    const MOST: usize = 8;
    let rows: Vec<_> = report.faults.into_iter().chain(report.left_out).filter(|row| row.decides).collect();
    let mut text = String::new();
    for row in rows.iter().take(MOST) {
        text.push_str(&format!("\n  {}:{}: {}: {}", row.file, row.line, row.what, row.why));
    }
    if rows.len() > MOST {
        text.push_str(&format!("\n  and {} more", rows.len() - MOST));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{elb, haproxy, keepalived, nginx};

    /// The table of docs/import.md.
    #[test]
    fn the_documentation_counts_what_is_known() {
        fn count<N>(known: impl Iterator<Item = (N, &'static str)>) -> [usize; 3] {
            let lists: Vec<_> = known.map(|(_, list)| list).collect();
            ["taken", "differs", "left out"].map(|list| lists.iter().filter(|other| **other == list).count())
        }
        let text = include_str!("../../docs/import.md");
        for (name, [taken, differs, left_out]) in [
            ("nginx", count(nginx::known())),
            ("HAProxy", count(haproxy::known())),
            ("keepalived", count(keepalived::known())),
            ("AWS", count(elb::known())),
        ] {
            let row = format!("| {name} | {taken} | {differs} | {left_out} |");
            assert!(text.contains(&row), "docs/import.md has not: {row}");
        }
    }
}
