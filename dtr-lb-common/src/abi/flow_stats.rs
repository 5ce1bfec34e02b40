//! What the datapath counts and tells of connections as a whole.

use core::fmt;

use bytemuck::{Pod, Zeroable};

use super::{Ticks, Traffic};
use crate::flow_table::{Control, ENTRY_WORDS, Place};

/// How a connection ended, or why it never began. (A number, and no enumeration: the verifier would follow each by itself.)
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct End(pub u32);

/// How many there are.
pub const ENDS: usize = 12;

impl End {
    /// Both ends closed it in order. In a direct mode, where the replica is not seen: the client did.
    pub const CLOSED: Self = Self(0);
    pub const CLIENT_RESET: Self = Self(1);
    pub const REPLICA_RESET: Self = Self(2);
    /// Nothing came for the idle time-out.
    pub const IDLE: Self = Self(3);
    /// Its replica is dead, and the client was told so by a reset.
    pub const REPLICA_DOWN: Self = Self(4);
    /// It made room for another one: only those of direct modes do, whose client nothing proves.
    pub const EVICTED: Self = Self(5);
    /// The datapath was removed from the host.
    pub const DETACHED: Self = Self(6);
    /// It never began: no replica that was asked has answered.
    pub const UNANSWERED: Self = Self(7);
    /// It never began: the client never answered the replica, or gave up.
    pub const ABANDONED: Self = Self(8);
    /// It never began: the replicas that were asked refused it.
    pub const REFUSED: Self = Self(9);
    /// It never began: its handshake made room for another one, or gave up its port, in a flood most likely.
    pub const CROWDED: Self = Self(10);
    /// It never began, by a verdict.
    pub const FAILED: Self = Self(11);
    /// No end: another replica is asked, or the client asks anew. Not counted, and not told.
    pub const AGAIN: Self = Self(12);
    /// As its state says, which it has outlived; for who ends it, and never told.
    pub const OUTLIVED: Self = Self(13);
    /// As its state says, or it made room; for who ends it, and never told.
    pub const DISPLACED: Self = Self(14);
    /// As its state says, into which it has come now. Where there is no room to tell it, that is done later.
    pub const CAME: Self = Self(15);
    /// As its state says, which was counted when it came. Where there is no room to tell it, that is done later.
    pub const STANDS: Self = Self(16);

    /// All of them, by number.
    pub const ALL: [Self; ENDS] = [
        Self::CLOSED,
        Self::CLIENT_RESET,
        Self::REPLICA_RESET,
        Self::IDLE,
        Self::REPLICA_DOWN,
        Self::EVICTED,
        Self::DETACHED,
        Self::UNANSWERED,
        Self::ABANDONED,
        Self::REFUSED,
        Self::CROWDED,
        Self::FAILED,
    ];

    /// Those that the datapath counts for each replica. One that the datapath's end was is known to the agent alone, and a SYN that failed
    /// has a verdict's counter.
    pub fn counted() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|end| *end != Self::DETACHED && *end != Self::FAILED)
    }

    /// Whether the connection never began.
    #[inline(always)]
    pub const fn fails(self) -> bool {
        self.0 >= Self::UNANSWERED.0
    }

    /// The name in outputs. Where it failed by a verdict, that has the name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CLOSED => "closed",
            Self::CLIENT_RESET => "client_reset",
            Self::REPLICA_RESET => "replica_reset",
            Self::IDLE => "idle",
            Self::REPLICA_DOWN => "replica_down",
            Self::EVICTED => "evicted",
            Self::DETACHED => "detached",
            Self::UNANSWERED => "unanswered",
            Self::ABANDONED => "abandoned",
            Self::REFUSED => "refused",
            Self::CROWDED => "crowded",
            Self::FAILED => "failed",
            Self(_) => "unknown",
        }
    }
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Upper bounds of a histogram's buckets, the last of which has none.
pub const BOUNDS: usize = 15;
/// Those of times in a handshake, in microseconds: 100 µs to 5 s.
pub const HANDSHAKE_BOUNDS: [u32; BOUNDS] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000,
];
/// Those of how long connections last, in milliseconds: 10 ms to an hour.
pub const DURATION_BOUNDS: [u32; BOUNDS] = [
    10, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000, 600_000, 1_800_000,
    3_600_000,
];

