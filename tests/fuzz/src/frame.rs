//! Frames: built by the fuzzer, and handed to the pipeline.

use std::cell::Cell;

use bytemuck::Pod;
use dtr_lb_common::{
    address::Family,
    pipeline::{Head, Packet},
    wire::VlanTag,
};

use crate::net::{End, Way, checksum, pseudo, sum};

/// Bytes that nobody may rely on.
const ANY: u8 = 0xa5;

/// A frame under way through the pipeline.
#[derive(Debug, Default)]
pub struct Frame {
    pub bytes: Vec<u8>,
    /// Index of the interface that it came in by.
    pub interface: u32,
}

impl Frame {
    /// Replaces `old` bytes behind the Ethernet header by `new` ones, which are to be written anew with it.
    fn exchange(&mut self, old: usize, new: usize) -> Option<()> {
        if self.bytes.len() < 14 + old {
            return None;
        }
        self.bytes.splice(14..14 + old, std::iter::repeat_n(ANY, new));
        self.bytes[..14].fill(ANY);
        Some(())
    }
}

fn header(family: Family) -> usize {
    match family {
        Family::V4 => 20,
        Family::V6 => 40,
    }
}

/// The first bytes of a frame.
#[derive(Clone, Copy)]
pub struct Start<'a>(&'a [Cell<u8>]);

impl Start<'_> {
    fn get<const N: usize>(self, at: usize) -> [u8; N] {
        debug_assert!(N == 1 || at.is_multiple_of(2), "read at the odd offset {at}");
        std::array::from_fn(|byte| self.0[at + byte].get())
    }

    fn put<const N: usize>(self, at: usize, bytes: [u8; N]) {
        debug_assert!(N == 1 || at.is_multiple_of(2), "written at the odd offset {at}");
        self.0[at..at + N].iter().zip(bytes).for_each(|(place, byte)| place.set(byte));
    }
}

impl Head for Start<'_> {
    fn get8(self, at: usize) -> u8 {
        self.0[at].get()
    }

    fn get16(self, at: usize) -> u16 {
        u16::from_ne_bytes(self.get(at))
    }

    fn get32(self, at: usize) -> u32 {
        u32::from_ne_bytes(self.get(at))
    }

    fn put8(self, at: usize, value: u8) {
        self.0[at].set(value);
    }

    fn put16(self, at: usize, value: u16) {
        self.put(at, value.to_ne_bytes());
    }

    fn put32(self, at: usize, value: u32) {
        self.put(at, value.to_ne_bytes());
    }
}

impl Packet for Frame {
    type Head<'a> = Start<'a>;

    fn head(&mut self, bytes: usize) -> Option<Start<'_>> {
        Some(Start(Cell::from_mut(self.bytes.get_mut(..bytes)?).as_slice_of_cells()))
    }

    fn read<T: Pod>(&self, offset: usize) -> Option<T> {
        debug_assert!(offset.is_multiple_of(2), "read at the odd offset {offset}");
        self.bytes.get(offset..offset + size_of::<T>()).map(bytemuck::pod_read_unaligned)
    }

    fn write<T: Pod>(&mut self, offset: usize, value: T) -> Option<()> {
        let place = self.bytes.get_mut(offset..offset + size_of::<T>())?;
        place.copy_from_slice(bytemuck::bytes_of(&value));
        Some(())
    }

    fn resize(&mut self, length: u32, _: Family) -> Option<()> {
        self.bytes.clear();
        self.bytes.resize(length as usize, ANY);
        Some(())
    }

    fn change_family(&mut self, family: Family) -> Option<()> {
        self.exchange(60 - header(family), header(family))
    }

    fn encapsulate(&mut self, outer: Family, _: Family) -> Option<()> {
        self.exchange(0, header(outer))
    }

    fn trim(&mut self, length: u32) -> Option<()> {
        debug_assert!(self.bytes.len() >= length as usize, "a frame is trimmed to more than it has");
        self.bytes.truncate(length as usize);
        Some(())
    }

    fn make_room(&mut self, bytes: i32) -> Option<()> {
        self.exchange(bytes.min(0).unsigned_abs() as usize, bytes.max(0) as usize)
    }

    fn take_tags(&mut self, count: u32) -> Option<()> {
        let end = 12 + 4 * count as usize;
        debug_assert!(self.bytes.len() >= end, "a tag is taken that is not there");
        self.bytes.drain(12..end);
        Some(())
    }

    fn put_tag(&mut self, tag: VlanTag) -> Option<()> {
        let tag: [u8; 4] = bytemuck::cast(tag);
        self.bytes.splice(12..12, tag);
        Some(())
    }

    fn interface(&self) -> u32 {
        self.interface
    }

    fn linear(&self) -> u32 {
        self.bytes.len() as u32
    }

    fn length(&self) -> u32 {
        self.linear()
    }
}

/// An extension header of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    HopByHop,
    /// Destination options, of so many times eight bytes.
    Destination(u8),
    Routing,
    /// A fragment header with this offset field.
    Fragment(u16),
}

/// A TCP segment that an end sends.
#[derive(Clone, Debug)]
pub struct Segment {
    pub way: Way,
    pub from: End,
    pub to: End,
    pub sequence: u32,
    pub acknowledgment: u32,
    pub flags: u8,
    /// Lower half of the byte that begins with the header's length.
    pub reserved: u8,
    pub window: u16,
    pub urgent: u16,
    /// Bytes of TCP options: a multiple of four, 40 at most.
    pub options: u8,
    /// A timestamp among them, where Linux puts it, if there is room.
    pub timestamp: Option<u32>,
    pub data: u16,
    pub ttl: u8,
    pub tos: u8,
    pub flow_label: u16,
    pub identification: u16,
    /// Fragment field of IPv4.
    pub fragment: u16,
    /// Bytes of IPv4 options: a multiple of four, 40 at most.
    pub ip_options: u8,
    pub extensions: Vec<Extension>,
    /// Bytes behind the packet: Ethernet's padding.
    pub trailer: u8,
    /// Added to the length that the network header says.
    pub length_error: i16,
    pub checksum_error: u16,
    pub ip_checksum_error: u16,
}

