//! Reads nginx's configuration: `stream {}`, and what of `http {}` passes everything on.
//!
//! ```text
//! text ── text: what the parser misreads ──► nginx-lint-parser ── tree: statements ──► stream, http ──► services
//! ```
//!
//! Files that others include are read as what they are a part of: with the file that includes them, if that is given, too. What they
//! include themselves is not read.

mod dump;
mod health;
mod http;
mod known;
mod listen;
mod server;
mod stream;
mod target;
mod text;
mod tree;
mod upstream;
mod values;

#[cfg(test)]
mod tests;

use std::{collections::HashSet, sync::LazyLock};

use regex::Regex;

pub use known::known;
use known::{Becomes, Context};
use tree::Node;

use crate::{
    SyntaxError,
    job::Job,
    report::{At, FileId, Ledger},
};

/// A block that only nginx has, or a statement.
static WORDS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?mx) ^[\ \t]* (?:
            (?: stream | http | events | server ) \s* \{
          | upstream [\ \t]+ \S+ \s* \{
          | (?: listen | proxy_pass | worker_processes | load_module ) [\ \t]+ [^;\n{}]* ;
          | server [\ \t]+ \S+ (?: [\ \t]+ (?: weight | max_fails | fail_timeout | max_conns ) = \S+ | [\ \t]+ (?: backup | down | resolve ) )* \s* ;
        )",
    )
    .expect("this is a regular expression")
});

/// Whether text has a variable of nginx's own by this name (without `$`).
pub(crate) fn is_own_variable(name: &str) -> bool {
    known::variables::is_own(name)
}

/// Whether a text looks like one.
pub fn is_one(text: &str) -> bool {
    text.contains(';') && WORDS.is_match(text)
}

/// The files of a job that are nginx's: fragments among them are part of the others' `stream {}` or `http {}`.
#[derive(Default)]
pub struct Files(Vec<Vec<Node>>);

impl Files {
    /// Reads a file's statements.
    ///
    /// # Errors
    /// The text breaks the format's syntax.
    pub fn add(&mut self, text: &str, file: FileId, ledger: &mut Ledger) -> Result<(), SyntaxError> {
        self.0.push(tree::read(text, file, ledger)?);
        Ok(())
    }

    /// Makes services of all of them.
    pub fn finish(self, ledger: &mut Ledger, job: &mut Job) {
        let (mut streams, mut https) = (Blocks::default(), Blocks::default());
        for nodes in &self.0 {
            match nodes.first().map(|node| node.context) {
                Some(Context::Stream) => streams.fragment(nodes),
                Some(Context::Http) => https.fragment(nodes),
                _ => main(nodes, &mut streams, &mut https, ledger),
            }
        }
        streams.each(|nodes| stream::read(nodes, ledger, job));
        https.each(|nodes| http::read(nodes, ledger, job));
        // Of these more is said when places and times are fitted.
        let told: HashSet<At> = job
            .services
            .iter()
            .flat_map(|service| {
                service.binds.iter().map(|bind| bind.at).chain(service.idle.map(|idle| idle.at))
            })
            .collect();
        self.0.iter().for_each(|nodes| settle(nodes, &told, ledger));
    }
}

/// What is in the `stream {}` of the files, or in their `http {}`.
#[derive(Default)]
struct Blocks<'a> {
    nodes: Vec<&'a [Node]>,
    /// Some of it stands in no block: it is what an `include` takes into one.
    has_fragments: bool,
}

impl<'a> Blocks<'a> {
    fn fragment(&mut self, nodes: &'a [Node]) {
        self.nodes.push(nodes);
        self.has_fragments = true;
    }

    /// All as one block, if there are fragments; else one after the other.
    fn each(&self, mut read: impl FnMut(&[Node])) {
        if self.has_fragments && self.nodes.len() > 1 {
            read(&self.nodes.concat());
        } else {
            self.nodes.iter().for_each(|nodes| read(nodes));
        }
    }
}

