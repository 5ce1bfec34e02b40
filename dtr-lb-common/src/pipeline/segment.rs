//! TCP segments without data made anew, in the place of another frame.

use super::{
    Packet,
    header::{self, About},
};
use crate::{
    abi::{SYN_OPTION_WORDS, Tuple},
    address::{Be16, Family},
    wire::{Ethernet, Ipv4, Ipv6, Macs, PROTOCOL_TCP, TCP_CHECKSUM_OFFSET, Tcp, TcpFlags},
};

/// A segment without data.
pub(super) struct Segment<'a> {
    pub(super) macs: Macs,
    pub(super) tuple: &'a Tuple,
    pub(super) tos: u8,
    /// TTL or hop limit, as it leaves.
    pub(super) hops: u8,
    /// Fragment field of an IPv4 header.
    pub(super) fragment: Be16,
    pub(super) sequence: [u16; 2],
    pub(super) acknowledgment: [u16; 2],
    pub(super) flags: TcpFlags,
    pub(super) window: Be16,
    pub(super) options: &'a [u16; SYN_OPTION_WORDS],
    /// Bytes, 40 at most.
    pub(super) options_length: u8,
}

impl Segment<'_> {
    /// Makes the frame this segment. Where it fails the frame must be dropped.
    #[inline(always)]
    pub(super) fn write(&self, packet: &mut impl Packet) -> Option<()> {
        let Tuple { source, destination, source_port, destination_port } = self.tuple;
        let family = destination.family();
        let network = match family {
            Family::V4 => size_of::<Ipv4>(),
            Family::V6 => size_of::<Ipv6>(),
        };
        let length = size_of::<Tcp>() + usize::from(self.options_length);
        packet.resize((size_of::<Ethernet>() + network + length) as u32, family)?;
        let about = About {
            length: length as u16,
            tos: self.tos,
            hops: self.hops,
            protocol: PROTOCOL_TCP,
            fragment: self.fragment,
        };
        let transport = header::write(packet, self.macs, source, destination, &about)?;
        let tcp = Tcp {
            source: *source_port,
            destination: *destination_port,
            sequence: self.sequence,
            acknowledgment: self.acknowledgment,
            data_offset: ((length / 4) << 4) as u8,
            flags: self.flags,
            window: self.window,
            checksum: 0,
            urgent: Be16::new(0),
        };
        packet.write(transport, tcp)?;
        let words: [u16; size_of::<Tcp>() / 2] = bytemuck::must_cast(tcp);
        let pseudo = header::pseudo(source, destination, &about);
        let mut sum = pseudo.sum(&words);
        let mut word = 0;
        while word < SYN_OPTION_WORDS {
            if 2 * word >= usize::from(self.options_length) {
                break;
            }
            packet.write(transport + size_of::<Tcp>() + 2 * word, self.options[word])?;
            sum = sum.sum(&[self.options[word]]);
            word += 1;
        }
        packet.write_checksum(transport + TCP_CHECKSUM_OFFSET, sum.checksum(), pseudo.fold())
    }
}
