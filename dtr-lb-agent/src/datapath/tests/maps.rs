use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use bytemuck::Zeroable;
use dtr_lb_common::{
    abi::{Hop, MAX_NAT_ADDRESSES, MAX_SERVICES, Mode, ReplicaCounters, ReplicaId},
    address::Be16,
};

use super::{REPLICA, VIP, as_root, desired, fresh, interface, ip, open, replica, sweep_all};
use crate::datapath::{
    Datapath, DatapathError, Desired, DesiredReplica, DesiredService, Hook, Wanted, ids::LIMIT, service_key,
};

/// Services at the ports from `first` on, as many as there may be.
fn full(first: u16) -> Desired {
    desired((first..).take(MAX_SERVICES).map(|port| (port, vec![replica(REPLICA, 1)])))
}

fn id(datapath: &Datapath, address: IpAddr) -> Option<ReplicaId> {
    datapath.writer.ids(service_key(VIP, 443), address.into(), Be16::new(443)).next()
}

fn interface_of(datapath: &Datapath, address: IpAddr) -> u32 {
    let id = id(datapath, address).expect("it has an id");
    datapath.writer.written(id).expect("the map can be read").hop.interface
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_a_full_set_of_services_can_be_replaced_by_another() {
    as_root(|root| {
        let mut datapath = open(root);
        assert_eq!(datapath.apply(&full(1000)).expect("it fits").services, 0);
        let halfway = 1000 + MAX_SERVICES as u16 / 2;
        assert_eq!(datapath.apply(&full(halfway)).expect("it fits").services, MAX_SERVICES / 2);
        drop(datapath);

        let mut adopting = open(root);
        let applied = adopting.apply(&full(2000)).expect("it fits");
        assert_eq!((applied.services, applied.tables), (MAX_SERVICES, MAX_SERVICES));
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_what_does_not_fit_is_refused_before_anything_is_written() {
    as_root(|_| {
        let mut datapath = fresh();
        let addresses = |count: usize| (0..count as u32).map(|n| Ipv4Addr::from_bits(0x0a01_0000 + n).into());
        let mut services: BTreeMap<_, _> = full(1000).services;
        services.insert(service_key(VIP, 443), DesiredService::nat(Vec::new()));
        let too_many_nat =
            DesiredReplica { nat: addresses(MAX_NAT_ADDRESSES + 1).collect(), ..replica(REPLICA, 1) };
        let cases = [
            (Desired { services, ..desired([]) }, MAX_SERVICES),
            (desired([(443, addresses(LIMIT + 1).map(|address| replica(address, 1)).collect())]), LIMIT),
            (desired([(443, vec![replica(VIP, 1), too_many_nat])]), MAX_NAT_ADDRESSES),
        ];
        for (wish, expected) in cases {
            match datapath.apply(&wish) {
                Err(DatapathError::TooMany { count, limit, .. }) => {
                    assert_eq!((count, limit), (expected + 1, expected));
                }
                other => panic!("limit {expected}: {other:?}"),
            }
            assert_eq!(datapath.writer.written(1).expect("the map can be read").port, Be16::new(0));
        }
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_an_id_of_a_replica_that_left_is_kept_while_flows_name_it() {
    as_root(|_| {
        let mut datapath = fresh();
        let others = |first: u32, count: usize| -> Vec<_> {
            let of = |n| replica(Ipv4Addr::from_bits(0x0a01_0000 + first + n).into(), 1);
            (0..count as u32).map(of).collect()
        };
        datapath.apply(&desired([(443, others(0, LIMIT))])).expect("it fits");
        datapath.apply(&desired([(443, others(0, 1))])).expect("it fits");
        sweep_all(&mut datapath);
        match datapath.apply(&desired([(443, others(10_000, 2))])) {
            Err(DatapathError::NoFreeReplica { missing, configured, leaving, limit }) => {
                assert_eq!((missing, configured, leaving, limit), (2, 2, LIMIT, LIMIT));
            }
            other => panic!("handshakes with the others may be under way: {other:?}"),
        }
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_a_replica_inherits_nothing_with_an_id_that_another_had() {
    as_root(|_| {
        let mut datapath = fresh();
        let all: Vec<_> = (0..LIMIT as u32)
            .map(|number| replica(Ipv4Addr::from_bits(0x0a01_0000 + number).into(), 7))
            .collect();
        datapath.apply(&desired([(443, all.clone())])).expect("it fits");
        datapath.apply(&desired([(443, all[1..].to_vec())])).expect("it fits");
        let old = id(&datapath, all[0].address).expect("an id is kept");
        datapath.counters.set(old, &ReplicaCounters { new_flows: 5, ..Zeroable::zeroed() }).expect("the map");
        let later = Instant::now() + Duration::from_secs(3600);
        datapath.writer.take_census(later, BTreeSet::new());

        let newcomer = DesiredReplica { hop: None, nat: Vec::new(), ..replica(REPLICA, 1) };
        let mut wanted = all[1..].to_vec();
        wanted.push(newcomer);
        datapath.apply(&desired([(443, wanted)])).expect("there is room by now");
        assert_eq!(id(&datapath, REPLICA), Some(old));
        assert_eq!(id(&datapath, all[0].address), None);
        let written = datapath.writer.written(old).expect("the map can be read");
        assert_eq!((written.hop, written.nat_count), (Hop::default(), 0));
        assert_eq!(datapath.counters.replica(old).expect("the map can be read"), Zeroable::zeroed());
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_under_xdp_a_replica_behind_another_interface_has_no_next_hop() {
    as_root(|_| {
        ip("link add near0 type veth peer name far0");
        let (near, elsewhere) = (interface("near0"), interface("far0").index);
        let seen = REPLICA;
        let unseen = IpAddr::from([10, 0, 0, 12]);
        let wish = desired([(443, vec![replica(seen, near.index), replica(unseen, elsewhere)])]);
        let hops = |datapath: &Datapath| (interface_of(datapath, seen), interface_of(datapath, unseen));
        for attach_first in [false, true] {
            let mut datapath = fresh();
            if attach_first {
                datapath
                    .attach(Wanted::Exactly(Hook::NativeXdp), std::slice::from_ref(&near))
                    .expect("it attaches");
            }
            datapath.apply(&wish).expect("it fits");
            if !attach_first {
                assert_eq!(hops(&datapath), (near.index, elsewhere), "nothing is attached yet");
                datapath
                    .attach(Wanted::Exactly(Hook::GenericXdp), std::slice::from_ref(&near))
                    .expect("it attaches");
            }
            assert_eq!(hops(&datapath), (near.index, 0));
            datapath.apply(&wish).expect("it fits");
            assert_eq!(hops(&datapath), (near.index, 0));
        }
        let mut datapath = fresh();
        datapath.attach(Wanted::Exactly(Hook::Tc), std::slice::from_ref(&near)).expect("it attaches");
        datapath.apply(&wish).expect("it fits");
        assert_eq!(hops(&datapath), (near.index, elsewhere), "TC can send by any interface");
    });
}

/// An echo request to an address, in a frame.
/// The mode of the only service, and whether packets are looked at by their source then.
fn looks_by_source(datapath: &mut Datapath, mode: Mode) -> bool {
    let mut wish = desired([(443, vec![replica(REPLICA, 1)])]);
    wish.services.values_mut().for_each(|service| service.mode = mode);
    datapath.apply(&wish).expect("it fits");
    let settings = datapath.reader().settings().expect("the map can be read");
    settings.expect("settings were applied").by_source != 0
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_sources_are_looked_at_from_the_first_service_of_mode_dnat_on() {
    as_root(|root| {
        let mut datapath = open(root);
        assert!(!looks_by_source(&mut datapath, Mode::NAT), "nobody needs it");
        assert!(looks_by_source(&mut datapath, Mode::DNAT));
        assert!(looks_by_source(&mut datapath, Mode::NAT), "connections of the time before may be left");
        drop(datapath);
        assert!(looks_by_source(&mut open(root), Mode::NAT), "and an agent that takes over knows of them");
    });
}

fn request(destination: IpAddr) -> Vec<u8> {
    let IpAddr::V4(destination) = destination else { panic!("{destination} is no IPv4 address") };
    let mut frame = [2; 42];
    frame[12..34].copy_from_slice(&[8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 192, 0, 2, 1, 0, 0, 0, 0]);
    frame[30..34].copy_from_slice(&destination.octets());
    frame[34..42].copy_from_slice(&[8, 0, 0xf7, 0xff, 0, 0, 0, 0]);
    frame.to_vec()
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_the_addresses_of_services_answer_and_others_do_not_whoever_wrote_them() {
    as_root(|root| {
        let answers = |datapath: &mut Datapath, address: IpAddr| {
            let ran = datapath.run(Hook::NativeXdp, &request(address)).expect("the program runs");
            // XDP_TX, and an echo reply; or XDP_PASS.
            assert!((ran.action, ran.frame[34]) == (3, 0) || (ran.action, ran.frame[34]) == (2, 8));
            ran.action == 3
        };
        let other = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 20));
        let services = |vips: &[IpAddr]| {
            let mut all = desired([]);
            for (vip, port) in vips.iter().flat_map(|vip| [(*vip, 80), (*vip, 443)]) {
                let service = DesiredService::nat(vec![replica(REPLICA, 1)]);
                all.services.insert(service_key(vip, port), service);
            }
            all
        };
        let mut datapath = open(root);
        assert!(!answers(&mut datapath, VIP));
        datapath.apply(&services(&[VIP])).expect("one address");
        assert!(answers(&mut datapath, VIP), "{:?}", datapath.meter().verdicts());
        assert!(answers(&mut datapath, VIP) && !answers(&mut datapath, other));
        datapath.apply(&services(&[VIP, other])).expect("two addresses");
        assert!(answers(&mut datapath, VIP) && answers(&mut datapath, other));
        let mut one_service = services(&[VIP, other]);
        one_service.services.remove(&service_key(VIP, 80));
        datapath.apply(&one_service).expect("one service less");
        assert!(answers(&mut datapath, VIP), "the other service has the address");
        drop(datapath);
        // Adopted, and then taken away by who did not write it.
        let mut datapath = open(root);
        assert!(answers(&mut datapath, VIP) && answers(&mut datapath, other));
        datapath.apply(&services(&[other])).expect("one address again");
        assert!(!answers(&mut datapath, VIP) && answers(&mut datapath, other));
    });
}
