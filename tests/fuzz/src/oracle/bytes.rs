//! What a packet must look like when it leaves, byte by byte.
//!
//! Checksums of what is rewritten are held by what they cover: the sum over all that may change must stay what it was, modulo
//! 65535, and all else must stay byte by byte, so that a checksum that was right is right and one that was wrong is as
//! wrong. What is made anew must be the one right frame.

use crate::{
    net::{End, Ip, Way, checksum, fold, pseudo, residue, sum},
    oracle::connection::Syn,
    reader::{ETHERNET, Seen, flag, read},
};

/// Why a frame is not what it must be.
pub(super) type Wrong = String;

fn same(what: &str, want: &[u8], got: &[u8]) -> Result<(), Wrong> {
    if want == got {
        return Ok(());
    }
    if want.len() != got.len() {
        return Err(format!("{what}: {} bytes and not {}", got.len(), want.len()));
    }
    let at = want.iter().zip(got).position(|(want, got)| want != got).unwrap_or_default();
    Err(format!("{what}: byte {at} is {:#04x} and not {:#04x}", got[at], want[at]))
}

fn macs(frame: &mut [u8], way: &Way) {
    frame[..6].copy_from_slice(&way.destination);
    frame[6..12].copy_from_slice(&way.source);
}

/// The sum over what a rewrite changes of what a TCP checksum covers, and the checksum.
fn changing(frame: &[u8], transport: usize, from: &Ip, to: &Ip) -> u64 {
    let tcp = &frame[transport..transport + 18];
    residue(sum(sum(sum(sum(0, from.bytes()), to.bytes()), &tcp[..4]), &tcp[16..]))
}

/// A checksum field that was made by the book is never all ones (RFC 1624 section 3).
fn by_the_book(what: &str, before: &[u8], after: &[u8]) -> Result<(), Wrong> {
    if before != [0xff; 2] && after == [0xff; 2] { Err(format!("{what} is negative zero")) } else { Ok(()) }
}

/// A packet that goes on with other ends, after one hop.
pub(super) fn rewritten(
    before: &[u8],
    seen: &Seen,
    after: &[u8],
    way: &Way,
    from: End,
    to: End,
) -> Result<(), Wrong> {
    if seen.v4 != to.ip.is_v4() {
        return translated(before, seen, after, way, from, to);
    }
    if before.len() != after.len() {
        return same("rewritten", before, after);
    }
    let mut want = [0; 2048];
    let want = want.get_mut(..before.len()).ok_or("a frame of the fuzzer's is too long")?;
    want.copy_from_slice(before);
    macs(want, way);
    hop_and_ends(want, after, seen, &from.ip, &to.ip)?;
    let tcp = seen.transport;
    want[tcp..tcp + 2].copy_from_slice(&from.port.to_be_bytes());
    want[tcp + 2..tcp + 4].copy_from_slice(&to.port.to_be_bytes());
    want[tcp + 16..tcp + 18].copy_from_slice(&after[tcp + 16..tcp + 18]);
    same("rewritten", want, after)?;
    tcp_checksum(before, seen, after, tcp, &from.ip, &to.ip)
}

fn tcp_checksum(
    before: &[u8],
    seen: &Seen,
    after: &[u8],
    transport: usize,
    from: &Ip,
    to: &Ip,
) -> Result<(), Wrong> {
    let old = changing(before, seen.transport, &seen.from.ip, &seen.to.ip);
    if changing(after, transport, from, to) != old {
        return Err("the TCP checksum does not follow".to_owned());
    }
    let field = |frame: &[u8], at: usize| [frame[at + 16], frame[at + 17]];
    by_the_book("the TCP checksum", &field(before, seen.transport), &field(after, transport))
}

/// Puts addresses and one hop less into `want`, which is the packet before, and takes the header's checksum of `after` once it
/// is found to follow.
fn hop_and_ends(want: &mut [u8], after: &[u8], seen: &Seen, from: &Ip, to: &Ip) -> Result<(), Wrong> {
    if !seen.v4 {
        want[ETHERNET + 7] -= 1;
        want[ETHERNET + 8..ETHERNET + 24].copy_from_slice(from.bytes());
        want[ETHERNET + 24..ETHERNET + 40].copy_from_slice(to.bytes());
        return Ok(());
    }
    let header = ETHERNET..seen.transport;
    let old = residue(sum(0, &want[header.clone()]));
    let field = [want[ETHERNET + 10], want[ETHERNET + 11]];
    want[ETHERNET + 8] -= 1;
    want[ETHERNET + 12..ETHERNET + 16].copy_from_slice(from.bytes());
    want[ETHERNET + 16..ETHERNET + 20].copy_from_slice(to.bytes());
    want[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&after[ETHERNET + 10..ETHERNET + 12]);
    if residue(sum(0, &want[header])) != old {
        return Err("the IPv4 header's checksum does not follow".to_owned());
    }
    by_the_book("the IPv4 header's checksum", &field, &after[ETHERNET + 10..ETHERNET + 12])
}

