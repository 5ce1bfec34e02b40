//! Who there is, what the harness orders, and what the programs tell.

use bytemuck::{Pod, Zeroable};

use crate::record::PROCESSORS;

/// Clients at most, each with one address and port.
pub const PEERS: usize = 64;
/// Replicas: two of IPv4, then two of IPv6.
pub const REPLICAS: usize = 4;
pub const REPLICAS_OF_A_FAMILY: usize = 2;
/// NAT ports at most.
pub const PORTS: u32 = 32;
/// The first of them.
pub const FIRST_PORT: u16 = 20_000;

/// Words of 64 bits that are looked at: all headers of either family.
pub const WORDS: usize = 10;
/// Bytes of each frame: what the longest packet has. Shorter ones are padded.
pub const FRAME: usize = 84;
/// Where TCP begins in a frame.
pub const TCP_V4: usize = 34;
pub const TCP_V6: usize = 54;

/// The first bytes of a frame, as they stand in it.
pub type Head = [u64; WORDS];

/// An end: what it sends, and what it is sent. A port that is not always the same is 0, and is filled in.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct End {
    pub comes: Head,
    pub leaves: Head,
    /// Not 0: it is of IPv6.
    pub v6: u64,
}

/// Which bits of a frame that was sent on must be what.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Masks {
    /// As its receiver's [`End::leaves`] has them.
    pub rewritten: Head,
    /// As they came.
    pub carried: Head,
    /// The IPv4 header, whose sum stays.
    pub header_sum: Head,
    /// What goes into TCP's checksum and is rewritten, and that checksum: their sum stays, too.
    pub tcp_sum: Head,
}

/// The number of the masks of a family and direction.
#[inline(always)]
pub const fn masks(v6: bool, from_replica: bool) -> u32 {
    (v6 as u32) << 1 | from_replica as u32
}

pub const MASKS: usize = 4;

/// What the harness orders.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Config {
    /// The clients that there are. The first `steady` of them are connected for good; the others come in pairs, of which each
    /// processor owns one.
    pub peers: u32,
    pub steady: u32,
    pub ports: u32,
    /// The processor whose number is 0 here. Any other is number 1.
    pub first_processor: u32,
    /// Not 0: nothing more is sent; what became of the last packet is looked at.
    pub ends: u32,
    /// Fills the word.
    pub zero: u32,
}

/// What a processor lets the other one see; in a cache line of its own.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Clock {
    /// Mappings that it has seen change.
    pub changes: u64,
    pub packets: u64,
    pub fill: [u64; 14],
}

/// What a processor does.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Own {
    /// State of its generator of random numbers; not 0.
    pub random: u64,
    /// The connection whose life it goes on with, and for how many steps.
    pub focus: u64,
    pub focus_left: u64,
    /// The packet under way: [`crate::op::Op`], whose it is, and by which mapping it came if it is a replica's.
    pub op: u64,
    pub peer: u64,
    pub mapping: u64,
    /// What becomes of the phase if it is sent on.
    pub then: u64,
    /// Before it: what was known of its connection, and both clocks.
    pub record: u64,
    pub changes: [u64; PROCESSORS],
    pub packets_of_other: u64,
    pub began: u64,
    /// The verdicts that were counted, as in [`counted`], and the last one.
    pub counts: [u64; COUNTED],
    pub verdict: u64,
    pub sent: Head,
    pub left: Head,
    /// Of [`stat`].
    pub stats: [u64; STATS],
}

/// The verdicts that are told apart. None other is expected.
pub const COUNTED: usize = 10;
pub mod counted {
    use dtr_lb_common::verdict::Verdict;

    pub const FORWARDED: usize = 0;
    pub const UNVERIFIED: usize = 1;
    pub const REDISPATCHED: usize = 2;
    pub const PASSED: usize = 3;
    /// The same of a replica's packets.
    pub const PASSED_OTHER: usize = 4;

    pub const VERDICTS: [Verdict; super::COUNTED] = [
        Verdict::Forwarded,
        Verdict::ForwardedUnverified,
        Verdict::Redispatched,
        Verdict::PassedNoFlow,
        Verdict::PassedNotService,
        Verdict::AnsweredTableFull,
        Verdict::DroppedBusy,
        Verdict::DroppedLate,
        Verdict::AnsweredNoPort,
        Verdict::DroppedNoPort,
    ];
}

