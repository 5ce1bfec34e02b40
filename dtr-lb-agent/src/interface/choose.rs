//! Which interfaces a config means that names none, from what the kernel says of routes and addresses. Pure; `routes` asks.
//!
//! Packets come from clients and from replicas. The replicas' side is where the routes to them go. The clients' side is where
//! the VIP is: on an interface, or in the network of one. A VIP that is only on `lo` says nothing about that; then the default
//! route does.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use ipnet::IpNet;

/// What the kernel and DNS say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Each replica, and the interface of the route to it or why there is none.
    pub replicas: Vec<(IpAddr, Result<String, String>)>,
    /// The host names of replicas that have no address yet.
    pub unresolved: Vec<String>,
    /// Each VIP, and where it is.
    pub vips: Vec<(IpAddr, VipPlace)>,
    /// The interfaces of the default routes, IPv4 and IPv6.
    pub defaults: [Vec<String>; 2],
}

/// Where a VIP is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum VipPlace {
    /// On this interface.
    On(String),
    /// In the network of this interface.
    Beside(String),
    /// Where no frame arrives: on `lo` or the like, or behind a router; with the interface in whose network it is all the same.
    Nowhere(Option<String>),
}

/// An interface, and why it is one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    pub name: String,
    /// `route to 10.0.0.11, 10.0.0.12`, `has the VIP 10.0.0.10`.
    pub why: Vec<String>,
}

impl fmt::Display for Chosen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ({})", self.name, self.why.join("; "))
    }
}

/// The interfaces, and what is to be said besides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ByRoutes {
    /// At least one, no two alike; those on the clients' side first.
    pub interfaces: Vec<Chosen>,
    pub notes: Vec<String>,
}

impl ByRoutes {
    pub fn names(&self) -> Vec<String> {
        self.interfaces.iter().map(|chosen| chosen.name.clone()).collect()
    }

    /// Takes out each VLAN interface whose frames come by another one of them as well: `carried` is it and that one.
    pub fn without(&mut self, carried: &[(String, String)]) {
        for (vlan, carrier) in carried {
            self.interfaces.retain(|chosen| chosen.name != *vlan);
            self.notes.push(format!(
                "packets of the VLAN interface {vlan} are balanced on {carrier}, which carries them"
            ));
        }
    }
}

/// Decides. The error says of each route and VIP why it gives none.
pub(super) fn choose(facts: &Facts) -> Result<ByRoutes, String> {
    let mut found = ByRoutes::default();
    for (vip, place) in &facts.vips {
        match place {
            VipPlace::On(interface) => found.add(interface, format!("has the VIP {vip}")),
            VipPlace::Beside(interface) => found.add(interface, format!("the VIP {vip} is in its network")),
            VipPlace::Nowhere(beside) => {
                if let Some(interface) = beside {
                    found.add(interface, format!("the VIP {vip} is in its network"));
                }
                let defaults = &facts.defaults[usize::from(vip.is_ipv6())];
                let why =
                    format!("the default route, as the VIP {vip} is on no interface that frames arrive on");
                defaults.iter().for_each(|interface| found.add(interface, why.clone()));
                if defaults.is_empty() && beside.is_none() {
                    found.notes.push(format!(
                        "nothing says by which interface clients reach the VIP {vip}: it is on none, and there is no default \
                         route; write `interfaces` if it is none of those"
                    ));
                }
            }
        }
    }
    let mut by_interface = BTreeMap::<&str, Vec<String>>::new();
    for (replica, route) in &facts.replicas {
        match route {
            Ok(interface) => by_interface.entry(interface).or_default().push(replica.to_string()),
            Err(reason) => {
                found.notes.push(format!("replica {replica} does not say by which interface: {reason}"));
            }
        }
    }
    for (interface, replicas) in by_interface {
        found.add(interface, format!("route to {}", some_of(&replicas)));
    }
    if !facts.unresolved.is_empty() {
        found.notes.push(format!(
            "host names of replicas that have no address yet say nothing about interfaces: {}; `dtr-lb reload` works them out \
             again",
            some_of(&facts.unresolved)
        ));
    }
    if found.interfaces.is_empty() { Err(found.notes.join(", ")) } else { Ok(found) }
}

impl ByRoutes {
    fn add(&mut self, name: &str, why: String) {
        match self.interfaces.iter_mut().find(|chosen| chosen.name == name) {
            Some(chosen) if chosen.why.contains(&why) => {}
            Some(chosen) => chosen.why.push(why),
            None => self.interfaces.push(Chosen { name: name.to_owned(), why: vec![why] }),
        }
    }
}

