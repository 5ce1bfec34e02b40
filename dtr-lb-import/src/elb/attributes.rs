//! Attributes of load balancers, listeners and target groups: lists of keys and values.

use super::tree::Value;
use crate::{
    outcome::Outcome::{self, Decides, Differs, LeftOut, Taken},
    report::{At, Ledger},
};

const HTTP: &str = "it is about HTTP, which dtr-lb does not read";
const LOGS: &str =
    "no line is logged for a connection; `dtr-lb flows` shows those that there are, and /metrics counts them";
const COOKIES: &str =
    "dtr-lb sees no cookies: affinity = \"source-ip\" keeps an address at a replica instead";
const DRAIN: &str = "connections of a replica that is drained (`dtr-lb replica drain`) last until they end";
const DOWN: &str = "what becomes of a replica's connections when it is down: datapath.on_down";
const ZONES: &str = "all replicas get connections, wherever they are";
const OWN: &str = "AWS's own; it says nothing about balancing";

/// Attributes by name, and what becomes of each where it is on.
pub(super) const KNOWN: &[(&str, Outcome, &str)] = &[
    ("access_logs.s3.bucket", Differs, LOGS),
    ("access_logs.s3.enabled", Differs, LOGS),
    ("access_logs.s3.prefix", Differs, LOGS),
    ("client_keep_alive.seconds", LeftOut, HTTP),
    ("connection_logs.s3.bucket", Differs, LOGS),
    ("connection_logs.s3.enabled", Differs, LOGS),
    ("connection_logs.s3.prefix", Differs, LOGS),
    ("deletion_protection.enabled", LeftOut, OWN),
    ("deregistration_delay.connection_termination.enabled", Differs, DRAIN),
    ("deregistration_delay.timeout_seconds", Differs, DRAIN),
    ("dns_record.client_routing_policy", LeftOut, OWN),
    ("health_check_logs.s3.bucket", Differs, "`dtr-lb events` and the log have what probes find"),
    ("health_check_logs.s3.enabled", Differs, "`dtr-lb events` and the log have what probes find"),
    ("health_check_logs.s3.prefix", Differs, "`dtr-lb events` and the log have what probes find"),
    ("idle_timeout.timeout_seconds", Taken, ""),
    (
        "ipv6.deny_all_igw_traffic",
        Decides,
        "who is let in over IPv6: write deny = [\"::/0\"] to keep them out",
    ),
    ("lambda.multi_value_headers.enabled", LeftOut, HTTP),
    (
        "load_balancing.algorithm.anomaly_mitigation",
        Differs,
        "the passive check takes out replicas that fail connections",
    ),
    ("load_balancing.algorithm.type", Differs, "dtr-lb spreads connections by hash, to equal shares"),
    ("load_balancing.cross_zone.enabled", Differs, ZONES),
    ("preserve_client_ip.enabled", Differs, PRESERVED),
    (
        "proxy_protocol_v2.enabled",
        Decides,
        "dtr-lb does not send the PROXY protocol: replicas that expect it refuse clients until they are told that none comes",
    ),
    ("routing.http.desync_mitigation_mode", LeftOut, HTTP),
    ("routing.http.drop_invalid_header_fields.enabled", LeftOut, HTTP),
    ("routing.http.preserve_host_header.enabled", LeftOut, HTTP),
    ("routing.http.x_amzn_tls_version_and_cipher_suite.enabled", LeftOut, HTTP),
    ("routing.http.xff_client_port.enabled", LeftOut, HTTP),
    ("routing.http.xff_header_processing.mode", LeftOut, HTTP),
    ("routing.http2.enabled", LeftOut, HTTP),
    ("secondary_ips.auto_assigned.per_subnet", LeftOut, OWN),
    ("slow_start.duration_seconds", Taken, "slow_start"),
    ("stickiness.app_cookie.cookie_name", Differs, COOKIES),
    ("stickiness.app_cookie.duration_seconds", Differs, COOKIES),
    ("stickiness.enabled", Taken, "affinity = \"source-ip\""),
    ("stickiness.lb_cookie.duration_seconds", Differs, COOKIES),
    ("stickiness.type", Taken, ""),
    ("target_failover.on_deregistration", Differs, DOWN),
    ("target_failover.on_unhealthy", Differs, DOWN),
    ("target_group_health.dns_failover.minimum_healthy_targets.count", LeftOut, HEALTH),
    ("target_group_health.dns_failover.minimum_healthy_targets.percentage", LeftOut, HEALTH),
    ("target_group_health.unhealthy_state_routing.minimum_healthy_targets.count", LeftOut, HEALTH),
    ("target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage", LeftOut, HEALTH),
    ("target_health_state.unhealthy.connection_termination.enabled", Differs, DOWN),
    ("target_health_state.unhealthy.draining_interval_seconds", Differs, DOWN),
    ("tcp.idle_timeout.seconds", Taken, ""),
    ("waf.fail_open.enabled", LeftOut, HTTP),
    ("zonal_shift.config.enabled", LeftOut, OWN),
];

const HEALTH: &str =
    "dtr-lb gives connections to replicas that are up, and to any if none is (datapath.all_down)";
pub(super) const PRESERVED: &str = "replicas see the client's address in AWS; here mode \"nat\" is written, in which they see the balancer's. \
     Mode \"dnat\" keeps the client's, if the replicas' route to clients is dtr-lb's host";

/// What a set of attributes is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Balancer,
    Listener,
    TargetGroup,
}

/// What one command prints.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) kind: Kind,
    entries: Vec<(String, String, At)>,
}

impl Set {
    /// Reads it, and says of each what becomes of it.
    pub(super) fn read<'a>(objects: impl Iterator<Item = &'a Value>, ledger: &mut Ledger) -> Self {
        let entries: Vec<_> = objects
            .filter_map(|object| {
                let key = object.get("Key")?;
                let value = object.text_of("Value").unwrap_or_default();
                Some((key.value.text()?.to_owned(), value.to_owned(), key.at))
            })
            .collect();
        for (key, value, at) in &entries {
            tell(key, value, *at, ledger);
        }
        let has = |beginnings: &[&str]| {
            entries.iter().any(|(key, _, _)| beginnings.iter().any(|beginning| key.starts_with(beginning)))
        };
        let of_group = [
            "deregistration_delay.",
            "stickiness.",
            "preserve_client_ip.",
            "proxy_protocol_v2.",
            "slow_start.",
            "target_",
            "load_balancing.algorithm.",
            "lambda.",
        ];
        let kind = if has(&of_group) {
            Kind::TargetGroup
        } else if has(&["tcp.idle_timeout.", "routing.http.request.", "routing.http.response."]) {
            Kind::Listener
        } else {
            Kind::Balancer
        };
        Self { kind, entries }
    }

    /// An attribute's value.
    pub(super) fn get(&self, key: &str) -> Option<(&str, At)> {
        let (_, value, at) = self.entries.iter().rfind(|(name, _, _)| name == key)?;
        Some((value, *at))
    }
}

fn tell(key: &str, value: &str, at: At, ledger: &mut Ledger) {
    let Some((_, outcome, why)) = KNOWN.iter().find(|(name, _, _)| *name == key) else {
        if key.starts_with("routing.http.") {
            ledger.left_out(at, HTTP);
        } else {
            ledger.left_out_that_decides(at, "dtr-lb does not know this attribute; nothing was made of it");
        }
        return;
    };
    if value.is_empty() || value == "false" || value == "off" {
        ledger.taken(at, "");
    } else {
        outcome.say(at, why, ledger);
    }
}
