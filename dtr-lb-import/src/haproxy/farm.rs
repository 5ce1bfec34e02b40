//! The servers of a backend.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    check::{self, Plan},
    proxies::{Proxies, Proxy},
    sections::Line,
    server::{self, Options, Port, Target},
    settings::time_or_fault,
    stick::{self, Tables},
};
use crate::{
    job::{Affinity, Check, Host, Mode, Said, Server},
    report::{At, Ledger},
};

/// As many as dtr-lb has replicas.
const MOST_SERVERS: usize = 4096;
/// Servers that follow those that others follow, ...
const LONGEST_CHAIN: usize = 16;
/// HAProxy counts errors in a row; dtr-lb those within this time.
const FAIL_TIMEOUT: Duration = Duration::from_secs(30);
const ERROR_LIMIT: u32 = 10;

/// What a backend is to all frontends that lead to it.
#[derive(Debug)]
pub(super) struct Farm {
    pub(super) servers: Vec<(Server, Port)>,
    pub(super) affinity: Option<Said<Affinity>>,
    pub(super) passive: Option<Said<(u32, Duration)>>,
    pub(super) mode: Option<Said<Mode>>,
    /// Where HAProxy is told to speak TLS to servers.
    pub(super) tls: BTreeSet<At>,
}

/// Reads the servers of the proxy at this place.
pub(super) fn read(place: usize, proxies: &Proxies<'_>, tables: &Tables<'_>, ledger: &mut Ledger) -> Farm {
    let Proxy { settings, section, index: _ } = &proxies.list[place];
    let mut farm = Farm {
        servers: Vec::new(),
        affinity: stick::affinity(settings.balance, &settings.stick, settings.stick_table, tables, ledger),
        passive: None,
        mode: None,
        tls: BTreeSet::new(),
    };
    if let Some(line) = settings.source {
        farm.mode = keeps_client(&line.words, line.at, ledger);
    }
    let read: Vec<_> =
        settings.servers.iter().map(|line| one(line, &settings.default_server, ledger)).collect();
    let is_asked = read.iter().flatten().any(|(_, options)| options.has("check"));
    let plan = check::plan(settings, section.at, is_asked, ledger);
    let mut known: BTreeMap<String, At> = BTreeMap::new();
    for (line, read) in settings.servers.iter().zip(read) {
        let Some((target, options)) = read else { continue };
        if farm.servers.len() >= MOST_SERVERS {
            ledger.left_out_that_decides(line.at, format!("dtr-lb has {MOST_SERVERS} replicas at most"));
            continue;
        }
        if let Some(first) = known.get(&target.name) {
            let first = ledger.place(*first);
            ledger
                .fault(line.at, format!("a server of this name is at {first} already: HAProxy refuses this"));
        }
        known.insert(target.name.clone(), line.at);
        options.tell_deciding(ledger);
        farm.add(line, target, &options, &plan, place, proxies, ledger);
    }
    let backups: Vec<_> =
        farm.servers.iter().filter(|(server, _)| server.backup).map(|(server, _)| server.at).collect();
    if backups.len() > 1 && !settings.all_backups {
        for at in backups {
            ledger.differs(
                at,
                "HAProxy uses one backup after the other; here all of them serve while no other server does",
            );
        }
    }
    farm
}

fn one(line: &Line, defaults: &Options, ledger: &mut Ledger) -> Option<(Target, Options)> {
    match server::target(line) {
        Ok((target, from)) => {
            let mut options = if line.word(0) == "dispatch" { Options::default() } else { defaults.clone() };
            options.read(line, from, ledger);
            Some((target, options))
        }
        Err(why) => {
            ledger.left_out_that_decides(line.at, why);
            None
        }
    }
}

