//! `listen`.

use std::net::IpAddr;

use super::{
    known::{self, Becomes},
    tree::Node,
    values::{Port, endpoint},
};
use crate::{
    job::{Bind, BindHost, Host, Said},
    report::Ledger,
};

/// Where a server listens, and how.
#[derive(Debug, Default)]
pub(super) struct Listens {
    pub(super) binds: Vec<Said<Bind>>,
    /// TLS ends at one of them.
    pub(super) tls: bool,
    /// Statements whose port has to be filled in, with their host.
    pub(super) without_port: Vec<Said<()>>,
    hosts: Vec<BindHost>,
}

impl Listens {
    /// Gives the listens that have no port this one.
    pub(super) fn stand_in(&mut self, port: u16, ledger: &mut Ledger) {
        for (said, host) in self.without_port.drain(..).zip(self.hosts.drain(..)) {
            ledger.fault_that_decides(
                said.at,
                format!("its port is not a number; that of the servers stands in for it: write the real one as port, or is it {port}?"),
            );
            self.binds.push(Said { value: Bind { host, ports: port..=port }, at: said.at });
        }
    }

    /// Those whose port nobody knows are told.
    pub(super) fn give_up(&mut self, ledger: &mut Ledger) {
        for said in self.without_port.drain(..) {
            ledger.fault_that_decides(said.at, "its port is not a number: no service is made of it");
        }
        self.hosts.clear();
    }

    pub(super) fn is_at(&self, ports: &[u16]) -> bool {
        self.binds.iter().any(|bind| ports.iter().any(|port| bind.value.ports.contains(port)))
    }
}

/// Reads all `listen`s of a server. `default_port`: the one that is meant where none is written.
pub(super) fn read(server: &Node, default_port: Option<u16>, ledger: &mut Ledger) -> Listens {
    let mut listens = Listens::default();
    for node in server.all("listen") {
        one(node, default_port, &mut listens, ledger);
    }
    if server.get("listen").is_none() {
        match default_port {
            Some(port) => {
                ledger.differs(server.at, format!("it has no listen, which means port {port}"));
                listens
                    .binds
                    .push(Said { value: Bind { host: BindHost::AnyV4, ports: port..=port }, at: server.at });
            }
            None => ledger.fault_that_decides(
                server.at,
                "it has no listen: no client reaches it, and no service is made of it",
            ),
        }
    }
    listens
}

fn one(node: &Node, default_port: Option<u16>, listens: &mut Listens, ledger: &mut Ledger) {
    let at = node.at;
    let place = node.word(0);
    if place.starts_with("unix:") {
        ledger.left_out_that_decides(
            at,
            "a socket in the file system is for programs of this host: dtr-lb serves addresses and ports",
        );
        return;
    }
    let (mut v6_only, mut is_left_out) = (true, false);
    for parameter in &node.words[node.words.len().min(1)..] {
        match parameter.as_str() {
            "ipv6only=off" => v6_only = false,
            "ssl" => {
                listens.tls = true;
                ledger.left_out_that_decides(
                    at,
                    "TLS ends here: dtr-lb passes TLS through, so that replicas have to speak it themselves, with a certificate for the name that clients ask for",
                );
            }
            "udp" => {
                is_left_out = true;
                ledger.left_out_that_decides(at, "a service over UDP: dtr-lb balances TCP; leave it to nginx");
            }
            "quic" => {
                is_left_out = true;
                ledger.left_out_that_decides(at, "HTTP/3 is over UDP: dtr-lb balances TCP, and clients use HTTP/2 or 1.1 then");
            }
            "proxy_protocol" => ledger.left_out_that_decides(
                at,
                "what is in front of nginx sends a PROXY header first: dtr-lb passes it on, so that replicas have to expect it; or switch it off there",
            ),
            other => match known::parameter(known::LISTEN, other) {
                Some(Becomes::Differs(why)) => ledger.differs(at, format!("{other}: {why}")),
                Some(_) => {}
                None => ledger.left_out_that_decides(at, format!("{other}: dtr-lb does not know this parameter; nothing was made of it")),
            },
        }
    }
    if is_left_out {
        return;
    }
    let (host, port) = match place.parse::<u16>() {
        Ok(_) => endpoint(&format!("*:{place}")),
        // A range, a placeholder, or an address without a port.
        Err(_) if is_range(place) => endpoint(&format!("*:{place}")),
        Err(_) => endpoint(place),
    };
    let bare = host.trim_matches(['[', ']']);
    let bind_host = match (host.as_str(), bare.parse::<IpAddr>()) {
        ("*" | "", _) => BindHost::AnyV4,
        (_, Ok(address)) if address.is_unspecified() && address.is_ipv4() => BindHost::AnyV4,
        (_, Ok(address)) if address.is_unspecified() && v6_only => BindHost::AnyV6,
        (_, Ok(address)) if address.is_unspecified() => BindHost::Any,
        _ => BindHost::One(Host::read(&host)),
    };
    let ports = match (port, default_port) {
        (Port::Ports(ports), _) => ports,
        // `listen <port>;`
        (Port::Unsaid, _) if matches!(&bind_host, BindHost::One(Host::Placeholder(_))) => {
            listens.without_port.push(Said { value: (), at });
            listens.hosts.push(BindHost::AnyV4);
            return;
        }
        (Port::Unreadable(_), _) => {
            listens.without_port.push(Said { value: (), at });
            listens.hosts.push(bind_host);
            return;
        }
        (Port::Unsaid, Some(port)) => port..=port,
        (Port::Unsaid, None) => {
            ledger.fault_that_decides(
                at,
                "it has no port: nginx does not start with that, and no service is made of it",
            );
            return;
        }
    };
    listens.binds.push(Said { value: Bind { host: bind_host, ports }, at });
}

fn is_range(place: &str) -> bool {
    place
        .split_once('-')
        .is_some_and(|(first, last)| first.parse::<u16>().is_ok() && last.parse::<u16>().is_ok())
}
