//! The fast path is one straight function, in the programs as the kernel has them: no call but those that a hook demands.
//!
//! Packets of established connections go through programs that have traps in the place of calls ([`super::traps`]), and become
//! what the plain ones make of them. That shows it of these packets; that no other branch calls anything else is seen in what the
//! kernel has left of the program.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use aya::{sys::BpfHelper, util::KernelVersion};
use dtr_lb_common::{
    abi::{Hop, Mode, State, Vlans},
    verdict::Verdict,
};

use super::{
    VIP, as_root,
    connections::{CLIENT, CLIENT6, Connection, Connections, VIP6, tuple},
    desired, fresh,
    instructions::Callee,
    replica,
    traps::{Origin, Trapped},
};
use crate::datapath::{Datapath, Desired, DesiredReplica, DesiredService, Hook, Ran, service_key};

/// The interface that frames come by when they are run (`lo`), and another one.
const HERE: u32 = 1;
const ELSEWHERE: u32 = 2;

const REDIRECT: BpfHelper = BpfHelper::BPF_FUNC_redirect;
const ADJUST_HEAD: BpfHelper = BpfHelper::BPF_FUNC_xdp_adjust_head;
const ADJUST_ROOM: BpfHelper = BpfHelper::BPF_FUNC_skb_adjust_room;
const CORRECT_CHECKSUM: BpfHelper = BpfHelper::BPF_FUNC_l4_csum_replace;
const PULL_DATA: BpfHelper = BpfHelper::BPF_FUNC_skb_pull_data;

/// All helpers that the fast path may call.
const fn allowed(hook: Hook) -> &'static [BpfHelper] {
    match hook {
        // The first for what leaves by another interface, the second to put a packet into another one.
        Hook::NativeXdp | Hook::GenericXdp => &[REDIRECT, ADJUST_HEAD],
        // TC has nothing like `XDP_TX`, so that all leave by the first; the second puts a packet into another one; the third is
        // who knows whose business the TCP checksum is; the fourth gets at headers that are not in the skb's linear part.
        Hook::Tc => &[REDIRECT, ADJUST_ROOM, CORRECT_CHECKSUM, PULL_DATA],
    }
}

/// The hooks that differ in code.
const HOOKS: [Hook; 2] = [Hook::NativeXdp, Hook::Tc];

/// A connection, and which of its packets is sent.
#[derive(Clone, Copy, Debug)]
struct Case {
    mode: Mode,
    v6: bool,
    /// The replica sends it.
    by_replica: bool,
    /// The interface that it leaves by.
    egress: u32,
}

impl Case {
    fn all() -> Vec<Self> {
        let mut cases = Vec::new();
        for (mode, by_replica) in [
            (Mode::NAT, false),
            (Mode::NAT, true),
            (Mode::DNAT, false),
            (Mode::DNAT, true),
            (Mode::DSR, false),
            (Mode::IPIP, false),
        ] {
            for (v6, egress) in [(false, HERE), (false, ELSEWHERE), (true, HERE), (true, ELSEWHERE)] {
                cases.push(Self { mode, v6, by_replica, egress });
            }
        }
        cases
    }

    /// What the packet needs of the kernel.
    fn calls(self, hook: Hook) -> Vec<BpfHelper> {
        let mut calls = Vec::new();
        match hook {
            Hook::NativeXdp | Hook::GenericXdp => {
                calls.extend((self.egress != HERE).then_some(REDIRECT));
                calls.extend((self.mode == Mode::IPIP).then_some(ADJUST_HEAD));
            }
            Hook::Tc => {
                calls.push(REDIRECT);
                calls.extend((self.mode == Mode::IPIP).then_some(ADJUST_ROOM));
                calls.extend((!self.mode.direct()).then_some(CORRECT_CHECKSUM));
            }
        }
        calls
    }

    /// `XDP_TX` or `XDP_REDIRECT`, or `TC_ACT_REDIRECT`.
    fn action(self, hook: Hook) -> u32 {
        match hook {
            Hook::NativeXdp | Hook::GenericXdp if self.egress == HERE => 3,
            Hook::NativeXdp | Hook::GenericXdp => 4,
            Hook::Tc => 7,
        }
    }

