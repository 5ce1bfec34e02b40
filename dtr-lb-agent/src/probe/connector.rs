//! How a probe gets to its replica: to the replica's own address, or to a VIP that the replica serves itself.
//!
//! This host has the VIP, too, and a connection to it would stay here. So a probe of a VIP connects to the replica's own
//! address, and the datapath steers its packets; see [`dtr_lb_common::pipeline::probe`].
//!
//! A replica in mode `dnat` answers to the addresses of its clients, and its answers have to come by here. So it is asked from a
//! VIP: that is no address of the segment on which it sees this host, and its answer comes back only if its route leads here.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    pin::pin,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use dtr_lb_common::{abi::Tuple, address::Be16, pipeline::probe::paths};
use futures::future::{Either, select};
use nix::sys::socket::{
    setsockopt,
    sockopt::{IpBindAddressNoPort, TcpMaxSeg},
};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::sleep,
};

use super::Failure;
use crate::{
    datapath::{Steered, Steering},
    interface,
};

/// Bytes of data in a packet of a probe, at most: fits any way, also in another packet (an IPv6 link takes 1280 bytes,
/// RFC 8200 section 5).
const SEGMENT: u32 = 1100;

/// From where and at which address a probe asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// From the address that this host takes, at the replica's own.
    Plain,
    /// From each of these VIPs, at the replica's own address.
    FromVips(Vec<IpAddr>),
    /// At the VIPs, which the replica has.
    Direct(Direct),
}

/// A replica that answers clients directly, as a probe of it is to prove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Direct {
    /// The service's VIPs. Each is asked.
    pub vips: Vec<IpAddr>,
    /// Packets to it travel in others, from this address of the replica's family, of which the last 16 bits vary by flow;
    /// `None` if they travel in none.
    pub tunnel: Option<IpAddr>,
}

/// Opens connections for probes of one replica, one at a time.
#[derive(Debug)]
pub(super) struct Connector {
    replica: SocketAddr,
    /// The address of this host to ask from, where that is not the kernel's choice.
    from: Option<IpAddr>,
    vip: Option<Vip>,
}

#[derive(Debug)]
struct Vip {
    address: IpAddr,
    direct: Direct,
    steering: Option<Steering>,
    /// The last probe's. It ends when the next begins: what is left of a connection is steered until then.
    last: Mutex<Option<Steered>>,
}

impl Connector {
    /// To the replica's own address.
    pub(super) fn own(replica: SocketAddr) -> Self {
        Self { replica, from: None, vip: None }
    }

    /// To the replica's own address, from a VIP.
    pub(super) fn from_vip(replica: SocketAddr, vip: IpAddr) -> Self {
        Self { replica, from: Some(vip), vip: None }
    }

    /// To a VIP that the replica serves, on the replica's port.
    pub(super) fn vip(replica: SocketAddr, vip: IpAddr, direct: &Direct) -> Self {
        let vip = Vip { address: vip, direct: direct.clone(), steering: None, last: Mutex::new(None) };
        Self { replica, from: None, vip: Some(vip) }
    }

    pub(super) fn steer_by(&mut self, steering: &Steering) {
        if let Some(vip) = &mut self.vip {
            vip.steering = Some(steering.clone());
        }
    }

    pub(super) fn is_steered(&self) -> bool {
        self.vip.is_some()
    }

    /// The address that is asked.
    pub(super) fn asked(&self) -> IpAddr {
        self.vip.as_ref().map_or(self.replica.ip(), |vip| vip.address)
    }

    /// Opens a connection. `limit` is said where the kernel gives up before it.
    pub(super) async fn connect(&self, limit: Duration) -> Result<TcpStream, Failure> {
        let failed = |error| Failure::from_io(&error, limit);
        let Some(vip) = &self.vip else { return twice(|| self.connect_plain(), limit).await.map_err(failed) };
        let source = vip.source(self.replica, source(self.replica).map_err(failed)?)?;
        let socket = bound(source).map_err(failed)?;
        vip.steer(self.replica, socket.local_addr().map_err(failed)?)?;
        socket.connect(self.replica).await.map_err(failed)
    }

