//! A replica's refusal becomes the client's SYN to another replica, so that the client notices nothing.
//!
//! The frame of the refusal is made over: addresses, ports, sequence number and options are the client's SYN again. Its
//! TCP checksum follows by difference as in any rewrite, since only the hook knows what stands in that field.

use super::{Family, Packet, Rewrite, family::NETWORK_OFFSET};
use crate::{
    abi::{SYN_OPTION_WORDS, Syn},
    address::Be16,
    checksum::Delta,
    wire::{Ethernet, Macs, TCP_CHECKSUM_OFFSET, Tcp, TcpFlags},
};

/// Whether a refusal can be made over: it is a bare header, so that all that its checksum covers is known.
#[inline(always)]
pub(super) const fn is_bare(segment: u16) -> bool {
    segment as usize == size_of::<Tcp>()
}

/// Whether the SYN is there.
#[inline(always)]
pub(super) const fn is_kept(syn: &Syn) -> bool {
    syn.options_length as usize <= 2 * SYN_OPTION_WORDS
}

/// Keeps of a client's SYN what another replica must see. Words of options beyond the last are left as they are.
#[inline(always)]
pub(super) fn keep<F: Family>(packet: &impl Packet, segment: u16, syn: &mut Syn) -> Option<()> {
    let transport = F::transport(packet)?;
    let tcp: Tcp = packet.read(transport)?;
    F::keep(packet, syn)?;
    syn.sequence = tcp.sequence;
    syn.window = tcp.window;
    syn.flags = tcp.flags;
    let header = (tcp.data_offset >> 4) * 4;
    // A SYN with data (TCP Fast Open, RFC 7413) is not sent again: the data is not kept.
    if u16::from(header) != segment {
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

/// Makes the frame of a bare refusal the SYN. Where it fails the frame must be dropped.
#[inline(always)]
pub(super) fn replay<F: Family>(packet: &mut impl Packet, leaves: &Rewrite<F>, syn: &Syn) -> Option<()> {
    let old: Tcp = packet.read(F::transport(packet)?)?;
    let old_addresses = F::addresses(packet)?;
    let transport = NETWORK_OFFSET + F::HEADER;
    let length = size_of::<Tcp>() + usize::from(syn.options_length);
    packet.resize((transport + length) as u32)?;
    let macs = Macs { destination: leaves.hop.destination, source: leaves.hop.source };
    packet.write(0, Ethernet { macs, kind: F::ETHERTYPE })?;
    F::write_syn(packet, leaves.to.source, leaves.to.destination, syn, length as u16)?;
    let new = Tcp {
        source: leaves.to.source_port,
        destination: leaves.to.destination_port,
        sequence: syn.sequence,
        acknowledgment: [0, 0],
        data_offset: ((length / 4) << 4) as u8,
        flags: TcpFlags(syn.flags.0),
        window: syn.window,
        checksum: old.checksum,
        urgent: Be16::new(0),
    };
    packet.write(transport, new)?;
    let words = |tcp: Tcp| bytemuck::must_cast::<Tcp, [u16; size_of::<Tcp>() / 2]>(tcp);
    let mut segment = Delta::ZERO.words(words(old), words(new));
    let mut word = 0;
    while word < SYN_OPTION_WORDS {
        if 2 * word >= usize::from(syn.options_length) {
            break;
        }
        packet.write(transport + size_of::<Tcp>() + 2 * word, syn.options[word])?;
        segment = segment.word(0, syn.options[word]);
        word += 1;
    }
    // The pseudo-header (RFC 9293 section 3.1): addresses and length; the protocol stays.
    let pseudo = Delta::ZERO
        .slices(old_addresses.0.as_ref(), leaves.to.source.as_ref())
        .slices(old_addresses.1.as_ref(), leaves.to.destination.as_ref())
        .word(Be16::new(size_of::<Tcp>() as u16).raw(), Be16::new(length as u16).raw());
    packet.correct_tcp_checksum(transport + TCP_CHECKSUM_OFFSET, pseudo.fold(), segment.fold())
}