/// What an IP header made anew says.
struct Header<'a> {
    way: &'a Way,
    from: &'a Ip,
    to: &'a Ip,
    length: usize,
    tos: u8,
    ttl: u8,
    protocol: u8,
    fragment: [u8; 2],
}

impl Header<'_> {
    /// The Ethernet and IP header.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; 12];
        macs(&mut bytes, self.way);
        if self.to.is_v4() {
            let length = ((20 + self.length) as u16).to_be_bytes();
            bytes.extend([8, 0, 0x45, self.tos, length[0], length[1], 0, 0]);
            bytes.extend([self.fragment[0], self.fragment[1], self.ttl, self.protocol, 0, 0]);
            bytes.extend(self.from.bytes());
            bytes.extend(self.to.bytes());
            let right = checksum(sum(0, &bytes[ETHERNET..])).to_be_bytes();
            bytes[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&right);
        } else {
            let length = (self.length as u16).to_be_bytes();
            bytes.extend([0x86, 0xdd, 0x60 | self.tos >> 4, self.tos << 4, 0, 0, length[0], length[1]]);
            bytes.extend([self.protocol, self.ttl]);
            bytes.extend(self.from.bytes());
            bytes.extend(self.to.bytes());
        }
        bytes
    }
}

/// A packet that goes on in the other family (RFC 7915 sections 4.1 and 5.1).
fn translated(before: &[u8], seen: &Seen, after: &[u8], way: &Way, from: End, to: End) -> Result<(), Wrong> {
    let header = Header {
        way,
        from: &from.ip,
        to: &to.ip,
        length: seen.ip_length - seen.network(),
        tos: seen.tos,
        ttl: seen.ttl - 1,
        protocol: 6,
        fragment: [0x40, 0],
    };
    let mut want = header.bytes();
    let tcp = want.len();
    want.extend(&before[seen.transport..]);
    if want.len() != after.len() {
        return same("translated", &want, after);
    }
    want[tcp..tcp + 2].copy_from_slice(&from.port.to_be_bytes());
    want[tcp + 2..tcp + 4].copy_from_slice(&to.port.to_be_bytes());
    want[tcp + 16..tcp + 18].copy_from_slice(&after[tcp + 16..tcp + 18]);
    same("translated", &want, after)?;
    tcp_checksum(before, seen, after, tcp, &from.ip, &to.ip)
}

/// A packet that only gets other Ethernet addresses.
pub(super) fn redirected(before: &[u8], after: &[u8], way: &Way) -> Result<(), Wrong> {
    let mut want = before.to_vec();
    macs(&mut want, way);
    same("redirected", &want, after)
}

/// A packet that travels in another one. Returns the outer source, of which the last two bytes are the datapath's choice.
pub(super) fn encapsulated(
    before: &[u8],
    seen: &Seen,
    after: &[u8],
    way: &Way,
    from: &Ip,
    to: &Ip,
) -> Result<Ip, Wrong> {
    let length = if to.is_v4() { 20 } else { 40 };
    if after.len() != before.len() + length {
        return Err(format!("encapsulated: {} bytes become {}", before.len(), after.len()));
    }
    let (low, mut outer) = (ETHERNET + if to.is_v4() { 14 } else { 22 }, *from);
    outer.0[14..].copy_from_slice(&after[low..low + 2]);
    let header = Header {
        way,
        from: &outer,
        to,
        length: seen.ip_length,
        tos: seen.tos,
        ttl: 64,
        protocol: if seen.v4 { 4 } else { 41 },
        fragment: [0x40, 0],
    };
    same("outer header", &header.bytes(), &after[..ETHERNET + length])?;
    let mut want = before.to_vec();
    let mut inner = before.to_vec();
    inner[ETHERNET..].copy_from_slice(&after[ETHERNET + length..]);
    hop_and_ends(&mut want, &inner, seen, &seen.from.ip, &seen.to.ip)?;
    same("inner packet", &want, &inner)?;
    Ok(outer)
}

