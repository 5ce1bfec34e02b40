//! Reads HAProxy's configuration.
//!
//! ```text
//! text ── words, sections ──► proxies (defaults, then their own lines) ──► frontends × farms of servers ──► services
//!                                                     └── what nobody read: a table of keywords ──► ledger
//! ```

mod access;
mod acl;
mod bind;
mod check;
mod clients;
mod farm;
mod frontends;
mod keywords;
mod proxies;
mod sections;
mod server;
mod settings;
mod stick;
mod tell;
#[cfg(test)]
mod tests;
mod time;
mod tls;
mod words;

pub use self::keywords::known;
use self::{frontends::Reader, proxies::Proxies, sections::Kind, tell::Role};
use crate::{
    SyntaxError,
    job::{Job, Said},
    report::{FileId, Ledger},
};

/// Whether a text looks like one: a section's header in a line of its own, and a line behind it that such a section has.
pub fn is_one(text: &str) -> bool {
    const WORDS: [&str; 22] = [
        "bind",
        "server",
        "mode",
        "timeout",
        "balance",
        "default_backend",
        "use_backend",
        "option",
        "log",
        "maxconn",
        "stats",
        "acl",
        "default-server",
        "tcp-request",
        "http-request",
        "tcp-check",
        "http-check",
        "server-template",
        "stick",
        "stick-table",
        "daemon",
        "chroot",
    ];
    let mut headers = false;
    for line in text.split('\n') {
        let code = line.split('#').next().unwrap_or_default().trim();
        if code.ends_with([';', '{', '}']) {
            continue;
        }
        let mut words = code.split_whitespace();
        let first = words.next().unwrap_or_default();
        match (first, words.count()) {
            ("global", 0) | ("defaults", 0 | 1 | 3) | ("frontend" | "listen", 1..=3) | ("backend", 1 | 3) => {
                headers = true;
            }
            (word, 1..) | (word @ ("daemon" | "stats"), _) if headers && WORDS.contains(&word) => {
                return true;
            }
            _ => {}
        }
    }
    false
}

/// Reads a file into the job.
///
/// # Errors
/// There is no section in it.
pub fn read(text: &str, file: FileId, ledger: &mut Ledger, job: &mut Job) -> Result<(), SyntaxError> {
    let sections = sections::read(text, file, ledger);
    if !sections.iter().any(|section| !matches!(section.kind, Kind::Other(_))) {
        let why = "no section is in it (`global`, `defaults`, `frontend`, `backend`, `listen`)".to_owned();
        return Err(SyntaxError { line: 1, why });
    }
    let proxies = Proxies::read(&sections, ledger);
    let mut reader = Reader::new(&proxies);
    reader.read(ledger, job);
    for (proxy, _) in proxies.list.iter().zip(&reader.roles).filter(|(_, role)| matches!(role, Role::Pages)) {
        for line in sections[proxy.index].lines.iter().filter(|line| line.word(0) == "bind") {
            // What there is to say of the line is said as of all lines here.
            let binds = bind::read(line, &mut Ledger::default());
            let ports = binds.list.iter().map(|bind| *bind.value.ports.start());
            job.own_ports.extend(ports.map(|value| Said { value, at: line.at }));
        }
    }
    tell::tell(&sections, &proxies, &reader, ledger);
    Ok(())
}
