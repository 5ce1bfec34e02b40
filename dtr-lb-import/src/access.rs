//! Who is let in: from rules of which the first one that fits decides, to prefixes of which the longest decides.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::job::{Rule, Said, Source};

/// `allow` and `deny` of a service. Empty both: everyone is let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    pub allow: Vec<IpNet>,
    pub deny: Vec<IpNet>,
}

/// What says the same as the rules, for whom no rule holds is let in: of each prefix, what the first of all rules says that hold the
/// whole of it.
pub fn longest(rules: &[Said<Rule>]) -> Access {
    let everyone = [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
    let nets = |rule: &Said<Rule>| match rule.value.of {
        Source::All => everyone.to_vec(),
        Source::Net(net) => vec![net.trunc()],
    };
    let rules: Vec<(IpNet, bool)> =
        rules.iter().flat_map(|rule| nets(rule).into_iter().map(|net| (net, rule.value.allow))).collect();
    let mut access = Access::default();
    for (net, _) in &rules {
        let first = rules.iter().find(|(other, _)| other.contains(net));
        let allow = first.is_none_or(|(_, allow)| *allow);
        let list = if allow { &mut access.allow } else { &mut access.deny };
        if !list.contains(net) {
            list.push(*net);
        }
    }
    if access.deny.is_empty() {
        return Access::default();
    }
    // An `allow` that does not name everyone keeps the others out. Who is in no rule is let in.
    if !access.allow.is_empty() {
        for all in everyone {
            if !access.allow.contains(&all) && !access.deny.contains(&all) {
                access.allow.push(all);
            }
        }
    }
    access
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::prelude::*;

    use super::*;
    use crate::report::Ledger;

    /// As dtr-lb's config is documented.
    fn lets_in(access: &Access, client: IpAddr) -> bool {
        let longest = |nets: &[IpNet]| {
            nets.iter().filter(|net| net.contains(&client)).map(|net| i16::from(net.prefix_len())).max()
        };
        match (longest(&access.allow), longest(&access.deny)) {
            (None, None) => access.allow.is_empty(),
            (allow, deny) => allow > deny,
        }
    }

    fn plain(rules: &[Said<Rule>], client: IpAddr) -> bool {
        let fits = |rule: &&Said<Rule>| match rule.value.of {
            Source::All => true,
            Source::Net(net) => net.contains(&client),
        };
        rules.iter().find(fits).is_none_or(|rule| rule.value.allow)
    }

    proptest! {
        #[test]
        fn the_longest_prefix_says_what_the_first_rule_says(
            rules in prop::collection::vec((any::<bool>(), 0u32..64, 24u8..=32, any::<bool>()), 0..8),
            clients in prop::collection::vec(0u32..64, 1..20),
        ) {
            let mut ledger = Ledger::default();
            let file = ledger.file("a");
            let at = ledger.statement(file, (1, 1), "a");
            let address = |low: u32| Ipv4Addr::from(0x0a00_0000 | low << 3);
            let rules: Vec<_> = rules
                .into_iter()
                .map(|(allow, low, length, all)| {
                    let net = IpNet::new(address(low).into(), length).unwrap();
                    Said { value: Rule { allow, of: if all && length == 24 { Source::All } else { Source::Net(net) } }, at }
                })
                .collect();
            let access = longest(&rules);
            prop_assert!(access.allow.iter().all(|net| !access.deny.contains(net)));
            for client in clients {
                let client = IpAddr::V4(address(client));
                prop_assert_eq!(lets_in(&access, client), plain(&rules, client), "{} by {:?}", client, access);
            }
            prop_assert_eq!(lets_in(&access, "2001:db8::1".parse().unwrap()), plain(&rules, "2001:db8::1".parse().unwrap()));
        }
    }
}
