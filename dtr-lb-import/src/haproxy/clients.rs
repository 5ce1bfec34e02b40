//! Sets of clients' addresses, with what sets have: union, intersection, complement.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Addresses of one family, as ranges of numbers that neither overlap nor touch, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ranges {
    last: u128,
    list: Vec<(u128, u128)>,
}

impl Ranges {
    fn of(last: u128, mut list: Vec<(u128, u128)>) -> Self {
        list.sort_unstable();
        let mut joined: Vec<(u128, u128)> = Vec::with_capacity(list.len());
        for (from, to) in list {
            match joined.last_mut() {
                Some((_, end)) if from <= end.saturating_add(1) => *end = to.max(*end),
                _ => joined.push((from, to)),
            }
        }
        Self { last, list: joined }
    }

    fn complement(&self) -> Self {
        let mut list = Vec::with_capacity(self.list.len() + 1);
        let mut next = Some(0);
        for (from, to) in &self.list {
            if let Some(next) = next.filter(|next| next < from) {
                list.push((next, from - 1));
            }
            next = to.checked_add(1).filter(|next| *next <= self.last);
        }
        list.extend(next.map(|next| (next, self.last)));
        Self { last: self.last, list }
    }

    fn union(&self, other: &Self) -> Self {
        Self::of(self.last, [&self.list[..], &other.list].concat())
    }

    /// As networks, the first of each address and its length.
    fn networks(&self, bits: u8) -> Vec<(u128, u8)> {
        let mut networks = Vec::new();
        for (from, to) in &self.list {
            let mut from = *from;
            loop {
                // The largest one that begins here and does not go beyond.
                let aligned =
                    if from == 0 { u32::from(bits) } else { from.trailing_zeros().min(u32::from(bits)) };
                let left = to - from;
                let fits = if left == u128::MAX { 128 } else { (left + 1).ilog2() };
                let host_bits = aligned.min(fits);
                networks.push((from, bits - u8::try_from(host_bits).unwrap_or(bits)));
                let size = 1u128.checked_shl(host_bits);
                match size.and_then(|size| from.checked_add(size)).filter(|next| next <= to) {
                    Some(next) => from = next,
                    None => break,
                }
            }
        }
        networks
    }
}

/// Clients by their addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Clients {
    v4: Ranges,
    v6: Ranges,
}

impl Clients {
    pub(super) fn nobody() -> Self {
        Self { v4: Ranges::of(u32::MAX.into(), Vec::new()), v6: Ranges::of(u128::MAX, Vec::new()) }
    }

    pub(super) fn everyone() -> Self {
        Self::nobody().complement()
    }

    pub(super) fn of(nets: &[IpNet]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for net in nets {
            match net {
                IpNet::V4(net) => {
                    v4.push((u32::from(net.network()).into(), u32::from(net.broadcast()).into()))
                }
                IpNet::V6(net) => v6.push((u128::from(net.network()), u128::from(net.broadcast()))),
            }
        }
        Self { v4: Ranges::of(u32::MAX.into(), v4), v6: Ranges::of(u128::MAX, v6) }
    }

    pub(super) fn complement(&self) -> Self {
        Self { v4: self.v4.complement(), v6: self.v6.complement() }
    }

    pub(super) fn union(&self, other: &Self) -> Self {
        Self { v4: self.v4.union(&other.v4), v6: self.v6.union(&other.v6) }
    }

    pub(super) fn intersection(&self, other: &Self) -> Self {
        self.complement().union(&other.complement()).complement()
    }

    pub(super) fn is_nobody(&self) -> bool {
        self.v4.list.is_empty() && self.v6.list.is_empty()
    }

    /// In few networks, by family: `(deny, of)`, where the first that holds an address decides, and who is in none is no member.
    pub(super) fn rules(&self) -> Vec<(bool, IpNet)> {
        let v4 = |(first, length): (u128, u8)| {
            let first = u32::try_from(first).map_or(Ipv4Addr::UNSPECIFIED, Ipv4Addr::from);
            IpNet::new(IpAddr::V4(first), length).ok()
        };
        let v6 = |(first, length): (u128, u8)| IpNet::new(IpAddr::V6(Ipv6Addr::from(first)), length).ok();
        let family = |ranges: &Ranges, bits: u8, net: &dyn Fn((u128, u8)) -> Option<IpNet>| {
            let (members, others) = (ranges.networks(bits), ranges.complement().networks(bits));
            let is_short = members.len() <= others.len() + 1;
            let list = if is_short { members } else { others };
            let all = (!is_short).then_some((0, 0));
            let listed = list.into_iter().map(|one| (is_short, one)).chain(all.map(|all| (true, all)));
            listed.filter_map(|(member, one)| Some((member, net(one)?))).collect::<Vec<_>>()
        };
        let mut rules = family(&self.v4, 32, &v4);
        rules.extend(family(&self.v6, 128, &v6));
        rules
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn holds(rules: &[(bool, IpNet)], client: IpAddr) -> bool {
        rules.iter().find(|(_, net)| net.contains(&client)).is_some_and(|(member, _)| *member)
    }

    #[test]
    fn networks_of_sets() {
        let private = Clients::of(&[net("10.0.0.0/8"), net("192.168.0.0/16")]);
        assert_eq!(private.rules(), [(true, net("10.0.0.0/8")), (true, net("192.168.0.0/16"))]);
        assert_eq!(
            private.complement().rules(),
            [
                (false, net("10.0.0.0/8")),
                (false, net("192.168.0.0/16")),
                (true, net("0.0.0.0/0")),
                (true, net("::/0"))
            ]
        );
        assert_eq!(Clients::everyone().rules(), [(true, net("0.0.0.0/0")), (true, net("::/0"))]);
        assert!(Clients::nobody().rules().is_empty() && Clients::nobody().is_nobody());
        assert_eq!(Clients::everyone().complement(), Clients::nobody());
    }

    proptest! {
        #[test]
        fn the_algebra_of_sets(
            one in prop::collection::vec((0u32..64, 26u8..=32), 0..5),
            other in prop::collection::vec((0u32..64, 26u8..=32), 0..5),
            clients in prop::collection::vec(0u32..80, 1..20),
        ) {
            let nets = |list: &[(u32, u8)]| {
                list.iter().map(|(low, length)| IpNet::new(IpAddr::V4(Ipv4Addr::from(0x0a00_0000 | low)), *length).unwrap()).collect::<Vec<_>>()
            };
            let (one, other) = (nets(&one), nets(&other));
            let (a, b) = (Clients::of(&one), Clients::of(&other));
            for client in clients {
                let client = IpAddr::V4(Ipv4Addr::from(0x0a00_0000 | client));
                let in_one = one.iter().any(|net| net.contains(&client));
                let in_other = other.iter().any(|net| net.contains(&client));
                prop_assert_eq!(holds(&a.rules(), client), in_one);
                prop_assert_eq!(holds(&a.complement().rules(), client), !in_one);
                prop_assert_eq!(holds(&a.union(&b).rules(), client), in_one || in_other);
                prop_assert_eq!(holds(&a.intersection(&b).rules(), client), in_one && in_other);
            }
        }
    }
}
