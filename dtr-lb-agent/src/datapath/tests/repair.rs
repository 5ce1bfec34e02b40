//! Somebody changes a pinned map behind the agent's back, or takes a program off.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    time::{Duration, Instant},
};

use aya::maps::{Array, HashMap, LpmTrie, Map, MapData, MapError, lpm_trie::Key};
use bytemuck::Zeroable as _;
use dtr_lb_common::{
    abi::{
        DENY, FILTER_PLACES, Filter, LAYOUT_VERSION, MaglevTable, Replica, Service, ServiceFlags, ServiceKey,
        Settings, SourceKey, map,
    },
    address::Address,
};

use super::{VIP, as_root, desired, interface, ip, open};
use crate::datapath::{Datapath, Desired, DesiredReplica, Hook, Repaired, SourceRule, Wanted, service_key};

/// A pinned map, as somebody else opens it.
fn pinned<M: TryFrom<Map, Error = MapError>>(root: &Path, name: &str, kind: fn(MapData) -> Map) -> M {
    let path = root.join(format!("v{LAYOUT_VERSION}/maps/{name}"));
    M::try_from(kind(MapData::from_pin(path).expect("a pinned map"))).expect("a map of this type")
}

fn replica(number: u32) -> DesiredReplica {
    let address = IpAddr::V4(Ipv4Addr::from_bits(0x0a01_0000 + number));
    DesiredReplica { address, port: 443, weight: 100, hop: None, nat: vec![VIP], mtu: 0, reset: false }
}

/// A service with a rule, and one without.
fn two_services() -> Desired {
    let mut wish = desired([(443, vec![replica(1), replica(2)]), (80, vec![replica(1)])]);
    let service = wish.services.get_mut(&service_key(VIP, 443)).expect("it is there");
    service.sources.push(SourceRule { prefix: "192.0.2.0/24".parse().expect("a prefix"), allow: false });
    wish
}

/// One whole round.
fn round(datapath: &mut Datapath) -> Vec<Repaired> {
    let mut repaired = Vec::new();
    loop {
        let round = datapath.compare().expect("it can be compared");
        repaired.extend(round.repaired);
        if round.done {
            return repaired;
        }
    }
}

