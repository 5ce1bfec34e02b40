//! The interfaces and addresses of this host, as far as the config speaks of them.

use std::{collections::BTreeSet, net::IpAddr};

use futures::TryStreamExt as _;
use nix::{ifaddrs::getifaddrs, net::if_::if_nameindex, sys::socket::SockaddrStorage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkXdp};

use crate::datapath::{DatapathError, Interface};

/// Finds the interfaces of these names, and which XDP programs are attached to them.
///
/// # Errors
/// [`DatapathError::NoInterface`] for the first name that is not there; the kernel's error if it cannot be asked.
pub async fn find(names: &[String]) -> Result<Vec<Interface>, DatapathError> {
    let failed =
        |what: &str, reason: String| DatapathError::Object { reason: format!("{what} failed: {reason}") };
    let (connection, handle, _) =
        rtnetlink::new_connection().map_err(|error| failed("opening a netlink socket", error.to_string()))?;
    let _connection = AbortOnDrop(tokio::spawn(connection));
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        let links: Result<Vec<_>, _> =
            handle.link().get().match_name(name.clone()).execute().try_collect().await;
        let Some(link) = links.ok().and_then(|links| links.into_iter().next()) else {
            return Err(DatapathError::NoInterface { name: name.clone(), known: names_of_all() });
        };
        let xdp_program = link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Xdp(xdp) => xdp.iter().find_map(|xdp| match xdp {
                LinkXdp::ProgId(id) => Some(*id),
                _ => None,
            }),
            _ => None,
        });
        found.push(Interface { name: name.clone(), index: link.header.index, xdp_program });
    }
    Ok(found)
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn names_of_all() -> Vec<String> {
    let Ok(all) = if_nameindex() else { return Vec::new() };
    all.iter().map(|interface| interface.name().to_string_lossy().into_owned()).collect()
}

/// The addresses of this host. Empty if the kernel does not tell.
pub fn host_addresses() -> BTreeSet<IpAddr> {
    let Ok(all) = getifaddrs() else { return BTreeSet::new() };
    all.filter_map(|entry| entry.address.as_ref().and_then(ip)).collect()
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}
