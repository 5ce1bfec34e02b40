//! `real_server`: a server, and how it is checked.

use super::{
    check,
    directives::{Context, tell},
    group::port,
    settings::{Settings, is_on},
    tree::Node,
};
use crate::{
    job::{Host, Mode, Server},
    report::Ledger,
};

/// What the virtual server is.
pub(super) struct Place {
    pub(super) mode: Option<Mode>,
    /// If it is one.
    pub(super) client_port: Option<u16>,
    pub(super) default_weight: Option<u32>,
}

/// Reads one.
pub(super) fn read(node: &Node, settings: &Settings, place: &Place, ledger: &mut Ledger) -> Server {
    ledger.taken(node.at, "");
    let mut settings = settings.clone();
    let mut server = Server {
        name: None,
        at: node.at,
        host: Host::read(node.arg(0).unwrap_or_default()),
        port: port(node.arg(1), node.at, ledger),
        weight: place.default_weight,
        backup: false,
        out: false,
        slow_start: None,
        max_flows: None,
        check: None,
    };
    for child in node.children.iter().filter(|child| !check::is_checker(&child.name)) {
        settings.take(child, ledger);
        let argument = child.arg(0).unwrap_or_default();
        match child.name.as_str() {
            "weight" => match argument.parse() {
                Ok(weight) => {
                    server.weight = Some(weight);
                    tell(Context::RealServer, child, ledger);
                }
                Err(_) => ledger.fault(child.at, format!("{argument:?} is no weight: 1 stands")),
            },
            "uthreshold" => {
                // 0 is no limit.
                server.max_flows = argument.parse().ok().filter(|most| *most > 0);
                tell(Context::RealServer, child, ledger);
            }
            // The virtual server finds out which mode is its.
            "lvs_method" => {}
            "inhibit_on_failure" if !is_on(child) => ledger.taken(child.at, ""),
            _ => tell(Context::RealServer, child, ledger),
        }
    }
    if server.weight == Some(0) {
        server.out = true;
        server.weight = None;
        ledger.taken(node.at, "weight 0: no new connections");
    }
    server.check = check::of_server(node, &settings, server.port.or(place.client_port), ledger);
    unmapped(&mut server, place, ledger);
    server
}

/// In these modes nobody rewrites the port: what is written is only where the server is asked.
fn unmapped(server: &mut Server, place: &Place, ledger: &mut Ledger) {
    if let (Some(Mode::Dsr | Mode::Ipip), Some(own), Some(client)) =
        (place.mode, server.port, place.client_port)
        && own != client
    {
        ledger.fault(
            server.at,
            format!(
                "packets keep their port in this mode: they reach the server at {client}, and {own} is only where it is checked. \
                 It is taken like that"
            ),
        );
        server.port = Some(client);
        if let Some(check) = &mut server.check {
            check.port.get_or_insert(own);
        }
    }
}
