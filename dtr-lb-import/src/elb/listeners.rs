//! Listeners of network and application load balancers.

use std::{net::IpAddr, time::Duration};

use super::{
    attributes::Kind,
    model::Model,
    targets::{self, TargetGroup},
    tree::{Member, Value},
};
use crate::{
    job::{Bind, BindHost, Host, Job, Said, Server, Service},
    report::{At, Ledger},
};

/// When silent connections end where no attribute says it: of network, and of application load balancers.
const IDLE: [Duration; 2] = [Duration::from_secs(350), Duration::from_secs(60)];

/// A load balancer.
struct Balancer<'a> {
    value: &'a Value,
    place: usize,
    /// Where clients find it.
    hosts: Vec<Said<Host>>,
}

/// Makes services of all of them.
pub(super) fn services(model: &Model<'_>, job: &mut Job, ledger: &mut Ledger) {
    let groups = targets::of(model, ledger);
    let balancers: Vec<_> = model
        .balancers
        .iter()
        .enumerate()
        .map(|(place, value)| {
            kind(value, ledger);
            Balancer { value, place, hosts: hosts(value) }
        })
        .collect();
    // What one has is where all services are, unless somebody gives other VIPs.
    if let [one] = &balancers[..] {
        job.vips.extend(one.hosts.iter().cloned());
    }
    let mut used = vec![false; groups.len()];
    for (place, listener) in model.listeners.iter().enumerate() {
        let listener = Listener { value: listener, place };
        job.services.extend(listener.service(model, &balancers, &groups, &mut used, ledger));
    }
    for (group, used) in groups.iter().zip(used) {
        if !used && model.listeners.is_empty() {
            job.services.extend(without_listener(group, model, &balancers, ledger));
        } else if !used {
            ledger.left_out(group.at, "no listener in the files forwards to it");
        }
    }
}

/// What kind of load balancer it is.
fn kind(balancer: &Value, ledger: &mut Ledger) {
    let Some(kind) = balancer.get("Type") else { return };
    match kind.value.text() {
        Some("application") => ledger.differs(
            kind.at,
            "it reads HTTP; dtr-lb balances connections, not single requests, and adds no X-Forwarded-For",
        ),
        Some("gateway") => {
            ledger.left_out_that_decides(
                kind.at,
                "it sends packets through appliances (GENEVE), which dtr-lb does not",
            );
        }
        _ => {}
    }
}

fn hosts(balancer: &Value) -> Vec<Said<Host>> {
    let zones = balancer.items_of("AvailabilityZones").iter();
    zones
        .flat_map(|zone| zone.items_of("LoadBalancerAddresses"))
        .flat_map(|addresses| {
            let v4 = ["IpAddress", "PrivateIPv4Address"].iter().find_map(|key| addresses.get(key));
            [v4, addresses.get("IPv6Address")]
        })
        .flatten()
        .filter_map(|member| {
            let address: IpAddr = member.value.text()?.parse().ok()?;
            Some(Said { value: Host::Address(address), at: member.at })
        })
        .collect()
}

struct Listener<'a> {
    value: &'a Value,
    place: usize,
}

