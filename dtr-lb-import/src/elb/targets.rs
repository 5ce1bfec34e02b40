//! Target groups: servers, and how they are checked.

use std::{ops::RangeInclusive, time::Duration};

use super::{
    attributes::{Kind, PRESERVED, Set},
    classic::{host, seconds},
    model::{Healths, Model},
    tree::Value,
};
use crate::{
    job::{Affinity, Check, Host, Said, Scheme, Server},
    report::{At, Ledger},
};

/// A target group.
pub(super) struct TargetGroup<'a> {
    pub(super) value: &'a Value,
    pub(super) name: &'a str,
    pub(super) arn: Option<&'a str>,
    /// Where its name stands.
    pub(super) at: At,
    pub(super) port: Option<u16>,
    pub(super) servers: Vec<Server>,
    pub(super) affinity: Option<Said<Affinity>>,
}

impl TargetGroup<'_> {
    pub(super) fn protocol(&self) -> &str {
        self.value.text_of("Protocol").unwrap_or("TCP")
    }
}

/// All of them, with their targets.
pub(super) fn of<'a>(model: &Model<'a>, ledger: &mut Ledger) -> Vec<TargetGroup<'a>> {
    let mut groups: Vec<TargetGroup<'a>> = Vec::new();
    for (place, value) in model.groups.iter().enumerate() {
        let named = value.get("TargetGroupName");
        let set = model.attributes(Kind::TargetGroup, place);
        kind(value, set, ledger);
        groups.push(TargetGroup {
            value,
            name: named.and_then(|member| member.value.text()).unwrap_or("targets"),
            arn: value.text_of("TargetGroupArn"),
            at: named.map_or(value.at, |member| member.at),
            port: value.text_of("Port").and_then(|text| text.parse().ok()).filter(|port| *port != 0),
            servers: Vec::new(),
            affinity: set.and_then(|set| affinity(set, ledger)),
        });
    }
    for healths in &model.healths {
        let Some(place) = owner(healths, &groups, ledger) else { continue };
        let set = model.attributes(Kind::TargetGroup, place);
        let check = check(groups[place].value, ledger);
        let slow_start = set
            .and_then(|set| set.get("slow_start.duration_seconds"))
            .and_then(|(text, _)| text.parse().ok())
            .map(Duration::from_secs)
            .filter(|time| !time.is_zero());
        let port = groups[place].port;
        let servers = healths
            .targets
            .iter()
            .filter_map(|health| server(health, port, ledger))
            .map(|server| Server { check: check.clone(), slow_start, ..server });
        let servers: Vec<_> = servers.collect();
        groups[place].servers.extend(servers);
    }
    groups
}

/// A server in the place of those that no file names.
pub(super) fn unnamed(group: &TargetGroup<'_>, ledger: &mut Ledger) -> Server {
    ledger.fault_that_decides(
        group.at,
        "its targets are in none of the files: give what `aws elbv2 describe-target-health` prints of it as well",
    );
    Server {
        check: check(group.value, ledger),
        ..blank(Host::Placeholder(format!("<targets of {}>", group.name)), group.at, group.port)
    }
}

const fn blank(host: Host, at: At, port: Option<u16>) -> Server {
    Server {
        name: None,
        at,
        host,
        port,
        weight: None,
        backup: false,
        out: false,
        slow_start: None,
        max_flows: None,
        check: None,
    }
}

/// Whether targets are hosts, and what they see of clients.
fn kind(group: &Value, set: Option<&Set>, ledger: &mut Ledger) {
    let Some(kind) = group.get("TargetType") else { return };
    match kind.value.text() {
        Some("alb") => ledger.left_out_that_decides(
            kind.at,
            "the target is a load balancer itself: write its targets as replicas, if dtr-lb is to take its place too",
        ),
        Some("lambda") => ledger.left_out_that_decides(kind.at, "a function is no host that connections could go to"),
        // So it is unless an attribute says otherwise.
        Some("instance") if set.is_none() && matches!(group.text_of("Protocol"), Some("TCP" | "TLS")) => {
            ledger.differs(kind.at, PRESERVED);
        }
        _ => {}
    }
}

