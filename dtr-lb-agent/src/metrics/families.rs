//! The metrics by name: what each is, and where its value comes from.

use dtr_lb_common::verdict::Verdict;

use super::{
    Snapshot,
    page::{Family, Page},
    probes::BOUNDS,
    replicas::{ReplicaRow, ServiceRow, rows},
};
use crate::{
    control::ReplicaState,
    flow_log::FlowLogCounts,
    status::{DatapathStatus, FlowTableStatus, Reloads, ReplicaStatus, Status},
    web::HttpCounts,
};

/// A metric of each replica of each service.
struct OfReplica {
    name: &'static str,
    help: &'static str,
    value: fn(&ReplicaStatus) -> f64,
}

const REPLICA_GAUGES: [OfReplica; 4] = [
    OfReplica {
        name: "dtr_lb_replica_up",
        help: "1 if the replica is up: it gets its share of new connections.",
        value: |replica| flag(replica.state == ReplicaState::Up.as_str()),
    },
    OfReplica {
        name: "dtr_lb_replica_flows",
        help: "Open connections of the replica: those that may still carry data.",
        value: |replica| replica.flows as f64,
    },
    OfReplica {
        name: "dtr_lb_replica_weight",
        help: "Weight of the replica, from the config or an override.",
        value: |replica| replica.weight.into(),
    },
    OfReplica {
        name: "dtr_lb_replica_effective_weight",
        help: "Weight in force now: the replica's share of new connections, in proportion to the others of its service.",
        value: |replica| replica.effective_weight.into(),
    },
];

const REPLICA_COUNTERS: [OfReplica; 5] = [
    OfReplica {
        name: "dtr_lb_replica_new_flows_total",
        help: "Connections steered to the replica.",
        value: |replica| replica.new_flows as f64,
    },
    OfReplica {
        name: "dtr_lb_replica_refused_total",
        help: "Connections that the replica refused.",
        value: |replica| replica.refused as f64,
    },
    OfReplica {
        name: "dtr_lb_replica_unanswered_total",
        help: "Connections that the replica had not answered when the client repeated its SYN.",
        value: |replica| replica.unanswered as f64,
    },
    OfReplica {
        name: "dtr_lb_replica_redispatched_total",
        help: "Connections sent to another replica because this one refused or did not answer.",
        value: |replica| replica.redispatched as f64,
    },
    OfReplica {
        name: "dtr_lb_replica_reset_packets_total",
        help: "Packets of the replica's connections that were answered by a RST because it is dead.",
        value: |replica| replica.reset as f64,
    },
];

pub(super) fn add(snapshot: &Snapshot, page: &mut Page) {
    let Snapshot { status, probes, flows, http: counts, flow_log } = snapshot;
    let mut build = Family::gauge("dtr_lb_build_info", "1; the label says which version runs.");
    build.set(&[("version", &status.version)], 1.0);
    page.add(build);
    datapath(&status.datapath, page);
    states_of_flows(status.flow_table.as_ref(), page);
    reloads(status.reloads, page);
    http(counts, page);
    of_flow_log(*flow_log, page);
    verdicts(status, page);
    let services = rows(status);
    of_services(&services, page);
    let replicas: Vec<_> = services.iter().flat_map(|service| &service.replicas).collect();
    of_replicas(&replicas, page);
    info(&replicas, page);
    nat_ports(&replicas, page);
    states(&replicas, page);
    traffic(&replicas, page);
    of_probes(&replicas, probes, page);
    super::flows::add(flows, &replicas, page);
}

fn states_of_flows(table: Option<&FlowTableStatus>, page: &mut Page) {
    let help = "Entries of the flow table by the state of their connection.";
    let mut states = Family::gauge("dtr_lb_flow_table_entries", help);
    for (state, count) in table.iter().flat_map(|table| &table.by_state) {
        states.set(&[("state", state)], *count as f64);
    }
    page.add(states);
}

fn datapath(datapath: &DatapathStatus, page: &mut Page) {
    let DatapathStatus {
        attach,
        attach_reason: _,
        adopted: _,
        flows,
        flow_entries,
        walks: _,
        max_flows,
        repairs,
        up_to_date,
        table_rewrites,
    } = datapath;
    let mut attached = Family::gauge(
        "dtr_lb_datapath_attached",
        "1 if the interface exists and has the datapath on it, at the hook in the label.",
    );
    for place in attach {
        attached.set(&[("interface", &place.interface), ("hook", hook(place))], flag(place.present));
    }
    page.add(attached);
    page.gauge(
        "dtr_lb_datapath_up_to_date",
        "1 if the datapath's tables hold the agent's latest decisions.",
        flag(*up_to_date),
    );
    page.counter(
        "dtr_lb_table_rewrites_total",
        "Steering tables written since the agent's start.",
        *table_rewrites as f64,
    );
    let help = "Map entries and programs (links) that something else had changed and the agent repaired.";
    let mut repaired = Family::counter("dtr_lb_repairs_total", help);
    for (map, count) in repairs {
        repaired.set(&[("map", &map.to_lowercase())], *count as f64);
    }
    page.add(repaired);
    page.gauge("dtr_lb_flows", "Open connections: those that may still carry data.", *flows as f64);
    page.gauge(
        "dtr_lb_flow_capacity",
        "Connections that the flow table is sized for (max_flows).",
        *max_flows as f64,
    );
    page.gauge(
        "dtr_lb_flow_entries",
        "Entries of the flow table in use. A connection has two, or four with an IPv6 address; half of that in direct modes.",
        *flow_entries as f64,
    );
    page.gauge(
        "dtr_lb_flow_entry_capacity",
        "Entries at which the flow table counts as full: two for each connection of max_flows.",
        2.0 * *max_flows as f64,
    );
}