/// Enough of them to know which are meant.
fn some_of(all: &[String]) -> String {
    const MOST: usize = 4;
    let shown = all.iter().take(MOST).map(String::as_str).collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(MOST) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// The interface whose network an address is in, by the longest prefix; of several, the first.
pub(super) fn beside(address: IpAddr, networks: &[(String, IpNet)]) -> Option<&str> {
    let holds = |(_, network): &&(String, IpNet)| {
        network.contains(&address) && network.prefix_len() < network.max_prefix_len()
    };
    let longest = networks.iter().filter(holds).map(|(_, network)| network.prefix_len()).max()?;
    let mut all = networks.iter().filter(holds);
    all.find(|(_, network)| network.prefix_len() == longest).map(|(name, _)| name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn facts(vip: VipPlace, replicas: &[&str]) -> Facts {
        let route = |(last, interface): (usize, &&str)| {
            let address = IpAddr::from([10, 0, 1, 11 + last as u8]);
            let route = match *interface {
                "" => Err("no route".to_owned()),
                interface => Ok(interface.to_owned()),
            };
            (address, route)
        };
        Facts {
            replicas: replicas.iter().enumerate().map(route).collect(),
            vips: vec![(ip("10.0.0.10"), vip)],
            defaults: [vec!["wan0".into()], Vec::new()],
            ..Facts::default()
        }
    }

    fn told(facts: &Facts) -> String {
        choose(facts).expect("interfaces").interfaces.iter().map(|chosen| format!("{chosen}\n")).collect()
    }

    #[test]
    fn each_side_has_its_interface_and_a_reason() {
        use VipPlace::{Beside, Nowhere, On};
        for (vip, replicas, expected) in [
            (On("eth0".into()), &["eth0"][..], "eth0 (has the VIP 10.0.0.10; route to 10.0.1.11)\n"),
            (
                Beside("eth0".into()),
                &["eth1", "eth1"],
                "eth0 (the VIP 10.0.0.10 is in its network)\neth1 (route to 10.0.1.11, 10.0.1.12)\n",
            ),
            (
                Nowhere(None),
                &["eth1", ""],
                "wan0 (the default route, as the VIP 10.0.0.10 is on no interface that frames arrive on)\n\
                 eth1 (route to 10.0.1.11)\n",
            ),
            (
                Nowhere(Some("wan0".into())),
                &[],
                "wan0 (the VIP 10.0.0.10 is in its network; the default route, as the VIP 10.0.0.10 is on no interface that \
                 frames arrive on)\n",
            ),
        ] {
            assert_eq!(told(&facts(vip, replicas)), expected);
        }
    }

    #[test]
    fn what_says_nothing_is_told_and_the_rest_decides() {
        let mut facts = facts(VipPlace::On("eth0".into()), &["", "eth1"]);
        facts.unresolved = vec!["dtr.example.com".into()];
        let found = choose(&facts).expect("interfaces");
        assert_eq!(found.names(), ["eth0", "eth1"]);
        assert!(found.notes[0].contains("10.0.1.11") && found.notes[0].contains("no route"), "{found:?}");
        assert!(found.notes[1].contains("dtr.example.com"), "{found:?}");
    }

    #[test]
    fn where_nothing_says_anything_each_reason_is_told() {
        let mut facts = facts(VipPlace::Nowhere(None), &[""]);
        facts.defaults = Default::default();
        let error = choose(&facts).expect_err("there is none");
        assert!(error.contains("10.0.0.10") && error.contains("10.0.1.11"), "{error}");
        facts.vips = vec![(ip("2001:db8::10"), VipPlace::Nowhere(None))];
        facts.defaults[0] = vec!["wan0".into()];
        let error = choose(&facts).expect_err("the default route of another family says nothing");
        assert!(error.contains("2001:db8::10"), "{error}");
    }

    #[test]
    fn a_vlan_gives_way_to_its_carrier() {
        let mut found = choose(&facts(VipPlace::On("eth0".into()), &["eth0.7"])).expect("interfaces");
        found.without(&[("eth0.7".into(), "eth0".into())]);
        assert_eq!(found.names(), ["eth0"]);
        assert!(found.notes[0].contains("eth0.7"), "{found:?}");
    }

    #[test]
    fn the_longest_prefix_has_an_address() {
        let networks: Vec<_> = [("a", "10.0.0.1/8"), ("b", "10.0.0.2/24"), ("c", "10.0.0.10/32")]
            .map(|(name, network)| (name.to_owned(), network.parse().expect("a network")))
            .into();
        assert_eq!(beside(ip("10.0.0.10"), &networks), Some("b"), "a host's own prefix is no network");
        assert_eq!(beside(ip("10.1.0.10"), &networks), Some("a"));
        assert_eq!(beside(ip("192.0.2.1"), &networks), None);
    }
}