    /// To the replica's own address. A balancer that stands by for another one does not have the VIP: it asks from its own
    /// address, by which it learns whether the replica serves, and not where its route leads.
    async fn connect_plain(&self) -> io::Result<TcpStream> {
        let Some(from) = self.from else { return TcpStream::connect(self.replica).await };
        match from_address(from) {
            Ok(socket) => socket.connect(self.replica).await,
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                TcpStream::connect(self.replica).await
            }
            Err(error) => Err(error),
        }
    }
}

impl Vip {
    /// The address to ask `target` from: `own`, or one beside it where that is of the other family, or a VIP, at which the
    /// replica would answer itself.
    fn source(&self, target: SocketAddr, own: IpAddr) -> Result<IpAddr, Failure> {
        let fits =
            |address: &IpAddr| address.is_ipv4() == target.is_ipv4() && !self.direct.vips.contains(address);
        if fits(&own) {
            return Ok(own);
        }
        let beside = interface::addresses_beside(own).map_err(|error| local(error.to_string()))?;
        beside.into_iter().find(fits).ok_or_else(|| {
            let family = if target.is_ipv4() { "IPv4" } else { "IPv6" };
            local(format!(
                "the interface with {own} has no {family} address to ask {} from; give it one that is not a VIP",
                target.ip()
            ))
        })
    }

    /// Has the packets of a connection between `own` and the replica steered.
    fn steer(&self, replica: SocketAddr, own: SocketAddr) -> Result<(), Failure> {
        let Self { address: vip, direct, steering, last } = self;
        let steering = steering.as_ref().ok_or_else(|| local("the datapath is not ready".to_owned()))?;
        let source = self.source((*vip, 0).into(), own.ip())?;
        let outer = direct.tunnel.map(Into::into);
        let socket = Tuple {
            source: own.ip().into(),
            destination: replica.ip().into(),
            source_port: Be16::new(own.port()),
            destination_port: Be16::new(replica.port()),
        };
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        // First, as this probe may have got the last one's port.
        *last = None;
        let steered = steering
            .steer(paths(&socket, (*vip).into(), source.into(), outer))
            .map_err(|error| local(error.to_string()))?;
        *last = Some(steered);
        Ok(())
    }
}

/// Connects, and where nothing is heard for a quarter of the time, once more beside it. In a flood packets of probes are lost like others,
/// and a SYN is sent again after a second only (RFC 6298 section 2): so there are four within two seconds, and not two. Once it is
/// connected, TCP knows how soon an answer comes, and is quicker.
async fn twice<F>(connect: impl Fn() -> F, limit: Duration) -> io::Result<TcpStream>
where
    F: Future<Output = io::Result<TcpStream>>,
{
    let again = async {
        sleep(limit / 4).await;
        connect().await
    };
    match select(pin!(connect()), pin!(again)).await {
        Either::Left((first, _)) => first,
        Either::Right((Ok(stream), _)) => Ok(stream),
        Either::Right((Err(_), first)) => first.await,
    }
}

/// The address with which this host connects to `target`.
fn source(target: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr =
        if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    // Sends nothing.
    socket.connect(target)?;
    Ok(socket.local_addr()?.ip())
}

/// A socket with a port that no other has: its connection is known by it.
fn bound(source: IpAddr) -> io::Result<TcpSocket> {
    let socket = of_family(source)?;
    setsockopt(&socket, TcpMaxSeg, &SEGMENT)?;
    socket.bind((source, 0).into())?;
    Ok(socket)
}

/// A socket that asks from this address. It gets its port when it connects, one that is free towards that replica: taken by `bind`,
/// each probe would cost a port for the minute that its last connection is in TIME_WAIT.
fn from_address(source: IpAddr) -> io::Result<TcpSocket> {
    let socket = of_family(source)?;
    setsockopt(&socket, IpBindAddressNoPort, &true)?;
    socket.bind((source, 0).into())?;
    Ok(socket)
}

fn of_family(address: IpAddr) -> io::Result<TcpSocket> {
    if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }
}

fn local(reason: String) -> Failure {
    Failure::Local { reason }
}
