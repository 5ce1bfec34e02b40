//! The next hop of each replica: the interface and the two MAC addresses with which a packet leaves for it.
//!
//! The datapath does not ask the kernel's routing for each packet. The agent asks once, over netlink, watches what
//! could change the answer (links, addresses, routes, rules, neighbours) and writes each change into the datapath.
//!
//! * [`resolve()`] answers for one address, now: for `check` and `explain`.
//! * [`gateway()`] says whether there is a router on the way, and [`neighbour_probe()`] whether a host on a link answers for an
//!   address: for `check`.
//! * [`Watcher`] answers for a set of addresses, and again at each change: for the agent.
//!
//! What a next hop does not say is whether the replica lives. A replica that is cut off keeps its last known MAC
//! address (see [`Watcher`]): who is dead is decided by the probes, and only there.
//!
//! * [`towards()`] says by which interface an address is reached, without asking a neighbour, and [`default_interfaces()`] by which all
//!   others are: for a config that names no interfaces.
//!
//! Files: `kernel` asks netlink, `neighbour_probe` asks a link, `resolve` makes next hops of the answers, `events` listens, `watch` repeats.

mod events;
mod kernel;
mod neighbour_probe;
mod resolve;
mod towards;
mod watch;

use std::{iter, net::IpAddr};

use dtr_lb_common::abi::Vlans;

pub use self::{
    neighbour_probe::neighbour_probe,
    resolve::{gateway, resolve},
    towards::{Towards, default_interfaces, towards},
    watch::Watcher,
};

/// How a packet leaves this host for one replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextHop {
    /// Index of the interface it leaves by.
    pub ifindex: u32,
    /// Name of that interface.
    pub interface: String,
    /// MAC address of that interface.
    pub source_mac: [u8; 6],
    /// MAC address of the replica, or of the gateway on the way to it.
    pub destination_mac: [u8; 6],
    /// The route's preferred source address: this host's address on the replicas' side.
    pub source: IpAddr,
    /// Largest IP packet in bytes: the interface's MTU for the family, or the route's if that is smaller.
    pub mtu: u32,
    /// If the interface is a VLAN interface: those that carry its frames, the nearest first.
    pub carriers: Vec<Carrier>,
}

impl NextHop {
    /// How a frame leaves by one of `interfaces`: without a tag by the next hop's own, or else with the tags that it has on a
    /// carrier. `None` if neither is among them.
    pub fn by(&self, interfaces: &[String]) -> Option<Carrier> {
        let own = Carrier { ifindex: self.ifindex, interface: self.interface.clone(), vlans: Vlans::NONE };
        iter::once(own)
            .chain(self.carriers.iter().cloned())
            .find(|carrier| interfaces.contains(&carrier.interface))
    }
}

/// An interface, and the VLANs that a next hop's frames are in there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carrier {
    pub ifindex: u32,
    pub interface: String,
    pub vlans: Vlans,
}

/// Why there is no next hop for an address. Comparable, so that a caller can report each change once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NextHopError {
    /// The routing tables lead nowhere for this address.
    #[error(
        "no route to {address}: {reason}; add one, or correct the address (`ip route get {address}` asks the same)"
    )]
    NoRoute {
        /// The address asked for.
        address: IpAddr,
        /// What the routing tables say instead.
        reason: String,
    },

    /// The address is this host's own; the datapath forwards to other hosts only.
    #[error(
        "{address} is an address of this host, but packets can be forwarded to other hosts only; correct the \
         replica's address, or take it off this host (`ip address` shows where it is)"
    )]
    LocalAddress {
        /// The address asked for.
        address: IpAddr,
    },

    /// The route is known, but the kernel has no source address to give to packets that take it, or one of the link only.
    #[error(
        "{interface}, which leads to {address}, has no address to send from; give it one of the same family (`ip \
         address add … dev {interface}`), for IPv6 one that is not link-local; it counts only after duplicate address \
         detection (`ip -6 address show dev {interface}` says \"tentative\" or \"dadfailed\")"
    )]
    NoSource {
        /// The address asked for.
        address: IpAddr,
        /// The interface the route points to.
        interface: String,
    },

    /// Nobody has told the MAC address of the replica or its gateway. The kernel has been asked to find it out.
    #[error(
        "the MAC address of {via} on {interface}, the next hop to {address}, is unresolved; is {via} up, and on that \
         segment? (`ip neigh show {via} dev {interface}`)"
    )]
    Unresolved {
        /// The address asked for.
        address: IpAddr,
        /// The gateway, or the address itself if it is on the link.
        via: IpAddr,
        /// The interface the route points to.
        interface: String,
    },

    /// The route points to an interface without Ethernet headers, such as a tunnel.
    #[error(
        "{interface}, which leads to {address}, is not an Ethernet interface, and the datapath writes Ethernet \
         headers; route {address} through one that is"
    )]
    NotEthernet {
        /// The address asked for.
        address: IpAddr,
        /// The interface the route points to.
        interface: String,
    },

    /// The route points to an interface that is down, has no carrier, or has just gone.
    #[error(
        "{interface}, which leads to {address}, is down or has no carrier; check its cable or its peer, then `ip link \
         set {interface} up`"
    )]
    InterfaceDown {
        /// The address asked for.
        address: IpAddr,
        /// The interface the route points to.
        interface: String,
    },

    /// The kernel could not be asked.
    #[error("cannot ask the kernel for next hops over netlink: {call}: {reason}")]
    Netlink {
        /// What was asked.
        call: &'static str,
        /// What went wrong.
        reason: String,
    },
}

#[cfg(test)]
mod tests;
