//! Reads keepalived.conf: the VIPs that VRRP moves, and the `virtual_server` blocks of IPVS.
//!
//! ```text
//! text ── lines ──► units (one statement each) ── expand ──► lines as keepalived sees them ── tree ──► blocks
//! blocks of all files ── finish ──► virtual_server, real_server, check ──► Service
//! ```
//!
//! A file may use groups and definitions of another that includes it, so blocks are gathered, and made sense of when all files are read.

mod check;
mod directives;
mod expand;
mod group;
mod http;
mod lines;
mod real_server;
mod settings;
#[cfg(test)]
mod tests;
mod tree;
mod virtual_server;
mod vrrp;
mod words;

use crate::{
    SyntaxError,
    job::Job,
    report::{FileId, Ledger},
};

pub use directives::known;

/// What is read, until all files are.
#[derive(Debug, Default)]
pub struct Gathered {
    roots: Vec<tree::Node>,
    definitions: expand::Definitions,
}

/// Words that begin a line of keepalived.conf, and of no other configuration that is read here.
const SIGNS: [&str; 12] = [
    "bfd_instance",
    "global_defs",
    "real_server",
    "static_ipaddress",
    "static_routes",
    "virtual_ipaddress",
    "virtual_server",
    "virtual_server_group",
    "vrrp_instance",
    "vrrp_script",
    "vrrp_sync_group",
    "vrrp_track_process",
];

/// Whether a text looks like one.
pub fn is_one(text: &str) -> bool {
    text.lines().any(|line| {
        let mut words = line.split_whitespace();
        let mut first = words.next().unwrap_or_default();
        if first.starts_with('@') {
            first = words.next().unwrap_or_default();
        }
        let bare = first.strip_suffix('{').unwrap_or(first);
        // A directive of nginx ends in a semicolon, and prose goes on.
        SIGNS.contains(&bare) && words.count() <= 3 && !line.trim_end().ends_with([';', ':', '=', '.', ','])
    })
}

/// Reads a file. [`finish`] brings it into the job.
///
/// # Errors
/// None: keepalived itself reads what it can, and tells the rest.
pub fn read(text: &str, file: FileId, ledger: &mut Ledger, job: &mut Job) -> Result<(), SyntaxError> {
    let units = lines::units(text, file, ledger);
    let gathered = &mut job.keepalived;
    let roots = tree::of(&units, &mut gathered.definitions, ledger);
    gathered.roots.extend(roots);
    Ok(())
}

/// Makes services of all that was read.
pub fn finish(job: &mut Job, ledger: &mut Ledger) {
    let Gathered { roots, .. } = std::mem::take(&mut job.keepalived);
    let shared = virtual_server::Shared::of(&roots, ledger);
    let balances = roots.iter().any(|node| node.name == "virtual_server");
    for node in &roots {
        match node.name.as_str() {
            "virtual_server" => job.services.extend(virtual_server::read(node, &shared, ledger)),
            "virtual_server_group" => group::tell_unused(node, &shared.groups, ledger),
            _ => vrrp::read(node, balances, job, ledger),
        }
    }
}
