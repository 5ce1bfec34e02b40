//! The kernel's notices that a next hop may have changed.
//!
//! A notice is a hint and never the news itself: it makes the watcher look again. So nothing is lost by skipping what
//! cannot be understood, as long as it counts as relevant. This reads its own plain socket: the netlink library's
//! connection decodes every message in full, queues without limit and hides overruns among the messages.

use std::{collections::BTreeSet, io};

use rtnetlink::{
    MulticastGroup,
    packet_core::{NetlinkBuffer, NetlinkMessage, NetlinkPayload},
    packet_route::RouteNetlinkMessage,
    sys::{AsyncSocket, AsyncSocketExt, TokioSocket, protocols::NETLINK_ROUTE},
};

use super::kernel::{self, NeighbourKey};

/// Rules are among them because they decide which routing table is asked.
const GROUPS: [MulticastGroup; 8] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv6Rule,
];

/// The largest netlink message the kernel makes.
const DATAGRAM_BYTES: usize = 32 * 1024;

const ENOBUFS: i32 = 105;
const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;

/// A subscription to the kernel's notices.
pub(super) struct Events {
    socket: TokioSocket,
    datagram: Vec<u8>,
}

impl Events {
    /// Subscribes in the network namespace of the calling thread. No later change goes unnoticed.
    pub(super) fn subscribe() -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        socket.socket_mut().bind_auto()?;
        for group in GROUPS {
            socket.socket_mut().add_membership(group as u32)?;
        }
        Ok(Self { socket, datagram: Vec::with_capacity(DATAGRAM_BYTES) })
    }

    /// Waits for a notice that could concern a next hop, given the neighbours in use. Cancel-safe.
    ///
    /// Fails with an error for which [`is_overrun`] holds when notices were lost.
    pub(super) async fn relevant(&mut self, watched: &BTreeSet<NeighbourKey>) -> io::Result<()> {
        loop {
            self.datagram.clear();
            self.socket.recv_from(&mut self.datagram).await?;
            if is_relevant(&self.datagram, watched) {
                return Ok(());
            }
        }
    }
}

/// Whether the error says that the kernel had more notices than the socket's buffer could hold.
pub(super) fn is_overrun(error: &io::Error) -> bool {
    error.raw_os_error() == Some(ENOBUFS)
}

/// Neighbour notices come by the hundred on a busy segment, and few are about a replica. All others are rare.
pub(super) fn is_relevant(datagram: &[u8], watched: &BTreeSet<NeighbourKey>) -> bool {
    let Ok(header) = NetlinkBuffer::new_checked(datagram) else {
        return true;
    };
    if !matches!(header.message_type(), RTM_NEWNEIGH | RTM_DELNEIGH) {
        return true;
    }
    // The kernel sends one notice a datagram. If that ever changes, what follows the first is not to be missed.
    if usize::try_from(header.length()).is_ok_and(|length| length.next_multiple_of(4) < datagram.len()) {
        return true;
    }
    let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(datagram) else {
        return true;
    };
    match message.payload {
        NetlinkPayload::InnerMessage(
            RouteNetlinkMessage::NewNeighbour(neighbour) | RouteNetlinkMessage::DelNeighbour(neighbour),
        ) => kernel::neighbour_of(&neighbour).is_some_and(|(key, _)| watched.contains(&key)),
        _ => true,
    }
}
