//! Probes of replicas that answer clients directly, against the real kernel. Each test has a network namespace for this
//! host and one for the replica, which end with its thread. Needs root.

mod replica;
mod tunnel;

use std::{net::IpAddr, time::Duration};

use super::{AMPLE, SHORT, probe, said};
use crate::{
    config::Scheme,
    datapath::{Datapath, Hook, Interface, Options, Steering, Wanted},
    probe::{Direct, Failure, Outcome, Prober, Route, Target},
};
use replica::{Far, on_a_segment};
use tunnel::Decapsulator;

const PORT: u16 = 8080;
const VIP: &str = "10.9.0.10";
const VIP6: &str = "fd09::10";
const OWN: &str = "10.9.0.1";
const OWN6: &str = "fd09::1";
const REPLICA: &str = "10.9.0.2";
const REPLICA6: &str = "fd09::2";

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address in a test")
}

fn near() -> Interface {
    let index = nix::net::if_::if_nametoindex("near0").expect("the interface");
    Interface { name: "near0".into(), index, xdp_program: None }
}

fn datapath() -> (Datapath, Steering) {
    let options = Options { max_flows: 1024, pins: None, log_packets: false };
    let mut datapath = Datapath::open(&options).expect("the datapath opens");
    let steering = datapath.start_probing(&[near()]).expect("it attaches");
    (datapath, steering)
}

fn prober(replica: &str, scheme: Scheme, timeout: Duration, direct: Direct, steering: &Steering) -> Prober {
    let probe = crate::config::Probe { timeout, ..probe(scheme, PORT) };
    let target = Target { address: ip(replica), probe, route: Route::Direct(direct) };
    let mut prober = Prober::new(&target).expect("a valid probe");
    assert!(prober.needs_steering());
    prober.steer_by(steering);
    prober
}

fn dsr(vips: &[&str]) -> Direct {
    Direct { vips: vips.iter().copied().map(ip).collect(), tunnel: None }
}

fn ipip(vip: &str, replica: &str) -> Direct {
    let outer = if replica == REPLICA { "172.16.0.0" } else { "100::" };
    Direct { vips: vec![ip(vip)], tunnel: Some(ip(outer)) }
}

