//! Both ends of a connection that was silent for too long are told, by frames on real interfaces.

use std::{
    fs::File,
    io::{self, Read as _},
    mem,
    net::IpAddr,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use dtr_lb_common::abi::{Hop, State, Vlans};
use nix::net::if_::if_nametoindex;

use super::{
    REPLICA, VIP, as_root,
    connections::{CLIENT, CLIENT6, Connection, Connections},
    desired, fresh, interface, ip, replica, sweep_all,
};
use crate::datapath::DesiredReplica;

/// How long a frame takes on a virtual cable at most, or the cable to come up, on a machine that has other things to do.
const LONG: Duration = Duration::from_secs(5);
const RST: u8 = 4;

/// What arrives at the end of a cable.
struct Wire(File);

/// A TCP segment that arrived.
#[derive(Debug, PartialEq, Eq)]
struct Arrived {
    macs: [u8; 12],
    source: (IpAddr, u16),
    destination: (IpAddr, u16),
    sequence: u32,
    flags: u8,
}

impl Wire {
    fn open(interface: &str) -> Self {
        let protocol = (libc::ETH_P_ALL as u16).to_be();
        // SAFETY: the call takes numbers only.
        let fd =
            unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol.into()) };
        assert!(fd >= 0, "a packet socket: {}", io::Error::last_os_error());
        // SAFETY: the kernel has just given it to us, and nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: all zeros is a value of this plain structure.
        let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol;
        address.sll_ifindex = if_nametoindex(interface).expect("the interface") as i32;
        let length = size_of_val(&address) as libc::socklen_t;
        // SAFETY: the address lives through the call and has this length.
        let bound = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) };
        assert_eq!(bound, 0, "bind to {interface}: {}", io::Error::last_os_error());
        let limit = libc::timeval { tv_sec: LONG.as_secs() as i64, tv_usec: 0 };
        let length = size_of_val(&limit) as libc::socklen_t;
        // SAFETY: the value lives through the call and has this length.
        let set = unsafe {
            libc::setsockopt(
                fd.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_RCVTIMEO,
                (&raw const limit).cast(),
                length,
            )
        };
        assert_eq!(set, 0, "a time limit: {}", io::Error::last_os_error());
        Self(File::from(fd))
    }

    /// The next TCP segment. Interfaces that come up say things of their own, which are not looked at.
    fn next(&mut self) -> Arrived {
        let mut frame = [0; 2048];
        loop {
            let length = self.0.read(&mut frame).expect("a segment in time");
            if let Some(arrived) = segment(&frame[..length]) {
                return arrived;
            }
        }
    }
}

fn segment(frame: &[u8]) -> Option<Arrived> {
    let packet = frame.get(14..)?;
    let (addresses, tcp): ([IpAddr; 2], _) = match (frame[12], frame[13], packet.get(9)?, packet.get(6)?) {
        (8, 0, 6, _) => {
            let address = |at: usize| <[u8; 4]>::try_from(packet.get(at..at + 4)?).ok().map(IpAddr::from);
            ([address(12)?, address(16)?], packet.get(20..)?)
        }
        (0x86, 0xdd, _, 6) => {
            let address = |at: usize| <[u8; 16]>::try_from(packet.get(at..at + 16)?).ok().map(IpAddr::from);
            ([address(8)?, address(24)?], packet.get(40..)?)
        }
        _ => return None,
    };
    let port = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
    Some(Arrived {
        macs: frame[..12].try_into().expect("twelve bytes"),
        source: (addresses[0], port(0)),
        destination: (addresses[1], port(2)),
        sequence: u32::from_be_bytes(tcp[4..8].try_into().expect("four bytes")),
        flags: tcp[13],
    })
}

