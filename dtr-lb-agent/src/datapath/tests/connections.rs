//! Connections for the tests of the flow table: entered by the datapath's own code, or opened by packets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytemuck::Zeroable as _;
use dtr_lb_common::{
    abi::{Control, Direction, Flow, Hop, Place, ReplicaId, Settings, State, Ticks, Tuple, Vlans, map},
    address::Be16,
    flow_table::{self, Clock, Insertion, insert::Replace, next_hops},
    hash,
};

use super::VIP;
use crate::datapath::{Datapath, Hook, mapped::Mapped};

/// Port of the services.
pub(super) const PORT: u16 = 443;

/// The flow table and the next hops, to be written as the kernel writes them. No packet may be under way.
pub(super) struct Connections {
    table: Mapped,
    hops: Mapped,
    settings: Settings,
}

/// A connection to be entered.
#[derive(Clone, Copy)]
pub(super) struct Connection {
    pub(super) client: IpAddr,
    pub(super) state: State,
    pub(super) replica: ReplicaId,
    pub(super) hop: u16,
    /// When the client was seen last, and the replica.
    pub(super) seen: [Ticks; 2],
    /// What the client acknowledged last, and the replica.
    pub(super) acknowledged: [u32; 2],
}

impl Connections {
    /// Of a datapath that was given its settings.
    pub(super) fn of(datapath: &Datapath) -> Self {
        let hops = datapath.ebpf.map(map::NEXT_HOPS).expect("the map of next hops");
        Self {
            table: datapath.map_table().expect("the table can be mapped"),
            hops: Mapped::writable(hops, map::NEXT_HOPS).expect("the next hops can be mapped"),
            settings: datapath.settings.expect("settings were applied"),
        }
    }

    /// The index of a next hop that nobody else has.
    pub(super) fn assign_hop(&self, number: u16, now: Ticks) -> u16 {
        let hop = Hop { interface: 1, destination: [number; 3], source: [7; 3], vlans: Vlans::NONE };
        next_hops::assign(&self.hops.words(), &hop, now).expect("there is room")
    }

    pub(super) fn hop(&self, index: u16) -> Option<Hop> {
        next_hops::get(&self.hops.words(), index)
    }

    pub(super) fn set_hop(&self, hop: &Hop, now: Ticks) -> u16 {
        next_hops::assign(&self.hops.words(), hop, now).expect("there is room")
    }

    /// Enters both entries of a NAT connection, or the one that is left of it where the client has opened another.
    pub(super) fn nat(&self, number: u16, connection: &Connection) -> [Flow; 2] {
        let client = connection.client;
        let vip = if client.is_ipv4() { VIP } else { VIP6 };
        let asks = tuple((client, number), (vip, PORT));
        self.both(asks, tuple((REPLICA, PORT), (VIP, number)), connection)
    }

    /// The same between these ends: by the packets of its client, and by those of its replica.
    pub(super) fn both(&self, asks: Tuple, answers: Tuple, connection: &Connection) -> [Flow; 2] {
        let Connection { client: _, state, replica, hop, seen, acknowledged } = *connection;
        let held = state == State::TIME_WAIT_HELD;
        let entry = |direction, key, to, at: usize| Flow {
            control: Control::new(state, direction, false),
            key,
            to,
            replica,
            hop,
            partner: Place::NONE,
            last_seen: seen[at],
            opened: seen[at],
            acknowledged: acknowledged[at],
            ..Flow::zeroed()
        };
        let mut there = entry(Direction::ToReplica, asks, answers.reversed(), 0);
        let mut back = entry(Direction::ToClient, answers, asks.reversed(), 1);
        self.enter(&mut back);
        if held {
            self.publish(&mut back);
            return [back, back];
        }
        there.partner = back.place;
        self.enter(&mut there);
        back.partner = there.place;
        self.publish(&mut back);
        self.publish(&mut there);
        [there, back]
    }

    /// Enters a connection whose replica answers its client directly.
    pub(super) fn direct(&self, number: u16, connection: &Connection) -> Flow {
        self.alone(tuple((connection.client, number), (VIP, PORT)), connection)
    }

    /// The same by the packets of its client.
    pub(super) fn alone(&self, key: Tuple, connection: &Connection) -> Flow {
        let mut flow = Flow {
            control: Control::new(connection.state, Direction::Direct, false),
            key,
            to: key,
            replica: connection.replica,
            hop: connection.hop,
            partner: Place::NONE,
            last_seen: connection.seen[0],
            opened: connection.seen[0],
            ..Flow::zeroed()
        };
        self.enter(&mut flow);
        self.publish(&mut flow);
        flow
    }

    fn enter(&self, flow: &mut Flow) {
        let hash = hash::flow_table(&self.settings.flow_keys, &flow.key);
        let buckets = flow_table::buckets(hash, self.settings.flow_buckets);
        // Nothing makes room here: all are as young as can be.
        let clock = Clock { settings: &self.settings, now: flow.last_seen };
        let mut holder = Flow::zeroed();
        let words = self.table.words();
        let inserted = flow_table::insert(&words, buckets, flow, &mut holder, &clock, |_| Replace::No);
        assert_eq!(inserted, Insertion::Done);
    }

    fn publish(&self, flow: &mut Flow) {
        flow_table::publish(&self.table.words(), flow);
    }

    /// The entry as it stands now, if it is still the same.
    pub(super) fn is_there(&self, flow: &Flow) -> bool {
        let mut now = Flow::zeroed();
        flow_table::read(&self.table.words(), flow.place, &mut now) && now.key == flow.key
    }

    /// A packet of this direction comes now.
    pub(super) fn see(&self, flow: &Flow, now: Ticks) {
        use dtr_lb_common::flow_table::{Line as _, Memory as _, entry::word};
        let line = self.table.words().line(flow.place).expect("its place");
        line.store(word::LAST_SEEN, now);
    }
}

const REPLICA: IpAddr = super::REPLICA;
pub(super) const VIP6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 10));
pub(super) const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
pub(super) const CLIENT6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));

pub(super) fn tuple(source: (IpAddr, u16), destination: (IpAddr, u16)) -> Tuple {
    Tuple {
        source: source.0.into(),
        destination: destination.0.into(),
        source_port: Be16::new(source.1),
        destination_port: Be16::new(destination.1),
    }
}

/// A SYN of [`CLIENT`] to the service, in a frame.
pub(super) fn syn(port: u16) -> Vec<u8> {
    let (IpAddr::V4(client), IpAddr::V4(vip)) = (CLIENT, VIP) else { panic!("both are IPv4 addresses") };
    let mut frame = vec![2; 54];
    frame[12..26].copy_from_slice(&[8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0]);
    frame[26..30].copy_from_slice(&client.octets());
    frame[30..34].copy_from_slice(&vip.octets());
    frame[34..36].copy_from_slice(&port.to_be_bytes());
    frame[36..38].copy_from_slice(&PORT.to_be_bytes());
    frame[38..54].copy_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0]);
    frame
}

/// Has the datapath take a SYN; says whether it went on to a replica (`XDP_TX`, as that is behind the same interface).
pub(super) fn opens(datapath: &mut Datapath, port: u16) -> bool {
    datapath.run(Hook::NativeXdp, &syn(port)).expect("the program runs").action == 3
}