async fn ask(replica: &str, timeout: Duration, direct: Direct, steering: &Steering) -> Outcome {
    prober(replica, Scheme::Http, timeout, direct, steering).probe().await
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_a_replica_is_asked_at_the_vip() {
    on_a_segment(async |far| {
        let (_datapath, steering) = datapath();
        far.holds_vips();
        let servers = [VIP, VIP6].map(|vip| (vip, far.serve(vip, PORT)));
        // The replica is known by an address of either family, whatever the VIP's.
        let ways = [(VIP, REPLICA, OWN), (VIP6, REPLICA6, OWN6), (VIP6, REPLICA, OWN6), (VIP, REPLICA6, OWN)];
        // Whether a packet's checksum is complete when it leaves, or left to the device.
        for (offload, (vip, replica, own)) in
            ["off", "on"].into_iter().flat_map(|offload| ways.map(|way| (offload, way)))
        {
            replica::offload(offload);
            let outcome = ask(replica, AMPLE, dsr(&[vip]), &steering).await;
            assert_eq!(said(&outcome), "ok", "{vip} by {replica}, offload {offload}");
            let (_, server) = servers.iter().find(|(of, _)| *of == vip).expect("a server");
            let (here, peer) = server.seen();
            assert_eq!((here.ip(), peer.ip()), (ip(vip), ip(own)), "{vip} by {replica}, offload {offload}");
        }
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_a_replica_that_serves_its_own_address_only_does_not_pass() {
    on_a_segment(async |far| {
        let (_datapath, steering) = datapath();
        let _server = far.serve(REPLICA, PORT);
        // Without the VIP the replica drops what is for it.
        let failure = Failure::Timeout { after: SHORT, phase: crate::probe::Phase::Connecting };
        assert_eq!(ask(REPLICA, SHORT, dsr(&[VIP]), &steering).await.error, Some(failure));
        // With it, it refuses.
        far.holds_vips();
        assert_eq!(ask(REPLICA, AMPLE, dsr(&[VIP]), &steering).await.error, Some(Failure::Refused));
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_one_of_several_vips_that_is_not_served_fails_the_probe() {
    on_a_segment(async |far| {
        let (_datapath, steering) = datapath();
        far.holds_vips();
        let _server = far.serve(VIP, PORT);
        let both = || dsr(&[VIP, VIP6]);
        assert_eq!(ask(REPLICA, AMPLE, both(), &steering).await.error, Some(Failure::Refused));
        let _other = far.serve(VIP6, PORT);
        assert_eq!(said(&ask(REPLICA, AMPLE, both(), &steering).await), "ok");
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_probes_go_on_when_the_datapath_is_attached_and_again() {
    on_a_segment(async |far| {
        let (mut datapath, steering) = datapath();
        far.holds_vips();
        let _server = far.serve(VIP, PORT);
        let prober = prober(REPLICA, Scheme::Tcp, AMPLE, dsr(&[VIP]), &steering);
        for hook in [Hook::Tc, Hook::NativeXdp, Hook::Tc] {
            datapath.attach(Wanted::Exactly(hook), &[near()]).expect("it attaches");
            for _ in 0..3 {
                assert_eq!(said(&prober.probe().await), "ok", "{hook:?}");
            }
        }
        // Other connections to the replica are nobody's business.
        let _own = far.serve(REPLICA, PORT + 1);
        std::net::TcpStream::connect((ip(REPLICA), PORT + 1)).expect("the replica's own address answers");
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_packets_travel_in_others_in_mode_ipip() {
    on_a_segment(async |far| {
        let (_datapath, steering) = datapath();
        far.holds_vips();
        let servers = [VIP, VIP6].map(|vip| (vip, far.serve(vip, PORT)));
        for (vip, replica) in [(VIP, REPLICA), (VIP6, REPLICA6), (VIP, REPLICA6), (VIP6, REPLICA)] {
            let (_, server) = servers.iter().find(|(of, _)| *of == vip).expect("a server");
            let decapsulator = Decapsulator::start(&far);
            let outcome = ask(replica, AMPLE, ipip(vip, replica), &steering).await;
            assert_eq!(said(&outcome), "ok", "{vip} in packets to {replica}");
            assert_eq!(server.seen().0.ip(), ip(vip));
            let packets = decapsulator.stop();
            assert!(packets.len() >= 3, "handshake and request");
            for (source, destination) in packets {
                assert_eq!(destination, ip(replica));
                assert_eq!(
                    prefix(source),
                    prefix(ip(if replica == REPLICA { "172.16.0.0" } else { "100::" }))
                );
            }
        }
        // By itself nothing takes the packets out again.
        assert!(!ask(REPLICA, SHORT, ipip(VIP, REPLICA), &steering).await.ok());
    });
}

/// All but the last two bytes, which vary by flow.
fn prefix(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets()[..2].to_vec(),
        IpAddr::V6(v6) => v6.octets()[..14].to_vec(),
    }
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_a_vip_that_the_kernel_prefers_is_not_asked_from() {
    on_a_segment(async |far| {
        let (_datapath, steering) = datapath();
        far.holds_vips();
        let server = far.serve(VIP, PORT);
        replica::run_ip(&format!("address del {VIP}/32 dev lo\naddress add {VIP}/24 dev near0"));
        replica::run_ip(&format!("route replace {REPLICA}/32 dev near0 src {VIP}"));
        assert_eq!(said(&ask(REPLICA, AMPLE, dsr(&[VIP]), &steering).await), "ok");
        assert_eq!(server.seen().1.ip(), ip(OWN));
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_what_this_host_lacks_is_no_word_about_the_replica() {
    on_a_segment(async |far: Far| {
        far.holds_vips();
        let (_datapath, steering) = datapath();
        let local = async |direct: Direct| {
            let outcome = ask(REPLICA, AMPLE, direct, &steering).await;
            assert!(outcome.error.as_ref().is_some_and(Failure::is_local), "{outcome:?}");
            said(&outcome)
        };
        let from_vip = local(dsr(&[OWN])).await;
        assert!(from_vip.contains("no IPv4 address to ask 10.9.0.2 from"), "{from_vip}");
        replica::run_ip(&format!("address del {OWN6}/64 dev near0"));
        let no_other = local(dsr(&[VIP6])).await;
        assert!(no_other.contains("no IPv6 address to ask fd09::10 from"), "{no_other}");
        let target = Target {
            address: ip(REPLICA),
            probe: probe(Scheme::Http, PORT),
            route: Route::Direct(dsr(&[VIP])),
        };
        let unready = Prober::new(&target).expect("a valid probe").probe().await;
        assert!(said(&unready).contains("the datapath is not ready"), "{unready:?}");
    });
}

/// A replica in mode `dnat`, asked from these VIPs.
fn from_vips(vips: &[&str], timeout: Duration) -> Prober {
    let probe = crate::config::Probe { timeout, ..probe(Scheme::Http, PORT) };
    let route = Route::FromVips(vips.iter().copied().map(ip).collect());
    let address = ip(if vips[0] == VIP { REPLICA } else { REPLICA6 });
    Prober::new(&Target { address, probe, route }).expect("a valid probe")
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_a_replica_is_asked_from_the_vip_and_one_whose_route_leads_elsewhere_is_named() {
    on_a_segment(async |far| {
        for (vip, replica, own, family) in [(VIP, REPLICA, OWN, "-4"), (VIP6, REPLICA6, OWN6, "-6")] {
            let server = far.serve(replica, PORT);
            let prober = from_vips(&[vip], Duration::from_millis(500));
            far.there(|| replica::run_ip(&format!("{family} route add {vip} via {own}")));
            assert_eq!(said(&prober.probe().await), "ok", "{vip}");
            assert_eq!(server.seen().1.ip(), ip(vip), "the replica sees the VIP");
            far.there(|| replica::run_ip(&format!("{family} route replace blackhole {vip}")));
            let silent = prober.probe().await.error;
            assert!(matches!(silent, Some(Failure::Timeout { .. })), "{silent:?}");
            let named = prober.probe().await.error;
            assert_eq!(named, Some(Failure::AnswersPast { vip: ip(vip) }));
            let mended = format!("{family} route del blackhole {vip}\n{family} route add {vip} via {own}");
            far.there(|| replica::run_ip(&mended));
            assert_eq!(said(&prober.probe().await), "ok", "{vip}, mended");
        }
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_a_dead_replica_is_not_said_to_answer_another_way() {
    on_a_segment(async |far| {
        let prober = from_vips(&[VIP], Duration::from_millis(300));
        far.there(|| replica::run_ip("link set far0 down"));
        for _ in 0..3 {
            let failure = prober.probe().await.error.expect("nobody is there");
            assert!(!failure.answered(), "{failure}");
        }
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_a_balancer_without_the_vip_asks_from_its_own_address() {
    on_a_segment(async |far| {
        replica::run_ip(&format!("address del {VIP}/32 dev lo"));
        let server = far.serve(REPLICA, PORT);
        assert_eq!(said(&from_vips(&[VIP], AMPLE).probe().await), "ok");
        assert_eq!(server.seen().1.ip(), ip(OWN));
    });
}
