//! The types of ICMP messages, and which of one family says what another one says in the other (RFC 7915 sections 4.2
//! and 5.2).

use crate::{
    address::Be16,
    wire::{Icmp, Ipv4, Ipv6},
};

pub(super) const V4_ECHO_REPLY: u8 = 0;
pub(super) const V4_UNREACHABLE: u8 = 3;
pub(super) const V4_ECHO: u8 = 8;
pub(super) const V4_TIME_EXCEEDED: u8 = 11;
pub(super) const V4_PARAMETER_PROBLEM: u8 = 12;
/// Code of [`V4_UNREACHABLE`]: the packet is too large, and may not be fragmented.
pub(super) const V4_FRAGMENTATION_NEEDED: u8 = 4;

pub(super) const V6_UNREACHABLE: u8 = 1;
pub(super) const V6_TOO_BIG: u8 = 2;
pub(super) const V6_TIME_EXCEEDED: u8 = 3;
pub(super) const V6_PARAMETER_PROBLEM: u8 = 4;
pub(super) const V6_ECHO: u8 = 128;
pub(super) const V6_ECHO_REPLY: u8 = 129;

/// The smallest MTU of IPv6 (RFC 8200 section 5): no sender goes below it.
pub(super) const V6_MINIMUM: u32 = 1280;
/// Bytes by which the headers of the families differ.
pub(super) const DIFFERENCE: u16 = (size_of::<Ipv6>() - size_of::<Ipv4>()) as u16;

/// What says in ICMPv6 what `old` says in ICMP about a packet of so many bytes. `None` if nothing does. The checksum is 0.
#[inline(always)]
pub(super) fn to_v6(old: &Icmp, total: u16) -> Option<Icmp> {
    let (kind, code, number) = match old.kind {
        V4_UNREACHABLE => match old.code {
            // Protocol unreachable: the next header is not known, which is what the pointer points to.
            2 => (V6_PARAMETER_PROBLEM, 1, 6),
            3 => (V6_UNREACHABLE, 4, 0),
            V4_FRAGMENTATION_NEEDED => (V6_TOO_BIG, 0, mtu_to_v6(old.rest[1].get(), total)),
            // Prohibited by the administrator, or by precedence.
            9 | 10 | 13 | 15 => (V6_UNREACHABLE, 1, 0),
            0 | 1 | 5..=8 | 11 | 12 => (V6_UNREACHABLE, 0, 0),
            _ => return None,
        },
        V4_TIME_EXCEEDED => (V6_TIME_EXCEEDED, old.code, 0),
        V4_PARAMETER_PROBLEM if old.code == 0 || old.code == 2 => {
            (V6_PARAMETER_PROBLEM, 0, pointer_to_v6(old.rest[0].get() >> 8)?)
        }
        _ => return None,
    };
    Some(Icmp { kind, code, checksum: 0, rest: words(number) })
}

/// What says in ICMP what `old` says in ICMPv6. `None` if nothing does. The checksum is 0.
#[inline(always)]
pub(super) fn to_v4(old: &Icmp) -> Option<Icmp> {
    let nothing = [Be16::new(0); 2];
    let number = u32::from(old.rest[0].get()) << 16 | u32::from(old.rest[1].get());
    let (kind, code, rest) = match old.kind {
        V6_UNREACHABLE => match old.code {
            0 | 2 | 3 => (V4_UNREACHABLE, 1, nothing),
            1 => (V4_UNREACHABLE, 10, nothing),
            4 => (V4_UNREACHABLE, 3, nothing),
            _ => return None,
        },
        V6_TOO_BIG => (V4_UNREACHABLE, V4_FRAGMENTATION_NEEDED, [Be16::new(0), Be16::new(mtu_to_v4(number))]),
        V6_TIME_EXCEEDED => (V4_TIME_EXCEEDED, old.code, nothing),
        V6_PARAMETER_PROBLEM => match old.code {
            0 => (V4_PARAMETER_PROBLEM, 0, [Be16::new(pointer_to_v4(number)? << 8), Be16::new(0)]),
            1 => (V4_UNREACHABLE, 2, nothing),
            _ => return None,
        },
        _ => return None,
    };
    Some(Icmp { kind, code, checksum: 0, rest })
}

#[inline(always)]
fn words(number: u32) -> [Be16; 2] {
    [Be16::new((number >> 16) as u16), Be16::new(number as u16)]
}

/// The MTU that an IPv6 sender is told. A router that is older than RFC 1191 says none: then it is the next plateau below
/// the packet that did not fit (section 7 there).
#[inline(always)]
fn mtu_to_v6(mtu: u16, total: u16) -> u32 {
    let mtu = match mtu {
        0 => match total {
            32_001.. => 32_000,
            17_915.. => 17_914,
            8_167.. => 8_166,
            4_353.. => 4_352,
            2_003.. => 2_002,
            1_493.. => 1_492,
            // What is below is below the smallest MTU of IPv6.
            _ => 0,
        },
        mtu => mtu,
    };
    (u32::from(mtu) + u32::from(DIFFERENCE)).max(V6_MINIMUM)
}

