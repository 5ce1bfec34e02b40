//! Sockets that see whole frames, as packet(7) has them, with the VLAN tags that the kernel has taken out.

use std::{
    io::IoSliceMut,
    os::fd::{AsRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use nix::{
    libc, setsockopt_impl, sockopt_impl,
    sys::{
        socket::{
            AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType,
            recvmsg, setsockopt, socket, sockopt,
        },
        time::{TimeVal, TimeValLike as _},
    },
};

use super::frame::Frame;

/// Room for what comes while nobody receives, in bytes.
const BUFFER: usize = 32 << 20;
/// The largest frame: a veth hands over segments that hardware is to cut.
pub const LARGEST: usize = (1 << 16) + 64;
/// Where a tag stands in a frame.
const TAG: usize = 12;
/// Bytes of `struct tpacket_auxdata` (include/uapi/linux/if_packet.h), and where in it the tag is.
const AUXDATA: usize = 20;

sockopt_impl!(
    /// What is known of a frame besides its bytes comes with it.
    PacketAuxdata,
    SetOnly,
    libc::SOL_PACKET,
    libc::PACKET_AUXDATA,
    bool
);

/// Opens one for all frames of all interfaces of the calling thread's namespace. To receive fails after so long.
pub fn open(patience: Duration) -> nix::Result<OwnedFd> {
    // Without bind(2) it is on all interfaces.
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(patience.as_millis() as i64))?;
    setsockopt(&socket, PacketAuxdata, &true)?;
    Ok(socket)
}

/// Receives a frame, by way of a buffer of [`LARGEST`] bytes.
pub fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> nix::Result<Frame> {
    let mut control = nix::cmsg_space!([u8; AUXDATA]);
    let mut room = [IoSliceMut::new(buffer)];
    let received = recvmsg::<LinkAddr>(socket.as_raw_fd(), &mut room, Some(&mut control), MsgFlags::empty())?;
    let (length, from) = (received.bytes, received.address);
    let tag = received.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::Unknown(message) => tag(&message.data_bytes),
        _ => None,
    });
    let bytes = match tag {
        Some(tag) if length >= TAG => [&buffer[..TAG], &tag, &buffer[TAG..length]].concat(),
        _ => buffer[..length].to_vec(),
    };
    Ok(Frame {
        at: Instant::now(),
        interface: from.as_ref().map_or(0, LinkAddr::ifindex),
        outgoing: from.is_some_and(|from| i32::from(from.pkttype()) == i32::from(libc::PACKET_OUTGOING)),
        bytes,
    })
}

/// The tag in a `struct tpacket_auxdata`, if there is one: EtherType, priority and id.
fn tag(auxdata: &[u8]) -> Option<[u8; 4]> {
    let status = u32::from_ne_bytes(*auxdata.first_chunk()?);
    let at = |offset: usize| Some(u16::from_ne_bytes(*auxdata.get(offset..)?.first_chunk()?).to_be_bytes());
    let ([a, b], [high, low]) = (at(18)?, at(16)?);
    (status & libc::TP_STATUS_VLAN_VALID != 0).then_some([a, b, high, low])
}
