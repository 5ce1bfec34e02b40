//! The types that stand in BPF maps, and the names and sizes of the maps.
//!
//! All are `repr(C)` and `Pod`: `bytemuck` refuses hidden padding, so that a key hashes the same on both sides.
//! Numbers are in host order but where the type says [`Be16`]. A change of any layout here is a new
//! [`LAYOUT_VERSION`], which is part of the directory where maps are pinned: a new agent never meets old bytes.

use bytemuck::{Pod, Zeroable};

use crate::{
    address::{Address, Be16},
    flow_table::{BUCKET_BYTES, ENTRY_BYTES},
};

mod client;
mod flow;
mod flow_stats;
mod own_macs;
mod service;
mod trace;

pub use crate::flow_table::{Control, Direction, Flow, Place, State};
pub use client::{Client, ClientKey, Pressure};
pub use flow::{Hop, KeptSyn, Syn, Tuple, Vlans};
pub use flow_stats::{
    BOUNDS, DURATION_BOUNDS, ENDS, EVENT_WORDS, End, FLOW_STATS_NUMBERS, FlowEvent, FlowStats,
    HANDSHAKE_BOUNDS, Histogram, flow_event, flow_wanted, stat,
};
pub use own_macs::{OWN_MAC_SETS, OwnMacs};
pub use service::{
    ALLOW, DENY, IS_VIP, Mode, ProbePath, Replica, Service, ServiceFlags, ServiceKey, SourceKey,
};
pub use trace::{SNAP_MAX, TRACE_BYTES, TraceCounts, TraceFilter, TracePacket};

/// Version of everything in this module.
pub const LAYOUT_VERSION: u32 = 7;

/// Names of the programs in the object.
pub mod program {
    pub const XDP: &str = "dtr_lb_xdp";
    pub const TC: &str = "dtr_lb_tc";
    /// Returns the kernel's clock; see [`super::Ticks`].
    pub const CLOCK: &str = "dtr_lb_clock";
    /// Sends a frame that the agent made.
    pub const SEND: &str = "dtr_lb_send";
    /// Carries out what the agent's sweep asks for; see [`crate::pipeline::sweep`].
    pub const SWEEP: &str = "dtr_lb_sweep";
    /// Steer the probes of replicas that answer clients directly, at the way in and at the way out.
    pub const PROBE_IN: &str = "dtr_lb_probe_in";
    pub const PROBE_OUT: &str = "dtr_lb_probe_out";
}

/// The global of the programs that turns the trace on: not 0.
pub const TRACING: &str = "DTR_LB_TRACING";

/// The global that says how many SYNs each processor keeps.
pub const SYNS_A_CPU: &str = "DTR_LB_SYNS_A_CPU";

/// Names of the maps in the object, as short as the kernel shows them (15 characters).
pub mod map {
    pub const FLOWS: &str = "FLOWS";
    pub const FLOW_LOCKS: &str = "FLOW_LOCKS";
    pub const NEXT_HOPS: &str = "NEXT_HOPS";
    pub const SYNS: &str = "SYNS";
    pub const FILTER: &str = "FILTER";
    pub const SOURCES: &str = "SOURCES";
    pub const SERVICES: &str = "SERVICES";
    pub const VIPS: &str = "VIPS";
    pub const TABLES: &str = "TABLES";
    pub const REPLICAS: &str = "REPLICAS";
    pub const SETTINGS: &str = "SETTINGS";
    pub const VERDICT_STATS: &str = "VERDICT_STATS";
    pub const REPLICA_STATS: &str = "REPLICA_STATS";
    pub const PRESSURE: &str = "PRESSURE";
    pub const CLIENTS: &str = "CLIENTS";
    pub const ROOM: &str = "ROOM";
    pub const OWN_MACS: &str = "OWN_MACS";
    pub const WITNESSES: &str = "WITNESSES";
    pub const EVENTS: &str = "EVENTS";
    pub const EVENT_TIMES: &str = "EVENT_TIMES";
    pub const FLOW_STATS: &str = "FLOW_STATS";
    pub const FLOW_EVENTS: &str = "FLOW_EVENTS";
    /// What somebody wants to hear of connections: [`super::flow_wanted`].
    pub const FLOW_WANTED: &str = "FLOW_WANTED";
    /// Packets of probes under way. It ends with the agent that probes, and is not pinned.
    pub const PROBES: &str = "PROBES";
    /// A trace's: what it is to show, what it shows, and how much of it there was. They end with it, and are not pinned.
    pub const TRACE_FILTER: &str = "TRACE_FILTER";
    pub const TRACE: &str = "TRACE";
    pub const TRACE_COUNTS: &str = "TRACE_COUNTS";

    /// All that are pinned.
    pub const ALL: &[&str] = &[
        FLOWS,
        FLOW_LOCKS,
        NEXT_HOPS,
        SYNS,
        FILTER,
        SOURCES,
        SERVICES,
        VIPS,
        TABLES,
        REPLICAS,
        SETTINGS,
        VERDICT_STATS,
        REPLICA_STATS,
        PRESSURE,
        CLIENTS,
        ROOM,
        OWN_MACS,
        WITNESSES,
        EVENTS,
        EVENT_TIMES,
        FLOW_STATS,
        FLOW_EVENTS,
        FLOW_WANTED,
    ];
}