/// What was repaired: the map, and how many entries.
fn counts(repaired: &[Repaired]) -> Vec<(&str, u64)> {
    repaired.iter().map(|repaired| (repaired.map, repaired.entries)).collect()
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_what_nobody_changed_is_left_alone() {
    as_root(|root| {
        let mut datapath = open(root);
        assert_eq!(round(&mut datapath), [], "nothing was written");
        datapath.apply(&two_services()).expect("it fits");
        assert_eq!(round(&mut datapath), []);
        let mut other = two_services();
        other.services.remove(&service_key(VIP, 80));
        datapath.apply(&other).expect("it fits");
        assert_eq!(round(&mut datapath), [], "after a change");
        drop(datapath);
        let mut adopting = open(root);
        adopting.apply(&two_services()).expect("it fits");
        assert_eq!(round(&mut adopting), [], "after an adoption");
        assert!(adopting.repairs().values().all(|count| *count == 0), "{:?}", adopting.repairs());
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_each_map_is_repaired_and_what_differed_is_counted() {
    type Spoil = fn(&Path);
    let cases: &'static [(&str, u64, Spoil)] = &[
        (map::SETTINGS, 1, |root| {
            let mut settings: Array<_, Settings> = pinned(root, map::SETTINGS, Map::Array);
            settings
                .set(0, Settings { hash_seed: 7, ..settings.get(&0, 0).expect("it") }, 0)
                .expect("a write");
        }),
        // The VIP's two ports, and the NAT address with all its ports.
        (map::FILTER, 3, |root| {
            let mut filter: Array<_, Filter> = pinned(root, map::FILTER, Map::Array);
            filter.set(0, [0; FILTER_PLACES], 0).expect("a write");
        }),
        (map::VIPS, 2, |root| {
            let mut vips: HashMap<_, Address, u32> = pinned(root, map::VIPS, Map::HashMap);
            vips.remove(&VIP.into()).expect("a removal");
            vips.insert(Address::from(IpAddr::from([192, 0, 2, 1])), 1, 0).expect("a write");
        }),
        // One of ours, and two that nobody has, in other pieces of the round.
        (map::REPLICAS, 1, |root| {
            let mut replicas: Array<_, Replica> = pinned(root, map::REPLICAS, Map::Array);
            replicas.set(1, Replica::zeroed(), 0).expect("a write");
        }),
        (map::REPLICAS, 2, |root| {
            let mut replicas: Array<_, Replica> = pinned(root, map::REPLICAS, Map::Array);
            let other = replicas.get(&1, 0).expect("it is there");
            replicas.set(1000, other, 0).expect("a write");
            replicas.set(1001, other, 0).expect("a write");
        }),
        (map::SOURCES, 2, |root| {
            let mut sources: LpmTrie<_, SourceKey, u32> = pinned(root, map::SOURCES, Map::LpmTrie);
            let keys: Vec<_> = sources.keys().collect::<Result<_, _>>().expect("keys");
            sources.remove(&keys[0]).expect("a removal");
            let foreign = Key::new(keys[0].prefix_len() + 1, keys[0].data());
            sources.insert(&foreign, DENY, 0).expect("a write");
        }),
        (map::SERVICES, 2, |root| {
            let mut services: HashMap<_, ServiceKey, Service> = pinned(root, map::SERVICES, Map::HashMap);
            let key = service_key(VIP, 443);
            let service = services.get(&key, 0).expect("it is there");
            services
                .insert(key, Service { flags: ServiceFlags::SOURCE_AFFINITY, ..service }, 0)
                .expect("a write");
            services.insert(service_key(VIP, 8443), service, 0).expect("a write");
        }),
        (map::TABLES, 2, |root| {
            let mut tables: Array<_, MaglevTable> = pinned(root, map::TABLES, Map::Array);
            for table in 0..4 {
                let mut slots = tables.get(&table, 0).expect("it is there");
                slots[9] = slots[9].wrapping_add(1);
                tables.set(table, slots, 0).expect("a write");
            }
        }),
    ];
    as_root(move |root| {
        let mut datapath = open(root);
        datapath.apply(&two_services()).expect("it fits");
        for &(name, entries, spoil) in cases {
            let before = datapath.repairs()[name];
            spoil(root);
            let repaired = round(&mut datapath);
            let found: u64 = repaired.iter().map(|repaired| repaired.entries).sum();
            assert_eq!(found, entries, "{repaired:?}");
            assert!(repaired.iter().all(|repaired| repaired.map == name), "{repaired:?}");
            assert_eq!(datapath.repairs()[name], before + entries);
            assert_eq!(round(&mut datapath), [], "{name} is as it was");
        }
        // As another agent reads it.
        drop(datapath);
        let mut adopting = open(root);
        let applied = adopting.apply(&two_services()).expect("it fits");
        assert_eq!((applied.replicas, applied.services), (0, 0));
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_a_program_that_is_taken_off_is_put_back() {
    as_root(|root| {
        ip("link add near0 type veth peer name far0");
        let mut datapath = open(root);
        datapath.apply(&two_services()).expect("it fits");
        datapath.attach(Wanted::Exactly(Hook::Tc), &[interface("near0")]).expect("it attaches");
        assert_eq!(round(&mut datapath), []);
        let links = root.join(format!("v{LAYOUT_VERSION}/links"));
        let pin = links.join(format!("tc-{}", interface("near0").index));
        // With its pin a link ends.
        fs::remove_file(&pin).expect("the pin can go");
        let again = Instant::now() + Duration::from_secs(2);
        let mut repaired = Vec::new();
        // The kernel takes the program off in the background.
        while repaired.is_empty() && Instant::now() < again {
            repaired = round(&mut datapath);
        }
        assert_eq!(counts(&repaired), [("links", 1)]);
        assert!(pin.exists());
        assert_eq!(round(&mut datapath), []);
        assert_eq!(datapath.repairs()["links"], 1);
    });
}

/// A large datapath: ten services, a hundred replicas each. No piece may hold up the agent for long, and ten seconds are
/// between two rounds. `cargo test -p dtr-lb-agent --lib repair -- --nocapture` shows what it takes.
#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_a_round_over_a_large_datapath_is_short() {
    as_root(|root| {
        let mut datapath = open(root);
        let services = (443..453).map(|port| (port, (1..=100).map(replica).collect()));
        datapath.apply(&desired(services)).expect("it fits");
        let (mut pieces, mut longest, mut whole) = (0, Duration::ZERO, Duration::ZERO);
        loop {
            let begun = Instant::now();
            let round = datapath.compare().expect("it can be compared");
            let took = begun.elapsed();
            (pieces, longest, whole) = (pieces + 1, longest.max(took), whole + took);
            if round.done {
                break;
            }
        }
        println!("{pieces} pieces, the longest {longest:?}, all {whole:?}");
        // Unoptimized, and on a machine with other work: a fiftieth of a second each is far more than it takes.
        assert!(whole < Duration::from_secs(1), "{whole:?}");
    });
}