    fn ends(self, number: u16) -> Ends {
        let last = number as u8 + 100;
        let (client, vip, replica) = if self.v6 {
            (CLIENT6, VIP6, IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 1, last.into())))
        } else {
            (CLIENT, VIP, IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)))
        };
        let client = (client, 50_000);
        let nat = if self.mode == Mode::DNAT { client } else { (vip, 20_000 + number) };
        Ends { client, vip: (vip, 1000 + number), nat, replica: (replica, 443) }
    }

    fn frame(self, ends: &Ends) -> Vec<u8> {
        if self.by_replica { segment(ends.replica, ends.nat) } else { segment(ends.client, ends.vip) }
    }
}

/// Who is who in a case's connection.
struct Ends {
    client: (IpAddr, u16),
    vip: (IpAddr, u16),
    /// Who the replica takes for its client.
    nat: (IpAddr, u16),
    replica: (IpAddr, u16),
}

/// MACs of the next hop to the clients, and of the balancer towards it.
const ROUTER: u8 = 0x0c;
const OWN: u8 = 0x0a;

/// A segment that acknowledges and carries a little, by the way that clients' segments come.
fn segment(source: (IpAddr, u16), destination: (IpAddr, u16)) -> Vec<u8> {
    const DATA: [u8; 9] = *b"some data";
    const LENGTH: u8 = 20 + DATA.len() as u8;
    let mut frame = [[OWN; 6], [ROUTER; 6]].concat();
    match (source.0, destination.0) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            frame.extend([8, 0, 0x45, 0, 0, 20 + LENGTH, 0, 1, 0x40, 0, 64, 6, 0x12, 0x34]);
            frame.extend(source.octets().into_iter().chain(destination.octets()));
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, LENGTH, 6, 64]);
            frame.extend(source.octets().into_iter().chain(destination.octets()));
        }
        _ => panic!("both ends are of one family"),
    }
    frame.extend([source.1, destination.1].into_iter().flat_map(u16::to_be_bytes));
    frame.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 0xff, 0xff, 0x56, 0x78, 0, 0]);
    frame.extend(DATA);
    frame
}

/// A datapath with a connection for each case: in each its own service, of one replica.
fn datapath() -> (Datapath, Vec<(Case, Vec<u8>)>) {
    let mut datapath = fresh();
    let cases: Vec<(Case, Ends)> =
        (0..).zip(Case::all()).map(|(number, case)| (case, case.ends(number))).collect();
    let services = cases.iter().map(|(case, ends)| {
        let hop =
            Hop { interface: case.egress, destination: [0x0b0b; 3], source: [0x0a0a; 3], vlans: Vlans::NONE };
        let wish = DesiredReplica { hop: Some(hop), nat: vec![ends.nat.0], ..replica(ends.replica.0, HERE) };
        (
            service_key(ends.vip.0, ends.vip.1),
            DesiredService { mode: case.mode, ..DesiredService::nat(vec![wish]) },
        )
    });
    datapath.apply(&Desired { services: services.collect(), ..desired([]) }).expect("it fits");
    let (connections, now) = (Connections::of(&datapath), datapath.now().expect("the clock"));
    let sent = cases.into_iter().map(|(case, ends)| {
        let is =
            |address: IpAddr| datapath.writer.replicas().iter().find(|(_, it)| it.address == address.into());
        let (&id, _) = is(ends.replica.0).expect("the replica has an id");
        // Where a packet of the replica leaves by another interface, that is where the client is.
        let interface = if case.by_replica { case.egress } else { HERE };
        let router = [u16::from_ne_bytes([ROUTER; 2]); 3];
        let hop = Hop {
            interface,
            destination: router,
            source: [u16::from_ne_bytes([OWN; 2]); 3],
            vlans: Vlans::NONE,
        };
        let connection = Connection {
            client: ends.client.0,
            state: State::ESTABLISHED,
            replica: id,
            hop: connections.set_hop(&hop, now),
            seen: [now; 2],
            acknowledged: [1; 2],
        };
        if case.mode.direct() {
            connections.alone(tuple(ends.client, ends.vip), &connection);
        } else {
            connections.both(tuple(ends.client, ends.vip), tuple(ends.replica, ends.nat), &connection);
        }
        (case, case.frame(&ends))
    });
    let sent = sent.collect();
    (datapath, sent)
}

/// Programs with traps, by the helpers that they may call.
struct Variants {
    origin: Origin,
    loaded: BTreeMap<Vec<i32>, Trapped>,
}

