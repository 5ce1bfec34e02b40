//! The types that stand in BPF maps, and the names and sizes of the maps.
//!
//! All are `repr(C)` and `Pod`: `bytemuck` refuses hidden padding, so that a key hashes the same on both sides.
//! Numbers are in host order but where the type says [`Be16`]. A change of any layout here is a new
//! [`LAYOUT_VERSION`], which is part of the directory where maps are pinned: a new agent never meets old bytes.

use bytemuck::{Pod, Zeroable};

use crate::{
    address::{Address, Be16},
    wire::{Mac, TcpFlags},
};

/// Version of everything in this module.
pub const LAYOUT_VERSION: u32 = 2;

/// Names of the programs in the object.
pub mod program {
    pub const XDP: &str = "dtr_lb_xdp";
    pub const TC: &str = "dtr_lb_tc";
    /// Returns the kernel's clock; see [`super::Ticks`].
    pub const CLOCK: &str = "dtr_lb_clock";
    /// Sends a frame that the agent made.
    pub const SEND: &str = "dtr_lb_send";
    /// Steer the probes of replicas that answer clients directly, at the way in and at the way out.
    pub const PROBE_IN: &str = "dtr_lb_probe_in";
    pub const PROBE_OUT: &str = "dtr_lb_probe_out";
}

/// Names of the maps in the object, as short as the kernel shows them (15 characters).
pub mod map {
    pub const FLOWS: &str = "FLOWS";
    pub const HALF_OPEN: &str = "HALF_OPEN";
    pub const FILTER: &str = "FILTER";
    pub const SOURCES: &str = "SOURCES";
    pub const SERVICES: &str = "SERVICES";
    pub const VIPS: &str = "VIPS";
    pub const TABLES: &str = "TABLES";
    pub const REPLICAS: &str = "REPLICAS";
    pub const SETTINGS: &str = "SETTINGS";
    pub const VERDICT_STATS: &str = "VERDICT_STATS";
    pub const REPLICA_STATS: &str = "REPLICA_STATS";
    pub const EVENTS: &str = "EVENTS";
    pub const EVENT_TIMES: &str = "EVENT_TIMES";
    /// Packets of probes under way. It ends with the agent that probes, and is not pinned.
    pub const PROBES: &str = "PROBES";

    /// All that are pinned.
    pub const ALL: &[&str] = &[
        FLOWS,
        HALF_OPEN,
        FILTER,
        SOURCES,
        SERVICES,
        VIPS,
        TABLES,
        REPLICAS,
        SETTINGS,
        VERDICT_STATS,
        REPLICA_STATS,
        EVENTS,
        EVENT_TIMES,
    ];
}

/// Entries of the flow table when the agent says nothing else.
pub const FLOW_ENTRIES: usize = 65_536;
/// Entries of the half-open table: two for each handshake. At 125,000 SYNs a second an entry lives for a second at
/// least, longer than the round trip of any client.
pub const HALF_OPEN_ENTRIES: usize = 262_144;
/// Services at most.
pub const MAX_SERVICES: usize = 64;
/// Addresses of services at most: all old ones and all new ones, while they change.
pub const MAX_VIPS: usize = 2 * MAX_SERVICES;
/// Replicas at most, counted once for each service; id 0 is no replica.
pub const MAX_REPLICAS: usize = 4096;
/// Slots of a Maglev table: a prime over 100 times the replicas of any sane service, so that shares differ by less
/// than 1 % (Maglev, NSDI 2016, section 3.4).
pub const MAGLEV_SLOTS: usize = 65_537;
/// Tables: two generations for each service.
pub const TABLE_ENTRIES: usize = 2 * MAX_SERVICES;
/// Bytes of the ring buffer of events: a power of two and a multiple of the page size.
pub const EVENTS_BYTES: usize = 65_536;
/// Replicas that a connection asks after the first one has failed it, at most.
pub const MAX_TRIED: usize = 4;
/// TCP options in 16-bit words at most (RFC 9293 section 3.1).
pub const SYN_OPTION_WORDS: usize = 20;
/// NAT addresses of a replica at most.
pub const MAX_NAT_ADDRESSES: usize = 4;
/// Places of the filter: a power of two.
pub const FILTER_PLACES: usize = 16_384;
/// Prefixes of clients that are allowed or denied, at most, of all services together.
pub const MAX_SOURCES: usize = 16_384;

