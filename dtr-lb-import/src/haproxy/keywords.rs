//! What becomes of each keyword of HAProxy's: a table. Where more than its name decides, this is what becomes of it as a rule, and
//! its reader says the rest.

mod bind;
mod global;
mod http;
mod options;
mod proxy;
mod server;

use std::{collections::HashMap, sync::LazyLock};

use super::sections::OTHERS;
use crate::report::{At, Ledger};

pub(super) use self::{bind::WITH_VALUE as BIND_WITH_VALUE, server::WITH_VALUE as SERVER_WITH_VALUE};

/// What becomes of a keyword.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Taken,
    Differs,
    LeftOut,
    /// Left out, though it decides who is served or let in.
    Decides,
}

/// Where a keyword stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Context {
    Global,
    /// A line of `defaults`, `frontend`, `backend` or `listen`.
    Proxy,
    /// Behind the address of a `bind`.
    Bind,
    /// Behind the address of a `server`.
    Server,
}

/// Keywords of which the same becomes, for the same reason.
pub(super) struct Group {
    pub(super) fate: Fate,
    pub(super) why: &'static str,
    /// Without `mode http` they mean nothing.
    pub(super) is_http: bool,
    pub(super) names: &'static [&'static str],
}

const fn group(fate: Fate, why: &'static str, names: &'static [&'static str]) -> Group {
    Group { fate, why, is_http: false, names }
}

const fn http(fate: Fate, why: &'static str, names: &'static [&'static str]) -> Group {
    Group { fate, why, is_http: true, names }
}

impl Group {
    /// Says of a statement what becomes of it, for this reason or for its own.
    pub(super) fn tell(&self, at: At, why: &str, ledger: &mut Ledger) {
        let why = if why.is_empty() { self.why.to_owned() } else { format!("{why}: {}", self.why) };
        match self.fate {
            Fate::Taken => ledger.taken(at, self.why),
            Fate::Differs => ledger.differs(at, why),
            Fate::LeftOut => ledger.left_out(at, why),
            Fate::Decides => ledger.left_out_that_decides(at, why),
        }
    }
}

const TABLES: [(Context, &[&[Group]]); 4] = [
    (Context::Global, &[global::GROUPS]),
    (Context::Proxy, &[proxy::GROUPS, options::GROUPS, http::GROUPS]),
    (Context::Bind, &[bind::GROUPS]),
    (Context::Server, &[server::GROUPS]),
];

fn entries() -> impl Iterator<Item = (Context, &'static str, &'static Group)> {
    TABLES.into_iter().flat_map(|(context, tables)| {
        let groups = tables.iter().flat_map(|groups| groups.iter());
        groups.flat_map(move |group| group.names.iter().map(move |name| (context, *name, group)))
    })
}

type Entry = (&'static str, &'static Group);

static INDEX: LazyLock<HashMap<(Context, &'static str), Entry>> =
    LazyLock::new(|| entries().map(|(context, name, group)| ((context, name), (name, group))).collect());

/// What becomes of a keyword, and how it is written in the table.
pub(super) fn find(context: Context, words: &[String]) -> Option<&'static Group> {
    let first = words.first()?.as_str();
    let get = |name: &str| INDEX.get(&(context, name)).map(|(_, group)| *group);
    if let Some(second) = words.get(1).filter(|second| second.len() < 64) {
        let bare = second.split('(').next().unwrap_or_default();
        let unnumbered = bare.trim_end_matches(|c: char| c.is_ascii_digit());
        let found =
            [second.as_str(), bare, unnumbered].iter().find_map(|second| get(&format!("{first} {second}")));
        if found.is_some() {
            return found;
        }
    }
    get(first).or_else(|| {
        // Each version has others.
        let (family, _) = first.split_once('.')?;
        (context == Context::Global).then(|| get(&format!("{family}.*"))).flatten()
    })
}

/// What becomes of an option of a server, and its name as it stands in the table.
pub(super) fn server_option(word: &str) -> Option<(&'static str, &'static Group)> {
    INDEX.get(&(Context::Server, word)).copied()
}

/// Every keyword that is known, with where it stands, and what becomes of it.
pub fn known() -> impl Iterator<Item = (String, &'static str)> {
    let entries = entries().map(|(context, name, group)| {
        let name = match context {
            Context::Global => format!("global: {name}"),
            Context::Proxy => name.to_owned(),
            Context::Bind => format!("bind: {name}"),
            Context::Server => format!("server: {name}"),
        };
        let fate = match group.fate {
            Fate::Taken => "taken",
            Fate::Differs => "differs",
            Fate::LeftOut | Fate::Decides => "left out",
        };
        (name, fate)
    });
    let sections = OTHERS
        .iter()
        .map(|other| (format!("section {}", other.name), if other.differs { "differs" } else { "left out" }));
    entries.chain(sections)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_keyword_stands_in_the_table_once() {
        let mut seen = HashSet::new();
        for (name, _) in known() {
            assert!(seen.insert(name.clone()), "{name} stands there twice");
        }
        assert!(seen.len() > 500, "{}", seen.len());
    }

    #[test]
    fn a_second_word_may_have_arguments_or_a_number() {
        let find = |text: &str| {
            find(Context::Proxy, &text.split(' ').map(str::to_owned).collect::<Vec<_>>())
                .map(|group| group.fate)
        };
        assert_eq!(find("http-request set-var(txn.a) src"), find("http-request set-var x"));
        assert_eq!(find("http-request track-sc1 src"), Some(Fate::Differs));
        assert_eq!(find("timeout client 5s"), Some(Fate::Taken));
        assert_eq!(find("timeout whatever 5s"), None);
        assert_eq!(find("nonsense"), None);
    }
}
