//! The status as text, for people.

use std::net::SocketAddr;

use comfy_table::{Table, presets};

use super::{
    AgentStatus, ChallengeStatus, DatapathStatus, ProbeStatus, ReplicaStatus, ServiceStatus, Status,
    SuspicionStatus, names,
};
use crate::control::ReplicaState;

impl Status {
    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for service in &self.services {
            text.push_str(&format!(
                "service {} {} {} {}\n",
                service.name,
                SocketAddr::new(service.vip, service.port),
                service.mode,
                service.state.to_uppercase()
            ));
            text.push_str(&challenge(service));
            if let Some(SuspicionStatus { since, reason }) = &service.suspicion {
                text.push_str(&format!(
                    "  this balancer SUSPECTS ITSELF since {since}: {reason}; replicas keep their share, nothing is reset\n"
                ));
            }
            if let Some(hint) = &service.hint {
                text.push_str(&format!("  HINT all replicas fail their probes in the same way; {hint}\n"));
            }
            text.push_str(&indented(&replica_table(&service.replicas)));
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
            text.push_str(
                "tables NOT UP TO DATE: new connections follow the last ones; the agent's log says why\n",
            );
        }
        // A connection of IPv4 has two entries, one with an IPv6 address in it four.
        let DatapathStatus { flows, flow_entries, max_flows, .. } = self.datapath;
        let full = 100 * flow_entries / (2 * max_flows).max(1);
        text.push_str(&format!("flows {flows}; the table for {max_flows} is {full} % full\n"));
        let seen: Vec<_> = self
            .verdicts
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(name, n)| format!("{name} {n}"))
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
        "  SYN CHALLENGE {why}: clients have to prove their addresses before they connect; {syns_per_second} SYNs and \
         {handshakes_per_second} completed handshakes a second\n"
    )
}

fn replica_table(replicas: &[ReplicaStatus]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "replica",
        "address",
        "state",
        "weight",
        "flows",
        "new",
        "refused",
        "redispatched",
        "packets",
        "bytes",
        "probe",
    ]);
    for replica in replicas {
        let probe = last_word(replica);
        table.add_row([
            replica.name.clone(),
            SocketAddr::new(replica.address, replica.port).to_string(),
            replica.state.clone(),
            weight(replica),
            replica.flows.to_string(),
            replica.new_flows.to_string(),
            replica.refused.to_string(),
            replica.redispatched.to_string(),
            replica.packets.to_string(),
            replica.bytes.to_string(),
            probe,
        ]);
    }
    table.trim_fmt()
}

/// What the last probe found; why the replica is down, if that is not what the probe says; and what else is wrong with it.
fn last_word(replica: &ReplicaStatus) -> String {
    let probe = match &replica.last_probe {
        None => "not yet".to_owned(),
        Some(ProbeStatus { error: Some(error), .. }) => error.clone(),
        Some(probe) => match probe.status {
            Some(status) => format!("{status} in {} ms", probe.ms),
            None => format!("connected in {} ms", probe.ms),
        },
    };
    let reason = replica.reason.as_ref();
    let reason = reason.filter(|reason| replica.state == ReplicaState::Down.as_str() && **reason != probe);
    let agent = replica.agent.as_ref().and_then(AgentStatus::words);
    [Some(&probe), reason, agent.as_ref(), replica.warning.as_ref()]
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

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {}\n", line.trim())).collect()
}
