//! Security groups: who may open connections.

use std::collections::HashMap;

use ipnet::IpNet;

use super::tree::{Member, Value};
use crate::{
    job::{Rule, Said, Service, Source},
    report::{At, Ledger},
};

/// By their ids.
#[derive(Debug, Default)]
pub(super) struct Groups {
    by_id: HashMap<String, Vec<Permission>>,
}

/// Ports, and whose connections to them are let in.
#[derive(Debug)]
struct Permission {
    at: At,
    ports: std::ops::RangeInclusive<u16>,
    nets: Vec<IpNet>,
    /// It names others by what is not their addresses.
    has_others: bool,
}

impl Groups {
    /// Reads one of `describe-security-groups`.
    pub(super) fn read(&mut self, group: &Value, ledger: &mut Ledger) {
        let Some(id) = group.text_of("GroupId") else { return };
        let Some(member) = group.get("IpPermissions") else { return };
        let read = |permission: &Value| permission_of(permission, member.at);
        let list: Vec<_> = member.value.items().iter().filter_map(read).collect();
        if list.iter().any(|permission| permission.has_others) {
            ledger.left_out(
                member.at,
                "groups and lists of prefixes are not addresses: where they are clients, write their networks into allow",
            );
        }
        self.by_id.entry(id.to_owned()).or_default().extend(list);
    }

    /// Brings a load balancer's groups into a service at this port.
    pub(super) fn apply(&self, member: &Member, port: u16, service: &mut Service, ledger: &mut Ledger) {
        let ids: Vec<&str> = member.value.items().iter().filter_map(Value::text).collect();
        if ids.is_empty() {
            return;
        }
        let known: Option<Vec<_>> = ids.iter().map(|id| self.by_id.get(*id)).collect();
        let Some(known) = known else {
            ledger.left_out_that_decides(
                member.at,
                "who is let in stands in the security groups: give what `aws ec2 describe-security-groups` prints as well, or write allow",
            );
            return;
        };
        let about = || {
            known.iter().flat_map(|list| list.iter()).filter(|permission| permission.ports.contains(&port))
        };
        if about().any(|permission| permission.has_others) {
            ledger.left_out_that_decides(
                member.at,
                format!("port {port} is open to other security groups too: write their networks into allow"),
            );
        }
        let nets: Vec<Said<IpNet>> = about()
            .flat_map(|permission| permission.nets.iter().map(|net| Said { value: *net, at: permission.at }))
            .collect();
        if nets.is_empty() {
            ledger.left_out_that_decides(
                member.at,
                format!("by these groups nobody's address may connect to port {port}: everyone is let in until allow says otherwise"),
            );
            return;
        }
        ledger.taken(member.at, "allow");
        // Open to the whole of IPv4 is open, as these load balancers seldom have other clients.
        if nets.iter().any(|net| net.value.prefix_len() == 0) {
            return;
        }
        let rule = |allow, of, at| Said { value: Rule { allow, of }, at };
        service.rules.extend(nets.iter().map(|net| rule(true, Source::Net(net.value), net.at)));
        service.rules.push(rule(false, Source::All, member.at));
    }
}

fn permission_of(permission: &Value, at: At) -> Option<Permission> {
    let all = matches!(permission.text_of("IpProtocol"), Some("-1" | "all"));
    if !all && !matches!(permission.text_of("IpProtocol"), Some("tcp" | "6")) {
        return None;
    }
    let port = |key: &str, else_: u16| {
        permission.text_of(key).filter(|_| !all).and_then(|text| text.parse().ok()).unwrap_or(else_)
    };
    let nets = |key: &str, of: &str| -> Vec<IpNet> {
        permission.items_of(key).iter().filter_map(|range| range.text_of(of)?.parse().ok()).collect()
    };
    let mut all_nets = nets("IpRanges", "CidrIp");
    all_nets.extend(nets("Ipv6Ranges", "CidrIpv6"));
    let has_others =
        ["UserIdGroupPairs", "PrefixListIds"].iter().any(|key| !permission.items_of(key).is_empty());
    Some(Permission { at, ports: port("FromPort", 0)..=port("ToPort", u16::MAX), nets: all_nets, has_others })
}