fn verdicts(status: &Status, page: &mut Page) {
    let help = "Packets by verdict; dtr_lb_verdict_info has the meaning of each.";
    let mut packets = Family::counter("dtr_lb_packets_total", help);
    for (verdict, count) in &status.verdicts {
        packets.set(&[("verdict", verdict)], *count as f64);
    }
    page.add(packets);
    let help = "1; the labels say what each verdict means: forward, pass, answer or drop, and why.";
    let mut info = Family::gauge("dtr_lb_verdict_info", help);
    for verdict in Verdict::ALL {
        let labels = [
            ("verdict", verdict.name()),
            ("action", verdict.action().name()),
            ("meaning", verdict.meaning()),
        ];
        info.set(&labels, 1.0);
    }
    page.add(info);
}

fn reloads(reloads: Reloads, page: &mut Page) {
    let Reloads { ok, failed, last } = reloads;
    let help = "Reloads of the config since the agent's start: applied (ok) or rejected (failed).";
    let mut family = Family::counter("dtr_lb_reloads_total", help);
    family.set(&[("result", "ok")], ok as f64);
    family.set(&[("result", "failed")], failed as f64);
    page.add(family);
    if let Some(last) = last {
        page.gauge(
            "dtr_lb_last_reload_timestamp_seconds",
            "When the config in force was read: at the agent's start, or by the last reload that was applied.",
            last.as_millisecond() as f64 / 1000.0,
        );
    }
}

fn http(counts: &HttpCounts, page: &mut Page) {
    let HttpCounts { connections, refused } = counts;
    let mut open =
        Family::gauge("dtr_lb_http_connections", "Open connections of the agent's HTTP server, by state.");
    for (state, count) in connections {
        open.set(&[("state", state)], *count as f64);
    }
    page.add(open);
    let help =
        "HTTP connections and requests that the agent refused or closed early since its start, by reason.";
    let mut family = Family::counter("dtr_lb_http_refused_total", help);
    for (reason, count) in refused {
        family.set(&[("reason", reason)], *count as f64);
    }
    page.add(family);
}

fn of_flow_log(counts: FlowLogCounts, page: &mut Page) {
    page.counter(
        "dtr_lb_flow_log_lines_total",
        "Lines of the flow log that were written since the agent's start.",
        counts.lines as f64,
    );
    let help = "Lines that are not in the flow log, since the agent's start, by reason.";
    let mut lost = Family::counter("dtr_lb_flow_log_lost_total", help);
    for (reason, count) in counts.lost() {
        lost.set(&[("reason", reason)], count as f64);
    }
    page.add(lost);
}

/// The hook as the config calls it.
fn hook(place: &crate::status::AttachStatus) -> &str {
    match place.hook.as_str() {
        "xdp" if !place.native => "xdp-generic",
        hook => hook,
    }
}

fn of_services(services: &[ServiceRow], page: &mut Page) {
    let mut up = Family::gauge("dtr_lb_service_up", "1 if a replica of the service is up.");
    let mut counts = Family::gauge("dtr_lb_service_replicas", "Replicas of the service by state.");
    let mut suspected = Family::gauge(
        "dtr_lb_service_self_suspected",
        "1 while this balancer suspects its own probes of the service: replicas keep their share though probes fail.",
    );
    let mut challenge = Family::gauge(
        "dtr_lb_service_syn_challenge",
        "1 while the service is flooded with SYNs: clients have to prove their addresses before they connect.",
    );
    let mut syns = Family::counter(
        "dtr_lb_service_syns_total",
        "SYNs that asked for a new connection, admitted or not.",
    );
    let mut handshakes = Family::counter(
        "dtr_lb_service_handshakes_total",
        "Handshakes completed; always 0 in direct modes, where the balancer does not see them.",
    );
    for ServiceRow { name, state, challenge: asked, suspected: is_suspected, replicas } in services {
        challenge.set(&[("service", name)], flag(asked.flooded));
        syns.set(&[("service", name)], asked.syns as f64);
        handshakes.set(&[("service", name)], asked.handshakes as f64);
        suspected.set(&[("service", name)], flag(*is_suspected));
        up.set(&[("service", name)], flag(state == ReplicaState::Up.as_str()));
        for state in ReplicaState::ALL {
            let state = state.as_str();
            let count = replicas.iter().filter(|row| row.status.state == state).count();
            counts.set(&[("service", name), ("state", state)], count as f64);
        }
    }
    page.add(up);
    page.add(counts);
    page.add(challenge);
    page.add(syns);
    page.add(handshakes);
    page.add(suspected);
}

