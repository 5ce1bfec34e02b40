//! An echo request, and whether its answer comes.

use std::{
    io::{self, IoSlice},
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd as _,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        socket::{
            AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, recv, sendmsg,
            setsockopt, socket, sockopt,
        },
        time::{TimeVal, TimeValLike as _},
    },
};

/// Sends an echo request with `size` bytes of data from the namespace that the calling thread is in, and waits for the
/// answer: how long it took, or `None` if there is none within `limit`. An answer that is not the request's is an
/// error.
pub(super) fn ping(address: IpAddr, size: usize, limit: Duration) -> io::Result<Option<Duration>> {
    // The kernel's own "ping socket" chooses the identifier, makes the checksums and sorts out the answers.
    let (family, protocol, request, reply) = match address {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp, 8, 0),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6, 128, 129),
    };
    let socket = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, protocol)?;
    let limit_ms = i64::try_from(limit.as_millis()).unwrap_or(i64::MAX).max(1);
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(limit_ms))?;
    let data: Vec<u8> = (0..size).map(|place| place as u8).collect();
    let mut message = vec![request, 0, 0, 0, 0, 0, 0, 1];
    message.extend(&data);
    let to = SockaddrStorage::from(SocketAddr::new(address, 0));
    let sent = Instant::now();
    sendmsg(socket.as_raw_fd(), &[IoSlice::new(&message)], &[], MsgFlags::empty(), Some(&to))?;
    let mut answer = vec![0; message.len() + 1];
    match recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty()) {
        Ok(length) if answer[0] == reply && answer[8..length.max(8)] == data[..] => Ok(Some(sent.elapsed())),
        Ok(length) => Err(io::Error::other(format!("not the answer: {:02x?}", &answer[..length]))),
        Err(Errno::EAGAIN) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}
