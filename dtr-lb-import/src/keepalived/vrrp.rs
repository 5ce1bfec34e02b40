//! What is not IPVS: VRRP's VIPs, and what stays in keepalived.conf.

use ipnet::IpNet;

use super::{
    directives::{Context, tell, tell_values},
    tree::Node,
};
use crate::{
    job::{Host, Job, Said},
    outcome::Outcome,
    report::Ledger,
};

/// The word for a script that asks for, or starts, what dtr-lb replaces.
const FOR_ANOTHER: &str = "it is about the old balancer: with dtr-lb in its place it fails, and the VIP goes away. Ask \
     `dtr-lb status --healthy` instead (docs/high-availability.md)";

/// Reads a block at the top of a file. `balances`: the job has virtual servers.
pub(super) fn read(node: &Node, balances: bool, job: &mut Job, ledger: &mut Ledger) {
    match node.name.as_str() {
        "real_server" => {
            let why = "it stands outside of a virtual_server: put it into the one that includes this file";
            ledger.left_out_that_decides(node.at, why);
            tell_values(node, Outcome::LeftOut, "of a server that is left out", ledger);
        }
        "vrrp_script" | "vrrp_track_process" | "track_process" => {
            tell(Context::Top, node, ledger);
            let asks = node.children.iter().filter(|child| {
                matches!(child.name.as_str(), "script" | "process") && is_about_another(child)
            });
            for child in asks {
                ledger.differs(child.at, FOR_ANOTHER);
            }
        }
        "vrrp_sync_group" => {
            tell(Context::Top, node, ledger);
            notifies(node, ledger);
        }
        "vrrp_instance" => {
            tell(Context::Top, node, ledger);
            if balances {
                ledger.differs(
                    node.at,
                    "take the virtual_server blocks out of this file when dtr-lb takes over, and leave this one in",
                );
            }
            notifies(node, ledger);
            for block in node.all("virtual_ipaddress").chain(node.all("virtual_ipaddress_excluded")) {
                block.children.iter().for_each(|line| vip(line, job, ledger));
            }
        }
        _ => tell(Context::Top, node, ledger),
    }
}

/// `ADDRESS[/LENGTH] [dev ...] [label ...]`.
fn vip(line: &Node, job: &mut Job, ledger: &mut Ledger) {
    let host = match line.name.parse::<IpNet>() {
        Ok(net) => Host::Address(net.addr()),
        Err(_) => Host::read(line.name.split('/').next().unwrap_or_default()),
    };
    if let Host::Address(std::net::IpAddr::V6(v6)) = &host
        && v6.is_unicast_link_local()
    {
        ledger.differs(line.at, "a link-local address is VRRP's own, and no VIP of a service");
        return;
    }
    job.vips.push(Said { value: host, at: line.at });
}

fn notifies(node: &Node, ledger: &mut Ledger) {
    for child in &node.children {
        if child.name.starts_with("notify") && is_about_another(child) {
            ledger.differs(
                child.at,
                "it starts or stops the old balancer: take that out of the script. dtr-lb runs on both hosts all the time",
            );
        }
    }
}

fn is_about_another(node: &Node) -> bool {
    node.args.iter().any(|arg| ["haproxy", "nginx"].iter().any(|name| arg.contains(name)))
}