/// Entries of the map of probes: two for each probe under way or last made, of each replica and VIP.
pub const PROBE_ENTRIES: usize = 2 * MAX_REPLICAS;

/// For each place (see [`crate::filter`]) whether the datapath may know packets to there: not 0.
pub type Filter = [u8; FILTER_PLACES];

/// The kernel's jiffies, truncated. The cheapest clock there is (the verifier makes it one load), with a resolution
/// of 1/HZ seconds. Differences of two ticks are signed: both wrap.
pub type Ticks = u32;

/// Id of a replica of a service: index into the map of replicas. 0 is none.
pub type ReplicaId = u16;

/// A Maglev table: for each slot a replica's id, 0 where there is none. The last element is never used: the compiler
/// merges the shift that makes a slot with the one that makes an offset, and the verifier then sees a bound that is
/// one byte too far.
pub type MaglevTable = [ReplicaId; MAGLEV_SLOTS + 1];

/// The addresses and ports of a packet, as they stand on the wire: the key of the flow tables.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Tuple {
    pub source: Address,
    pub destination: Address,
    pub source_port: Be16,
    pub destination_port: Be16,
}

impl Tuple {
    /// The tuple of the packets in the other direction.
    #[inline(always)]
    pub const fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
        }
    }
}

/// Where a frame is sent: the interface, and the Ethernet addresses.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Hop {
    /// Index of the interface. 0 is not known.
    pub interface: u32,
    pub destination: Mac,
    pub source: Mac,
}

/// One direction of a TCP connection: what becomes of its packets.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Flow {
    /// The tuple that a packet leaves with. Reversed it is the key of the other direction's entry. It may be of the other
    /// family than the key.
    pub to: Tuple,
    /// The way to the client: where its SYN came from. Towards a replica the replica's own hop counts.
    pub hop: Hop,
    /// Folded checksum difference of the addresses, and of the ports: see [`crate::checksum`].
    pub address_delta: u16,
    pub port_delta: u16,
    pub replica: ReplicaId,
    pub state: State,
    pub side: Side,
    /// When the last packet of this direction was seen.
    pub last_seen: Ticks,
    /// When this entry was last found to have its other direction.
    pub checked: Ticks,
}

/// An entry of the half-open table: a direction of a handshake and, with the replica's direction, what it takes to ask
/// another replica.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct HalfOpen {
    pub flow: Flow,
    pub syn: Syn,
    /// Replicas that were asked and did not answer, or refused; 0 where there is none.
    pub tried: [ReplicaId; MAX_TRIED],
}

/// A client's SYN, as far as another replica must see it: what is not said by the tuple.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Syn {
    pub sequence: [u16; 2],
    pub window: Be16,
    /// Fragment field of the IPv4 header: may it be fragmented? Of an IPv6 packet: it may not.
    pub fragment: Be16,
    /// Type of service or traffic class.
    pub tos: u8,
    /// TTL or hop limit, as it came.
    pub hops: u8,
    pub flags: TcpFlags,
    /// Bytes of options. [`Self::NOT_KEPT`] if the SYN is not here.
    pub options_length: u8,
    pub options: [u16; SYN_OPTION_WORDS],
}

impl Syn {
    /// In [`Self::options_length`]: the SYN carried data, which is not kept, so that it cannot be sent again.
    pub const NOT_KEPT: u8 = 0xff;
}

/// Where a connection is in its life.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct State(pub u8);

impl State {
    /// The client's SYN was sent to the replica.
    pub const SYN_SENT: Self = Self(1);
    /// The replica's SYN-ACK was sent to the client.
    pub const SYN_RECEIVED: Self = Self(2);
    pub const ESTABLISHED: Self = Self(3);
    /// The client has closed its direction.
    pub const CLIENT_CLOSED: Self = Self(4);
    /// The replica has closed its direction.
    pub const REPLICA_CLOSED: Self = Self(5);
    /// Both have closed, the replica first: its socket is in TIME_WAIT.
    pub const TIME_WAIT: Self = Self(6);
    /// Both have closed, the client first: no socket is left at the replica.
    pub const CLOSED: Self = Self(7);
    /// Its client has opened another connection with the same tuple. The entry keeps the NAT port from others while
    /// the replica's socket is in TIME_WAIT.
    pub const RESTING: Self = Self(8);
    /// A reset came from the client's side, and nothing after it.
    pub const CLIENT_RESET: Self = Self(9);
    /// A reset came from the replica's side, and nothing after it.
    pub const REPLICA_RESET: Self = Self(10);

