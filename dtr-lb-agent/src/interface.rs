//! The interfaces and addresses of this host, as far as the config speaks of them.

mod choose;
mod routes;
mod watch;

use std::{collections::BTreeSet, io, net::IpAddr, time::Duration};

use aya::programs::loaded_programs;
use dtr_lb_common::wire::Mac;
use futures::TryStreamExt as _;
use ipnet::IpNet;
use nix::{
    ifaddrs::{InterfaceAddress, getifaddrs},
    net::if_::if_nameindex,
    sys::socket::SockaddrStorage,
};
use rtnetlink::{
    Handle,
    packet_route::link::{LinkAttribute, LinkFlags, LinkMessage, LinkXdp},
};
use tokio::{task::JoinHandle, time::timeout};

pub use choose::{ByRoutes, Chosen};
pub use routes::by_routes;
pub use watch::{Look, Watch};

use crate::{datapath::Interface, vlan};

/// A healthy kernel answers in microseconds; this is for the reply that never comes.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// Why nothing is known of an interface or of the host's addresses.
#[derive(Debug, thiserror::Error)]
pub enum InterfaceError {
    #[error("no interface `{name}` on this host; there are: {}; correct `interfaces`", .known.join(", "))]
    NotFound { name: String, known: Vec<String> },
    #[error(
        "`{vlan}` is a VLAN interface on `{carrier}`, and `interfaces` has both: packets in that VLAN are balanced on `{carrier}` \
         already, and would be counted twice; remove `{vlan}` from `interfaces`"
    )]
    Twice { vlan: String, carrier: String },
    #[error(
        "`interfaces` is not written, and nothing says which they are: {reasons}; write them, as in interfaces = [\"eth0\"] \
         (`ip route` shows where packets go)"
    )]
    NoRoute { reasons: String },
    #[error("cannot ask the kernel by which interfaces packets go: {reason}")]
    Routes { reason: String },
    #[error("cannot ask the kernel for interface `{name}` over netlink: {reason}")]
    Link { name: String, reason: String },
    #[error("cannot open a netlink socket to ask the kernel for interfaces: {source}")]
    Socket { source: io::Error },
    #[error("cannot ask the kernel for the addresses of this host (getifaddrs): {source}")]
    Addresses { source: io::Error },
}

/// An interface of the config, as a look at the kernel found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub name: String,
    /// `None` if there is none of this name.
    pub link: Option<Link>,
}

/// What is known of an interface that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    /// Bytes.
    pub mtu: u32,
    /// Administratively up, and with a carrier.
    pub up: bool,
    /// Id of the XDP program that is attached to it, if one is.
    pub xdp_program: Option<u32>,
    /// If it is a VLAN interface: the indexes of those that carry its frames, the nearest first.
    pub carriers: Vec<u32>,
}

impl Seen {
    /// As the datapath needs it; `None` if it is not there.
    pub fn interface(&self) -> Option<Interface> {
        let &Link { index, xdp_program, .. } = self.link.as_ref()?;
        Some(Interface { name: self.name.clone(), index, xdp_program })
    }
}

/// All of them, as the datapath needs them.
///
/// # Errors
/// [`InterfaceError::NotFound`] for the first that is not there, [`InterfaceError::Twice`] for one that has another one's
/// packets as well.
pub fn all_there(seen: &[Seen]) -> Result<Vec<Interface>, InterfaceError> {
    let not_found = |seen: &Seen| InterfaceError::NotFound { name: seen.name.clone(), known: names_of_all() };
    let of = |seen: &Seen| seen.interface().ok_or_else(|| not_found(seen));
    let interfaces = seen.iter().map(of).collect::<Result<_, _>>()?;
    twice(seen).map_or(Ok(interfaces), Err)
}

/// The first VLAN interface whose frames come by another one of them, too: where that is looked at, so are they.
pub fn twice(seen: &[Seen]) -> Option<InterfaceError> {
    let (vlan, carrier) = carried(seen).into_iter().next()?;
    Some(InterfaceError::Twice { vlan, carrier })
}

/// Each VLAN interface among them whose frames come by another one of them, and that one.
fn carried(seen: &[Seen]) -> Vec<(String, String)> {
    let links = || seen.iter().filter_map(|seen| Some((&seen.name, seen.link.as_ref()?)));
    let by_another = |(vlan, link): (&String, &Link)| {
        let (carrier, _) = links().find(|(_, other)| link.carriers.contains(&other.index))?;
        Some((vlan.clone(), carrier.clone()))
    };
    links().filter_map(by_another).collect()
}

/// A netlink socket to ask for interfaces by.
#[derive(Debug)]
pub struct Links {
    handle: Handle,
    connection: JoinHandle<()>,
}