/// A TCP segment without data, made anew.
struct Made<'a> {
    from: End,
    to: End,
    sequence: [u8; 4],
    acknowledgment: [u8; 4],
    flags: u8,
    window: [u8; 2],
    options: &'a [u8],
}

impl Made<'_> {
    fn is(&self, what: &str, header: &Header<'_>, after: &[u8]) -> Result<(), Wrong> {
        let length = 20 + self.options.len();
        let mut want = header.bytes();
        let tcp = want.len();
        want.extend(self.from.port.to_be_bytes());
        want.extend(self.to.port.to_be_bytes());
        want.extend(self.sequence);
        want.extend(self.acknowledgment);
        want.extend([(length as u8 / 4) << 4, self.flags]);
        want.extend(self.window);
        want.extend([0; 4]);
        want.extend(self.options);
        let total = sum(pseudo(&self.from.ip, &self.to.ip, 6, length), &want[tcp..]);
        want[tcp + 16..tcp + 18].copy_from_slice(&checksum(total).to_be_bytes());
        same(what, &want, after)
    }
}

/// The reset that answers a segment (RFC 9293 section 3.10.7.1), back the way it came.
pub(super) fn reset(before: &[u8], seen: &Seen, after: &[u8], came: &Way) -> Result<(), Wrong> {
    let (sequence, acknowledgment) = seen.numbers(before);
    let taken =
        seen.payload() + usize::from(seen.flags & flag::SYN != 0) + usize::from(seen.flags & flag::FIN != 0);
    let numbers = if seen.flags & flag::ACK != 0 {
        (acknowledgment, 0, flag::RST)
    } else {
        (0, sequence.wrapping_add(taken as u32), flag::RST | flag::ACK)
    };
    back("reset", seen, after, came, numbers, 0)
}

/// The challenge that answers a SYN: a SYN-ACK whose numbers are the datapath's choice, but for those that would acknowledge the SYN
/// or a part of its data. Returns the one that it acknowledges.
pub(super) fn challenge(before: &[u8], seen: &Seen, after: &[u8], came: &Way) -> Result<u32, Wrong> {
    let numbers = read(after).map_err(|_| "no segment".to_owned())?.numbers(after);
    back("challenge", seen, after, came, (numbers.0, numbers.1, flag::SYN | flag::ACK), u16::MAX)?;
    let (sequence, _) = seen.numbers(before);
    let ahead = numbers.1.wrapping_sub(sequence).wrapping_sub(1);
    if ahead as usize <= seen.payload() {
        return Err("a challenge that acknowledges the SYN".to_owned());
    }
    Ok(numbers.1)
}

/// A segment without data or options that goes back the way one came.
fn back(
    what: &str,
    seen: &Seen,
    after: &[u8],
    came: &Way,
    (sequence, acknowledgment, flags): (u32, u32, u8),
    window: u16,
) -> Result<(), Wrong> {
    let header = Header {
        way: &came.back(),
        from: &seen.to.ip,
        to: &seen.from.ip,
        length: 20,
        tos: 0,
        ttl: 64,
        protocol: 6,
        fragment: [0x40, 0],
    };
    let made = Made {
        from: seen.to,
        to: seen.from,
        sequence: sequence.to_be_bytes(),
        acknowledgment: acknowledgment.to_be_bytes(),
        flags,
        window: window.to_be_bytes(),
        options: &[],
    };
    made.is(what, &header, after)
}

/// A client's SYN in place of a replica's refusal.
pub(super) fn replayed(syn: &Syn, after: &[u8], way: &Way, from: End, to: End) -> Result<(), Wrong> {
    let header = Header {
        way,
        from: &from.ip,
        to: &to.ip,
        length: 20 + syn.options.len(),
        tos: syn.tos,
        ttl: syn.ttl - 1,
        protocol: 6,
        fragment: syn.fragment,
    };
    let made = Made {
        from,
        to,
        sequence: syn.sequence,
        acknowledgment: [0; 4],
        flags: syn.flags,
        window: syn.window,
        options: &syn.options,
    };
    made.is("replayed SYN", &header, after)
}

/// Whether the ICMP checksum of a packet is right: over all of it, with a pseudo-header for IPv6.
pub(super) fn icmp_right(frame: &[u8], seen: &Seen) -> bool {
    let Some(length) = seen.ip_length.checked_sub(seen.network()) else { return false };
    let Some(message) = frame.get(seen.transport..seen.transport + length) else { return false };
    let start = if seen.v4 { 0 } else { pseudo(&seen.from.ip, &seen.to.ip, 58, length) };
    fold(sum(start, message)) == 0xffff
}
