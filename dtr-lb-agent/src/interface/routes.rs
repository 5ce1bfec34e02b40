//! Asks the kernel for what says which interfaces a config means that names none; `choose` decides.

use std::{collections::BTreeSet, net::IpAddr};

use futures::TryStreamExt as _;
use ipnet::IpNet;
use nix::ifaddrs::getifaddrs;
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use tokio::time::timeout;

use super::{
    ANSWER_LIMIT, InterfaceError, Links, carried,
    choose::{ByRoutes, Facts, VipPlace, beside, choose},
    first, ip, is_of_link,
};
use crate::{
    config::{Config, Service},
    next_hop::{NextHopError, default_interfaces, towards},
};

/// Works out the interfaces of a config by the routes as they are now.
///
/// # Errors
/// [`InterfaceError::NoRoute`] if nothing says which they are; the others if the kernel does not answer.
pub async fn by_routes(config: &Config) -> Result<ByRoutes, InterfaceError> {
    let links = Links::open()?;
    let facts = links.facts(config).await?;
    let mut found = choose(&facts).map_err(|reasons| InterfaceError::NoRoute { reasons })?;
    let seen = links.look(&found.names()).await?;
    found.without(&carried(&seen));
    Ok(found)
}

impl Links {
    async fn facts(&self, config: &Config) -> Result<Facts, InterfaceError> {
        let services = || config.services.iter();
        let replicas: BTreeSet<IpAddr> =
            services().flat_map(|service| &service.replicas).map(|replica| replica.address).collect();
        let vips: BTreeSet<IpAddr> = services().flat_map(|service| &service.vips).copied().collect();
        let mut facts = Facts { unresolved: unresolved(&config.services), ..Facts::default() };
        for replica in replicas {
            let route = match towards(self.handle(), replica).await {
                Ok(towards) => Ok(towards.interface),
                Err(error @ NextHopError::Netlink { .. }) => return Err(lost(&error)),
                Err(error) => Err(error.to_string()),
            };
            facts.replicas.push((replica, route));
        }
        let networks = networks()?;
        for vip in vips {
            facts.vips.push((vip, self.place(vip, &networks).await?));
        }
        for (family, v4) in [(0, true), (1, false)] {
            facts.defaults[family] =
                default_interfaces(self.handle(), v4).await.map_err(|error| lost(&error))?;
        }
        Ok(facts)
    }

    async fn place(&self, vip: IpAddr, networks: &[(String, IpNet)]) -> Result<VipPlace, InterfaceError> {
        let mut nowhere = false;
        for (name, _) in networks.iter().filter(|(_, network)| network.addr() == vip) {
            match self.where_frames_arrive(name).await? {
                Some(interface) => return Ok(VipPlace::On(interface)),
                None => nowhere = true,
            }
        }
        let near = match beside(vip, networks) {
            Some(name) => self.where_frames_arrive(name).await?,
            None => None,
        };
        if let (Some(near), false) = (&near, nowhere) {
            return Ok(VipPlace::Beside(near.clone()));
        }
        // A route may put a network on a link that no address is in.
        match towards(self.handle(), vip).await {
            Ok(towards) if towards.on_link => Ok(VipPlace::Beside(towards.interface)),
            Err(error @ NextHopError::Netlink { .. }) => Err(lost(&error)),
            Ok(_) | Err(_) => Ok(VipPlace::Nowhere(near)),
        }
    }

    /// The interface that gets the frames of this one: itself, or what a macvlan (the virtual router's of keepalived) stands
    /// on; `None` for `lo` and dummies, which get none.
    async fn where_frames_arrive(&self, name: &str) -> Result<Option<String>, InterfaceError> {
        let failed = |reason| InterfaceError::Link { name: name.to_owned(), reason };
        let Some(message) = self.link(|get| get.match_name(name.to_owned())).await.map_err(failed)? else {
            return Ok(None);
        };
        match frames_of(&message) {
            Frames::None => Ok(None),
            Frames::Own => Ok(Some(name.to_owned())),
            Frames::Of(lower) => {
                let lower = self.link(|get| get.match_index(lower)).await.map_err(failed)?;
                Ok(Some(lower.as_ref().and_then(name_of).unwrap_or_else(|| name.to_owned())))
            }
        }
    }

    async fn link(
        &self,
        which: impl FnOnce(rtnetlink::LinkGetRequest) -> rtnetlink::LinkGetRequest,
    ) -> Result<Option<LinkMessage>, String> {
        let request = which(self.handle().link().get()).execute();
        let answer = timeout(ANSWER_LIMIT, request.try_collect::<Vec<_>>()).await;
        first(answer.map_err(|_| format!("no answer in {} s", ANSWER_LIMIT.as_secs()))?)
    }
}

/// Where the frames of an interface arrive.
#[derive(Debug, PartialEq, Eq)]
enum Frames {
    /// There.
    Own,
    /// At the interface of this index.
    Of(u32),
    /// Nowhere: it gets none.
    None,
}

fn frames_of(message: &LinkMessage) -> Frames {
    if message.header.flags.contains(LinkFlags::Loopback) {
        return Frames::None;
    }
    let attributes = || message.attributes.iter();
    let infos = attributes().filter_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => Some(infos),
        _ => None,
    });
    let kind = infos.flatten().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind),
        _ => None,
    });
    let lower = || {
        attributes().find_map(|attribute| match attribute {
            LinkAttribute::Link(index) => Some(*index),
            _ => None,
        })
    };
    match kind {
        Some(InfoKind::Dummy) => Frames::None,
        Some(InfoKind::MacVlan) => lower().map_or(Frames::Own, Frames::Of),
        _ => Frames::Own,
    }
}

fn name_of(message: &LinkMessage) -> Option<String> {
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })
}

fn lost(error: &NextHopError) -> InterfaceError {
    InterfaceError::Routes { reason: error.to_string() }
}

/// The host names of which no replica is known.
fn unresolved(services: &[Service]) -> Vec<String> {
    let named = services.iter().flat_map(|service| {
        service.listed.iter().filter_map(|listed| {
            let name = listed.host.name()?;
            let known = service.replicas.iter().any(|replica| replica.host_name.as_deref() == Some(name));
            (!known).then(|| name.to_owned())
        })
    });
    named.collect::<BTreeSet<_>>().into_iter().collect()
}

/// The addresses of this host with their prefixes, and the interfaces that have them.
fn networks() -> Result<Vec<(String, IpNet)>, InterfaceError> {
    let all = getifaddrs().map_err(|error| InterfaceError::Addresses { source: error.into() })?;
    let network = |entry: nix::ifaddrs::InterfaceAddress| {
        let address = ip(entry.address.as_ref()?)?;
        let network = IpNet::with_netmask(address, ip(entry.netmask.as_ref()?)?).ok()?;
        (!is_of_link(&address)).then_some((entry.interface_name, network))
    };
    Ok(all.filter_map(network).collect())
}

#[cfg(test)]
mod tests;