impl Links {
    /// Opens it, in the network namespace of the calling thread and within a tokio runtime.
    ///
    /// # Errors
    /// [`InterfaceError::Socket`]
    pub fn open() -> Result<Self, InterfaceError> {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(|source| InterfaceError::Socket { source })?;
        Ok(Self { handle, connection: tokio::spawn(connection) })
    }

    /// Looks at the interfaces of these names.
    ///
    /// # Errors
    /// [`InterfaceError::Link`] if the kernel does not tell. That one is not there is no error.
    pub async fn look(&self, names: &[String]) -> Result<Vec<Seen>, InterfaceError> {
        let mut seen = Vec::with_capacity(names.len());
        for name in names {
            let request = self.handle.link().get().match_name(name.clone()).execute();
            let answer = timeout(ANSWER_LIMIT, request.try_collect::<Vec<_>>()).await;
            let failed = |reason| InterfaceError::Link { name: name.clone(), reason };
            let answer = answer.map_err(|_| failed(format!("no answer in {} s", ANSWER_LIMIT.as_secs())))?;
            let message = first(answer).map_err(failed)?;
            let mut found = message.as_ref().map(link);
            if let (Some(link), Some(below)) = (&mut found, message.as_ref().and_then(vlan::below)) {
                link.carriers = self.carriers(below.index).await;
            }
            seen.push(Seen { name: name.clone(), link: found });
        }
        Ok(seen)
    }

    /// The interface of this index, and what carries its frames if it is a VLAN interface, as far as the kernel tells.
    async fn carriers(&self, index: u32) -> Vec<u32> {
        let mut carriers = vec![index];
        while let Some(&index) = carriers.last() {
            let request = self.handle.link().get().match_index(index).execute();
            let answer = timeout(ANSWER_LIMIT, request.try_collect::<Vec<_>>()).await;
            let message = answer.ok().and_then(|answer| first(answer).ok().flatten());
            match message.as_ref().and_then(vlan::below) {
                Some(below) if !carriers.contains(&below.index) => carriers.push(below.index),
                _ => break,
            }
        }
        carriers
    }