impl Segment {
    pub fn new(way: Way, from: End, to: End, flags: u8) -> Self {
        Self {
            way,
            from,
            to,
            sequence: 0x0102_0304,
            acknowledgment: 0x0506_0708,
            flags,
            reserved: 0,
            window: 0xfaf0,
            urgent: 0,
            options: 0,
            timestamp: None,
            data: 0,
            ttl: 64,
            tos: 0,
            flow_label: 0,
            identification: 0x1234,
            fragment: 0x4000,
            ip_options: 0,
            extensions: Vec::new(),
            trailer: 0,
            length_error: 0,
            checksum_error: 0,
            ip_checksum_error: 0,
        }
    }

    /// Puts the frame into `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.clear();
        out.extend(self.way.destination);
        out.extend(self.way.source);
        let tcp = 20 + usize::from(self.options);
        let length = tcp + usize::from(self.data);
        if self.from.ip.is_v4() {
            self.ipv4(length, out);
        } else {
            self.ipv6(length, out);
        }
        let start = out.len();
        out.extend(self.from.port.to_be_bytes());
        out.extend(self.to.port.to_be_bytes());
        out.extend(self.sequence.to_be_bytes());
        out.extend(self.acknowledgment.to_be_bytes());
        out.extend([(tcp as u8 / 4) << 4 | self.reserved & 0xf, self.flags]);
        out.extend(self.window.to_be_bytes());
        out.extend([0, 0]);
        out.extend(self.urgent.to_be_bytes());
        // But for the timestamp, what options say does not matter to the datapath; what it keeps of them does.
        let options = out.len();
        out.extend((0..self.options).map(|at| at.wrapping_mul(37).wrapping_add(self.sequence as u8)));
        let syn = self.flags & 2 != 0;
        let before: &[u8] = if syn { &[2, 4, 5, 0xb4, 4, 2, 8, 10] } else { &[1, 1, 8, 10] };
        let needed = before.len() + 8;
        if let (Some(clock), true) = (self.timestamp, usize::from(self.options) >= needed) {
            let place = &mut out[options..][..needed];
            place[..before.len()].copy_from_slice(before);
            place[before.len()..][..4].copy_from_slice(&clock.to_be_bytes());
        }
        out.extend((0..self.data).map(|at| (at as u8).wrapping_mul(11) ^ self.window as u8));
        let total = sum(pseudo(&self.from.ip, &self.to.ip, 6, length), &out[start..]);
        let right = checksum(total).wrapping_add(self.checksum_error);
        out[start + 16..start + 18].copy_from_slice(&right.to_be_bytes());
        out.extend(std::iter::repeat_n(0x99, self.trailer.into()));
    }

    fn ipv4(&self, length: usize, out: &mut Vec<u8>) {
        out.extend([0x08, 0x00]);
        let header = 20 + usize::from(self.ip_options);
        let total = ((header + length) as u16).wrapping_add_signed(self.length_error);
        let start = out.len();
        out.extend([0x40 | (header as u8 / 4), self.tos]);
        out.extend(total.to_be_bytes());
        out.extend(self.identification.to_be_bytes());
        out.extend(self.fragment.to_be_bytes());
        out.extend([self.ttl, 6, 0, 0]);
        out.extend(self.from.ip.bytes());
        out.extend(self.to.ip.bytes());
        out.extend(std::iter::repeat_n(1, self.ip_options.into()));
        let right = checksum(sum(0, &out[start..])).wrapping_add(self.ip_checksum_error);
        out[start + 10..start + 12].copy_from_slice(&right.to_be_bytes());
    }

    fn ipv6(&self, length: usize, out: &mut Vec<u8>) {
        out.extend([0x86, 0xdd]);
        let size = |extension: &Extension| match extension {
            Extension::Destination(units) => 8 * usize::from(*units).max(1),
            Extension::HopByHop | Extension::Routing | Extension::Fragment(_) => 8,
        };
        let number = |extension: &Extension| match extension {
            Extension::HopByHop => 0,
            Extension::Destination(_) => 60,
            Extension::Routing => 43,
            Extension::Fragment(_) => 44,
        };
        let payload = length + self.extensions.iter().map(size).sum::<usize>();
        let payload = (payload as u16).wrapping_add_signed(self.length_error);
        let [high, low] = self.flow_label.to_be_bytes();
        out.extend([0x60 | self.tos >> 4, self.tos << 4, high, low]);
        out.extend(payload.to_be_bytes());
        let mut numbers = self.extensions.iter().map(number).chain([6]);
        out.extend([numbers.next().unwrap_or(6), self.ttl]);
        out.extend(self.from.ip.bytes());
        out.extend(self.to.ip.bytes());
        for extension in &self.extensions {
            let end = out.len() + size(extension);
            out.push(numbers.next().unwrap_or(6));
            match extension {
                Extension::Fragment(offset) => {
                    out.push(0);
                    out.extend(offset.to_be_bytes());
                }
                Extension::HopByHop | Extension::Destination(_) | Extension::Routing => {
                    out.push((size(extension) / 8 - 1) as u8);
                    // One option of padding, PadN (RFC 8200 section 4.2).
                    out.extend([1, (end - out.len() - 2) as u8]);
                }
            }
            out.resize(end, 0);
        }
    }
}