    /// Both directions were closed in order.
    #[inline(always)]
    pub const fn ended(self) -> bool {
        self.0 >= Self::TIME_WAIT.0 && self.0 <= Self::RESTING.0
    }

    /// Packets without a flag that matters leave the state as it is.
    #[inline(always)]
    pub const fn steady(self) -> bool {
        self.0 < Self::RESTING.0
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::SYN_SENT => "syn_sent",
            Self::SYN_RECEIVED => "syn_received",
            Self::ESTABLISHED => "established",
            Self::CLIENT_CLOSED => "client_closed",
            Self::REPLICA_CLOSED => "replica_closed",
            Self::TIME_WAIT => "time_wait",
            Self::CLOSED => "closed",
            Self::RESTING => "resting",
            Self::CLIENT_RESET => "client_reset",
            Self::REPLICA_RESET => "replica_reset",
            Self(_) => "unknown",
        }
    }
}

impl core::fmt::Debug for State {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

/// Which way the packets of an entry go.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Side(pub u8);

impl Side {
    pub const TO_REPLICA: Self = Self(0);
    pub const TO_CLIENT: Self = Self(1);
    /// Towards the replica, which answers the client directly: there is no entry for the other direction.
    pub const DIRECT: Self = Self(2);
}

/// How packets reach a replica.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Mode(pub u8);

impl Mode {
    /// Both addresses are rewritten.
    pub const NAT: Self = Self(0);
    /// Only the Ethernet addresses are.
    pub const DSR: Self = Self(1);
    /// In another IP packet.
    pub const IPIP: Self = Self(2);

    /// Whether the replica answers clients directly.
    #[inline(always)]
    pub const fn direct(self) -> bool {
        self.0 != Self::NAT.0
    }
}

/// The value in the map of the addresses of services: that one is there says it all.
pub const IS_VIP: u32 = 1;

/// Address and port of a service: the key of the map of services.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct ServiceKey {
    pub address: Address,
    pub port: Be16,
    /// Fills the word.
    pub zero: u16,
}

impl ServiceKey {
    #[inline(always)]
    pub const fn new(address: Address, port: Be16) -> Self {
        Self { address, port, zero: 0 }
    }
}

/// A service.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Service {
    /// Index of the Maglev table that is in force: one of this service's two.
    pub table: u32,
    /// The number under which its prefixes stand in the map of sources; 0 if everyone may connect.
    pub sources: u32,
    pub flags: ServiceFlags,
}

/// What holds for all connections to a service.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct ServiceFlags(pub u32);

impl ServiceFlags {
    /// All connections of one client address go to one replica.
    pub const SOURCE_AFFINITY: Self = Self(1);
    /// A SYN that no replica can take is answered by a reset.
    pub const REFUSE: Self = Self(2);
    /// Its replicas answer clients directly ([`Mode::direct`]).
    pub const DIRECT: Self = Self(4);

    #[inline(always)]
    pub const fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    #[must_use]
    pub const fn with(self, flag: Self, set: bool) -> Self {
        if set { Self(self.0 | flag.0) } else { self }
    }
}

/// The part of a key in the map of sources that a prefix is of: 32 bits of number, and the address. A key's prefix length is
/// 32 more than that of the address, and an IPv4 prefix is 96 longer than it is written. The value is [`ALLOW`] or
/// [`DENY`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct SourceKey {
    /// [`Service::sources`].
    pub number: u32,
    pub address: Address,
}

/// In the map of sources: such a client is let in.
pub const ALLOW: u32 = 1;
/// In the map of sources: such a client is not.
pub const DENY: u32 = 0;

