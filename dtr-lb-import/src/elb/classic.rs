//! Classic load balancers.

use std::{collections::HashMap, time::Duration};

use super::{
    model::Model,
    tree::{Member, Value},
};
use crate::{
    job::{Affinity, Bind, BindHost, Check, Host, Job, Said, Scheme, Server, Service},
    report::{At, Ledger},
};

/// When silent connections end where no attribute says it.
const IDLE: Duration = Duration::from_secs(60);

/// Makes services of all of them.
pub(super) fn services(model: &Model<'_>, job: &mut Job, ledger: &mut Ledger) {
    for (place, balancer) in model.classics.iter().enumerate() {
        // What is printed of attributes does not say whose they are.
        let attributes = match &model.classic_attributes[..] {
            [one] => Some(*one),
            several => several.get(place).copied(),
        };
        let idle = idle(balancer, attributes, ledger);
        let check = balancer.items_of("HealthCheck").first().and_then(|health| check(health, ledger));
        let servers = servers(balancer, check.as_ref());
        let listeners: Vec<&Value> = balancer
            .items_of("ListenerDescriptions")
            .iter()
            .flat_map(|description| description.items_of("Listener"))
            .collect();
        let name = balancer.text_of("LoadBalancerName").unwrap_or("elb");
        policies(balancer, ledger);
        for listener in &listeners {
            let Some((at, client_port, port)) = ports(listener, ledger) else { continue };
            if !is_kept(listener, ledger) {
                continue;
            }
            let name = if listeners.len() > 1 { format!("{name}-{client_port}") } else { name.to_owned() };
            let mut service = Service::new(name, at);
            service
                .binds
                .push(Said { value: Bind { host: BindHost::Any, ports: client_port..=client_port }, at });
            service.servers =
                servers.iter().map(|server| Server { port: Some(port), ..server.clone() }).collect();
            service.idle = idle;
            service.affinity = affinity(balancer);
            service.refuses_if_all_down = true;
            if let Some(groups) = balancer.get("SecurityGroups") {
                model.security.apply(groups, client_port, &mut service, ledger);
            }
            job.services.push(service);
        }
        if listeners.is_empty() {
            ledger.fault_that_decides(balancer.at, "it has no listener: no service is made of it");
        }
    }
}

/// When silent connections end.
fn idle(balancer: &Value, attributes: Option<&Value>, ledger: &mut Ledger) -> Option<Said<Duration>> {
    let settings = attributes.and_then(|attributes| attributes.items_of("ConnectionSettings").first());
    if let Some(member) = settings.and_then(|settings| settings.get("IdleTimeout"))
        && let Some(seconds) = seconds(member, ledger)
    {
        return Some(Said { value: seconds, at: member.at });
    }
    let at = ["LoadBalancerName", "ListenerDescriptions"]
        .iter()
        .find_map(|key| balancer.get(key))
        .map_or(balancer.at, |member| member.at);
    ledger.differs(at, "the file does not say when silent connections end: AWS's default is 60s (describe-load-balancer-attributes says it)");
    Some(Said { value: IDLE, at })
}

/// Where clients connect, and the port of the instances.
fn ports(listener: &Value, ledger: &mut Ledger) -> Option<(At, u16, u16)> {
    let mut port = |key: &str| {
        let member = listener.get(key)?;
        let port = member.value.text().and_then(|text| text.parse::<u16>().ok()).filter(|port| *port != 0);
        if port.is_none() {
            ledger.fault_that_decides(member.at, "this is no port: no service is made of this listener");
        }
        Some((member.at, port?))
    };
    let (at, client_port) = port("LoadBalancerPort")?;
    // Left out it is the same.
    let port = if listener.get("InstancePort").is_some() { port("InstancePort")?.1 } else { client_port };
    Some((at, client_port, port))
}

/// Whether a listener is a service, by what is spoken on its two sides.
fn is_kept(listener: &Value, ledger: &mut Ledger) -> bool {
    let Some(protocol) = listener.get("Protocol") else { return true };
    let word = |key: &str| listener.text_of(key).unwrap_or_default().to_ascii_uppercase();
    let (front, back) = (word("Protocol"), word("InstanceProtocol"));
    let is_tls = |protocol: &str| matches!(protocol, "SSL" | "HTTPS");
    match (is_tls(&front), is_tls(&back)) {
        (true, true) => {
            ledger.left_out_that_decides(
                protocol.at,
                "TLS ends at the load balancer, and begins again to the instances: dtr-lb passes it through, so that clients see the instances' certificates",
            );
            true
        }
        (true, false) => {
            ledger.left_out_that_decides(
                protocol.at,
                "TLS ends at the load balancer, and the instances speak plainly: dtr-lb ends no TLS. Let the instances speak TLS, and write a [[service]] with their port",
            );
            false
        }
        (false, true) => {
            ledger.left_out_that_decides(
                protocol.at,
                "clients speak plainly, and the load balancer speaks TLS to the instances: dtr-lb does not. No service is made of it",
            );
            false
        }
        (false, false) => {
            if front == "HTTP" {
                ledger.differs(
                    protocol.at,
                    "HTTP: dtr-lb balances connections, not single requests, and adds no X-Forwarded-For",
                );
            }
            true
        }
    }
}

