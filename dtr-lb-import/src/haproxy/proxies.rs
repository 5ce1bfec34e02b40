//! The proxies of a file, with what holds in each of them.

use std::collections::{HashMap, HashSet};

use super::{
    check::Globals,
    sections::{Kind, Line, Section},
    settings::Settings,
};
use crate::report::Ledger;

/// A `frontend`, `backend` or `listen`.
#[derive(Debug)]
pub(super) struct Proxy<'a> {
    /// Its place among the sections.
    pub(super) index: usize,
    pub(super) section: &'a Section,
    pub(super) settings: Settings<'a>,
}

/// All of a file.
#[derive(Debug, Default)]
pub(super) struct Proxies<'a> {
    pub(super) list: Vec<Proxy<'a>>,
    pub(super) globals: Globals,
    /// Places of `backend` and `listen` in the list, by name.
    backends: HashMap<&'a str, usize>,
    servers: HashMap<(usize, &'a str), &'a Line>,
    /// `defaults` that some proxy takes, by their places among the sections, and whether one of those speaks HTTP.
    pub(super) used_defaults: HashMap<usize, bool>,
}

impl<'a> Proxies<'a> {
    pub(super) fn read(sections: &'a [Section], ledger: &mut Ledger) -> Self {
        let mut proxies = Self::default();
        let mut defaults: HashMap<usize, Settings<'a>> = HashMap::new();
        let mut parents: HashMap<usize, usize> = HashMap::new();
        let mut named: HashMap<&str, usize> = HashMap::new();
        let mut last = None;
        for (index, section) in sections.iter().enumerate() {
            let base = match (&section.from, section.kind) {
                (Some(name), Kind::Defaults | Kind::Frontend | Kind::Backend | Kind::Listen) => {
                    let base = named.get(name.as_str()).copied();
                    if base.is_none() {
                        ledger.fault_that_decides(
                            section.at,
                            format!("there is no `defaults {name}` before it: HAProxy refuses this"),
                        );
                    }
                    base
                }
                (None, Kind::Frontend | Kind::Backend | Kind::Listen) => last,
                _ => None,
            };
            match section.kind {
                Kind::Global => global(&section.lines, &mut proxies.globals),
                Kind::Defaults => {
                    let mut settings = base
                        .and_then(|base| defaults.get(&base))
                        .map(Settings::inherited)
                        .unwrap_or_default();
                    settings.read(section, ledger);
                    defaults.insert(index, settings);
                    parents.extend(base.map(|base| (index, base)));
                    if !section.name.is_empty() {
                        named.insert(&section.name, index);
                    }
                    last = Some(index);
                }
                Kind::Frontend | Kind::Backend | Kind::Listen => {
                    let mut settings = base
                        .and_then(|base| defaults.get(&base))
                        .map(Settings::inherited)
                        .unwrap_or_default();
                    settings.read(section, ledger);
                    if let Some(base) = base {
                        *proxies.used_defaults.entry(base).or_default() |= settings.is_http();
                    }
                    proxies.add(index, section, settings, ledger);
                }
                Kind::Other(_) => {}
            }
        }
        // Those that others are made from; they stand before these.
        for index in (0..sections.len()).rev() {
            if let (Some(is_http), Some(parent)) =
                (proxies.used_defaults.get(&index).copied(), parents.get(&index))
            {
                *proxies.used_defaults.entry(*parent).or_default() |= is_http;
            }
        }
        proxies
    }

    fn add(&mut self, index: usize, section: &'a Section, settings: Settings<'a>, ledger: &mut Ledger) {
        let place = self.list.len();
        if section.kind != Kind::Frontend {
            if section.name.is_empty() {
                ledger.fault(section.at, "it has no name: HAProxy refuses this");
            }
            match self.backends.get(section.name.as_str()) {
                Some(first) => {
                    let first = ledger.place(self.list[*first].section.at);
                    ledger.fault_that_decides(
                        section.at,
                        format!(
                            "{} is at {first} already: HAProxy refuses this, and the first one is taken",
                            section.name
                        ),
                    );
                }
                None => drop(self.backends.insert(&section.name, place)),
            }
        }
        for line in &settings.servers {
            self.servers.entry((place, line.word(1))).or_insert(line);
        }
        self.list.push(Proxy { index, section, settings });
    }

    /// A backend's place in the list.
    pub(super) fn backend(&self, name: &str) -> Option<usize> {
        self.backends.get(name).copied()
    }

    /// A server of the proxy at this place.
    pub(super) fn server(&self, place: usize, name: &str) -> Option<&'a Line> {
        self.servers.get(&(place, name)).copied()
    }

    /// Which names are given to stick tables somewhere.
    pub(super) fn tables(&self) -> HashMap<&'a str, &'a Line> {
        let named =
            |proxy: &Proxy<'a>| proxy.settings.stick_table.map(|line| (proxy.section.name.as_str(), line));
        self.list.iter().filter_map(named).collect()
    }

    /// Stick tables that are named from elsewhere.
    pub(super) fn table_names(&self) -> HashSet<&'a str> {
        let lines = self.list.iter().flat_map(|proxy| &proxy.section.lines);
        let named = |line: &'a Line| {
            line.words
                .iter()
                .enumerate()
                .filter(|(_, word)| *word == "table")
                .map(|(index, _)| line.word(index + 1))
        };
        lines.flat_map(named).collect()
    }
}

fn global(lines: &[Line], globals: &mut Globals) {
    for line in lines {
        match line.word(0) {
            "ca-base" => globals.ca_base = Some(line.word(1).to_owned()),
            "ssl-server-verify" => globals.verifies_not = line.word(1) == "none",
            _ => {}
        }
    }
}