/// A replica of a service.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Replica {
    pub address: Address,
    /// Source addresses of the connections to it; `nat_count` of them. In mode IPIP: the outer source, of which the last
    /// 16 bits vary by flow.
    pub nat: [Address; MAX_NAT_ADDRESSES],
    pub hop: Hop,
    /// The service's VIP and port: with address and port it tells the entry from all others.
    pub service: ServiceKey,
    pub port: Be16,
    /// The largest IP packet, in bytes, that its next hop's link takes; 0 if that is not known.
    pub mtu: u16,
    pub nat_count: u32,
    pub mode: Mode,
    /// Not 0: it is dead, and its flows are answered by resets.
    pub reset: u8,
    /// Fills the word.
    pub zero: u16,
}

/// What becomes of the packets of one direction of a probe of a replica that answers clients directly. The key is the tuple
/// that they come with: see [`crate::pipeline::probe`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct ProbePath {
    /// The tuple that a packet leaves with. It may be of the other family than the key.
    pub to: Tuple,
    /// The addresses of the packet that it travels in; the destination is [`Address::NONE`] if it travels in none.
    pub outer_source: Address,
    pub outer_destination: Address,
    /// Folded checksum difference of the addresses; the ports stay.
    pub address_delta: u16,
    /// Fills the word.
    pub zero: u16,
}

/// What the agent sets for all packets.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Settings {
    pub hash_seed: u64,
    /// First NAT port, host order.
    pub first_port: u32,
    /// How many there are. 0 means that the settings are not yet written.
    pub port_count: u32,
    /// Ticks in a second.
    pub second: Ticks,
    /// For how long an entry without packets lives, by state.
    pub established: Ticks,
    pub half_closed: Ticks,
    pub time_wait: Ticks,
    pub closed: Ticks,
    pub half_open: Ticks,
}

impl Settings {
    /// How long an entry in this state may be without a packet.
    #[inline(always)]
    pub const fn lifetime(&self, state: State) -> Ticks {
        match state {
            State::SYN_SENT | State::SYN_RECEIVED => self.half_open,
            State::ESTABLISHED => self.established,
            State::CLIENT_CLOSED | State::REPLICA_CLOSED => self.half_closed,
            State::CLOSED => self.closed,
            _ => self.time_wait,
        }
    }

    /// Whether an entry has outlived its state. The datapath and the agent's sweep both ask here.
    #[inline(always)]
    pub const fn expired(&self, state: State, last_seen: Ticks, now: Ticks) -> bool {
        // Signed, as another CPU may have seen a packet a tick after this one read the clock.
        now.wrapping_sub(last_seen) as i32 > self.lifetime(state) as i32
    }
}

/// Packets and bytes, of frames as they came in.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Traffic {
    pub packets: u64,
    pub bytes: u64,
}

/// Counters of a replica of a service, a CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct ReplicaCounters {
    pub to_replica: Traffic,
    pub to_client: Traffic,
    /// Connections steered to it.
    pub new_flows: u64,
    /// Connections that it refused: a SYN answered by a reset.
    pub refused: u64,
    /// Connections that it did not answer: the client had to send its SYN again.
    pub unanswered: u64,
    /// Connections that were steered to another replica, because it refused or did not answer.
    pub redispatched: u64,
    /// Packets of its flows that were answered by a reset, because it is dead.
    pub reset: u64,
}

/// A packet that was dropped, as an example of its kind: at most one a second, verdict and CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct DropEvent {
    pub verdict: u32,
    /// Index of the interface it came in by.
    pub interface: u32,
    pub source: Address,
    pub destination: Address,
    pub source_port: Be16,
    pub destination_port: Be16,
}

/// Lets aya take the types as keys and values. It asks for less than [`Pod`], which each of them is.
#[cfg(feature = "user")]
mod user {
    use super::*;

    macro_rules! map_types {
        ($($type:ty),*) => { $(
            const _: fn() = || { fn pod<T: Pod>() {} pod::<$type>(); };
            // SAFETY: the type is `bytemuck::Pod`, asserted in the line above.
            unsafe impl aya::Pod for $type {}
        )* };
    }

    map_types!(
        Address,
        ServiceKey,
        Service,
        SourceKey,
        Replica,
        Settings,
        ReplicaCounters,
        Traffic,
        DropEvent
    );
    map_types!(Tuple, Flow, HalfOpen, ProbePath);
}
