//! Clients that open a connection with the address and the port of another one, which has ended otherwise than by FINs. What
//! guards connections against strangers must not keep them out.

use std::{
    net::{IpAddr, SocketAddr, TcpStream},
    os::fd::AsRawFd as _,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use dtr_lb_tests::lab::Families;
use nix::{
    libc,
    sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
    },
};

use crate::{CROSSWISE, Place, Scenario, Stage, session::Session};

pub(crate) const SCENARIOS: &[Scenario] = &[
    // Packets of both directions, on each kind of interface.
    ("a_client_that_resets_can_connect_again_at_once", CROSSWISE, |place| resets(place, Families::V4)),
    ("an_ipv6_client_that_resets_can_connect_again_at_once", &[Place::TC_ONE_ARM], |place| {
        resets(place, Families::V6)
    }),
    ("a_client_that_forgot_its_connection_can_open_another", CROSSWISE, forgets),
];

/// Below those that the kernel chooses by itself.
const PORT: u16 = 20_078;
const ROUNDS: usize = 20;
/// Less than the second after which a SYN is sent again.
const AT_ONCE: Duration = Duration::from_millis(700);
/// Its first SYN is answered by an ACK for the old connection, which the client resets; its second, a second later, opens
/// the new one (RFC 9293 section 3.5.1). The rest is for a busy machine.
const SECOND_SYN: Duration = Duration::from_millis(2500);

/// Opens a connection from the client's [`PORT`], and makes a request on it. Says how long it took to connect.
fn open(stage: &Stage, vip: SocketAddr) -> Result<(Session, Duration)> {
    let from = stage.lab.client().address();
    ensure!(from.is_ipv4() == vip.is_ipv4(), "{from} and {vip} are not of one family");
    let limit = Instant::now() + Duration::from_secs(2);
    let (stream, took) = loop {
        let begun = Instant::now();
        match connect_from(stage, from, vip)? {
            // A child of the tests that has not yet called exec holds the socket before, which is not over until then.
            Err(nix::Error::EADDRNOTAVAIL) if begun < limit => thread::sleep(Duration::from_millis(10)),
            connected => break (connected.context("connecting")?, begun.elapsed()),
        }
    };
    let mut session = Session { stream, replica: String::new() };
    session.replica = session.ask(Duration::from_secs(3)).context("the first request")?;
    Ok((session, took))
}

/// A socket of the client's at [`PORT`] that ends by a reset when it is dropped, and leaves nothing in its kernel.
fn connect_from(stage: &Stage, from: IpAddr, vip: SocketAddr) -> Result<nix::Result<TcpStream>> {
    let connected = stage.lab.client().namespace().run(|| -> nix::Result<TcpStream> {
        let family = if from.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&socket, sockopt::ReuseAddr, &true)?;
        setsockopt(&socket, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?;
        bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(from, PORT)))?;
        connect(socket.as_raw_fd(), &SockaddrStorage::from(vip))?;
        Ok(TcpStream::from(socket))
    })?;
    Ok(connected)
}

/// A client that ends its connections by resets, and uses one port for all. The balancer has seen each reset, and it was right.
fn resets(place: Place, families: Families) -> Result<()> {
    let stage = place.stage_with(place.family_options(families), &place.options())?;
    for round in 0..ROUNDS {
        let (session, took) = open(&stage, stage.http()).with_context(|| format!("round {round}"))?;
        ensure!(took < AT_ONCE, "round {round}: connected after {took:?}");
        drop(session);
    }
    Ok(())
}

/// A client whose connection is gone, and nobody was told: its reset was lost, as when its machine restarts.
fn forgets(place: Place) -> Result<()> {
    let stage = place.stage_with(place.family_options(Families::V4), &place.options())?;
    for round in 0..2 {
        let (session, _) = open(&stage, stage.http())?;
        stage.lab.cut("client")?;
        drop(session);
        stage.lab.join("client")?;
        let (mut session, took) = open(&stage, stage.http()).with_context(|| format!("round {round}"))?;
        ensure!(took < SECOND_SYN, "round {round}: connected after {took:?}");
        session.ask(Duration::from_secs(3)).context("on the new connection")?;
    }
    Ok(())
}
