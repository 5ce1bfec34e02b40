//! Addresses that a config says are this host's.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;

use super::finding::{Finding, Findings, Refused};
use crate::{config::Config, interface::LOCAL_CLIENT};

impl Findings {
    /// NAT addresses must be this host's `own`, or no answer comes back; a VIP should be, or routers must know the way.
    pub(super) fn addresses(&mut self, config: &Config, own: &BTreeSet<IpAddr>) {
        for address in config.foreign_nat_addresses(own) {
            self.error(
                "datapath.nat_addresses",
                format!(
                    "datapath.nat_addresses has {address}, which is not an address of this host; add it to an interface, or \
                     remove it"
                ),
            );
        }
        for vip in config.foreign_vips(own) {
            self.warn(
                format!("VIP {vip}"),
                format!(
                    "the VIP {vip} is not an address of this host, so nobody answers ARP or neighbour discovery for it; add \
                     it (`ip address add {} dev {}`), or route it here",
                    IpNet::from(vip),
                    config.interfaces.first().map_or("INTERFACE", String::as_str)
                ),
            );
        }
        let vips: BTreeSet<_> = config.services.iter().flat_map(|service| &service.vips).collect();
        for vip in vips.into_iter().filter(|vip| own.contains(vip)) {
            self.fact(format!("VIP {vip}"), format!("VIP {vip}: {LOCAL_CLIENT}"));
        }
    }
}

/// The same for another config of a running agent. Returns what is to be said, and was not to be said of `before`.
///
/// # Errors
/// It has a NAT address that is not among `own`, those of this host.
pub(crate) fn check_addresses(
    config: &Config,
    before: &Config,
    own: &BTreeSet<IpAddr>,
) -> Result<Vec<Finding>, Refused> {
    let of = |config: &Config| {
        let mut found = Findings::default();
        found.addresses(config, own);
        found
    };
    let (mut found, told) = (of(config), of(before).warnings);
    found.refusal()?;
    let told: BTreeSet<_> = told.iter().map(|finding| finding.about.as_str()).collect();
    found.warnings.retain(|finding| !told.contains(finding.about.as_str()));
    Ok(found.warnings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HostFacts;

    fn config(nat_addresses: &str) -> Config {
        let text = format!(
            "vip = \"10.0.0.10\"\ninterfaces = [\"eth0\"]\n[datapath]\nnat_addresses = {nat_addresses}\n[[replica]]\naddress = \
             \"10.0.0.11\"\n"
        );
        Config::parse(&text, "test", &[], &HostFacts { ephemeral_ports: 32768..=60999 })
            .expect("the config is valid")
    }

    #[test]
    fn addresses_that_are_not_the_hosts_are_told() {
        let config = config("[\"10.0.0.3\", \"10.0.0.4\"]");
        let mut found = Findings::default();
        found.addresses(&config, &BTreeSet::from([IpAddr::from([10, 0, 0, 3])]));
        assert!(found.errors.len() == 1 && found.errors[0].contains("10.0.0.4"), "{found:?}");
        assert!(
            found.warnings.len() == 1 && found.warnings[0].contains("10.0.0.10/32 dev eth0"),
            "{found:?}"
        );
        let mut found = Findings::default();
        let own = [[10, 0, 0, 3], [10, 0, 0, 4], [10, 0, 0, 10]].map(IpAddr::from);
        found.addresses(&config, &BTreeSet::from(own));
        assert!(found.warnings.is_empty() && found.errors.is_empty(), "{found:?}");
        let [fact] = &found.facts[..] else { panic!("one VIP is the host's own: {found:?}") };
        assert!(fact.contains("VIP 10.0.0.10: a client on this host is not balanced"), "{fact}");
    }

    #[test]
    fn a_reload_refuses_nat_addresses_of_others() {
        let own = BTreeSet::from([IpAddr::from([10, 0, 0, 3])]);
        let good = config("[\"10.0.0.3\"]");
        assert_eq!(
            check_addresses(&good, &good, &own),
            Ok(Vec::new()),
            "that the VIP is not the host's was told"
        );
        let refused = check_addresses(&config("[\"10.0.0.4\"]"), &good, &own).expect_err("it is another's");
        assert!(refused.to_string().contains("10.0.0.4, which is not an address of this host"), "{refused}");
    }
}
