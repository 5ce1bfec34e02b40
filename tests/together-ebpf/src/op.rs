//! What may be sent: a segment of a connection, by its place in that connection's life.

use dtr_lb_common::wire::TcpFlags;

/// A segment, packed into one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Op(pub u32);

/// A number so far off that no window holds it, and that nobody has acknowledged.
pub const FORGED: u32 = 1 << 31;
/// Bytes of the segments that carry data.
pub const PAYLOAD: u32 = 10;

const FROM_REPLICA: u32 = 1 << 8;
const DATA: u32 = 1 << 9;
const IS_FORGED: u32 = 1 << 10;
const MAY_OPEN: u32 = 1 << 11;
const CONFIRMS: u32 = 1 << 12;
const LIFE: u32 = 1 << 13;
const SEQUENCE: u32 = 16;
const ACKNOWLEDGMENT: u32 = 18;

const fn flags(a: TcpFlags, b: TcpFlags) -> u32 {
    (a.0 | b.0) as u32
}

const ACK: TcpFlags = TcpFlags::ACK;

impl Op {
    /// Nothing was sent yet.
    pub const NONE: Self = Self(0);

    /// The client's: `sequence` is behind its first number, `acknowledgment` behind the replica's.
    const fn client(flags: u32, sequence: u32, acknowledgment: u32) -> Self {
        Self(flags | sequence << SEQUENCE | acknowledgment << ACKNOWLEDGMENT)
    }

    const fn replica(flags: u32, sequence: u32, acknowledgment: u32) -> Self {
        Self(Self::client(flags, sequence, acknowledgment).0 | FROM_REPLICA)
    }

    const fn and(self, more: u32) -> Self {
        Self(self.0 | more)
    }

    /// Only a connection's owner sends what changes it.
    #[must_use]
    #[inline(always)]
    pub const fn of_life(self) -> Self {
        self.and(LIFE)
    }

    pub const SYN: Self = Self::client(flags(TcpFlags::SYN, TcpFlags::SYN), 0, 0);
    /// The owner's, which may open a connection.
    pub const OPENING_SYN: Self = Self::SYN.and(MAY_OPEN);
    pub const SYN_ACK: Self = Self::replica(flags(TcpFlags::SYN, ACK), 0, 1);
    /// The replica does not want it: another one is asked.
    pub const REFUSAL: Self = Self::replica(flags(TcpFlags::RST, ACK), 0, 1).and(MAY_OPEN);
    pub const ACK: Self = Self::client(flags(ACK, ACK), 1, 1);
    pub const CLIENT_DATA: Self = Self::client(flags(ACK, ACK), 1, 1).and(DATA);
    pub const REPLICA_DATA: Self = Self::replica(flags(ACK, ACK), 1, 1).and(DATA);
    /// By its number it proves nothing, so that it is `forwarded` of an established connection only.
    pub const CONFIRMING: Self = Self::CLIENT_DATA.and(IS_FORGED | CONFIRMS);
    pub const CLIENT_FORGED_RST: Self =
        Self::client(flags(TcpFlags::RST, TcpFlags::RST), 1, 0).and(IS_FORGED);
    pub const REPLICA_FORGED_RST: Self =
        Self::replica(flags(TcpFlags::RST, TcpFlags::RST), 1, 0).and(IS_FORGED);
    pub const CLIENT_FORGED_FIN: Self = Self::client(flags(TcpFlags::FIN, ACK), 1, 1).and(IS_FORGED);
    pub const REPLICA_FORGED_FIN: Self = Self::replica(flags(TcpFlags::FIN, ACK), 1, 1).and(IS_FORGED);
    pub const CLIENT_RST: Self = Self::client(flags(TcpFlags::RST, TcpFlags::RST), 1, 0);
    pub const REPLICA_RST: Self = Self::replica(flags(TcpFlags::RST, TcpFlags::RST), 1, 0);
    /// The client closes first.
    pub const CLIENT_FIN: Self = Self::client(flags(TcpFlags::FIN, ACK), 1, 1);
    pub const CLIENT_FIN_ACKED: Self = Self::replica(flags(ACK, ACK), 1, 2);
    pub const THEN_REPLICA_FIN: Self = Self::replica(flags(TcpFlags::FIN, ACK), 1, 2);
    pub const THEN_REPLICA_FIN_ACKED: Self = Self::client(flags(ACK, ACK), 2, 2);
    /// The replica does.
    pub const REPLICA_FIN: Self = Self::replica(flags(TcpFlags::FIN, ACK), 1, 1);
    pub const REPLICA_FIN_ACKED: Self = Self::client(flags(ACK, ACK), 1, 2);
    pub const THEN_CLIENT_FIN: Self = Self::client(flags(TcpFlags::FIN, ACK), 1, 2);
    pub const THEN_CLIENT_FIN_ACKED: Self = Self::replica(flags(ACK, ACK), 2, 2);

