//! The status as text, for people.

use std::net::SocketAddr;

use anstyle::{AnsiColor, Effects, Style};
use comfy_table::{Table, presets};
use jiff::Timestamp;

use super::{
    AgentStatus, ChallengeStatus, DatapathStatus, ProbeStatus, ReplicaStatus, ServiceStatus, Status,
    SuspicionStatus, names,
};
use crate::{
    control::ReplicaState,
    human::{age, bytes, count},
};

/// The place of the last column of replicas.
const PROBE: usize = 11;
/// For what works as it should not; the words say it, too.
const BAD: Style = AnsiColor::Red.on_default().effects(Effects::BOLD);
/// For what is not as ever, and may be meant so.
const ODD: Style = AnsiColor::Yellow.on_default();
const GOOD: Style = AnsiColor::Green.on_default();
const BOLD: Style = Style::new().effects(Effects::BOLD);

impl Status {
    /// For people, at `now`; with styles, for a printer that takes them off where nobody wants them. What is in trouble comes first.
    pub fn text(&self, now: Timestamp) -> String {
        let mut text = String::new();
        let mut services: Vec<_> = self.services.iter().collect();
        services.sort_by_key(|service| trouble_of(service));
        for service in services {
            text.push_str(&headline(service, now));
            text.push_str(&challenge(service));
            if let Some(SuspicionStatus { since, reason }) = &service.suspicion {
                let line = format!(
                    "this balancer SUSPECTS ITSELF since {since:.0}: {reason}; replicas keep their share, nothing is reset"
                );
                text.push_str(&format!("  {}\n", styled(&line, BAD)));
            }
            if let Some(hint) = &service.hint {
                text.push_str(&format!("  HINT all replicas fail their probes in the same way; {hint}\n"));
            }
            for slow in &service.slow {
                text.push_str(&format!("  {}\n", styled(&format!("SLOW {}", slow.text), ODD)));
            }
            text.push_str(&replica_table(&service.replicas, now));
        }
        text.push_str(&names::text(&self.names));
        let hooks: Vec<_> = self
            .datapath
            .attach
            .iter()
            .map(|attach| {
                let native = if attach.hook == "xdp" && attach.native { "native " } else { "" };
                let missing = if attach.present { "" } else { " MISSING" };
                format!("{} {native}{}{missing}", attach.interface, attach.hook)
            })
            .collect();
        text.push_str(&format!(
            "datapath {} ({})\n",
            if hooks.is_empty() { "not attached".into() } else { hooks.join(", ") },
            self.datapath.attach_reason
        ));
        if !self.datapath.up_to_date {
            let line =
                "tables NOT UP TO DATE: new connections follow the last ones; the agent's log says why";
            text.push_str(&format!("{}\n", styled(line, BAD)));
        }
        // A connection of IPv4 has two entries, one with an IPv6 address in it four.
        let DatapathStatus { flows, flow_entries, max_flows, .. } = self.datapath;
        let full = 100 * flow_entries / (2 * max_flows).max(1);
        text.push_str(&format!("flows {}; the table for {max_flows} is {full} % full\n", count(flows)));
        let seen: Vec<_> = self
            .verdicts
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(name, n)| format!("{name} {}", count(*n)))
            .collect();
        text.push_str(&format!(
            "verdicts {}\n",
            if seen.is_empty() { "none yet: no packet was seen".into() } else { seen.join(", ") }
        ));
        text
    }
}

/// Nothing while clients connect at once.
fn challenge(service: &ServiceStatus) -> String {
    let ChallengeStatus { on, since, syns_per_second, handshakes_per_second, .. } = service.challenge;
    if !on {
        return String::new();
    }
    let why = match since {
        Some(since) => format!("since {since:.0}, as it is flooded"),
        None => "always (datapath.syn_challenge)".to_owned(),
    };
    format!(
        "  SYN CHALLENGE {why}: clients have to prove their addresses before they connect; {} SYNs/s and {} completed \
         handshakes/s\n",
        count(syns_per_second.round() as u64),
        count(handshakes_per_second.round() as u64)
    )
}

/// "service https 10.0.0.10:443 nat UP, 2 of 3 up for 3 min": so long no replica of it has come into another state.
fn headline(service: &ServiceStatus, now: Timestamp) -> String {
    let ServiceStatus { name, vip, port, mode, state, replicas, .. } = service;
    let up = replicas.iter().filter(|replica| is_up(replica)).count();
    let style = match trouble_of(service) {
        Trouble::Down => BAD,
        Trouble::Some => ODD,
        Trouble::None => GOOD,
    };
    let since = replicas.iter().map(|replica| replica.since).max();
    let since = since.map(|since| format!(" for {}", age(now.duration_since(since))));
    let stands =
        format!("{}, {up} of {} up{}", state.to_uppercase(), replicas.len(), since.unwrap_or_default());
    let address = SocketAddr::new(*vip, *port);
    format!("service {} {address} {mode} {}\n", styled(name, BOLD), styled(&stands, style))
}