/// Of which group these targets are.
fn owner(healths: &Healths<'_>, groups: &[TargetGroup<'_>], ledger: &mut Ledger) -> Option<usize> {
    let at = healths.targets.first()?.at;
    if groups.len() <= 1 {
        if groups.is_empty() {
            ledger.fault_that_decides(at, "targets of a group that is in none of the files: give what `aws elbv2 describe-target-groups` prints as well");
        }
        return (!groups.is_empty()).then_some(0);
    }
    if let Some(place) = healths.group.and_then(|arn| groups.iter().position(|group| group.arn == Some(arn)))
    {
        return Some(place);
    }
    let port_of = |health: &&Value| health.items_of("Target").first()?.text_of("Port")?.parse::<u16>().ok();
    let ports: Vec<_> = healths.targets.iter().filter_map(port_of).collect();
    let free: Vec<usize> = groups
        .iter()
        .enumerate()
        .filter(|(_, group)| group.servers.is_empty())
        .map(|(place, _)| place)
        .collect();
    let fitting: Vec<usize> = free
        .iter()
        .copied()
        .filter(|place| !ports.is_empty() && ports.iter().all(|port| groups[*place].port == Some(*port)))
        .collect();
    if let [one] = fitting[..] {
        return Some(one);
    }
    let chosen = fitting.first().or(free.first()).copied();
    let why = match chosen {
        Some(place) => format!(
            "what is printed of targets does not say of which group they are: these are taken for those of {}, by their order",
            groups[place].name
        ),
        None => "what is printed of targets does not say of which group they are, and each has some already"
            .to_owned(),
    };
    ledger.fault_that_decides(at, why);
    chosen
}

fn server(health: &Value, port: Option<u16>, ledger: &mut Ledger) -> Option<Server> {
    let target = health.items_of("Target").first()?;
    let id = target.get("Id")?;
    let text = id.value.text()?;
    if text.starts_with("arn:") {
        ledger.left_out_that_decides(id.at, "this target is no host: a load balancer or a function");
        return None;
    }
    let own = target.text_of("Port").and_then(|text| text.parse().ok()).filter(|port| *port != 0);
    let mut server = blank(host(text), id.at, own.or(port));
    let state = health.items_of("TargetHealth").first().and_then(|state| state.text_of("State"));
    if state == Some("draining") {
        server.out = true;
        ledger.differs(id.at, "it is being taken out of its group: weight 0");
    }
    if matches!(server.host, Host::Placeholder(_)) {
        server.name = Some(text.to_owned());
    }
    Some(server)
}

/// Clients stay at a target.
fn affinity(set: &Set, ledger: &mut Ledger) -> Option<Said<Affinity>> {
    let (enabled, at) = set.get("stickiness.enabled")?;
    if enabled != "true" {
        return None;
    }
    if let Some((kind, at)) = set.get("stickiness.type")
        && !kind.starts_with("source_ip")
    {
        ledger.differs(at, "dtr-lb sees no cookies: an address stays at a replica instead");
    }
    Some(Said { value: Affinity { timeout: None }, at })
}

fn check(group: &Value, ledger: &mut Ledger) -> Option<Check> {
    if group.text_of("HealthCheckEnabled") == Some("false") {
        return None;
    }
    let of_http = matches!(group.text_of("Protocol"), Some("HTTP" | "HTTPS"));
    let protocol = group.get("HealthCheckProtocol");
    let scheme = match protocol.and_then(|member| member.value.text()).unwrap_or("TCP") {
        "HTTP" => Scheme::Http,
        "HTTPS" => Scheme::Https,
        "TLS" => Scheme::Tls,
        _ => Scheme::Tcp,
    };
    let at = ["HealthCheckPath", "HealthCheckProtocol", "TargetGroupName"]
        .iter()
        .filter_map(|key| group.get(key))
        .find(|member| !member.value.is_empty())
        .map_or(group.at, |member| member.at);
    let mut check = Check::new(protocol.map_or(at, |member| member.at), scheme);
    // `traffic-port` is the target's own.
    check.port =
        group.text_of("HealthCheckPort").and_then(|text| text.parse().ok()).filter(|port| *port != 0);
    if matches!(scheme, Scheme::Http | Scheme::Https) {
        check.path = Some(group.text_of("HealthCheckPath").unwrap_or("/").to_owned());
        check.status = vec![if of_http { 200..=200 } else { 200..=399 }];
        let codes = group.items_of("Matcher").first().and_then(|matcher| matcher.get("HttpCode"));
        if let Some(codes) = codes.filter(|codes| !codes.value.is_empty()) {
            match codes.value.text().and_then(ranges) {
                Some(ranges) => check.status = ranges,
                None => ledger.fault(codes.at, "these are no status codes: AWS's default stands"),
            }
        }
    }
    let mut time = |key: &str, default: u64| {
        let written = group.get(key).and_then(|member| seconds(member, ledger));
        Some(written.unwrap_or(Duration::from_secs(default)))
    };
    check.interval = time("HealthCheckIntervalSeconds", 30);
    check.timeout = time("HealthCheckTimeoutSeconds", if of_http { 5 } else { 10 });
    let count = |key: &str| group.text_of(key).and_then(|text| text.parse().ok());
    check.rise = Some(count("HealthyThresholdCount").unwrap_or(5));
    check.fall = Some(count("UnhealthyThresholdCount").unwrap_or(2));
    Some(check)
}

/// `200,202`, `200-399`.
fn ranges(text: &str) -> Option<Vec<RangeInclusive<u16>>> {
    let range = |word: &str| {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        (first <= last).then_some(first..=last)
    };
    text.split(',').map(range).collect()
}