    /// What it is, in words.
    pub fn name(self) -> &'static str {
        let names = [
            (Self::SYN, "SYN of a stranger"),
            (Self::OPENING_SYN, "SYN"),
            (Self::SYN_ACK, "SYN-ACK"),
            (Self::REFUSAL, "refusal"),
            (Self::ACK, "ACK"),
            (Self::CLIENT_DATA, "client's data"),
            (Self::REPLICA_DATA, "replica's data"),
            (Self::CONFIRMING, "data that confirms"),
            (Self::CLIENT_FORGED_RST, "client's RST, forged"),
            (Self::REPLICA_FORGED_RST, "replica's RST, forged"),
            (Self::CLIENT_FORGED_FIN, "client's FIN, forged"),
            (Self::REPLICA_FORGED_FIN, "replica's FIN, forged"),
            (Self::CLIENT_RST, "client's RST"),
            (Self::REPLICA_RST, "replica's RST"),
            (Self::CLIENT_FIN, "client's FIN"),
            (Self::CLIENT_FIN_ACKED, "ACK of the client's FIN"),
            (Self::THEN_REPLICA_FIN, "replica's FIN, second"),
            (Self::THEN_REPLICA_FIN_ACKED, "ACK of it"),
            (Self::REPLICA_FIN, "replica's FIN"),
            (Self::REPLICA_FIN_ACKED, "ACK of the replica's FIN"),
            (Self::THEN_CLIENT_FIN, "client's FIN, second"),
            (Self::THEN_CLIENT_FIN_ACKED, "ACK of it"),
        ];
        let plain = Self(self.0 & !LIFE);
        names.iter().find(|(op, _)| *op == plain).map_or("nothing", |(_, name)| name)
    }

    const fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }

    #[inline(always)]
    pub const fn from_replica(self) -> bool {
        self.has(FROM_REPLICA)
    }

    /// Whether it may enter a connection.
    #[inline(always)]
    pub const fn may_open(self) -> bool {
        self.has(MAY_OPEN)
    }

    /// Whether it shows that a connection is established.
    #[inline(always)]
    pub const fn confirms(self) -> bool {
        self.has(CONFIRMS)
    }

    /// Whether it is a step of a connection's life.
    #[inline(always)]
    pub const fn is_of_life(self) -> bool {
        self.has(LIFE)
    }

    #[inline(always)]
    pub const fn flags(self) -> u8 {
        self.0 as u8
    }

    #[inline(always)]
    pub const fn payload(self) -> u32 {
        if self.has(DATA) { PAYLOAD } else { 0 }
    }

    /// Sequence and acknowledgment number in this life of a client's connection.
    #[inline(always)]
    pub const fn numbers(self, peer: u64, life: u64) -> (u32, u32) {
        let client = client_number(peer, life);
        // Far from every client's.
        let replica = client.wrapping_add(1 << 30);
        let (own, other) = if self.from_replica() { (replica, client) } else { (client, replica) };
        let off = if self.has(IS_FORGED) { FORGED } else { 0 };
        let sequence = own.wrapping_add(self.0 >> SEQUENCE & 3).wrapping_add(off);
        let acknowledgment = other.wrapping_add(self.0 >> ACKNOWLEDGMENT & 3);
        (sequence, if self.0 & ACK.0 as u32 == 0 { 0 } else { acknowledgment })
    }
}

/// The first number of a client in one of its lives. No two clients have the same, nor two lives that follow each other, and none
/// reaches 2^30.
const fn client_number(peer: u64, life: u64) -> u32 {
    (peer as u32) << 24 | (life as u32 & 0xfff) << 12
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::PEERS;

    #[test]
    fn numbers_are_those_of_a_connection() {
        let (syn, _) = Op::OPENING_SYN.numbers(5, 9);
        let (syn_ack, acknowledges) = Op::SYN_ACK.numbers(5, 9);
        assert_eq!(acknowledges, syn + 1);
        assert_eq!(Op::ACK.numbers(5, 9), (syn + 1, syn_ack + 1));
        assert_eq!(Op::CLIENT_FIN_ACKED.numbers(5, 9), (syn_ack + 1, syn + 2));
        assert_eq!(Op::CONFIRMING.numbers(5, 9), (syn + 1 + FORGED, syn_ack + 1));
        assert_eq!(Op::CLIENT_RST.numbers(5, 9), (syn + 1, 0));
        assert!(Op::REFUSAL.from_replica() && Op::REFUSAL.may_open() && !Op::SYN.may_open());
        assert_eq!((Op::SYN.flags(), Op::CLIENT_DATA.payload(), Op::ACK.payload()), (2, PAYLOAD, 0));
    }

    #[test]
    fn no_number_is_another_s() {
        assert!(client_number(PEERS as u64 - 1, u64::MAX) < 1 << 30);
        assert_ne!(client_number(3, 1), client_number(4, 1));
        assert_ne!(client_number(3, 1), client_number(3, 2));
    }
}