/// The MTU that an IPv4 sender is told.
#[inline(always)]
fn mtu_to_v4(mtu: u32) -> u16 {
    (mtu.clamp(V6_MINIMUM, u16::MAX.into()) as u16) - DIFFERENCE
}

/// Where in an IPv6 header stands what stands there in an IPv4 header (RFC 7915 figure 3).
#[inline(always)]
fn pointer_to_v6(pointer: u16) -> Option<u32> {
    match pointer {
        0 | 1 => Some(pointer.into()),
        2 | 3 => Some(4),
        8 => Some(7),
        9 => Some(6),
        12..=15 => Some(8),
        16..=19 => Some(24),
        _ => None,
    }
}

/// Where in an IPv4 header stands what stands there in an IPv6 header (RFC 7915 figure 6).
#[inline(always)]
fn pointer_to_v4(pointer: u32) -> Option<u16> {
    match pointer {
        0 => Some(0),
        1 => Some(1),
        4 | 5 => Some(2),
        6 => Some(9),
        7 => Some(8),
        8..=23 => Some(12),
        24..=39 => Some(16),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, code: u8, number: u32) -> Icmp {
        Icmp { kind, code, checksum: 0, rest: words(number) }
    }

    /// Type, code and the number behind the checksum.
    type Message = (u8, u8, u32);

    #[test]
    fn each_icmp_error_has_the_counterpart_of_the_rfc() {
        let unreachable = [
            (0, Some((1, 0, 0))),
            (1, Some((1, 0, 0))),
            (2, Some((4, 1, 6))),
            (3, Some((1, 4, 0))),
            (5, Some((1, 0, 0))),
            (6, Some((1, 0, 0))),
            (7, Some((1, 0, 0))),
            (8, Some((1, 0, 0))),
            (9, Some((1, 1, 0))),
            (10, Some((1, 1, 0))),
            (11, Some((1, 0, 0))),
            (12, Some((1, 0, 0))),
            (13, Some((1, 1, 0))),
            (14, None),
            (15, Some((1, 1, 0))),
            (16, None),
            (255, None),
        ];
        let unreachable = unreachable.map(|(code, wanted)| ((3, code, 0x0012_0000), wanted));
        let others: [(Message, Option<Message>); 10] = [
            ((3, 4, 1400), Some((2, 0, 1420))),
            ((3, 4, 576), Some((2, 0, 1280))),
            ((3, 4, 65_535), Some((2, 0, 65_555))),
            ((11, 0, 0x0011_0000), Some((3, 0, 0))),
            ((11, 1, 0), Some((3, 1, 0))),
            ((12, 0, 0x0900_0000), Some((4, 0, 6))),
            ((12, 2, 0x1000_0000), Some((4, 0, 24))),
            ((12, 0, 0x1400_0000), None),
            ((12, 1, 0), None),
            ((5, 0, 0), None),
        ];
        for ((kind, code, number), wanted) in unreachable.into_iter().chain(others) {
            let wanted = wanted.map(|(kind, code, number)| message(kind, code, number));
            assert_eq!(to_v6(&message(kind, code, number), 1500), wanted, "{kind} {code} {number:#x}");
        }
    }

    #[test]
    fn each_icmpv6_error_has_the_counterpart_of_the_rfc() {
        let cases: [(Message, Option<Message>); 19] = [
            ((1, 0, 0x1000_0000), Some((3, 1, 0))),
            ((1, 1, 0), Some((3, 10, 0))),
            ((1, 2, 0), Some((3, 1, 0))),
            ((1, 3, 0), Some((3, 1, 0))),
            ((1, 4, 0), Some((3, 3, 0))),
            ((1, 5, 0), None),
            ((2, 0, 1400), Some((3, 4, 1380))),
            ((2, 0, 1280), Some((3, 4, 1260))),
            ((2, 0, 0), Some((3, 4, 1260))),
            ((2, 0, 9_000_000), Some((3, 4, 65_515))),
            ((3, 0, 0), Some((11, 0, 0))),
            ((3, 1, 0), Some((11, 1, 0))),
            ((4, 0, 6), Some((12, 0, 0x0900_0000))),
            ((4, 0, 24), Some((12, 0, 0x1000_0000))),
            ((4, 0, 2), None),
            ((4, 0, 40), None),
            ((4, 1, 6), Some((3, 2, 0))),
            ((4, 2, 6), None),
            ((128, 0, 0), None),
        ];
        for ((kind, code, number), wanted) in cases {
            let wanted = wanted.map(|(kind, code, number)| message(kind, code, number));
            assert_eq!(to_v4(&message(kind, code, number)), wanted, "{kind} {code} {number:#x}");
        }
    }

    #[test]
    fn a_router_that_says_no_mtu_means_the_next_plateau_below() {
        for (total, wanted) in [
            (1500, 1512),
            (1493, 1512),
            (1492, 1280),
            (576, 1280),
            (9000, 8186),
            (2002, 1512),
            (65_535, 32_020),
        ] {
            assert_eq!(mtu_to_v6(0, total), wanted, "{total}");
        }
    }
}
