//! A replica's refusal becomes the client's SYN to another replica, so that the client notices nothing: the frame of the
//! refusal is made over, options and all.

use super::{ETHERNET, Family, Headers, Packet, Rewrite, parse, rewrite::macs, segment::Segment};
use crate::{
    abi::{SYN_OPTION_WORDS, Syn},
    wire::{Ipv4, Ipv6, Tcp},
};

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
    (syn.tos, syn.fragment) = match headers.family {
        Family::V4 => {
            let header: Ipv4 = packet.read(ETHERNET)?;
            (header.tos, header.fragment)
        }
        Family::V6 => {
            let header: Ipv6 = packet.read(ETHERNET)?;
            (header.traffic_class(), super::header::About::WHOLE)
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
    let mut word = 0;
    while word < SYN_OPTION_WORDS {
        if 2 * word >= usize::from(syn.options_length) {
            break;
        }
        syn.options[word] = packet.read(transport + size_of::<Tcp>() + 2 * word)?;
        word += 1;
    }
    Some(())
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
