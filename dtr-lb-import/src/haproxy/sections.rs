//! From a text to sections of statements. Each of its lines is a statement, but for empty ones and comments.

use super::words::{Environment, Split, split};
use crate::report::{At, FileId, Ledger};

/// A longer line is none that somebody wrote.
const LONGEST_LINE: usize = 8 * 1024;

/// One statement.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) at: At,
    /// Without `no`; at least one.
    pub(super) words: Vec<String>,
    /// `no` stands in front of it.
    pub(super) negated: bool,
}

impl Line {
    /// The word at this place, or an empty one.
    pub(super) fn word(&self, index: usize) -> &str {
        self.words.get(index).map_or("", String::as_str)
    }

    /// The words from this place on.
    pub(super) fn from(&self, index: usize) -> &[String] {
        self.words.get(index..).unwrap_or_default()
    }
}

/// What a section is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Global,
    Defaults,
    Frontend,
    Backend,
    Listen,
    /// None of them is about TCP services.
    Other(&'static OtherSection),
}

/// A section of which nothing is made.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OtherSection {
    pub(super) name: &'static str,
    pub(super) why: &'static str,
    /// It does something else in dtr-lb, or need not be done.
    pub(super) differs: bool,
    pub(super) decides: bool,
}

const fn other(name: &'static str, why: &'static str, differs: bool, decides: bool) -> OtherSection {
    OtherSection { name, why, differs, decides }
}

/// All of them.
pub(super) const OTHERS: &[OtherSection] = &[
    other("peers", "balancers that stand in for each other share their connections by [ha]", true, false),
    other("resolvers", "dtr-lb asks the host's resolver, again when a record's TTL is over", true, false),
    other(
        "userlist",
        "dtr-lb asks clients for no password; a rule that does is told where it stands",
        false,
        false,
    ),
    other("mailers", "dtr-lb sends no mail; alert on the metrics, or follow `dtr-lb events`", false, false),
    other("cache", "dtr-lb keeps no answers", false, false),
    other("program", "dtr-lb starts no other programs: give this one a unit of systemd", false, false),
    other("http-errors", "dtr-lb sends no pages: where no replica is up, clients are refused", false, false),
    other("ring", "there are no log rings: the agent logs to its journal", true, false),
    other(
        "log-forward",
        "dtr-lb balances TCP, and passes on no syslog: keep HAProxy or a syslog daemon for that",
        false,
        true,
    ),
    other(
        "log-profile",
        "no line is logged for a connection; `dtr-lb flows` shows those that there are, and /metrics counts them",
        true,
        false,
    ),
    other(
        "fcgi-app",
        "dtr-lb speaks no FastCGI: the servers have to speak to clients themselves",
        false,
        false,
    ),
    other("crt-store", "dtr-lb has no certificates: TLS ends at the servers", false, false),
    other("crt-list", "dtr-lb has no certificates: TLS ends at the servers", false, false),
    other("acme", "dtr-lb has no certificates: the servers get theirs", false, false),
    other("traces", "`dtr-lb trace` shows packets", true, false),
    other(
        "healthcheck",
        "named health checks are not read: write what they ask into [service.probe]",
        false,
        true,
    ),
];

/// A section, with its statements.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) kind: Kind,
    pub(super) at: At,
    pub(super) name: String,
    /// The `defaults` that it names.
    pub(super) from: Option<String>,
    /// `listen NAME ADDRESS`, as it once was written.
    pub(super) address: Option<String>,
    pub(super) lines: Vec<Line>,
}

impl Section {
    fn read(kind: Kind, at: At, words: &[String]) -> Self {
        let word = |index: usize| words.get(index).map(String::as_str);
        let from = words.iter().position(|word| word == "from").filter(|index| *index > 0);
        let named = |index: usize| from.is_none_or(|from| index < from);
        Self {
            kind,
            at,
            name: word(1).filter(|_| named(1)).unwrap_or_default().to_owned(),
            from: from.and_then(|from| word(from + 1)).map(str::to_owned),
            address: word(2).filter(|_| named(2) && kind != Kind::Defaults).map(str::to_owned),
            lines: Vec::new(),
        }
    }
}

/// Which section a word begins.
pub(super) fn kind(word: &str) -> Option<Kind> {
    Some(match word {
        "global" => Kind::Global,
        "defaults" => Kind::Defaults,
        "frontend" => Kind::Frontend,
        "backend" => Kind::Backend,
        "listen" => Kind::Listen,
        _ => Kind::Other(OTHERS.iter().find(|other| other.name == word)?),
    })
}

/// A `.if` that is not closed yet.
struct Block {
    at: At,
    line: usize,
    decides: bool,
}

