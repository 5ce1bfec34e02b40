//! The directives that are known, by where they stand, and what becomes of each.

mod http;
mod main;
mod parameters;
mod stream;
pub(super) mod variables;

use std::{collections::HashMap, sync::LazyLock};

pub(super) use parameters::{LISTEN, SERVER, parameter};

use crate::report::{At, Ledger};

/// What is made of a directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Becomes {
    /// Its reader says what becomes of it, by its value.
    Read,
    Differs(&'static str),
    LeftOut(&'static str),
    Decides(&'static str),
}

impl Becomes {
    const fn word(self) -> &'static str {
        match self {
            Self::Read => "taken",
            Self::Differs(_) => "differs",
            Self::LeftOut(_) | Self::Decides(_) => "left out",
        }
    }

    /// Says it, unless a reader does.
    pub(super) fn note(self, at: At, ledger: &mut Ledger) {
        match self {
            Self::Read => {}
            Self::Differs(why) => ledger.differs(at, why),
            Self::LeftOut(why) => ledger.left_out(at, why),
            Self::Decides(why) => ledger.left_out_that_decides(at, why),
        }
    }
}

/// Names with blanks between them, and what becomes of all of them.
type Rows = &'static [(&'static str, Becomes)];

/// Where a directive stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Context {
    Main,
    Events,
    Stream,
    StreamServer,
    StreamUpstream,
    StreamMatch,
    Http,
    HttpServer,
    Location,
    HttpUpstream,
    HttpMatch,
    /// Within a block of which nothing is made, as a whole.
    Ignored,
}

impl Context {
    const ALL: [Self; 11] = [
        Self::Main,
        Self::Events,
        Self::Stream,
        Self::StreamServer,
        Self::StreamUpstream,
        Self::StreamMatch,
        Self::Http,
        Self::HttpServer,
        Self::Location,
        Self::HttpUpstream,
        Self::HttpMatch,
    ];

    /// As operators write it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Main => "the main context",
            Self::Events => "events {}",
            Self::Stream => "stream {}",
            Self::StreamServer => "a server {} of stream {}",
            Self::StreamUpstream => "an upstream {} of stream {}",
            Self::StreamMatch => "a match {} of stream {}",
            Self::Http => "http {}",
            Self::HttpServer => "a server {} of http {}",
            Self::Location => "a location {}",
            Self::HttpUpstream => "an upstream {} of http {}",
            Self::HttpMatch => "a match {} of http {}",
            Self::Ignored => "this block",
        }
    }

    fn tables(self) -> &'static [Rows] {
        match self {
            Self::Main => &[main::MAIN],
            Self::Events => &[main::EVENTS],
            Self::Stream => &[stream::BLOCKS, stream::BOTH],
            Self::StreamServer => &[stream::SERVER, stream::BOTH],
            Self::StreamUpstream => &[stream::UPSTREAM],
            Self::StreamMatch => &[stream::MATCH],
            Self::Http => &[http::BLOCKS, http::TLS, http::ANYWHERE, http::CONTENT],
            Self::HttpServer => &[http::SERVER, http::RULES, http::TLS, http::ANYWHERE, http::CONTENT],
            Self::Location => &[http::LOCATION, http::RULES, http::ANYWHERE, http::CONTENT],
            Self::HttpUpstream => &[http::UPSTREAM],
            Self::HttpMatch => &[http::MATCH],
            Self::Ignored => &[],
        }
    }
}

static TABLE: LazyLock<HashMap<(Context, &'static str), Becomes>> = LazyLock::new(|| {
    let mut table = HashMap::new();
    for context in Context::ALL {
        for (name, becomes) in context.tables().iter().flat_map(|rows| names(rows)) {
            table.entry((context, name)).or_insert(becomes);
        }
    }
    table
});

fn names(rows: Rows) -> impl Iterator<Item = (&'static str, Becomes)> {
    rows.iter().flat_map(|(names, becomes)| names.split_whitespace().map(|name| (name, *becomes)))
}

/// What becomes of a directive in its place; `None` if it has none there.
pub(super) fn find(context: Context, name: &str) -> Option<Becomes> {
    TABLE.get(&(context, name)).copied()
}

/// Where else a directive may stand.
pub(super) fn elsewhere(name: &str) -> Option<Context> {
    Context::ALL.into_iter().find(|context| find(*context, name).is_some())
}

/// All directives, and those parameters of `listen` and of an upstream's `server` that have a meaning of their own, each with
/// what becomes of it: `taken`, `differs` or `left out`. What is allowed in several places stands once.
pub fn known() -> impl Iterator<Item = (&'static str, &'static str)> {
    let mut seen = std::collections::HashSet::new();
    Context::ALL
        .into_iter()
        .flat_map(|context| context.tables().iter().flat_map(|rows| names(rows)))
        .chain(names(parameters::LISTEN_NAMES))
        .chain(names(parameters::SERVER_NAMES))
        .filter(move |(name, _)| seen.insert(*name))
        .map(|(name, becomes)| (name, becomes.word()))
}
