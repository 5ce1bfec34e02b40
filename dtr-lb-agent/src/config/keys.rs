//! All keys of the file, as their tables declare them ([`super::key`]): which there are, and what to say about those that there
//! are not.

use toml::de::DeValue;

use super::WrittenTop;
use super::access::WrittenAccess;
use super::agent::WrittenAgent;
use super::datapath::WrittenDatapath;
use super::key::{About, Change, Key, Level};
use super::limits::WrittenLimits;
use super::node::{Node, Table};
use super::probe::WrittenProbe;
use super::problems::Problems;
use super::replica::WrittenReplica;
use super::service::WrittenService;

pub(super) const FILE: Level = &[
    WrittenTop::KEYS,
    &[
        table("datapath", "How packets are taken, forwarded and remembered.", || {
            About::table("[datapath]", "a table: [datapath]", &[WrittenDatapath::KEYS])
        }),
        table(
            "service",
            "What is balanced. Without any [[service]], it is what `preset` says; the first one that is written replaces all of that.",
            || {
                let takes = "[[service]] tables, with double brackets; without any, the services are those of `preset`";
                About { more: MORE_SERVICES, ..About::table("[[service]]", takes, SERVICE) }
            },
        ),
        table("replica", "The replicas: at least one.", || {
            let takes = "at least one [[replica]] table, with double brackets";
            About { more: MORE_REPLICAS, ..About::table("[[replica]]", takes, &[WrittenReplica::KEYS]) }
        }),
        table("agent", "Where the agent itself is reached.", || {
            About::table("[agent]", "a table: [agent]", &[WrittenAgent::KEYS])
        }),
    ],
];

const SERVICE: Level = &[
    WrittenService::KEYS,
    WrittenAccess::KEYS,
    WrittenLimits::KEYS,
    &[table(
        "probe",
        "How the health of this service's replicas is asked for. Everything in it may be left out.",
        || {
            About::table(
                "[service.probe]",
                "a table: [service.probe], below its [[service]]",
                &[WrittenProbe::KEYS],
            )
        },
    )],
];

const MORE_SERVICES: &str = "\n\n[[service]]\nname = \"http\"\nport = 80\n";

const MORE_REPLICAS: &str = "
[[replica]]
name = \"replica-2\"
address = \"10.0.0.12\"

[[replica]]
name = \"replica-3\"
address = \"10.0.0.13\"
";

const fn table(name: &'static str, help: &'static str, about: fn() -> About) -> Key {
    Key::new(name, help, &[], Change::Reload, about)
}

pub(super) fn in_level(level: Level) -> impl Iterator<Item = &'static Key> {
    level.iter().copied().flatten()
}

/// The key of this dotted name; an element of a list is its list.
pub(super) fn find(key: &str) -> Option<&'static Key> {
    let mut level = FILE;
    let mut found = None;
    for name in key.split('.') {
        let name = name.split('[').next().unwrap_or(name);
        let key = in_level(level).find(|key| key.name == name)?;
        level = (key.about)().below;
        found = Some(key);
    }
    found
}

/// What `key` takes; an element of a list takes what its list takes.
pub(super) fn allowed(key: &str) -> Option<String> {
    find(key).map(|key| (key.about)().takes)
}

/// Every key, by its dotted name, in the order of the reference.
pub(super) fn all() -> Vec<(String, &'static Key)> {
    fn collect(level: Level, table: &str, all: &mut Vec<(String, &'static Key)>) {
        for key in in_level(level) {
            let name = if table.is_empty() { key.name.to_owned() } else { format!("{table}.{}", key.name) };
            all.push((name.clone(), key));
            collect((key.about)().below, &name, all);
        }
    }
    let mut keys = Vec::new();
    collect(FILE, "", &mut keys);
    keys
}

/// Reports every key of the file that there is not.
pub(super) fn refuse_unknown(table: &Table<'_>, level: Level, problems: &mut Problems<'_>) {
    for (name, node) in table.entries() {
        let Some(known) = in_level(level).find(|key| key.name == name.get_ref()) else {
            let near = closest(name.get_ref(), in_level(level).map(|key| key.name));
            let what = unknown(name.get_ref(), near, level);
            problems.unknown(name.span().start, &node.key, near.map(|near| table.key_of(near)), what);
            continue;
        };
        let below = (known.about)().below;
        if below.is_empty() {
            continue;
        }
        // What is no table here, the readers report.
        let tables = match node.value {
            DeValue::Table(_) => vec![node],
            DeValue::Array(_) => node.elements(problems).unwrap_or_default(),
            _ => Vec::new(),
        };
        for table in tables.iter().filter_map(Node::as_table) {
            refuse_unknown(&table, below, problems);
        }
    }
}

/// What to say about a key that `level` does not have.
fn unknown(name: &str, near: Option<&str>, level: Level) -> String {
    let hint = match near {
        Some(near) => format!(" (did you mean `{near}`?)"),
        None => elsewhere(name).map_or_else(String::new, |other| format!(" here (there is `{other}`)")),
    };
    let siblings: Vec<_> = in_level(level).map(|key| key.name).collect();
    format!("unknown key{hint}; allowed: {}", siblings.join(", "))
}

/// The candidate that `word` is most likely a slip of, if any is near enough to be one.
pub(super) fn closest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Two slips; fewer in short words, where two make any word out of any other.
    let most = match word.chars().count() {
        0..=3 => 1,
        _ => 2,
    };
    candidates
        .map(|candidate| (strsim::osa_distance(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The same name in another table: a line below the wrong header is the usual reason.
fn elsewhere(name: &str) -> Option<String> {
    all().into_iter().find(|(_, key)| key.name == name).map(|(known, _)| known)
}
