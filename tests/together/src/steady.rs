//! The connections that stay: opened before anything else happens, packet by packet.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, bail, ensure};
use dtr_lb_agent::datapath::{Datapath, Hook};
use dtr_lb_common::{abi::State, verdict::Verdict};
use dtr_lb_tests::fixtures::frames::{ends, tuple};
use dtr_lb_together_ebpf::{
    op::Op,
    packet,
    record::{Mapping, Record, phase},
    world::{End, FIRST_PORT, Head, REPLICAS},
};

use crate::world::{self, Size, client_end, replica_end};

/// Client ports that are tried for each: in a table of few buckets there is not room for any two keys.
const ATTEMPTS: u16 = 200;
/// The first of them, outside the NAT range.
const FIRST_CLIENT_PORT: u16 = 40_000;

/// One of them.
pub(crate) struct Steady {
    pub(crate) port: u16,
    pub(crate) record: Record,
    pub(crate) mapping: Mapping,
}

/// Opens them all.
pub(crate) fn open(datapath: &mut Datapath, size: &Size) -> Result<Vec<Steady>> {
    (0..size.steady_peers()).map(|peer| open_one(datapath, size, peer)).collect()
}

fn open_one(datapath: &mut Datapath, size: &Size, peer: u32) -> Result<Steady> {
    for attempt in 0..ATTEMPTS {
        let port = FIRST_CLIENT_PORT + attempt;
        let at = SocketAddr::new(world::client(peer, size.is_v6(peer)), port);
        let end = client_end(peer, at);
        let before = answered(datapath)?;
        let left = send(datapath, &end, Op::OPENING_SYN, peer, Record(0))?;
        if answered(datapath)? != before {
            continue;
        }
        let mapping = mapping(&left)?;
        let record = Record(0).with_mapping(mapping).with_phase(phase::LIVE);
        let replica = replica_end(mapping.replica() as usize);
        send(datapath, &replica, Op::SYN_ACK, peer, record)?;
        send(datapath, &end, Op::ACK, peer, record)?;
        let key = tuple(at, world::vip(at.is_ipv6()));
        let entries = datapath.flow_entries();
        let entry =
            entries.iter().find(|flow| flow.key == key).context("a connection that was opened is gone")?;
        ensure!(entry.state() == State::ESTABLISHED, "{entry:?} is not established");
        return Ok(Steady { port, record, mapping });
    }
    bail!("no room for connection {peer} of {size:?}")
}

fn answered(datapath: &Datapath) -> Result<u64> {
    Ok(datapath.meter().verdicts()?[&Verdict::AnsweredTableFull].packets)
}

/// Sends one packet, and returns the frame that left.
fn send(datapath: &mut Datapath, end: &End, op: Op, peer: u32, record: Record) -> Result<Vec<u8>> {
    let mut head = Head::default();
    packet::write(&mut head, end, op, peer.into(), record);
    Ok(datapath.run(Hook::NativeXdp, &world::frame(&head))?.frame)
}

/// By which replica and port a frame left.
fn mapping(left: &[u8]) -> Result<Mapping> {
    let (nat, to) = ends(left).context("it is no TCP")?;
    let number = (0..REPLICAS).find(|&number| world::replica(number) == to);
    let number = number.with_context(|| format!("it left to {to}"))?;
    let expected: IpAddr = world::nat(to.is_ipv6());
    ensure!(nat.ip() == expected, "it left by {nat}");
    Ok(Mapping::new(number as u64, u64::from(nat.port() - FIRST_PORT)))
}