fn of_replicas(replicas: &[&ReplicaRow], page: &mut Page) {
    let gauges = REPLICA_GAUGES.map(|of| (Family::gauge(of.name, of.help), of.value));
    let counters = REPLICA_COUNTERS.map(|of| (Family::counter(of.name, of.help), of.value));
    for (mut family, value) in gauges.into_iter().chain(counters) {
        for ReplicaRow { key, label, status, .. } in replicas {
            family.set(&[("service", &key.service), ("replica", label)], value(status));
        }
        page.add(family);
    }
}

/// To join by: what a replica is called elsewhere.
fn info(replicas: &[&ReplicaRow], page: &mut Page) {
    let help = "1; the labels say the replica's address and port, and the mode in which it is reached.";
    let mut family = Family::gauge("dtr_lb_replica_info", help);
    for ReplicaRow { key, label, mode, .. } in replicas {
        let (address, port) = (key.address.to_string(), key.port.to_string());
        let labels = [
            ("service", key.service.as_str()),
            ("replica", label),
            ("address", &address),
            ("port", &port),
            ("mode", mode),
        ];
        family.set(&labels, 1.0);
    }
    page.add(family);
}

fn nat_ports(replicas: &[&ReplicaRow], page: &mut Page) {
    let mut used = Family::gauge(
        "dtr_lb_nat_ports_used",
        "NAT ports that connections to the replica's address and port have, of all services that share it.",
    );
    let mut all = Family::gauge("dtr_lb_nat_ports", "NAT ports that there are (nat_ports).");
    for ReplicaRow { key, label, status, .. } in replicas {
        for ports in &status.nat_ports {
            let address = ports.address.to_string();
            let labels = [("service", key.service.as_str()), ("replica", label), ("nat_address", &address)];
            used.set(&labels, ports.used as f64);
            all.set(&labels, ports.of as f64);
        }
    }
    page.add(used);
    page.add(all);
}

fn states(replicas: &[&ReplicaRow], page: &mut Page) {
    let mut family = Family::gauge("dtr_lb_replica_state", "1 for the state that the replica is in, else 0.");
    for ReplicaRow { key, label, status, .. } in replicas {
        for state in ReplicaState::ALL {
            let state = state.as_str();
            let labels = [("service", key.service.as_str()), ("replica", label), ("state", state)];
            family.set(&labels, flag(status.state == state));
        }
    }
    page.add(family);
}

fn traffic(replicas: &[&ReplicaRow], page: &mut Page) {
    let mut packets = Family::counter("dtr_lb_replica_packets_total", "Packets forwarded, by direction.");
    let mut bytes =
        Family::counter("dtr_lb_replica_bytes_total", "Bytes of forwarded frames as received, by direction.");
    for ReplicaRow { key, label, status, .. } in replicas {
        for (direction, packet_count, byte_count) in [
            ("to_replica", status.packets_to_replica, status.bytes_to_replica),
            ("to_client", status.packets_to_client, status.bytes_to_client),
        ] {
            let labels = [("service", key.service.as_str()), ("replica", label), ("direction", direction)];
            packets.set(&labels, packet_count as f64);
            bytes.set(&labels, byte_count as f64);
        }
    }
    page.add(packets);
    page.add(bytes);
}

fn of_probes(replicas: &[&ReplicaRow], probes: &super::ProbeCounts, page: &mut Page) {
    let mut results = Family::counter("dtr_lb_probes_total", "Probes since the agent's start, by result.");
    let mut durations = Family::histogram(
        "dtr_lb_probe_duration_seconds",
        "Duration of probes, failed ones included, since the agent's start.",
    );
    for ReplicaRow { key, label, .. } in replicas {
        let Some(tally) = probes.of(key) else { continue };
        for (result, count) in &tally.results {
            let labels = [("service", key.service.as_str()), ("replica", label), ("result", result)];
            results.set(&labels, *count as f64);
        }
        let labels = [("service", key.service.as_str()), ("replica", label)];
        let buckets = BOUNDS.into_iter().zip(tally.buckets);
        durations.observe(&labels, buckets, tally.probes(), tally.took.as_secs_f64());
    }
    page.add(results);
    page.add(durations);
}

fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}
