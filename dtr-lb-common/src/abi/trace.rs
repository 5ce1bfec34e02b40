//! What a trace is told and what it tells.
//!
//! None of it is pinned: it lives as long as somebody traces, and is no part of the layout.

use bytemuck::{Pod, Zeroable};

use super::{ReplicaId, Tuple};
use crate::{
    address::Address,
    verdict::{VERDICTS, Verdict},
    wire::TcpFlags,
};

/// Bytes of a frame that a trace takes, at most.
pub const SNAP_MAX: usize = 2048;
/// Bytes of the ring buffer: a power of two and a multiple of the page size. Some ten thousand packets of 256 bytes.
pub const TRACE_BYTES: usize = 8 << 20;

/// Which packets are shown. One of all zeros shows none.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct TraceFilter {
    /// A bit for each verdict, by its number.
    pub verdicts: u64,
    /// The client's prefix: the bits of its address that the mask has are these.
    pub client: Address,
    pub client_mask: Address,
    /// The service's port, host order. 0 is any.
    pub port: u32,
    /// Bytes of a frame that are taken, [`SNAP_MAX`] at most.
    pub snap: u32,
    /// Not 0: what is passed is shown only if it came to a service or to a NAT address and port.
    pub ours: u32,
    /// Fills the word.
    pub zero: u32,
}

const _: () = assert!(VERDICTS <= u64::BITS as usize);

impl TraceFilter {
    /// The bit of a verdict.
    #[inline(always)]
    pub const fn bit(verdict: Verdict) -> u64 {
        1 << verdict as u32
    }

    /// Whether a packet with this verdict, of a connection whose client's packets have this tuple, is shown.
    #[inline(always)]
    pub fn takes(&self, verdict: u32, client: &Tuple) -> bool {
        let [a, b, c, d] = client.source.wide();
        let [mask_a, mask_b, mask_c, mask_d] = self.client_mask.wide();
        let [own_a, own_b, own_c, own_d] = self.client.wide();
        let other = (a & mask_a ^ own_a) | (b & mask_b ^ own_b) | (c & mask_c ^ own_c) | (d & mask_d ^ own_d);
        let port = self.port == 0 || self.port == client.destination_port.get() as u32;
        (self.verdicts >> (verdict & 63)) & 1 != 0 && other == 0 && port
    }
}

/// A packet: the beginning of a record, which goes on with `captured` bytes of the frame as it came, and `left_captured`
/// bytes of it as it left.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct TracePacket {
    /// `CLOCK_MONOTONIC`, in nanoseconds, when the verdict was there.
    pub time: u64,
    pub verdict: u32,
    /// Index of the interface that it came in by.
    pub interface: u32,
    /// Index of the one that it left by; 0 if it did not leave.
    pub left_by: u32,
    /// Bytes of the frame as it came and as it left, all of it.
    pub length: u32,
    pub left_length: u32,
    pub captured: u32,
    pub left_captured: u32,
    /// The packet's own; of addresses and ports that were not looked at nothing is said.
    pub tuple: Tuple,
    /// What the packet leaves with, if it is forwarded.
    pub to: Tuple,
    /// The tuple of the client's packets of its connection; the packet's own if it has none.
    pub client: Tuple,
    /// 0 if none was chosen.
    pub replica: ReplicaId,
    /// Of the IP header; 0 if that was not read.
    pub protocol: u8,
    /// Of a TCP packet.
    pub flags: TcpFlags,
    /// Fills the word.
    pub zero: u32,
}

/// How many packets a trace was to show, a CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct TraceCounts {
    pub matched: u64,
    /// Of them, those for which the ring had no room.
    pub lost: u64,
}

#[cfg(test)]
mod tests {
    use core::net::IpAddr;

    use super::*;
    use crate::address::Be16;

    fn client(address: &str) -> Tuple {
        Tuple {
            source: address.parse::<IpAddr>().expect("an address").into(),
            destination: IpAddr::from([10, 0, 0, 10]).into(),
            source_port: Be16::new(40_000),
            destination_port: Be16::new(443),
        }
    }

    #[test]
    fn a_filter_takes_what_all_of_its_parts_take() {
        let mask = |bits: u32| Address::v6(bytemuck::cast((!0_u128 << (128 - bits)).to_be_bytes()));
        let any = TraceFilter { verdicts: u64::MAX, ..Zeroable::zeroed() };
        let prefix = |address: &str, bits| TraceFilter {
            client: client(address).source,
            client_mask: mask(bits),
            ..any
        };
        let forwarded = Verdict::Forwarded as u32;
        let cases = [
            (any, "192.0.2.1", true),
            (any, "2001:db8::1", true),
            (prefix("192.0.2.0", 96 + 24), "192.0.2.255", true),
            (prefix("192.0.2.0", 96 + 24), "192.0.3.0", false),
            (prefix("192.0.2.7", 128), "192.0.2.7", true),
            (prefix("192.0.2.7", 128), "192.0.2.6", false),
            (prefix("2001:db8::", 32), "2001:db8:ffff::1", true),
            (prefix("2001:db8::", 32), "2001:db9::1", false),
            (prefix("2001:db8::", 32), "192.0.2.1", false),
            (TraceFilter { port: 443, ..any }, "192.0.2.1", true),
            (TraceFilter { port: 80, ..any }, "192.0.2.1", false),
            (TraceFilter { verdicts: !TraceFilter::bit(Verdict::Forwarded), ..any }, "192.0.2.1", false),
            (Zeroable::zeroed(), "192.0.2.1", false),
        ];
        for (filter, address, expected) in cases {
            assert_eq!(filter.takes(forwarded, &client(address)), expected, "{filter:?} {address}");
        }
    }
}
