//! A million connections in the flow table: the walk through it counts them truly, removes those that ended, and is in the way
//! of no packet.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use dtr_lb_agent::{
    datapath::{Datapath, Hook, Options},
    directory::Directory,
    flows::{FlowLine, Query, list},
};
use dtr_lb_common::{
    abi::{Control, Direction, Flow, State, Tuple},
    address::Be16,
    flow_table::Clock,
    model::fill::enter_both,
    verdict::Verdict,
};
use dtr_lb_tests::fixtures::{
    Plan,
    frames::{Kind, Macs, Segment, ends},
    world::{ALICE, HTTPS, one_replica},
};
use libtest_mimic::Failed;

const CONNECTIONS: u32 = 1_000_000;
/// Of them, so many have ended.
const ENDED: u32 = 400_000;
/// One piece of the walk may hold up the agent for so long. A piece looks at 4 MiB, and has at most 65,536 connections ended, 64 by
/// a system call: some tens of milliseconds. The rest is for a busy machine.
const LONGEST_PIECE: Duration = Duration::from_millis(250);

pub(crate) fn is_swept_while_packets_go_on() -> Result<(), Failed> {
    let mut datapath = Datapath::open(&Options {
        max_flows: CONNECTIONS + CONNECTIONS / 16,
        pins: None,
        log_packets: false,
    })?;
    datapath.apply(&one_replica(Plan::V4).desired)?;
    let hooks = [Hook::NativeXdp, Hook::Tc];
    establish(&mut datapath, hooks[0])?;
    let (open_ones, ended) = fill(&mut datapath)?;
    let open = open_ones + 1;
    is_listed(&mut datapath, open)?;
    let data = segment(Kind::Data);
    let (mut pieces, mut longest, mut ran) = (0_u32, Duration::ZERO, 0_u64);
    let begun = Instant::now();
    let census = loop {
        let piece = Instant::now();
        let census = datapath.sweep()?;
        longest = longest.max(piece.elapsed());
        pieces += 1;
        let hook = hooks[pieces as usize % hooks.len()];
        datapath.run(hook, &data)?;
        ran += 1;
        if let Some(census) = census {
            break census;
        }
    };
    println!(
        "{} entries in {pieces} pieces and {:.2?}, the longest of {longest:.2?}; {} removed",
        census.entries,
        begun.elapsed(),
        census.removed
    );
    let forwarded = datapath.meter().verdicts()?[&Verdict::Forwarded].packets;
    // The handshake's three, and the data.
    check("packets forwarded", forwarded, 3 + ran)?;
    // A few of those that had ended made room for others.
    if census.removed > ended || census.removed < ended * 99 / 100 {
        return Err(format!("connections removed: {}, not about {ended}", census.removed).into());
    }
    check("open connections", census.flows.values().sum(), open)?;
    check("entries that stay", census.held.values().sum(), 2 * open)?;
    if longest > LONGEST_PIECE {
        return Err(format!("a piece of the walk took {longest:?}").into());
    }
    Ok(())
}

/// `flows` counts them all, and keeps and shows only as many as it was asked for.
fn is_listed(datapath: &mut Datapath, open: u64) -> Result<(), Failed> {
    let now = datapath.now()?;
    let begun = Instant::now();
    let query = Query { limit: Some(100), ..Query::default() };
    let listing = list(&query, &datapath.reader(), &Directory::default(), now)?;
    println!("{} flows listed in {:.2?}", listing.in_all, begun.elapsed());
    check("flows in all", listing.in_all, open)?;
    check("flows that may carry data", listing.carrying, open)?;
    check("flows that match", listing.matched, open)?;
    check("flows shown", listing.flows.len() as u64, 100)?;
    check("flows left out", listing.left_out, open - 100)?;
    // One of the addresses that `fill` gives to clients; each has 4096 connections.
    let last = Ipv4Addr::from(100 << 24 | (CONNECTIONS - 1) >> 12);
    let client = IpAddr::V4(last).into();
    let one = list(&Query { client: Some(client), ..query }, &datapath.reader(), &Directory::default(), now)?;
    let of_one = u64::from(CONNECTIONS % 4096);
    if one.matched > of_one || one.matched < of_one * 9 / 10 {
        return Err(format!("flows of one client: {}, not about {of_one}", one.matched).into());
    }
    let other = |flow: &FlowLine| flow.client.ip() != IpAddr::V4(last) || flow.state != "established";
    if let Some(flow) = one.flows.iter().find(|flow| other(flow)) {
        return Err(format!("it does not match: {flow:?}").into());
    }
    Ok(())
}

fn check(what: &str, is: u64, wanted: u64) -> Result<(), Failed> {
    if is == wanted { Ok(()) } else { Err(format!("{what}: {is}, not {wanted}").into()) }
}

fn segment(kind: Kind) -> Vec<u8> {
    Segment::new(ALICE.macs, ALICE.at(Plan::V4), HTTPS.at(Plan::V4), kind).bytes()
}

/// A real connection.
fn establish(datapath: &mut Datapath, hook: Hook) -> Result<(), Failed> {
    let syn = datapath.run(hook, &segment(Kind::Syn))?;
    let (nat, replica) = ends(&syn.frame).ok_or("the SYN did not leave as TCP")?;
    let answer = Segment::new(Macs { ..ALICE.macs }, replica, nat, Kind::SynAck);
    datapath.run(hook, &answer.bytes())?;
    datapath.run(hook, &segment(Kind::Ack))?;
    Ok(())
}

/// Connections like the one that is there, by other clients and other NAT addresses. Returns how many are open and how many have
/// ended: a few find both of their buckets full.
fn fill(datapath: &mut Datapath) -> Result<(u64, u64), Failed> {
    let entries = datapath.flow_entries();
    let [one, other] = entries[..] else { return Err("the connection has not two entries".into()) };
    let (out, back) = if one.direction() == Direction::ToReplica { (one, other) } else { (other, one) };
    let settings = datapath.reader().settings()?.ok_or("there are no settings")?;
    let clock = Clock { settings: &settings, now: datapath.now()? };
    let table = datapath.map_table()?;
    let (mut open, mut ended) = (0, 0);
    for number in 0..CONNECTIONS {
        let host = |net: u8| IpAddr::V4(Ipv4Addr::from(u32::from(net) << 24 | number >> 12));
        let port = Be16::new(10_000 + (number & 0xfff) as u16);
        let client = Tuple { source: host(100).into(), source_port: port, ..out.key };
        let answer = Tuple { destination: host(101).into(), destination_port: port, ..back.key };
        let (state, last_seen, count) = if number < ENDED {
            // Long ago, whatever the length of a tick.
            (State::CLOSED, clock.now.wrapping_sub(i32::MAX as u32 / 2), &mut ended)
        } else {
            (State::ESTABLISHED, clock.now, &mut open)
        };
        let flow = |like: Flow, key: Tuple, to: Tuple| Flow {
            key,
            to,
            last_seen,
            control: Control::new(state, like.direction(), false),
            ..like
        };
        let mut client_flow = flow(out, client, answer.reversed());
        let mut answer_flow = flow(back, answer, client.reversed());
        // What has outlived its state would make room for the next one.
        let young = Clock { now: last_seen, ..clock };
        *count += u64::from(enter_both(table.words(), &mut client_flow, &mut answer_flow, &young));
    }
    let entered = open + ended;
    if entered < u64::from(CONNECTIONS) * 99 / 100 {
        return Err(format!("only {entered} of {CONNECTIONS} connections found room").into());
    }
    Ok((open, ended))
}
