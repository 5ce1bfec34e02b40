//! What a packet's context tells to whoever asks afterwards: a trace, and `explain`.

use super::{Headers, PacketContext, Rewrite, Tables, may_be_ours, open::Cause};
use crate::{
    abi::{Direction, Mode, ReplicaId, Tuple},
    verdict::Verdict,
    wire::{PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, TcpFlags},
};

/// What is known of a packet after [`super::run`], if [`PacketContext::forget`] came before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketSummary {
    /// The packet's own. What was not read is 0.
    pub tuple: Tuple,
    /// The tuple that it leaves with, if it is forwarded.
    pub to: Tuple,
    /// The replica that was chosen, or whose it is; 0 if there is none.
    pub replica: ReplicaId,
    /// How packets reach that replica.
    pub mode: Mode,
    /// Of the IP header; 0 if that was not read.
    pub protocol: u8,
    pub flags: TcpFlags,
}

impl PacketContext {
    /// Forgets the packet before, whose context would else show where this one's end.
    #[inline(always)]
    pub fn forget(&mut self) {
        self.headers = Headers::NONE;
        self.egress = Rewrite::NONE;
        self.order.cause = Cause::New;
    }

    #[inline(always)]
    pub fn summary(&self) -> PacketSummary {
        let Self { headers, egress, .. } = self;
        PacketSummary {
            tuple: headers.tuple,
            to: egress.to,
            replica: egress.replica,
            mode: egress.mode,
            protocol: headers.protocol,
            flags: headers.flags,
        }
    }

    /// The tuple of the client's packets of the connection that a packet is of; the packet's own if it is of none.
    #[inline(always)]
    pub fn client(&self, verdict: Verdict) -> Tuple {
        let Self { headers, egress, order, .. } = self;
        // What takes the place of a refusal goes to a replica, but came from another one.
        if verdict == Verdict::Redispatched {
            order.client
        } else if egress.direction == Direction::ToClient {
            egress.to.reversed()
        } else {
            headers.tuple
        }
    }

    /// Whether a packet came to an end that the datapath looks at: a service, a NAT address and port, or by ICMP the
    /// address of a service; or from a replica that answers to the address of its client.
    #[inline(always)]
    pub fn came_to_us(&self, tables: &impl Tables) -> bool {
        let Headers { tuple, protocol, .. } = &self.headers;
        let Some(settings) = tables.settings() else { return false };
        match *protocol {
            PROTOCOL_TCP => may_be_ours(tables, settings, tuple),
            PROTOCOL_ICMP | PROTOCOL_ICMPV6 => tables.vip(&tuple.destination),
            _ => false,
        }
    }
}
