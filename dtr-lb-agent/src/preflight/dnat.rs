//! Services in mode `dnat`: what this host can see of how their replicas answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;

use super::finding::Findings;
use crate::config::{Config, Mode, Service};

/// The services whose replicas see clients' addresses and answer by this host.
fn dnat(config: &Config) -> impl Iterator<Item = &Service> {
    config.services.iter().filter(|service| service.mode == Mode::Dnat)
}

fn replicas(config: &Config) -> BTreeSet<IpAddr> {
    dnat(config).flat_map(|service| &service.replicas).map(|replica| replica.address).collect()
}

impl Findings {
    /// All that concerns such services. `routers`: by which replicas are reached; `networks`: those of this host.
    pub(super) fn dnat(&mut self, config: &Config, routers: &BTreeMap<IpAddr, IpAddr>, networks: &[IpNet]) {
        for address in replicas(config) {
            if let Some(router) = routers.get(&address) {
                self.routed(address, *router);
            }
        }
        self.shared_networks(config, networks);
    }

    /// A replica behind a router.
    fn routed(&mut self, address: IpAddr, router: IpAddr) {
        self.warn(
            format!("replica {address}"),
            format!(
                "replica {address}, mode dnat: it is reached by the router {router}, which has its own routes to clients and \
                 sends the replica's answers past this balancer unless it is told otherwise; put the replica on a segment \
                 with this host, or have the router send what comes from the replica here (policy routing)"
            ),
        );
    }

    /// Replicas that are on one network with a VIP, and so most likely with clients. `networks`: those of this host.
    fn shared_networks(&mut self, config: &Config, networks: &[IpNet]) {
        let mut shared = BTreeSet::new();
        for service in dnat(config) {
            for replica in &service.replicas {
                let of_replica = networks.iter().filter(|network| network.contains(&replica.address));
                let nearest = of_replica.max_by_key(|network| network.prefix_len());
                let vips = service.vips.iter();
                let with = |network: &&IpNet| vips.clone().find(|vip| network.contains(*vip)).copied();
                shared.extend(nearest.and_then(|network| Some((network.trunc(), with(&network)?))));
            }
        }
        for (network, vip) in shared {
            self.warn(
                format!("VIP {vip}"),
                format!(
                    "the VIP {vip} and replicas in mode dnat are in one network, {network}: clients in it are answered by the \
                     replicas directly, past this balancer, so that they cannot connect; and that a probe passes does not show \
                     that other clients are answered by here; put the replicas into a network of their own, or use mode \"nat\" \
                     for such clients"
                ),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HostFacts;

    fn config(vip: &str, mode: &str) -> Config {
        let text = format!(
            "vip = \"{vip}\"\ninterfaces = [\"eth0\"]\n[[replica]]\naddress = \"10.0.0.11\"\n[[replica]]\naddress = \
             \"10.0.0.12\"\n[[service]]\nname = \"https\"\nport = 443\nmode = \"{mode}\"\n"
        );
        let host = HostFacts { ephemeral_ports: 32768..=60999 };
        Config::parse(&text, "test", &[], &host).expect("the config is valid")
    }

    #[test]
    fn a_vip_in_the_network_of_replicas_is_told_once() {
        let networks =
            ["10.0.0.1/24", "10.0.0.10/32", "192.0.2.1/24"].map(|text| text.parse().expect("a network"));
        for (vip, mode, told) in
            [("10.0.0.10", "dnat", 1), ("192.0.2.10", "dnat", 0), ("10.0.0.10", "nat", 0)]
        {
            let mut found = Findings::default();
            found.shared_networks(&config(vip, mode), &networks);
            assert_eq!(found.warnings.len(), told, "{vip} {mode}: {found:?}");
            let names = |warning: &crate::preflight::Finding| warning.contains("10.0.0.0/24");
            assert!(found.warnings.iter().all(names), "{found:?}");
        }
    }

    #[test]
    fn a_router_in_between_is_told() {
        let address = |last| IpAddr::from([10, 0, 0, last]);
        let routers = BTreeMap::from([(address(12), address(254))]);
        for (mode, told) in [("dnat", 1), ("nat", 0)] {
            let mut found = Findings::default();
            found.dnat(&config("192.0.2.10", mode), &routers, &[]);
            assert_eq!(found.warnings.len(), told, "{found:?}");
            assert!(found.warnings.iter().all(|warning| warning.contains("router 10.0.0.254")), "{found:?}");
        }
    }
}