/// Enters all statements of a text, and gives them by section.
pub(super) fn read(text: &str, file: FileId, ledger: &mut Ledger) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut blocks: Vec<Block> = Vec::new();
    let mut environment = Environment::default();
    // As the lines of other files are counted: by line feeds.
    for (index, text) in text.split('\n').enumerate() {
        let line = index + 1;
        if text.len() > LONGEST_LINE && !text.trim_start().starts_with('#') && !text.trim().is_empty() {
            let at = ledger.statement(file, (line, line), &shortened(text));
            ledger.left_out_that_decides(at, format!("a line of {} bytes is not read", text.len()));
            continue;
        }
        let split = split(text, &environment);
        let Some(first) = split.words.first() else { continue };
        let at = ledger.statement(file, (line, line), split.code);
        if first.starts_with('.') && first.len() > 1 {
            conditional(first, at, line, &mut blocks, ledger);
        } else if let Some(block) = blocks.last_mut() {
            left_out_by(block, &split.words, at, ledger);
        } else {
            statement(split, at, &mut sections, &mut environment, ledger);
        }
    }
    for block in blocks {
        ledger.fault_that_decides(
            block.at,
            "no `.endif` follows: HAProxy refuses this, and the rest of the file is left out here",
        );
    }
    sections
}

fn shortened(text: &str) -> String {
    let short: String = text.trim().chars().take(60).collect();
    format!("{short} ...")
}

fn statement(
    split: Split<'_>,
    at: At,
    sections: &mut Vec<Section>,
    environment: &mut Environment,
    ledger: &mut Ledger,
) {
    let Split { mut words, unclosed, is_binary, defaulted, code: _ } = split;
    if let Some(quote) = unclosed {
        ledger.fault_that_decides(at, format!("its {quote} is not closed: HAProxy refuses this"));
    }
    if is_binary {
        ledger.left_out_that_decides(at, "bytes above \\x7f stand in it, which are not taken as they are");
    }
    for name in defaulted {
        ledger.differs(
            at,
            format!("the default value of ${name} stands in for what HAProxy's environment says"),
        );
    }
    if let Some(kind) = kind(&words[0]) {
        sections.push(Section::read(kind, at, &words));
        return;
    }
    let negated = words.len() > 1 && words[0] == "no";
    if negated || (words.len() > 1 && words[0] == "default") {
        words.remove(0);
    }
    let Some(section) = sections.last_mut() else {
        ledger.fault_that_decides(at, "no section stands before it: HAProxy refuses this");
        return;
    };
    if section.kind == Kind::Global {
        match (words[0].as_str(), &words[1..]) {
            ("setenv", [name, value]) => environment.set(name, value),
            ("presetenv", [name, value]) => environment.preset(name, value),
            ("unsetenv", names) => names.iter().for_each(|name| environment.unset(name)),
            _ => {}
        }
    }
    section.lines.push(Line { at, words, negated });
}

/// `.if` and its kin; a message if it is none of them.
fn conditional(word: &str, at: At, line: usize, blocks: &mut Vec<Block>, ledger: &mut Ledger) {
    match word {
        ".if" => blocks.push(Block { at, line, decides: false }),
        ".elif" | ".else" if !blocks.is_empty() => ledger.left_out(at, "conditions are not worked out here"),
        ".endif" => {
            let Some(block) = blocks.pop() else {
                ledger.fault(at, "no `.if` stands before it: HAProxy refuses this");
                return;
            };
            ledger.left_out(at, "conditions are not worked out here");
            let lines = line - block.line - 1;
            let why = format!(
                "conditions are not worked out here: the {lines} lines up to `.endif` are left out; keep the branch that holds, without `.if`"
            );
            if block.decides {
                ledger.left_out_that_decides(block.at, why);
            } else {
                ledger.left_out(block.at, why);
            }
            if let Some(outer) = blocks.last_mut() {
                outer.decides |= block.decides;
            }
        }
        ".elif" | ".else" => ledger.fault(at, "no `.if` stands before it: HAProxy refuses this"),
        ".notice" | ".warning" | ".alert" | ".diag" => {
            ledger.left_out(at, "a message that HAProxy prints as it reads its file");
        }
        _ => {}
    }
}

/// A statement that a condition stands before.
fn left_out_by(block: &mut Block, words: &[String], at: At, ledger: &mut Ledger) {
    const DECIDING: [&str; 14] = [
        "bind",
        "server",
        "server-template",
        "use_backend",
        "default_backend",
        "acl",
        "tcp-request",
        "http-request",
        "dispatch",
        "use-server",
        "stick",
        "listen",
        "frontend",
        "backend",
    ];
    let why = format!("it stands behind `.if` of line {}, which is not worked out here", block.line);
    if DECIDING.contains(&words[0].as_str()) {
        block.decides = true;
        ledger.left_out_that_decides(at, why);
    } else {
        ledger.left_out(at, why);
    }
}
