//! The ways to replicas, and who else has a VIP: what takes waiting for others on the segment. The agent keeps asking and logs
//! what it finds; `check` asks once.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc, time::Duration};

use futures::future::join_all;
use jiff::Timestamp;
use rtnetlink::Handle;
use tokio::time::{Instant, sleep};

use crate::{
    config::{Config, Mode},
    control::{Change, Control, NARROW_PATH, NO_NAT_ADDRESS, NextHops, UNSEEN_INTERFACE},
    interface::{Links, Seen},
    next_hop::{Carrier, NextHop, NextHopError, neighbour_probe, resolve},
    preflight::{Facts, Findings},
};

/// How long a replica may take to tell its MAC address. On a segment it takes a millisecond.
const RESOLVE_LIMIT: Duration = Duration::from_secs(1);
const RESOLVE_PAUSE: Duration = Duration::from_millis(50);

/// How long another host may take to answer for a VIP. On a segment it takes a millisecond.
const ANSWER_LIMIT: Duration = Duration::from_millis(500);

/// Pairs of an interface and a VIP that are asked about at most.
const MOST_ASKED: usize = 64;

/// Bytes of the header of a packet that others travel in.
const fn tunnel_header(replica: IpAddr) -> u32 {
    match replica {
        IpAddr::V4(_) => 20,
        IpAddr::V6(_) => 40,
    }
}

/// The addresses of the replicas of all services in this mode.
fn replicas_of(config: &Config, mode: Mode) -> BTreeSet<IpAddr> {
    let services = config.services.iter().filter(|service| service.mode == mode);
    services.flat_map(|service| &service.replicas).map(|replica| replica.address).collect()
}

impl Findings {
    /// All that is found by asking others on the segment.
    pub(super) async fn paths(&mut self, config: &Arc<Config>, links: &Links, facts: &Facts) {
        let seen = facts.seen();
        let mut control = Control::new(Arc::clone(config), Timestamp::now());
        let next_hops = next_hops(links.handle(), control.addresses()).await;
        let mtus = seen.iter().filter_map(|seen| Some((seen.name.clone(), seen.link.as_ref()?.mtu)));
        let mut changes = control.ingress(mtus);
        changes.extend(control.next_hops(next_hops.clone()));
        changes.into_iter().for_each(|change| self.path(change));
        self.tunnels(config, &next_hops, seen);
        self.routes_to_set(config, facts, &next_hops);
        self.vips_of_others(config, links.handle(), &next_hops, seen).await;
    }

    /// What the agent would log of the ways to the replicas.
    fn path(&mut self, change: Change) {
        let about = |address: IpAddr| format!("replica {address}");
        match change {
            Change::NextHop { address, result: Ok(NextHop { interface, source, mtu, carriers, .. }) } => {
                let carried = carriers
                    .iter()
                    .map(|Carrier { interface, vlans, .. }| format!(", which is {vlans} on {interface}"));
                let carried: String = carried.collect();
                let how =
                    format!("replica {address}: by interface {interface}{carried}, from {source}, MTU {mtu}");
                self.fact(about(address), how);
            }
            Change::NextHop { address, result: Err(reason) } => {
                self.warn(about(address), format!("no next hop for replica {address}: {reason}"));
            }
            Change::UnseenInterface { address, interface } => self.warn(
                about(address),
                format!("replica {address}, interface {interface}: {UNSEEN_INTERFACE}"),
            ),
            Change::NarrowPath { address, mtu, ingress, ingress_mtu } => self.warn(
                about(address),
                format!(
                    "replica {address}, MTU {mtu}; interface {ingress}, MTU {ingress_mtu}: {NARROW_PATH}"
                ),
            ),
            Change::NoNatAddress { address } => {
                self.warn(about(address), format!("replica {address}: {NO_NAT_ADDRESS}"));
            }
            // Nothing is probed, and no connection fails.
            Change::Replica { .. }
            | Change::Confirmed { .. }
            | Change::Service { .. }
            | Change::Resets { .. }
            | Change::Probing { .. }
            | Change::AgentCheck { .. }
            | Change::AgentCheckFailed { .. }
            | Change::AnswersPast { .. }
            | Change::Suspicion { .. }
            | Change::PassiveSpared { .. }
            | Change::PassiveSetAside { .. }
            | Change::Macs { .. } => {}
        }
    }