impl Variants {
    /// Runs the one that may call these on a frame, or says which call the frame came to.
    fn run(&mut self, allowed: &[BpfHelper], frame: &[u8]) -> Result<Ran, String> {
        let key = allowed.iter().map(|helper| *helper as i32).collect();
        let program = match self.loaded.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(self.origin.trapped(allowed)),
        };
        program.run(frame).map_err(|call| self.origin.name(call))
    }
}

fn counted(datapath: &Datapath, verdict: Verdict) -> u64 {
    datapath.meter().verdicts().expect("the counters can be read")[&verdict].packets
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_an_established_packet_makes_no_call_but_those_that_the_hook_demands() {
    as_root(|_| {
        for hook in HOOKS {
            let (mut datapath, sent) = datapath();
            let mut variants = Variants { origin: Origin::of(&mut datapath, hook), loaded: BTreeMap::new() };
            for (case, frame) in sent {
                let before = counted(&datapath, Verdict::Forwarded);
                let ran = datapath.run(hook, &frame).expect("the program runs");
                assert_eq!(ran.action, case.action(hook), "{case:?} at {}", hook.name());
                let calls = case.calls(hook);
                let trapped = variants.run(&calls, &frame).unwrap_or_else(|call| {
                    panic!("{case:?} at {}: the packet came to the call of {call}", hook.name())
                });
                assert_eq!(
                    (trapped.action, trapped.frame),
                    (ran.action, ran.frame),
                    "{case:?} at {}",
                    hook.name()
                );
                assert_eq!(counted(&datapath, Verdict::Forwarded), before + 2, "{case:?} at {}", hook.name());
                // What is allowed is called: else the list says too much, or the traps do not work.
                for missing in &calls {
                    let others: Vec<_> = calls.iter().copied().filter(|call| call != missing).collect();
                    let came_to = variants.run(&others, &frame).map(|_| "its end");
                    let call = Callee::Helper(*missing as i32);
                    assert_eq!(came_to, Err(variants.origin.name(call)), "{case:?} at {}", hook.name());
                }
            }
        }
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_what_is_not_the_datapaths_makes_no_call_at_all() {
    as_root(|_| {
        for hook in HOOKS {
            let (mut datapath, _) = datapath();
            let trapped = Origin::of(&mut datapath, hook).trapped(&[]);
            let v6 = |last| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 9, 9, 9, 9, 9, last));
            for (source, destination) in [(CLIENT, IpAddr::from([10, 9, 9, 9])), (CLIENT6, v6(9))] {
                let frame = segment((source, 50_000), (destination, 80));
                let ran =
                    trapped.run(&frame).unwrap_or_else(|call| panic!("{}: {call:?} is called", hook.name()));
                // `XDP_PASS`, or `TC_ACT_UNSPEC`, which is -1.
                let pass = if hook == Hook::Tc { u32::MAX } else { 2 };
                assert_eq!((ran.action, ran.frame), (pass, frame), "{}", hook.name());
            }
            assert_eq!(counted(&datapath, Verdict::PassedNotService), 2);
        }
    });
}

/// Whatever a packet is, it meets no other call before it is gone or at the stages.
#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_no_branch_of_the_fast_path_has_another_call() {
    as_root(|_| {
        for hook in HOOKS {
            let origin = Origin::of(&mut fresh(), hook);
            let allowed = allowed(hook);
            let trapped = origin.trapped(allowed);
            let traps: BTreeSet<_> = trapped.traps_left().into_iter().map(|call| origin.name(call)).collect();
            // The first of the stages, by which the fast path is left.
            let first = format!("dtr_lb_{}_parse", hook.name());
            assert_eq!(traps, BTreeSet::from([first]), "{}: calls that a packet may come to", hook.name());
            // One more where what is to become a load has not.
            let calls = trapped.calls_left();
            let most = allowed.len() + usize::from(!looks_up_counters_by_loads());
            assert!(calls.len() <= most, "{}: {calls:?} are called, where {most} may be", hook.name());
        }
    });
}

/// Linux 6.10 was the first that made loads of looking up this processor's value in an array, as each counter is.
fn looks_up_counters_by_loads() -> bool {
    KernelVersion::current().expect("the kernel's version") >= KernelVersion::new(6, 10, 0)
}
