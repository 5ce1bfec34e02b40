//! Packets that no stack would send: made by hand, from the IP header on.

use std::{
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd, OwnedFd, RawFd},
};

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, connect, send,
        setsockopt, socket, sockopt,
    },
};

use super::{error::Error, namespace::Namespace};

/// Room for a flood, in bytes.
const SEND_BUFFER: usize = 4 << 20;

/// Sends whole IP packets on the way to one address, whatever stands in them. The kernel finds the next hop, and fills in
/// the checksum and the length of an IPv4 header.
#[derive(Debug)]
pub struct RawSocket {
    socket: OwnedFd,
    namespace: String,
    towards: IpAddr,
}

impl RawSocket {
    /// Opens it in a namespace.
    pub fn open(namespace: &Namespace, towards: IpAddr) -> Result<Self, Error> {
        let socket = namespace.run(|| open(towards))?;
        let name = namespace.name().to_owned();
        match socket {
            Ok(socket) => Ok(Self { socket, namespace: name, towards }),
            Err(errno) => Err(failed(name, towards, errno)),
        }
    }

    /// Sends one packet.
    pub fn send(&self, packet: &[u8]) -> Result<(), Error> {
        send(self.as_raw_fd(), packet, MsgFlags::empty())
            .map(drop)
            .map_err(|errno| failed(self.namespace.clone(), self.towards, errno))
    }
}

impl AsRawFd for RawSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

fn failed(namespace: String, towards: IpAddr, errno: Errno) -> Error {
    Error::Namespace {
        namespace,
        doing: format!("send a raw packet towards {towards}"),
        source: errno.into(),
    }
}

/// Connected, so that the kernel looks up the route once.
fn open(towards: IpAddr) -> nix::Result<OwnedFd> {
    let family = if towards.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw)?;
    setsockopt(&socket, sockopt::SndBufForce, &SEND_BUFFER)?;
    connect(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(towards, 0)))?;
    Ok(socket)
}