/// A cable whose near end is the balancer's.
fn cable(number: u32) -> Wire {
    ip(&format!("link add near{number} type veth peer name far{number}"));
    let ends = [format!("near{number}"), format!("far{number}")];
    for end in &ends {
        ip(&format!("link set {end} up"));
    }
    // Until the kernel has noticed that both are up, which it looks for once a second, what is sent is dropped.
    let begun = Instant::now();
    while !ends.iter().all(|end| ip(&format!("-oneline link show {end}")).contains("state UP")) {
        assert!(begun.elapsed() < LONG, "the cable does not come up");
        thread::sleep(Duration::from_millis(10));
    }
    Wire::open(&ends[1])
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_both_ends_of_an_idle_connection_receive_a_reset() {
    as_root(|_| {
        let (mut to_client, mut to_replica) = (cable(0), cable(1));
        let mut datapath = fresh();
        let replica_hop = Hop {
            interface: interface("near1").index,
            destination: [0x0b0b; 3],
            source: [0x0a0a; 3],
            vlans: Vlans::NONE,
        };
        let wish = desired([(443, vec![DesiredReplica { hop: Some(replica_hop), ..replica(REPLICA, 1) }])]);
        datapath.apply(&wish).expect("it fits");
        let id = *datapath.writer.replicas().keys().next().expect("the replica has an id");
        let connections = Connections::of(&datapath);
        let now = datapath.now().expect("the clock");
        let client_hop = Hop {
            interface: interface("near0").index,
            destination: [0x0c0c; 3],
            source: [0x0a0a; 3],
            vlans: Vlans::NONE,
        };
        let hop = connections.set_hop(&client_hop, now);
        let idle = now.wrapping_sub(3700 * datapath.ticks_per_second);
        let connection = |client, state, seen| Connection {
            client,
            state,
            replica: id,
            hop,
            seen,
            acknowledged: [0x1111_1111, 0x2222_2222],
        };
        for (port, client) in [(1001, CLIENT), (1002, CLIENT6)] {
            connections.nat(port, &connection(client, State::ESTABLISHED, [idle; 2]));
            assert_eq!(sweep_all(&mut datapath).removed, 1);
            let told = to_client.next();
            assert_eq!(told.macs, [[0x0c; 6], [0x0a; 6]].concat()[..]);
            assert_eq!((told.destination, told.source.1), ((client, port), 443));
            // The number that the client acknowledged last: exact for its TCP.
            assert_eq!((told.sequence, told.flags), (0x1111_1111, RST));
            let told = to_replica.next();
            assert_eq!(told.macs, [[0x0b; 6], [0x0a; 6]].concat()[..]);
            assert_eq!((told.source, told.destination), ((VIP, port), (REPLICA, 443)));
            assert_eq!((told.sequence, told.flags), (0x2222_2222, RST));
            let asked = datapath.take_asked().expect("something was done");
            assert_eq!((asked.idle, asked.clients, asked.lost), (1, 0, 0));
            assert!(asked.error.is_none() && datapath.take_asked().is_none());
        }
        // Those that have ended need no word, and those that are awake get none: the next frame is the next idle one's.
        connections.nat(1003, &connection(CLIENT, State::CLOSED, [idle; 2]));
        connections.nat(1004, &connection(CLIENT, State::SYN_RECEIVED, [idle; 2]));
        connections.nat(1005, &connection(CLIENT, State::ESTABLISHED, [idle, now]));
        connections.nat(1006, &connection(CLIENT, State::ESTABLISHED, [now, idle]));
        connections.direct(1007, &connection(CLIENT, State::ESTABLISHED, [idle; 2]));
        assert_eq!(sweep_all(&mut datapath).removed, 3);
        connections.nat(1008, &connection(CLIENT, State::CLIENT_CLOSED, [idle; 2]));
        assert_eq!(sweep_all(&mut datapath).removed, 1);
        assert_eq!(to_client.next().destination, (CLIENT, 1008));
        assert_eq!(to_replica.next().source, (VIP, 1008));
        assert_eq!(datapath.take_asked().map(|asked| asked.idle), Some(1));
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_a_reset_that_no_interface_takes_is_offered_until_one_does() {
    as_root(|_| {
        let (mut to_client, mut to_replica) = (cable(0), cable(1));
        let mut datapath = fresh();
        let replica_hop = Hop {
            interface: interface("near1").index,
            destination: [0x0b0b; 3],
            source: [0x0a0a; 3],
            vlans: Vlans::NONE,
        };
        let wish = desired([(443, vec![DesiredReplica { hop: Some(replica_hop), ..replica(REPLICA, 1) }])]);
        datapath.apply(&wish).expect("it fits");
        let id = *datapath.writer.replicas().keys().next().expect("the replica has an id");
        let connections = Connections::of(&datapath);
        let now = datapath.now().expect("the clock");
        let client_hop = Hop {
            interface: interface("near0").index,
            destination: [0x0c0c; 3],
            source: [0x0a0a; 3],
            vlans: Vlans::NONE,
        };
        let idle = now.wrapping_sub(3700 * datapath.ticks_per_second);
        connections.nat(
            1001,
            &Connection {
                client: CLIENT,
                state: State::ESTABLISHED,
                replica: id,
                hop: connections.set_hop(&client_hop, now),
                seen: [idle; 2],
                acknowledged: [0x1111_1111, 0x2222_2222],
            },
        );
        ip("link set near0 down");
        assert_eq!(sweep_all(&mut datapath).removed, 1);
        assert_eq!(to_replica.next().sequence, 0x2222_2222);
        assert_eq!(datapath.take_asked().map(|asked| (asked.idle, asked.untold)), Some((1, 0)));

        ip("link set near0 up");
        let begun = Instant::now();
        while !ip("-oneline link show near0").contains("state UP") {
            assert!(begun.elapsed() < LONG, "the cable does not come up");
            thread::sleep(Duration::from_millis(10));
        }
        sweep_all(&mut datapath);
        assert_eq!(to_client.next().sequence, 0x1111_1111);
        assert!(datapath.take_asked().is_none(), "nobody was left without word");
    });
}