    /// For other questions.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Only ENODEV says that there is no such interface; any other error says nothing about that.
fn first(answer: Result<Vec<LinkMessage>, rtnetlink::Error>) -> Result<Option<LinkMessage>, String> {
    match answer {
        Ok(links) => Ok(links.into_iter().next()),
        Err(rtnetlink::Error::NetlinkError(message)) => {
            let error = message.to_io();
            if error.raw_os_error() == Some(libc::ENODEV) { Ok(None) } else { Err(error.to_string()) }
        }
        Err(error) => Err(error.to_string()),
    }
}

fn link(message: &LinkMessage) -> Link {
    let up = message.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp);
    let mut link = Link { index: message.header.index, mtu: 0, up, xdp_program: None, carriers: Vec::new() };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Mtu(bytes) => link.mtu = *bytes,
            LinkAttribute::Xdp(xdp) => {
                link.xdp_program = xdp.iter().find_map(|xdp| match xdp {
                    LinkXdp::ProgId(id) => Some(*id),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    link
}

/// The name of an XDP program, empty if it has none; `None` if the kernel does not tell.
pub fn xdp_program_name(id: u32) -> Option<String> {
    let program = loaded_programs().filter_map(Result::ok).find(|program| program.id() == id)?;
    program.name_as_str().map(str::to_owned)
}

/// Of all interfaces in this network namespace; none if the kernel does not tell.
pub fn names_of_all() -> Vec<String> {
    let Ok(all) = if_nameindex() else { return Vec::new() };
    all.iter().map(|interface| interface.name().to_string_lossy().into_owned()).collect()
}

/// Why a client on the balancer's own host does not reach the replicas by a VIP, for `check` and `explain`. ARCHITECTURE.md says why
/// nothing is done about it.
pub const LOCAL_CLIENT: &str = "a client on this host is not balanced: its packets to an address of this host stay on lo, where no \
                                program of the datapath is, so its connections are refused, or taken by a server that listens here; \
                                try from another host, or ask a replica by its own address";

/// The addresses of this host.
///
/// # Errors
/// [`InterfaceError::Addresses`]
pub fn host_addresses() -> Result<BTreeSet<IpAddr>, InterfaceError> {
    let all = getifaddrs().map_err(|error| InterfaceError::Addresses { source: error.into() })?;
    Ok(all.filter_map(|entry| entry.address.as_ref().and_then(ip)).collect())
}

/// The Ethernet addresses of all interfaces of this host.
///
/// # Errors
/// [`InterfaceError::Addresses`]
pub fn host_macs() -> Result<BTreeSet<Mac>, InterfaceError> {
    let all = getifaddrs().map_err(|error| InterfaceError::Addresses { source: error.into() })?;
    let mac = |entry: InterfaceAddress| entry.address?.as_link_addr()?.addr();
    // A loopback interface has none.
    Ok(all.filter_map(mac).filter(|mac| *mac != [0; 6]).map(bytemuck::cast).collect())
}

/// The addresses of the interface that has `own`, that one among them; not those of the link or of this host alone.
///
/// # Errors
/// [`InterfaceError::Addresses`]
pub fn addresses_beside(own: IpAddr) -> Result<Vec<IpAddr>, InterfaceError> {
    let all: Vec<_> =
        getifaddrs().map_err(|error| InterfaceError::Addresses { source: error.into() })?.collect();
    let address = |entry: &InterfaceAddress| entry.address.as_ref().and_then(ip);
    let Some(of) = all.iter().find(|entry| address(entry) == Some(own)) else { return Ok(Vec::new()) };
    let beside = all.iter().filter(|entry| entry.interface_name == of.interface_name).filter_map(address);
    Ok(beside.filter(|address| !address.is_loopback() && !is_of_link(address)).collect())
}

/// The networks that this host has an address in.
///
/// # Errors
/// [`InterfaceError::Addresses`]
pub fn networks() -> Result<Vec<IpNet>, InterfaceError> {
    let all = getifaddrs().map_err(|error| InterfaceError::Addresses { source: error.into() })?;
    let network = |entry: InterfaceAddress| {
        IpNet::with_netmask(ip(entry.address.as_ref()?)?, ip(entry.netmask.as_ref()?)?).ok()
    };
    Ok(all.filter_map(network).collect())
}

fn is_of_link(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroI32;

    use rtnetlink::packet_core::ErrorMessage;

    use super::*;

    #[test]
    fn only_no_such_device_means_that_there_is_none() {
        let refused = |code: i32| {
            let mut message = ErrorMessage::default();
            message.code = NonZeroI32::new(-code);
            first(Err(rtnetlink::Error::NetlinkError(message)))
        };
        assert_eq!(refused(libc::ENODEV), Ok(None));
        for code in [libc::EPERM, libc::ENOBUFS, libc::EINVAL] {
            let reason = refused(code).expect_err("it is an error");
            assert_eq!(reason, io::Error::from_raw_os_error(code).to_string());
        }
        assert!(first(Err(rtnetlink::Error::RequestFailed)).is_err());
        assert_eq!(first(Ok(Vec::new())), Ok(None));
    }

    #[test]
    fn an_interface_and_a_vlan_on_it_are_refused() {
        let seen = |name: &str, index, carriers: &[u32]| {
            let carriers = carriers.to_vec();
            let link = Link { index, mtu: 1500, up: true, xdp_program: None, carriers };
            Seen { name: name.into(), link: Some(link) }
        };
        let (eth0, eth1) = (seen("eth0", 2, &[]), seen("eth1", 3, &[]));
        let (vlan, within) = (seen("eth0.10", 4, &[2]), seen("eth0.10.20", 5, &[4, 2]));
        for right in [[&eth0, &eth1], [&vlan, &eth1], [&within, &eth1]] {
            let all = right.map(Clone::clone);
            assert_eq!(all_there(&all).expect("they are there").len(), 2);
        }
        for (wrong, words) in [
            ([&vlan, &eth0], "remove `eth0.10` from"),
            ([&eth0, &within], "remove `eth0.10.20` from"),
            ([&vlan, &within], "on `eth0.10`, and"),
        ] {
            let error =
                all_there(&wrong.map(Clone::clone)).expect_err("packets would come twice").to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[tokio::test]
    async fn what_is_there_is_told_from_what_is_not() {
        let links = Links::open().expect("a netlink socket");
        let seen = links.look(&["lo".into(), "dtr-lb-none".into()]).await.expect("an answer");
        assert!(seen[0].link.as_ref().is_some_and(|link| link.index == 1 && link.mtu > 0), "{seen:?}");
        assert_eq!(seen[1].link, None);
        let error = all_there(&seen).expect_err("one is missing").to_string();
        assert!(error.contains("`dtr-lb-none`") && error.contains("lo"), "{error}");
    }

    #[test]
    fn the_loopback_address_is_one_of_the_hosts() {
        let own = host_addresses().expect("the kernel tells");
        assert!(own.contains(&IpAddr::from([127, 0, 0, 1])), "{own:?}");
        let networks = networks().expect("the kernel tells");
        assert!(networks.iter().any(|network| network.to_string() == "127.0.0.1/8"), "{networks:?}");
    }
}