/// How often something took how long.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Histogram {
    /// Not above the bound of the same place, and above the one before; the last: above all.
    pub buckets: [u64; BOUNDS + 1],
    /// Of all of them, in the unit of the bounds.
    pub sum: u64,
}

/// What is counted of the connections of a replica, all processors together.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct FlowStats {
    /// By [`End`].
    pub ends: [u64; ENDS],
    /// From the SYN to the replica until its SYN-ACK.
    pub connect: Histogram,
    /// From the SYN-ACK to the client until its ACK.
    pub client_rtt: Histogram,
    /// From the SYN to the end.
    pub duration: Histogram,
    /// SYNs that clients sent again.
    pub syns_again: u64,
    /// Ends that were not told, as nobody had read those before.
    pub untold: u64,
    /// Packets that were forwarded and are in no connection's account that is or will be told: of handshakes that were tried again
    /// elsewhere, of ended connections, and of those that were not told. To the replica, and to the client.
    pub aside: [Traffic; 2],
}

/// Numbers in [`FlowStats`].
pub const FLOW_STATS_NUMBERS: usize = size_of::<FlowStats>() / size_of::<u64>();

impl FlowStats {
    /// Each number with the other's of the same meaning.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let mut sum = *self;
        let numbers: &mut [u64; FLOW_STATS_NUMBERS] = bytemuck::cast_mut(&mut sum);
        let others: &[u64; FLOW_STATS_NUMBERS] = bytemuck::cast_ref(other);
        for (number, other) in numbers.iter_mut().zip(others) {
            *number = number.wrapping_add(*other);
        }
        sum
    }
}

/// The place of each number in [`FlowStats`].
pub mod stat {
    use core::mem::offset_of;

    use super::{FlowStats, Histogram};

    const fn place(offset: usize) -> usize {
        offset / size_of::<u64>()
    }

    pub const ENDS: usize = place(offset_of!(FlowStats, ends));
    pub const CONNECT: usize = place(offset_of!(FlowStats, connect));
    pub const CLIENT_RTT: usize = place(offset_of!(FlowStats, client_rtt));
    pub const DURATION: usize = place(offset_of!(FlowStats, duration));
    /// Of a histogram, from its place on.
    pub const SUM: usize = place(offset_of!(Histogram, sum));
    pub const SYNS_AGAIN: usize = place(offset_of!(FlowStats, syns_again));
    pub const UNTOLD: usize = place(offset_of!(FlowStats, untold));
    pub const ASIDE_TO_REPLICA: usize = place(offset_of!(FlowStats, aside));
    pub const ASIDE_TO_CLIENT: usize = ASIDE_TO_REPLICA + 2;
}

/// What an event says.
pub mod flow_event {
    /// A connection is established.
    pub const START: u32 = 1;
    /// It is over, or its handshake is: [`super::FlowEvent::words`] are its entries'.
    pub const END: u32 = 2;
    /// A SYN that opened none: the words begin with its tuple.
    pub const FAIL: u32 = 3;
}

/// What is wanted of them: the value of the map `FLOW_WANTED`.
pub mod flow_wanted {
    pub const NOTHING: u32 = 0;
    /// How connections ended, and which never began.
    pub const ENDS: u32 = 1;
    /// When they began, too.
    pub const STARTS: u32 = 3;
}

/// Words of an event: the client's entry, a wide one, and the replica's, a narrow one of which the key does not count.
pub const EVENT_WORDS: usize = 3 * ENTRY_WORDS;

/// What became of a connection, as the datapath tells the agent.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct FlowEvent {
    /// Of [`flow_event`].
    pub kind: u32,
    pub end: End,
    /// The verdict by which it failed.
    pub verdict: u32,
    pub now: Ticks,
    /// Of the client's entry: where it stood, and its control word with the state that it had.
    pub place: Place,
    pub control: Control,
    /// Not 0: the replica's entry stood, too.
    pub paired: u32,
    /// The control word after the words were read: where it is not that of the same connection, they may be another one's.
    pub after: Control,
    pub words: [u32; EVENT_WORDS],
}
