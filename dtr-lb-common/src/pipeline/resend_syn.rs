//! A replica's refusal becomes the client's SYN to another replica, so that the client notices nothing: the frame of the
//! refusal is made over, options and all.

use super::{
    ETHERNET, Family, Headers, Packet, Rewrite,
    header::{self, About},
    parse,
    rewrite::macs,
    segment::Segment,
};
use crate::{
    abi::{SYN_OPTION_WORDS, Syn, Tuple},
    checksum::Delta,
    wire::{Ipv4, Ipv6, PROTOCOL_TCP, Tcp},
};

/// The sum of what has a right checksum in it (RFC 1071 section 1).
const RIGHT: u16 = 0xffff;

/// Whether the SYN is there.
#[inline(always)]
pub(super) const fn is_kept(syn: &Syn) -> bool {
    syn.options_length as usize <= 2 * SYN_OPTION_WORDS
}

/// Keeps of a client's SYN what another replica must see. Words of options beyond the last are left as they are.
#[inline(always)]
pub(super) fn keep(packet: &impl Packet, headers: &Headers, syn: &mut Syn) -> Option<()> {
    let transport = parse::transport(packet, headers.family)?;
    let tcp: Tcp = packet.read(transport)?;
    (syn.tos, syn.fragment, syn.header_sum) = match headers.family {
        Family::V4 => {
            let header: Ipv4 = packet.read(ETHERNET)?;
            let words: [u16; size_of::<Ipv4>() / 2] = bytemuck::must_cast(header);
            let plain = usize::from(headers.network) == size_of::<Ipv4>();
            (header.tos, header.fragment, if plain { Delta::ZERO.sum(&words).fold() } else { 0 })
        }
        Family::V6 => {
            let header: Ipv6 = packet.read(ETHERNET)?;
            (header.traffic_class(), About::WHOLE, RIGHT)
        }
    };
    syn.hops = headers.hops;
    syn.sequence = tcp.sequence;
    syn.window = tcp.window;
    syn.flags = tcp.flags;
    let header = (tcp.data_offset >> 4) * 4;
    // A SYN with data (TCP Fast Open, RFC 7413) is not sent again: the data is not kept.
    if u16::from(header) != headers.segment {
        syn.options_length = Syn::NOT_KEPT;
        return Some(());
    }
    syn.options_length = header - size_of::<Tcp>() as u8;
    let words: [u16; size_of::<Tcp>() / 2] = bytemuck::must_cast(tcp);
    let mut sum = Delta::ZERO.sum(&words);
    let mut word = 0;
    while word < SYN_OPTION_WORDS {
        if 2 * word >= usize::from(syn.options_length) {
            break;
        }
        let option = packet.read(transport + size_of::<Tcp>() + 2 * word)?;
        syn.options[word] = option;
        sum = sum.sum(&[option]);
        word += 1;
    }
    syn.segment_sum = sum.fold();
    Some(())
}

/// Whether the checksums of a SYN that is kept were right when it came from `client`. `by_device`: that of TCP is left to the device,
/// which does it when the packet leaves.
#[inline(always)]
pub(super) fn is_whole(client: &Tuple, syn: &Syn, by_device: bool) -> bool {
    let about = About {
        length: size_of::<Tcp>() as u16 + u16::from(syn.options_length),
        tos: 0,
        hops: 0,
        protocol: PROTOCOL_TCP,
        fragment: About::WHOLE,
    };
    let sum = header::pseudo(&client.source, &client.destination, &about).sum(&[syn.segment_sum]);
    syn.header_sum == RIGHT && (by_device || sum.fold() == RIGHT)
}

/// TTL or hop limit of a SYN that surely reaches the replica, and of real clients': systems begin with 64, 128 or 255.
const MANY_HOPS: u8 = 32;
/// Kinds of options that sign a segment (RFC 2385, RFC 5925): who has no key for them drops it.
const SIGNED: [u8; 2] = [19, 29];

/// Whether a host that is there and listens has no reason to drop a SYN in silence. Where a signature could stand in its options, it may
/// have: a byte of these numbers anywhere is enough, which one in ten timestamps has. Nothing is lost by that but evidence.
#[inline(always)]
pub(super) const fn is_answerable(syn: &Syn) -> bool {
    let length = syn.options_length as u32;
    let mut found = 0;
    let mut word = 0;
    while word < SYN_OPTION_WORDS {
        // By arithmetic alone, as the verifier would follow each branch by itself: all ones where there are options.
        let is_there = ((2 * word as u32).wrapping_sub(length) as i32 >> 31) as u32;
        let bytes = syn.options[word] as u32;
        found |= is_there & (has_byte(bytes, SIGNED[0]) | has_byte(bytes, SIGNED[1]));
        word += 1;
    }
    syn.hops >= MANY_HOPS && found == 0
}

/// Not 0 if one of two bytes is this.
#[inline(always)]
const fn has_byte(bytes: u32, byte: u8) -> u32 {
    let differs = bytes ^ (byte as u32 * 0x0101);
    differs.wrapping_sub(0x0101) & !differs & 0x8080
}

/// Makes the frame of a refusal the SYN. Where it fails the frame must be dropped.
#[inline(always)]
pub(super) fn resend_syn(packet: &mut impl Packet, egress: &Rewrite, syn: &Syn) -> Option<()> {
    let segment = Segment {
        macs: macs(&egress.hop),
        tuple: &egress.to,
        tos: syn.tos,
        hops: syn.hops.wrapping_sub(1),
        fragment: syn.fragment,
        sequence: syn.sequence,
        acknowledgment: [0, 0],
        flags: syn.flags,
        window: syn.window,
        options: &syn.options,
        options_length: syn.options_length,
    };
    segment.write(packet)
}