    /// Packets that no longer fit when they travel in others.
    fn tunnels(&mut self, config: &Config, next_hops: &NextHops, seen: &[Seen]) {
        let mtus = seen.iter().filter_map(|seen| Some((seen.link.as_ref()?.mtu, &seen.name)));
        let Some((ingress_mtu, ingress)) = mtus.max() else { return };
        let replicas = replicas_of(config, Mode::Ipip);
        for address in replicas {
            let Some(Ok(NextHop { mtu, .. })) = next_hops.get(&address) else { continue };
            let header = tunnel_header(address);
            let room = mtu.saturating_sub(header);
            if room < ingress_mtu {
                self.warn(format!("replica {address}"), format!(
                    "replica {address}, mode ipip: packets travel in others, which takes {header} of the {mtu} bytes of the \
                     way; clients' packets of more than {room} bytes, which interface {ingress} (MTU {ingress_mtu}) lets in, \
                     are answered by ICMP \"too big\", and uploads of clients that no ICMP reaches stall; raise the MTU of \
                     the way to the replica to {}, or lower the MSS that replicas announce (`ip route change … advmss`)",
                    ingress_mtu + header
                ));
            }
        }
    }

    /// Of replicas in mode dnat on a segment with this host: the address there that has to be their route.
    fn routes_to_set(&mut self, config: &Config, facts: &Facts, next_hops: &NextHops) {
        for address in replicas_of(config, Mode::Dnat) {
            let Some(Ok(NextHop { source, .. })) = next_hops.get(&address) else { continue };
            if facts.router(address).is_none() {
                self.route_to_set(address, *source);
            }
        }
    }

    /// `own`: the address of this host on the replica's segment.
    fn route_to_set(&mut self, address: IpAddr, own: IpAddr) {
        self.fact(
            format!("replica {address}"),
            format!(
                "replica {address}, mode dnat: on it, the default route or a route to its clients has to be by {own} \
                 (docs/client-addresses.md)"
            ),
        );
    }

    /// Whether others answer for the VIPs, of whichever mode.
    async fn vips_of_others(
        &mut self,
        config: &Config,
        handle: &Handle,
        next_hops: &NextHops,
        seen: &[Seen],
    ) {
        let vips: BTreeSet<_> = config.services.iter().flat_map(|service| &service.vips).copied().collect();
        let up = |seen: &Seen| Some((seen.name.clone(), seen.link.as_ref().filter(|link| link.up)?.index));
        let pairs =
            seen.iter().filter_map(up).flat_map(|link| vips.iter().map(move |vip| (link.clone(), *vip)));
        let asked = pairs.take(MOST_ASKED).map(|((name, index), vip)| async move {
            (name, vip, neighbour_probe(handle, index, vip, ANSWER_LIMIT).await)
        });
        for (interface, vip, answer) in join_all(asked).await {
            match answer {
                Ok(Some(mac)) => {
                    let is_direct = config
                        .services
                        .iter()
                        .any(|service| service.mode.direct() && service.vips.contains(&vip));
                    self.answered(vip, is_direct, &interface, mac, next_hops);
                }
                Ok(None) => {}
                Err(error) => return self.fact("VIPs", not_asked(&error)),
            }
        }
    }

    /// Another host that answers for a VIP. `is_direct`: its replicas are to have it.
    fn answered(
        &mut self,
        vip: IpAddr,
        is_direct: bool,
        interface: &str,
        mac: [u8; 6],
        next_hops: &NextHops,
    ) {
        let of = |(address, hop): (&IpAddr, &Result<NextHop, NextHopError>)| {
            hop.as_ref().is_ok_and(|hop| hop.destination_mac == mac).then(|| address.to_string())
        };
        let replicas: Vec<_> = next_hops.iter().filter_map(of).collect();
        let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
        let how = if vip.is_ipv4() { "ARP" } else { "neighbour discovery" };
        let whose = match &replicas[..] {
            [] => "another host".to_owned(),
            replicas => format!("replica {}", replicas.join(", ")),
        };
        let remedy = match (replicas.is_empty() || !is_direct, vip) {
            (true, _) => "take the VIP off that host, unless it is a balancer that stands by for this one",
            (false, IpAddr::V4(_)) => {
                "put the VIP on the replica's lo, with net.ipv4.conf.all.arp_ignore = 1 and arp_announce = 2 \
                 (docs/dsr.md)"
            }
            (false, IpAddr::V6(_)) => {
                "put the VIP on the replica's lo, where it is not answered for, and off its other interfaces \
                 (docs/dsr.md)"
            }
        };
        self.warn(format!("VIP {vip}"), format!(
            "the VIP {vip} is answered by {how} on interface {interface} by {whose} (MAC {mac}): clients whose router \
             believes it pass this host by; {remedy}"
        ));
    }
}

/// Asks for each, and again while one has to find out its MAC address.
async fn next_hops(handle: &Handle, addresses: BTreeSet<IpAddr>) -> NextHops {
    let limit = Instant::now() + RESOLVE_LIMIT;
    let mut found = NextHops::new();
    for address in addresses {
        let result = loop {
            match resolve(handle, address).await {
                Err(NextHopError::Unresolved { .. }) if Instant::now() < limit => sleep(RESOLVE_PAUSE).await,
                result => break result,
            }
        };
        found.insert(address, result);
    }
    found
}

fn not_asked(error: &NextHopError) -> String {
    format!("whether others answer for a VIP was not looked at: {error}")
}

#[cfg(test)]
mod tests;