impl Farm {
    #[expect(clippy::too_many_arguments, reason = "a server is what all of these say of it")]
    fn add(
        &mut self,
        line: &Line,
        target: Target,
        options: &Options,
        plan: &Plan,
        place: usize,
        proxies: &Proxies<'_>,
        ledger: &mut Ledger,
    ) {
        let at = line.at;
        ledger.taken(at, "");
        let tracked = options.value("track").map(|(tracked, _)| tracked.to_owned());
        let check = match tracked {
            Some(name) if !options.has("check") => {
                let followed = tracked_check(&name, place, proxies, &target);
                match &followed {
                    None => ledger.fault_that_decides(
                        at,
                        format!("{name}, which it follows, is no server that is asked: HAProxy refuses this"),
                    ),
                    Some((_, host)) if *host != target.host => {
                        ledger.differs(at, format!("it follows {name}, which is another host: here it is asked itself, in the same way"));
                    }
                    Some(_) => {}
                }
                followed.map(|(check, _)| check)
            }
            _ => plan.of_server(options, at, &proxies.globals, ledger),
        };
        if let Some(tls) = options.get("ssl") {
            self.tls.insert(tls.at);
        }
        if self.mode.is_none()
            && let Some((client, usesrc)) = options.value("usesrc")
        {
            self.mode = keeps_client(&["usesrc".to_owned(), client.to_owned()], usesrc, ledger);
        }
        if self.passive.is_none()
            && let Some((_, observed)) = options.value("observe")
        {
            let most = options.number("error-limit", ledger).unwrap_or(ERROR_LIMIT).max(1);
            self.passive = Some(Said { value: (most, FAIL_TIMEOUT), at: observed });
        }
        let slow_start = options.value("slowstart").and_then(|(text, at)| time_or_fault(text, at, ledger));
        let server = Server {
            name: Some(target.name),
            at,
            host: target.host,
            port: None,
            weight: options.number("weight", ledger),
            backup: options.has("backup"),
            out: options.has("disabled"),
            slow_start,
            max_flows: options.number("maxconn", ledger).filter(|most| *most > 0),
            check,
        };
        if server.out {
            ledger.taken(at, "weight = 0: it gets no connections");
        }
        self.servers.push((server, target.port));
    }
}

/// `source ADDRESS usesrc client`: servers see the client's address.
fn keeps_client(words: &[String], at: At, ledger: &mut Ledger) -> Option<Said<Mode>> {
    let usesrc = words.iter().position(|word| word == "usesrc").and_then(|index| words.get(index + 1))?;
    if usesrc != "client" && usesrc != "clientip" {
        ledger.left_out_that_decides(at, "servers see an address that HAProxy makes up; dtr-lb shows them its own, or the client's (mode = \"dnat\")");
        return None;
    }
    ledger.taken(
        at,
        "mode = \"dnat\": servers see the client's address, and answer through the balancer, as they do now",
    );
    Some(Said { value: Mode::Dnat, at })
}

/// How a server is asked that another one follows, as a check of the latter; and the former's host.
fn tracked_check(
    name: &str,
    place: usize,
    proxies: &Proxies<'_>,
    follower: &Target,
) -> Option<(Check, Host)> {
    // What is to be said of those servers is said where they are read.
    let mut unheard = Ledger::default();
    let (mut place, mut name) = (place, name.to_owned());
    for _ in 0..LONGEST_CHAIN {
        if let Some((backend, server)) = name.clone().split_once('/') {
            place = proxies.backend(backend)?;
            name = server.to_owned();
        }
        let line = proxies.server(place, &name)?;
        let settings = &proxies.list[place].settings;
        let (target, options) = one(line, &settings.default_server, &mut unheard)?;
        if let Some((next, _)) = options.value("track").filter(|_| !options.has("check")) {
            name = next.to_owned();
            continue;
        }
        let plan = check::plan(settings, proxies.list[place].section.at, true, &mut unheard);
        let mut check = plan.of_server(&options, line.at, &proxies.globals, &mut unheard)?;
        check.port = check.port.or(match target.port {
            Port::Fixed(port) if target.port != follower.port => Some(port),
            _ => None,
        });
        return Some((check, target.host));
    }
    None
}