/// Buckets of the flow table when the agent says nothing else. It makes one for each connection of `max_flows`: four entries,
/// of which a NAT connection of IPv4 takes two.
pub const FLOW_BUCKETS: usize = 16_384;
/// SYNs that are kept, of all processors together.
pub const KEPT_SYNS: usize = 262_144;
/// In the map of room: what is added to a replica's, so that 0, which stands there at first, says nothing.
pub const ROOM_KNOWN: i64 = 1 << 32;
/// Clients of which something is remembered at most; see [`crate::pipeline::admission`].
pub const MAX_CLIENTS: usize = 131_072;
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
/// Bytes of the ring buffer of what becomes of connections: 36,000 of them, 0.7 s at 50,000 ends a second.
pub const FLOW_EVENTS_BYTES: usize = 8 << 20;
/// Replicas that a connection asks after the first one has failed it, at most.
pub const MAX_ATTEMPTED: usize = 4;
/// TCP options in 16-bit words at most (RFC 9293 section 3.1).
pub const SYN_OPTION_WORDS: usize = 20;
/// NAT addresses of a replica at most.
pub const MAX_NAT_ADDRESSES: usize = 4;
/// Clients that are remembered as witnesses of a replica's silence.
pub const MAX_WITNESSES: usize = 8;
/// Places of the filter: a power of two.
pub const FILTER_PLACES: usize = 16_384;
/// Prefixes of clients that are allowed or denied, at most, of all services together.
pub const MAX_SOURCES: usize = 16_384;

/// Entries of the map of probes: two for each probe under way or last made, of each replica and VIP.
pub const PROBE_ENTRIES: usize = 2 * MAX_REPLICAS;

/// For each place (see [`crate::filter`]) whether the datapath may know packets to there: not 0.
pub type Filter = [u8; FILTER_PLACES];

/// A bucket of the flow table, as the value of a map.
pub type Bucket = [u8; BUCKET_BYTES];
const _: () = assert!(BUCKET_BYTES == 4 * ENTRY_BYTES);

/// The kernel's jiffies, truncated. The cheapest clock there is (the verifier makes it one load), with a resolution
/// of 1/HZ seconds. Differences of two ticks are signed: both wrap.
pub type Ticks = u32;

/// How long ago something was. A processor that was ahead of the one that read `now`, and a reader that took its time, are no 2^32 ticks:
/// 0. Right for 49 days at 1,000 ticks a second, for 198 at 250.
#[inline(always)]
pub const fn age(then: Ticks, now: Ticks) -> Ticks {
    /// 16 s at 1,000 ticks a second.
    const AHEAD: Ticks = 16_384;
    let age = now.wrapping_sub(then);
    if age > Ticks::MAX - AHEAD { 0 } else { age }
}

/// Id of a replica of a service: index into the map of replicas. 0 is none.
pub type ReplicaId = u16;

/// A Maglev table: for each slot a replica's id, 0 where there is none. The last element is never used: the compiler
/// merges the shift that makes a slot with the one that makes an offset, and the verifier then sees a bound that is
/// one byte too far.
pub type MaglevTable = [ReplicaId; MAGLEV_SLOTS + 1];

/// Numbers that the flow table's hash takes: one for each 32-bit word of an IPv6 key, and one to make it even.
pub const FLOW_KEYS: usize = 10;

/// What the agent sets for all packets.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Settings {
    pub hash_seed: u64,
    /// Random numbers of this host, which choose the buckets of the flow table; see [`crate::hash::flow_table`].
    pub flow_keys: [u64; FLOW_KEYS],
    /// Buckets of the flow table.
    pub flow_buckets: u32,
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
    /// For how long the NAT port of a connection rests that left no socket at the replica.
    pub port_rest: Ticks,
    /// Random numbers of this host, by which a challenge is known; see [`crate::pipeline::admission`].
    pub challenge_keys: [u64; 2],
    /// Which set of [`OwnMacs`] is in force, from 1 on; 0: frames to any host's address are taken.
    pub own_macs: u32,
    /// Not 0: a replica is or was reached by mode DNAT. What it answers is addressed to its client, so that packets are looked at
    /// by their source, too; see [`crate::filter`].
    pub by_source: u32,
}

impl Settings {
    /// How long an entry in this state may be without a packet.
    #[inline(always)]
    pub const fn lifetime(&self, state: State) -> Ticks {
        match state {
            State::SYN_SENT | State::SYN_RECEIVED => self.half_open,
            State::ESTABLISHED => self.established,
            State::CLIENT_CLOSED | State::REPLICA_CLOSED => self.half_closed,
            State::CLOSED | State::CLIENT_RESET | State::REPLICA_RESET => self.closed,
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
    /// Connections that it did not answer: the client had to send its SYN again, and both were whole
    /// ([`crate::pipeline`], stage `Silence`).
    pub unanswered: u64,
    /// Connections that were steered to another replica, because it refused or did not answer.
    pub redispatched: u64,
    /// Packets of its flows that were answered by a reset, because it is dead.
    pub reset: u64,
    /// Packets to clients with data or a FIN. The kernel of a frozen process acknowledges what comes, but has nothing to say.
    pub data_to_client: u64,
}

/// A client that had to send its SYN again, as a replica did not answer.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Witness {
    /// [`Address::NONE`] where there is none.
    pub source: Address,
    /// When it did so last.
    pub at: Ticks,
}

/// Those of a replica: a client's place is drawn from its network ([`crate::hash::witness`]), so that no network can take all.
pub type Witnesses = [Witness; MAX_WITNESSES];

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
        DropEvent,
        ClientKey,
        Client,
        Pressure,
        OwnMacs,
        Witness,
        FlowStats,
        FlowEvent
    );
    map_types!(Tuple, KeptSyn, ProbePath, TraceFilter, TraceCounts);
}
