//! What is worked out on a packet's way, in a place of its own: the stack of a program has 512 bytes.

use bytemuck::Zeroable as _;

use super::{
    Next,
    milestone::Turn,
    open::{Claim, Order, Progress},
    parse::Headers,
    rewrite::Rewrite,
    steer::Steered,
    vlan::Tags,
};
use crate::{
    abi::{Client, ClientKey, KeptSyn, ReplicaId, Tuple},
    flow_table::{Flow, Insertion},
};

/// What is known of one packet. Each field is written before it is read: nothing of the packet before is ever looked at.
#[derive(Clone, Copy, Debug)]
pub struct PacketContext {
    /// Length of the frame as it came in; what leaves may have another one.
    pub(super) bytes: u32,
    /// The VLAN tags that it came with.
    pub(super) tags: Tags,
    pub(super) headers: Headers,
    /// The tuple whose connection is looked for.
    pub(super) wanted: Tuple,
    /// The entry of that tuple, and of the other direction, as they were read.
    pub(super) found: Flow,
    pub(super) other: Flow,
    /// How the packet leaves.
    pub(super) egress: Rewrite,
    /// What follows the reading of the headers.
    pub(super) next: Next,
    /// Whether the frame was sent to many or to another host.
    pub(super) to_other_host: bool,
    /// Whether a connection is to be opened, as the order says.
    pub(super) opens: bool,
    /// What a SYN-ACK acknowledges that is a challenge, and its own number.
    pub(super) challenge: (u32, u32),
    /// What is looked for among what is remembered of clients, and what is to be remembered.
    pub(super) client_key: ClientKey,
    pub(super) client: Client,
    /// What the packet's connection was and has become by it.
    pub(super) turn: Turn,
    /// Whether the packet was sent on and is in no connection's account: that of its own is closed.
    pub(super) is_late: bool,
    /// Whether the packet has completed a handshake.
    pub(super) completes: bool,
    /// Whether it is a refusal that leaves as the SYN that was kept.
    pub(super) resend_syn: bool,
    /// The largest packet that its way takes, in bytes, where it is larger.
    pub(super) mtu: u16,
    /// Offset of the TCP header in the packet that an ICMP error quotes.
    pub(super) quoted_transport: u16,
    /// Whether the quote goes as far as the TCP checksum.
    pub(super) tells_checksum: bool,
    /// Where a packet that opens a connection is steered.
    pub(super) steered: Steered,
    pub(super) order: Order,
    /// How far the opening is, to which replica, by how many attempts at a port, and what the next one is drawn from.
    pub(super) progress: Progress,
    pub(super) target: ReplicaId,
    pub(super) attempt: u32,
    /// How many further replicas were asked, as the first has no port.
    pub(super) further: u32,
    /// Whether a handshake holds one of the ports that were tried.
    pub(super) beside_handshakes: bool,
    pub(super) random: u64,
    /// The SYN that is kept: this one, or the one that a replica has failed.
    pub(super) kept: KeptSyn,
    /// Whether all of this one's headers are there to be kept.
    pub(super) is_read: bool,
    /// Whether the SYN that comes again and the first one, which is kept, were whole.
    pub(super) is_whole: bool,
    /// The entry that is being entered, on what terms, and how that ended.
    pub(super) draft: Flow,
    pub(super) claim: Claim,
    pub(super) insertion: Insertion,
    /// The replica's entry, once it has its port.
    pub(super) claimed: Flow,
    /// The entry that has the key that is asked for.
    pub(super) holder: Flow,
}

impl PacketContext {
    pub fn new() -> Self {
        Self {
            bytes: 0,
            tags: Tags::NONE,
            headers: Headers::NONE,
            wanted: Tuple::zeroed(),
            found: Flow::zeroed(),
            other: Flow::zeroed(),
            egress: Rewrite::NONE,
            next: Next::Nothing,
            to_other_host: false,
            opens: false,
            challenge: (0, 0),
            client_key: ClientKey::zeroed(),
            client: Client::zeroed(),
            turn: Turn::NONE,
            is_late: false,
            completes: false,
            resend_syn: false,
            mtu: 0,
            quoted_transport: 0,
            tells_checksum: false,
            steered: Steered::NONE,
            order: Order::NONE,
            progress: Progress::Done,
            target: 0,
            attempt: 0,
            further: 0,
            beside_handshakes: false,
            random: 0,
            kept: KeptSyn::zeroed(),
            is_read: false,
            is_whole: false,
            draft: Flow::zeroed(),
            claim: Claim::NONE,
            insertion: Insertion::Done,
            claimed: Flow::zeroed(),
            holder: Flow::zeroed(),
        }
    }

    /// Whether the packet is a SYN, which nothing turned away before it was looked at.
    #[inline(always)]
    pub(super) const fn is_syn(&self) -> bool {
        matches!(self.next, Next::Connection) && self.headers.flags.opens()
    }

    /// The tuple of the client's packets of the connection that was found.
    #[inline(always)]
    pub(super) fn client_of_found(&self) -> Tuple {
        if self.found.direction().from_client() { self.found.key } else { self.found.to.reversed() }
    }
}

impl Default for PacketContext {
    fn default() -> Self {
        Self::new()
    }
}
