//! What is worked out on a packet's way, in a place of its own: the stack of a program has 512 bytes.

use bytemuck::Zeroable as _;

use super::{established::Look, open::Order, parse::Headers, rewrite::Rewrite};
use crate::abi::{Flow, HalfOpen, Tuple};

/// One packet's notes. Each is written before it is read: nothing of the packet before is ever looked at.
#[derive(Clone, Copy, Debug)]
pub struct Scratch {
    /// Length of the frame as it came in; what leaves may have another one.
    pub(super) bytes: u32,
    pub(super) headers: Headers,
    pub(super) look: Look,
    /// The entry that the packet has in a flow table, as it was found.
    pub(super) found: Flow,
    /// How the packet leaves.
    pub(super) leaves: Rewrite,
    /// Whether a connection is to be opened, as the order says.
    pub(super) opens: bool,
    /// Whether it is a refusal that leaves as the SYN in the draft.
    pub(super) replay: bool,
    /// The largest packet that its way takes, in bytes, where it is larger.
    pub(super) mtu: u16,
    /// The tuple of packets that answer the one that an ICMP error quotes.
    pub(super) quoted: Tuple,
    /// Offset of the TCP header in that quote.
    pub(super) quoted_transport: u16,
    /// Whether the quote goes as far as the TCP checksum.
    pub(super) tells_checksum: bool,
    pub(super) order: Order,
    /// An entry of the half-open table that is being made.
    pub(super) draft: HalfOpen,
    /// The tuple of the packets of the replica that is asked.
    pub(super) answer: Tuple,
    /// The entry that has the NAT port that is asked for.
    pub(super) holder: Flow,
}

impl Scratch {
    pub fn new() -> Self {
        Self {
            bytes: 0,
            headers: Headers::NONE,
            look: Look::Absent,
            found: Flow::zeroed(),
            leaves: Rewrite::NONE,
            opens: false,
            replay: false,
            mtu: 0,
            quoted: Tuple::zeroed(),
            quoted_transport: 0,
            tells_checksum: false,
            order: Order::NONE,
            draft: HalfOpen::zeroed(),
            answer: Tuple::zeroed(),
            holder: Flow::zeroed(),
        }
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}