/// The worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    Down,
    Some,
    None,
}

fn trouble_of(service: &ServiceStatus) -> Trouble {
    let replicas = service.replicas.iter();
    if service.state == ReplicaState::Down.as_str() {
        Trouble::Down
    } else if service.suspicion.is_some()
        || !service.slow.is_empty()
        || replicas.clone().any(|replica| trouble(replica) != Trouble::None)
    {
        Trouble::Some
    } else {
        Trouble::None
    }
}

fn trouble(replica: &ReplicaStatus) -> Trouble {
    match replica.state.as_str() {
        state if state == ReplicaState::Down.as_str() => Trouble::Down,
        _ if is_up(replica) && replica.warning.is_none() => Trouble::None,
        _ => Trouble::Some,
    }
}

fn is_up(replica: &ReplicaStatus) -> bool {
    replica.state == ReplicaState::Up.as_str()
}

fn styled(text: &str, style: Style) -> String {
    format!("{style}{text}{style:#}")
}

/// A line a replica, those in trouble first; a line is in a colour where its replica is.
fn replica_table(replicas: &[ReplicaStatus], now: Timestamp) -> String {
    let mut replicas: Vec<_> = replicas.iter().collect();
    replicas.sort_by_key(|replica| trouble(replica));
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    // Where nobody connects, and in direct modes, the column would be empty.
    let is_timed = replicas.iter().any(|replica| replica.connect_ms.is_some());
    let mut header = vec![
        "replica",
        "address",
        "state",
        "for",
        "weight",
        "flows",
        "new",
        "refused",
        "redispatched",
        "packets",
        "bytes",
        "probe",
    ];
    if is_timed {
        header.insert(PROBE, "connect");
    }
    table.set_header(header);
    for replica in &replicas {
        let mut row = vec![
            replica.name.clone(),
            SocketAddr::new(replica.address, replica.port).to_string(),
            replica.state.clone(),
            age(now.duration_since(replica.since)),
            weight(replica),
            count(replica.flows),
            count(replica.new_flows),
            count(replica.refused),
            count(replica.redispatched),
            count(replica.packets),
            bytes(replica.bytes),
            // What a replica says of itself may have several lines, and the table has one for each.
            last_word(replica).replace(char::is_control, " "),
        ];
        if is_timed {
            row.insert(PROBE, replica.connect_ms.map_or_else(|| "-".to_owned(), |times| times.to_string()));
        }
        table.add_row(row);
    }
    let text = table.trim_fmt();
    let style = |place: usize| match place.checked_sub(1).and_then(|place| replicas.get(place)) {
        Some(replica) => match trouble(replica) {
            Trouble::Down => BAD,
            Trouble::Some => ODD,
            Trouble::None => Style::new(),
        },
        None => Style::new(),
    };
    text.lines()
        .enumerate()
        .map(|(place, line)| format!("  {}\n", styled(line.trim(), style(place))))
        .collect()
}

/// What the last probe found; why the replica is not up, if that is not what the probe says; and what else is wrong with it.
fn last_word(replica: &ReplicaStatus) -> String {
    let probe = match &replica.last_probe {
        None => "not yet".to_owned(),
        Some(ProbeStatus { error: Some(error), .. }) => error.clone(),
        Some(probe) => match probe.status {
            Some(status) => format!("{status} in {} ms", probe.ms),
            None => format!("connected in {} ms", probe.ms),
        },
    };
    let reason = replica.reason.as_ref().filter(|reason| !is_up(replica) && **reason != probe);
    let agent = replica.agent.as_ref().and_then(AgentStatus::words);
    let probe = Some(&probe).filter(|_| replica.last_probe.is_some() || reason.is_none());
    [reason, probe, agent.as_ref(), replica.warning.as_ref()]
        .into_iter()
        .flatten()
        .cloned()
        .collect::<Vec<_>>()
        .join("; ")
}

/// "100", or "35 of 100" in a slow start; "100 backup" of one that waits or serves.
fn weight(replica: &ReplicaStatus) -> String {
    match replica.effective_weight {
        _ if replica.backup => format!("{} backup", replica.weight),
        share if replica.state == ReplicaState::Up.as_str() && share != replica.weight => {
            format!("{share} of {}", replica.weight)
        }
        _ => replica.weight.to_string(),
    }
}
