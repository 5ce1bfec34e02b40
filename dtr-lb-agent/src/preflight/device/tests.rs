//! Drivers that nobody here has: judged by how they would be set.

use super::*;

fn device(driver: &str) -> Device {
    Device {
        name: "eth0".into(),
        mtu: 1500,
        driver: Some(driver.into()),
        lro: Some(false),
        gro_hw: Some(false),
        gro: Some(true),
        processors: 2,
        kernel: (6, 12),
        ..Device::default()
    }
}

fn channels(combined: (u32, u32), rx: (u32, u32), tx: (u32, u32)) -> Option<Channels> {
    Some(Channels { combined, rx, tx })
}

/// The bits of these features.
fn features(bits: &[u32]) -> Option<u64> {
    Some(bits.iter().fold(0, |features, bit| features | 1 << bit))
}

#[test]
fn what_each_driver_refuses() {
    let both = |count, max| channels((0, 0), (count, max), (count, max));
    let cases = [
        (device("ena"), &[][..]),
        (Device { mtu: 3498, ..device("ena") }, &[]),
        (Device { mtu: 3499, ..device("ena") }, &["at most 3498"]),
        (Device { mtu: 9001, lro: Some(true), ..device("ena") }, &["9001", "lro off"]),
        (Device { channels: channels((4, 8), (0, 0), (0, 0)), ..device("ena") }, &[]),
        (
            Device { channels: channels((5, 8), (0, 0), (0, 0)), ..device("ena") },
            &["ethtool -L eth0 combined 4"],
        ),
        (Device { channels: channels((1, 1), (0, 0), (0, 0)), ..device("ena") }, &["there may be 1 in all"]),
        (Device { mtu: 1460, channels: both(8, 16), ..device("gve") }, &[]),
        (Device { mtu: 8896, channels: both(8, 16), ..device("gve") }, &["at most 2032"]),
        (Device { channels: both(16, 16), ..device("gve") }, &["rx 8 tx 8"]),
        (Device { channels: channels((0, 0), (4, 16), (8, 16)), ..device("gve") }, &["rx 8 tx 8"]),
        (Device { lro: Some(true), ..device("gve") }, &["LRO is on"]),
        (Device { virtio: features(&[1, 2, 7, 8, 9, 10]), ..device("virtio_net") }, &[]),
        (Device { virtio: features(&[1, 7]), ..device("virtio_net") }, &["ctrl_guest_offloads"]),
        (Device { virtio: features(&[54]), ..device("virtio_net") }, &["ctrl_guest_offloads"]),
        (Device { virtio: features(&[0, 5, 15]), mtu: 9000, ..device("virtio_net") }, &[]),
        (Device { mtu: 9000, kernel: (6, 1), ..device("virtio_net") }, &["at most 3506"]),
        (Device { lro: Some(true), ..device("mlx5_core") }, &["ethtool -K eth0 lro off"]),
        (Device { gro_hw: Some(true), ..device("mlx5_core") }, &["rx-gro-hw off"]),
        (Device { mtu: 9000, ..device("mlx5_core") }, &[]),
        (Device { lro: Some(true), ..device("hv_netvsc") }, &["LRO is on"]),
        (Device { mtu: 3050, ..device("ixgbe") }, &[]),
        (Device { mtu: 3051, ..device("ixgbe") }, &["at most 3050"]),
        (Device { virtual_functions: 4, lro: Some(true), ..device("ixgbe") }, &["lro off", "sriov_numvfs"]),
        (Device { processors: 129, ..device("ixgbe") }, &["128 processors"]),
        (Device { mtu: 9000, ..device("i40e") }, &[]),
        (Device { mtu: 9000, kernel: (6, 3), ..device("i40e") }, &["at most 3046"]),
        (Device { mtu: 9000, kernel: (6, 2), ..device("ice") }, &["at most 3046"]),
        (Device { mtu: 9000, kernel: (6, 3), ..device("ice") }, &[]),
        (device("e1000e"), &["e1000e has no native XDP"]),
        (Device { mtu: 9000, lro: Some(true), ..device("one_of_next_year") }, &[]),
        (Device { driver: None, kind: Kind::Veth, ..device("") }, &[]),
        (Device { driver: None, kind: Kind::Loopback, ..device("") }, &["loopback interface"]),
        (Device { driver: None, kind: Kind::Stacked("bridge"), ..device("") }, &["it is a bridge"]),
        (Device { driver: None, kind: bond("active-backup", true), ..device("") }, &[]),
        (Device { driver: None, kind: bond("balance-alb", false), ..device("") }, &["mode balance-alb"]),
    ];
    for (device, expected) in cases {
        let found = device.obstacles();
        let told: Vec<_> =
            found.iter().map(|obstacle| format!("{}; {}", obstacle.why, obstacle.remedy)).collect();
        assert_eq!(told.len(), expected.len(), "{device:?}: {told:#?}");
        for (told, words) in told.iter().zip(expected) {
            assert!(told.contains(words), "{device:?}: {told}");
        }
        assert!(found.iter().all(|obstacle| !obstacle.only_slow));
    }
}