fn main<'a>(nodes: &'a [Node], streams: &mut Blocks<'a>, https: &mut Blocks<'a>, ledger: &mut Ledger) {
    for node in nodes {
        match node.name.as_str() {
            "stream" if node.block.is_some() => {
                ledger.taken(node.at, "");
                streams.nodes.push(node.children());
            }
            "http" if node.block.is_some() => {
                ledger.taken(node.at, "");
                https.nodes.push(node.children());
            }
            "events" => {
                ledger.differs(
                    node.at,
                    "dtr-lb has no event loop for connections: they are forwarded in the kernel",
                );
                node.children().iter().for_each(|node| generic(node, ledger));
            }
            _ => generic(node, ledger),
        }
    }
}

/// Says what the tables say of a directive, and of what is in it.
fn generic(node: &Node, ledger: &mut Ledger) {
    match known::find(node.context, &node.name) {
        Some(Becomes::Read) if node.name == "include" => include(node, ledger),
        Some(becomes) => becomes.note(node.at, ledger),
        None => misplaced(node, ledger),
    }
}

/// Names of files that hold nothing that decides.
const HARMLESS: [&str; 9] = [
    "mime.types",
    "modules-enabled",
    "/modules/",
    "fastcgi_params",
    "fastcgi.conf",
    "proxy_params",
    "uwsgi_params",
    "scgi_params",
    "proxy_set_header",
];

fn include(node: &Node, ledger: &mut Ledger) {
    if !ledger.is_open(node.at) {
        return;
    }
    let file = node.word(0);
    if HARMLESS.iter().any(|name| file.contains(name)) {
        ledger.left_out(node.at, "this file is not read; by its name nothing in it concerns dtr-lb");
        return;
    }
    let given: Vec<_> =
        ledger.other_files(node.at).filter(|name| is_meant(file, name)).map(str::to_owned).collect();
    if given.is_empty() {
        ledger.left_out_that_decides(
            node.at,
            "included files are not read by themselves: give them as well, as in `dtr-lb import nginx.conf stream.d/*.conf` (`nginx -T` \
             prints the whole configuration, which can be imported, too)",
        );
    } else {
        ledger.taken(node.at, format!("as given: {}", given.join(", ")));
    }
}

/// Whether an `include` of this pattern takes in a file of this name. Directories are left out of it: a file may be given by
/// another path than nginx finds it by.
fn is_meant(pattern: &str, name: &str) -> bool {
    let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let (pattern, name) = (last(pattern), last(name));
    let escaped = regex::escape(&pattern).replace(r"\*", ".*").replace(r"\?", ".");
    Regex::new(&format!("^{escaped}$")).is_ok_and(|pattern| pattern.is_match(&name))
}

fn misplaced(node: &Node, ledger: &mut Ledger) {
    let Some(place) = known::elsewhere(&node.name).filter(|_| node.context != Context::Ignored) else {
        // The report says that dtr-lb does not know it.
        return;
    };
    let why = format!(
        "nginx does not start with this in {}: it belongs into {}. Nothing was made of it",
        node.context.name(),
        place.name()
    );
    match known::find(place, &node.name) {
        Some(Becomes::Differs(_) | Becomes::LeftOut(_)) => ledger.fault(node.at, why),
        _ => ledger.fault_that_decides(node.at, why),
    }
    tell_all(node.children(), "it is within a block that is in the wrong place", ledger);
}

/// Says of all that is in a block that nothing was made of it, where nothing else was said.
fn tell_all(nodes: &[Node], why: &str, ledger: &mut Ledger) {
    for node in nodes {
        if ledger.is_open(node.at) {
            ledger.left_out(node.at, why);
        }
        tell_all(node.children(), why, ledger);
    }
}

/// Of what is known, but that no service went by.
fn settle(nodes: &[Node], told: &HashSet<At>, ledger: &mut Ledger) {
    for node in nodes {
        let is_known = known::find(node.context, &node.name) == Some(Becomes::Read);
        if is_known && ledger.is_open(node.at) && !told.contains(&node.at) {
            let why = if node.name == "listen" {
                "no service is made of its server"
            } else {
                "no service goes by it"
            };
            ledger.left_out(node.at, why);
        }
        settle(node.children(), told, ledger);
    }
}