impl Listener<'_> {
    fn service(
        &self,
        model: &Model<'_>,
        balancers: &[Balancer<'_>],
        groups: &[TargetGroup<'_>],
        used: &mut [bool],
        ledger: &mut Ledger,
    ) -> Option<Service> {
        let arn = self.value.text_of("LoadBalancerArn");
        let balancer = balancers
            .iter()
            .find(|balancer| arn.is_some() && balancer.value.text_of("LoadBalancerArn") == arn)
            .or(if balancers.len() == 1 { balancers.first() } else { None });
        let targets = self.targets(groups, ledger);
        targets.iter().for_each(|(place, _)| used[*place] = true);
        let member = self.value.get("Port")?;
        let Some(port) =
            member.value.text().and_then(|text| text.parse::<u16>().ok()).filter(|port| *port != 0)
        else {
            ledger.fault_that_decides(member.at, "this is no port: no service is made of this listener");
            return None;
        };
        let first = &groups[targets.first()?.0];
        if !self.is_kept(first, ledger) {
            return None;
        }
        let name =
            balancer.and_then(|balancer| balancer.value.text_of("LoadBalancerName")).unwrap_or(first.name);
        let mut service = Service::new(format!("{name}-{port}"), member.at);
        service.binds = binds(balancer, balancers.len(), port, member.at);
        service.servers = servers(&targets, groups, ledger);
        service.affinity = targets.iter().find_map(|(place, _)| groups[*place].affinity);
        service.idle = Some(self.idle(model, balancer, member, ledger));
        if let Some(security) = balancer.and_then(|balancer| balancer.value.get("SecurityGroups")) {
            model.security.apply(security, port, &mut service, ledger);
        }
        Some(service)
    }

    /// Groups that it forwards to, with their weights.
    fn targets(&self, groups: &[TargetGroup<'_>], ledger: &mut Ledger) -> Vec<(usize, u32)> {
        let mut targets: Vec<(usize, u32)> = Vec::new();
        for action in self.value.items_of("DefaultActions") {
            let config = action.items_of("ForwardConfig");
            let weighted = config.iter().flat_map(|config| config.items_of("TargetGroups"));
            let all = weighted.map(|group| (group.get("TargetGroupArn"), group.text_of("Weight")));
            for (arn, weight) in all.chain([(action.get("TargetGroupArn"), None)]) {
                let Some(arn) = arn.filter(|arn| !arn.value.is_empty()) else { continue };
                let text = arn.value.text();
                let found = groups.iter().position(|group| group.arn.is_some() && group.arn == text);
                // Who made names illegible made ARNs so too.
                let Some(place) = found.or_else(|| (groups.len() == 1).then_some(0)) else {
                    ledger.fault_that_decides(
                        arn.at,
                        "this target group is in none of the files: give what `aws elbv2 describe-target-groups` prints as well",
                    );
                    continue;
                };
                let weight = weight.and_then(|weight| weight.parse().ok()).unwrap_or(1);
                if !targets.iter().any(|(there, _)| *there == place) {
                    targets.push((place, weight));
                }
            }
        }
        targets
    }

    /// Whether it is a service, by what is spoken on its two sides.
    fn is_kept(&self, group: &TargetGroup<'_>, ledger: &mut Ledger) -> bool {
        let Some(protocol) = self.value.get("Protocol") else { return true };
        let front = protocol.value.text().unwrap_or_default();
        let is_tls = |protocol: &str| matches!(protocol, "TLS" | "HTTPS");
        match (front, is_tls(front), is_tls(group.protocol())) {
            ("UDP" | "QUIC" | "GENEVE", ..) => {
                ledger.left_out_that_decides(protocol.at, format!("dtr-lb balances TCP, not {front}"));
                false
            }
            (_, true, true) => {
                ledger.left_out_that_decides(
                    protocol.at,
                    "TLS ends at the load balancer, and begins again to the targets: dtr-lb passes it through, so that clients see the targets' certificates",
                );
                true
            }
            (_, true, false) => {
                ledger.left_out_that_decides(
                    protocol.at,
                    "TLS ends at the load balancer, and the targets speak plainly: dtr-lb ends no TLS. Let the targets speak TLS, and write a [[service]] with their port",
                );
                false
            }
            (_, false, true) => {
                ledger.left_out_that_decides(
                    protocol.at,
                    "clients speak plainly, and the load balancer speaks TLS to the targets: dtr-lb does not. No service is made of it",
                );
                false
            }
            ("TCP_UDP" | "TCP_QUIC", ..) => {
                ledger.left_out_that_decides(protocol.at, "dtr-lb balances the TCP of it, not the UDP");
                true
            }
            ("HTTP", ..) => {
                ledger.differs(protocol.at, "HTTP: dtr-lb balances connections, not single requests");
                true
            }
            _ => true,
        }
    }

    /// When silent connections end.
    fn idle(
        &self,
        model: &Model<'_>,
        balancer: Option<&Balancer<'_>>,
        port: &Member,
        ledger: &mut Ledger,
    ) -> Said<Duration> {
        let of_http = matches!(self.value.text_of("Protocol"), Some("HTTP" | "HTTPS"));
        let set = if of_http {
            model.attributes(Kind::Balancer, balancer.map_or(0, |balancer| balancer.place))
        } else {
            model.attributes(Kind::Listener, self.place)
        };
        let key = if of_http { "idle_timeout.timeout_seconds" } else { "tcp.idle_timeout.seconds" };
        let written = set
            .and_then(|set| set.get(key))
            .and_then(|(text, at)| Some(Said { value: Duration::from_secs(text.parse().ok()?), at }));
        written.unwrap_or_else(|| {
            let default = IDLE[usize::from(of_http)];
            ledger.differs(
                port.at,
                format!(
                    "no file says when silent connections end ({key}): AWS's default is {}s",
                    default.as_secs()
                ),
            );
            Said { value: default, at: port.at }
        })
    }
}

fn binds(balancer: Option<&Balancer<'_>>, balancers: usize, port: u16, at: At) -> Vec<Said<Bind>> {
    let bind = |host, at| Said { value: Bind { host, ports: port..=port }, at };
    match balancer {
        // Several may have the same port, each at its addresses.
        Some(balancer) if balancers > 1 && !balancer.hosts.is_empty() => {
            balancer.hosts.iter().map(|host| bind(BindHost::One(host.value.clone()), host.at)).collect()
        }
        _ => vec![bind(BindHost::Any, at)],
    }
}

/// Those of all groups. A group's weight is shared by its servers.
fn servers(targets: &[(usize, u32)], groups: &[TargetGroup<'_>], ledger: &mut Ledger) -> Vec<Server> {
    let mut servers = Vec::new();
    let total: u32 =
        targets.iter().map(|(place, _)| groups[*place].servers.len().max(1)).product::<usize>().min(10_000)
            as u32;
    for (place, weight) in targets {
        let group = &groups[*place];
        let mut own = group.servers.clone();
        if own.is_empty() {
            own.push(targets::unnamed(group, ledger));
        }
        if targets.len() > 1 {
            let share = weight.saturating_mul(total) / own.len() as u32;
            for server in &mut own {
                server.weight = Some(share);
                server.out |= share == 0;
                ledger.differs(
                    server.at,
                    format!("its group's weight of {weight} is shared by the servers in it"),
                );
            }
        }
        servers.extend(own);
    }
    servers
}

/// A group of which no listener is known: clients are taken to come to its port.
fn without_listener(
    group: &TargetGroup<'_>,
    model: &Model<'_>,
    balancers: &[Balancer<'_>],
    ledger: &mut Ledger,
) -> Option<Service> {
    let member = group.value.get("Port")?;
    let port = group.port?;
    if !matches!(group.protocol(), "TCP" | "TLS" | "TCP_UDP" | "TCP_QUIC" | "HTTP" | "HTTPS") {
        ledger.left_out_that_decides(member.at, format!("dtr-lb balances TCP, not {}", group.protocol()));
        return None;
    }
    ledger.fault_that_decides(
        member.at,
        format!("no file says at which port clients connect: {port} is taken, as the targets have it. Give what `aws elbv2 describe-listeners` prints as well"),
    );
    let arns = group.value.items_of("LoadBalancerArns");
    let is_its = |balancer: &&Balancer<'_>| {
        let arn = balancer.value.text_of("LoadBalancerArn");
        arn.is_some() && arns.iter().any(|its| its.text() == arn)
    };
    let balancer =
        balancers.iter().find(is_its).or(if balancers.len() == 1 { balancers.first() } else { None });
    let mut service = Service::new(group.name.to_owned(), member.at);
    service.binds = binds(balancer, balancers.len(), port, member.at);
    service.servers.clone_from(&group.servers);
    if service.servers.is_empty() {
        service.servers.push(targets::unnamed(group, ledger));
    }
    service.affinity = group.affinity;
    if let Some(security) = balancer.and_then(|balancer| balancer.value.get("SecurityGroups")) {
        model.security.apply(security, port, &mut service, ledger);
    }
    Some(service)
}