/// What is counted.
pub const STATS: usize = 12;
pub mod stat {
    /// Packets that were looked at.
    pub const PACKETS: usize = 0;
    /// Of them, those during which the other processor sent one, too.
    pub const OVERLAPPED: usize = 1;
    /// Of connections that were seen to be established: they had to be sent on.
    pub const LIVE: usize = 2;
    /// Sent on, where what is known says exactly by which mapping.
    pub const EXACT: usize = 3;
    /// Sent on, while the mapping was changing.
    pub const CHANGING: usize = 4;
    /// Not sent on, which they need not be.
    pub const HELD: usize = 5;
    /// Connections opened, opened to another replica, and seen to be established; handshakes that were lost.
    pub const OPENED: usize = 6;
    pub const REDISPATCHED: usize = 7;
    pub const ESTABLISHED: usize = 8;
    pub const LOST: usize = 9;
    /// Connections that went to sleep, and that were used again afterwards.
    pub const ASLEEP: usize = 10;
    pub const WOKEN: usize = 11;

    pub const NAMES: [&str; super::STATS] = [
        "looked at",
        "while the other processor sent one",
        "of established connections",
        "sent on by the mapping that is known",
        "sent on while that changed",
        "not sent on",
        "connections opened",
        "opened to another replica",
        "seen to be established",
        "handshakes lost",
        "gone to sleep",
        "woken",
    ];
}

/// What is wrong with a packet.
pub mod wrong {
    pub const NOTHING: u32 = 0;
    /// It was of an established connection, and was not sent on.
    pub const NOT_SENT: u32 = 1;
    /// It was not counted under one verdict.
    pub const COUNTED: u32 = 2;
    /// It left to no replica and port, or no client, that there is.
    pub const NOBODY: u32 = 3;
    /// It left with headers that are not those of its receiver.
    pub const HEADERS: u32 = 4;
    /// Its checksums do not fit what has changed.
    pub const SUMS: u32 = 5;
    /// It left by another replica or port than its connection has.
    pub const MAPPING: u32 = 6;
    /// It left by a port that is another connection's.
    pub const PORT: u32 = 7;
    /// It left to another client than the one that has the port.
    pub const CLIENT: u32 = 8;
    /// A SYN took the port of an established connection.
    pub const TAKEN: u32 = 9;
    /// It was passed to the host, and had changed.
    pub const CHANGED: u32 = 10;

    pub const NAMES: [&str; 11] = [
        "nothing",
        "a packet of an established connection was not sent on",
        "a packet was not counted once, under one verdict",
        "a packet left to nobody that there is",
        "a packet left with headers that are not its receiver's",
        "the checksums do not fit what has changed",
        "a packet left by another mapping than its connection has",
        "a packet left by a port that is another connection's",
        "a packet left to another client than the one that has the port",
        "a SYN took the port of an established connection",
        "a packet that was passed had changed",
    ];
}

/// Packets of each processor that are remembered: a power of two.
pub const PAST: usize = 256;

/// One of them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Past {
    /// Nanoseconds, by the clock that both processors have: before it was sent, and when it was looked at.
    pub began: u64,
    pub ended: u64,
    pub op: u64,
    pub peer: u64,
    /// What was known of its connection.
    pub record: u64,
    /// As in [`counted`].
    pub verdict: u64,
}

/// The first packet of a processor with which something was wrong, and how many there were.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Fault {
    pub count: u64,
    /// Of [`wrong`].
    pub what: u32,
    pub op: u32,
    pub peer: u64,
    /// What it came by, and what it left by: mappings, or a client's number.
    pub came_by: u64,
    pub left_by: u64,
    /// What was known of its connection before and after it.
    pub before: u64,
    pub after: u64,
    /// The verdict, as in [`counted`]; [`COUNTED`] if it is another one.
    pub verdict: u64,
    /// Both clocks before it.
    pub changes: [u64; PROCESSORS],
    /// The last claims of the port in question.
    pub claims: [u64; PROCESSORS],
    pub sent: Head,
    pub left: Head,
}