fn bond(mode: &str, takes_xdp: bool) -> Kind {
    Kind::Bond { takes_xdp, mode: mode.into() }
}

#[test]
fn too_few_queues_of_virtio_make_it_slow_only() {
    for (count, max, processors, slow) in
        [(1, 3, 2, false), (1, 2, 2, true), (2, 4, 2, false), (4, 4, 4, true)]
    {
        let channels = channels((count, max), (0, 0), (0, 0));
        let found = Device { channels, processors, ..device("virtio_net") }.obstacles();
        assert_eq!(
            found.iter().map(|obstacle| obstacle.only_slow).collect::<Vec<_>>(),
            vec![true; usize::from(slow)]
        );
    }
}

#[test]
fn a_refusal_is_an_error_only_where_nothing_else_may_be_attached() {
    use Attach::{Auto, Tc, Xdp, XdpGeneric};
    let refusing = Device { mtu: 9001, ..device("ena") };
    let slow = Device { channels: channels((2, 2), (0, 0), (0, 0)), ..device("virtio_net") };
    let with_lro = Device { lro: Some(true), ..device("ena") };
    let lo = Device { name: "lo".into(), kind: Kind::Loopback, driver: None, ..device("") };
    for (device, attach, warnings, errors) in [
        (&lo, Xdp, 0, 1),
        (&lo, Auto, 1, 0),
        (&lo, Tc, 0, 0),
        (&refusing, Auto, 1, 0),
        (&refusing, Xdp, 0, 1),
        (&refusing, XdpGeneric, 0, 0),
        (&refusing, Tc, 0, 0),
        (&slow, Auto, 1, 0),
        (&slow, Xdp, 1, 0),
        (&with_lro, Tc, 1, 0),
    ] {
        let mut found = Findings::default();
        found.device(device, attach);
        assert_eq!((found.warnings.len(), found.foreseen.len()), (warnings, errors), "{attach}: {found:?}");
    }
}

#[test]
fn members_of_bonds_and_bridges_are_told() {
    for (group, told) in [(Group::Bond, 1), (Group::Team, 1), (Group::Bridge, 1), (Group::Other, 0)] {
        let mut found = Findings::default();
        found.device(&Device { member_of: Some(("up0".into(), group)), ..device("igb") }, Attach::Tc);
        assert_eq!(found.warnings.len(), told, "{group:?}");
        assert!(
            found.warnings.iter().all(|warning| warning.contains("name up0 in `interfaces`")),
            "{found:?}"
        );
    }
}

#[test]
fn who_takes_tags_out_of_frames_before_xdp_is_told_of_it() {
    use Attach::{Auto, Tc, Xdp, XdpGeneric};
    let carries = Device { vlans: vec!["eth0.10".into()], ..device("igb") };
    let takes = Device { takes_tags: Some(true), ..carries.clone() };
    let veth = Device { kind: Kind::Veth, ..takes.clone() };
    let alone = Device { vlans: Vec::new(), ..takes.clone() };
    for (device, attach, wanted) in [
        (&takes, Auto, Some("ethtool -K eth0 rx-vlan-offload off")),
        (&takes, Xdp, Some("attach = \"tc\"")),
        (&takes, XdpGeneric, Some("ethtool -K eth0")),
        (&veth, Auto, None),
        (&takes, Tc, None),
        (&carries, Auto, None),
        (&alone, Auto, None),
    ] {
        let mut found = Findings::default();
        found.device(device, attach);
        let told = found.warnings.iter().find(|warning| warning.contains("VLAN tag"));
        match (told, wanted) {
            (Some(told), Some(wanted)) => assert!(told.contains(wanted), "{told:?}"),
            (told, wanted) => assert_eq!((told.is_some(), wanted), (false, None), "{attach}"),
        }
    }
}