fn policies(balancer: &Value, ledger: &mut Ledger) {
    for description in balancer.items_of("ListenerDescriptions") {
        if let Some(names) = description.get("PolicyNames").filter(|names| !names.value.is_empty()) {
            ledger.left_out(names.at, "names of policies; what they do stands at Policies");
        }
    }
}

/// Cookies keep a client at an instance.
fn affinity(balancer: &Value) -> Option<Said<Affinity>> {
    let policies = balancer.items_of("Policies").first()?;
    let member = ["LBCookieStickinessPolicies", "AppCookieStickinessPolicies"]
        .iter()
        .filter_map(|key| policies.get(key))
        .find(|member| !member.value.is_empty())?;
    Some(Said { value: Affinity { timeout: None }, at: member.at })
}

/// The instances, which other files know.
fn servers(balancer: &Value, check: Option<&Check>) -> Vec<Server> {
    let mut seen: HashMap<&str, u32> = HashMap::new();
    balancer
        .items_of("Instances")
        .iter()
        .filter_map(|instance| {
            let (id, at) = match instance.get("InstanceId") {
                Some(member) => (member.value.text()?, member.at),
                None => (instance.text()?, instance.at),
            };
            // No instance is registered twice: equal ids were made illegible, and are several.
            let count = seen.entry(id).or_insert(0);
            *count += 1;
            let id = if *count == 1 { id.to_owned() } else { format!("{id}-{count}") };
            Some(server(&id, at, check))
        })
        .collect()
}

fn server(id: &str, at: At, check: Option<&Check>) -> Server {
    Server {
        name: Some(id.to_owned()),
        at,
        host: host(id),
        port: None,
        weight: None,
        backup: false,
        out: false,
        slow_start: None,
        max_flows: None,
        check: check.cloned(),
    }
}

/// An address as it is; an instance's id looks like a name, and is none.
pub(super) fn host(id: &str) -> Host {
    match Host::read(id) {
        Host::Name(_) if id.starts_with("i-") || !id.contains('.') => Host::Placeholder(id.to_owned()),
        other => other,
    }
}

/// `HTTPS:443/health`, `TCP:443`.
fn check(health: &Value, ledger: &mut Ledger) -> Option<Check> {
    let target = health.get("Target")?;
    let text = target.value.text()?;
    let (protocol, rest) = text.split_once(':').unwrap_or((text, ""));
    let (port, path) = rest.find('/').map_or((rest, ""), |place| rest.split_at(place));
    let scheme = match protocol.to_ascii_uppercase().as_str() {
        "HTTP" => Scheme::Http,
        "HTTPS" => Scheme::Https,
        "SSL" => Scheme::Tls,
        "TCP" => Scheme::Tcp,
        _ => {
            ledger.fault_that_decides(
                target.at,
                format!("{protocol:?} is none of HTTP, HTTPS, TCP and SSL: a connection is asked for"),
            );
            Scheme::Tcp
        }
    };
    let mut check = Check::new(target.at, scheme);
    check.port = port.parse().ok().filter(|port| *port != 0);
    if check.port.is_none() {
        ledger.fault(target.at, format!("{port:?} is no port: the instances' own is asked"));
    }
    if matches!(scheme, Scheme::Http | Scheme::Https) {
        check.path = Some(if path.is_empty() { "/" } else { path }.to_owned());
        check.status = vec![200..=200];
        ledger.taken(target.at, "200 alone is healthy, and certificates are not verified, as in AWS");
    }
    let mut time = |key: &str| health.get(key).and_then(|member| seconds(member, ledger));
    check.interval = Some(time("Interval").unwrap_or(Duration::from_secs(30)));
    check.timeout = Some(time("Timeout").unwrap_or(Duration::from_secs(5)));
    let count = |key: &str| health.text_of(key).and_then(|text| text.parse().ok());
    check.rise = Some(count("HealthyThreshold").unwrap_or(10));
    check.fall = Some(count("UnhealthyThreshold").unwrap_or(2));
    Some(check)
}

/// Whole seconds.
pub(super) fn seconds(member: &Member, ledger: &mut Ledger) -> Option<Duration> {
    let seconds =
        member.value.text().and_then(|text| text.parse::<u32>().ok()).filter(|seconds| *seconds > 0);
    if seconds.is_none() {
        ledger.fault(member.at, "this is no number of seconds: AWS's default stands");
    }
    seconds.map(|seconds| Duration::from_secs(seconds.into()))
}
