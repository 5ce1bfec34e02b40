//! `explain` says where a connection goes, and the programs then send it there: random clients of each family, denied ones,
//! ones that keep their replica, services without replicas, handshakes that fail, and connections that are there already.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use dtr_lb_agent::{
    datapath::{Datapath, Hook, Options, SourceRule},
    directory::Directory,
    explain::{Explanation, Question, explain},
};
use dtr_lb_common::{
    abi::{MAX_ATTEMPTED, Mode, Traffic},
    address::Family,
    hash::mix,
    verdict::Verdict,
};
use dtr_lb_tests::fixtures::{
    Plan,
    frames::{Kind, Segment, ends},
    plan::End,
    world::{ALICE, HTTP, HTTPS, REPLICA_1, REPLICA_2, REPLICA_3, VIP, World, world},
};
use libtest_mimic::Failed;

/// Clients of each service and plan.
const CLIENTS: u64 = 40;
/// A service that refuses, as it has no replica.
const EMPTY: End = End::service(VIP, 8080);
/// One that is none.
const NONE: End = End::service(VIP, 22);

pub(crate) fn says_what_the_datapath_does(hook: Hook) -> Result<(), Failed> {
    let mut datapath = Datapath::open(&Options { max_flows: 8192, pins: None, log_packets: false })?;
    let mut seen = BTreeMap::<String, u64>::new();
    let by_nat = Plan::ALL.iter().map(|plan| (plan, Mode::NAT));
    for (plan, mode) in by_nat.chain(Plan::SAME.iter().map(|plan| (plan, Mode::DNAT))) {
        datapath.apply(&services(*plan).by(mode))?;
        let services = [HTTPS, HTTP, EMPTY, NONE];
        for (number, service) in (0..CLIENTS).flat_map(|number| services.map(|service| (number, service))) {
            let client = client(*plan, number);
            let verdict = compare(&mut datapath, hook, client, service.at(*plan)).map_err(|error| {
                format!("{} {client}: {}", plan.name(), error.message().unwrap_or("failed"))
            })?;
            *seen.entry(verdict).or_default() += 1;
        }
        datapath.forget_flows()?;
        // All ports are tried, which takes a second, and no hook has a part in it.
        if *plan == Plan::V4 && mode == Mode::NAT && hook == Hook::NativeXdp {
            shares(&datapath)?;
        }
    }
    println!("{seen:?}");
    // Half of the addresses are denied at one of the services, whatever the family.
    for verdict in ["forwarded", "dropped_denied", "answered_refused", "passed_not_service"] {
        if seen.get(verdict).is_none_or(|count| *count < CLIENTS) {
            return Err(format!("too few clients had {verdict}: {seen:?}").into());
        }
    }
    direct(&mut datapath, hook)
}

/// A service with a replica that drains and clients that are denied, one whose clients keep their replica, and an empty one.
fn services(plan: Plan) -> World {
    let replicas = &[REPLICA_1, REPLICA_2, REPLICA_3][..];
    let mut world = world(plan, &[(HTTPS, replicas), (HTTP, replicas), (EMPTY, &[])]);
    world.replica(HTTPS, REPLICA_3).weight = 0;
    world.replica(HTTP, REPLICA_1).weight = 30;
    world.service(HTTP).source_affinity = true;
    let rule = |prefix: &str, allow| SourceRule { prefix: prefix.parse().expect("a prefix"), allow };
    world.service(HTTPS).sources = vec![
        rule("0.0.0.0/1", false),
        rule("64.0.0.0/3", true),
        rule("2001:db8::/33", false),
        rule("2001:db8:4000::/35", true),
    ];
    world
}

/// Any address, and any port.
fn client(plan: Plan, number: u64) -> SocketAddr {
    let random = mix(0xc11e, number);
    let address = match plan.clients() {
        // Not one of those that are nobody's, such as 0.0.0.0.
        Family::V4 => IpAddr::V4(Ipv4Addr::from((random >> 32) as u32 | 1)),
        Family::V6 => {
            let [_, _, c, d, e, f, g, h] = random.to_be_bytes();
            let word = |high, low| u16::from_be_bytes([high, low]);
            Ipv6Addr::new(0x2001, 0xdb8, word(c, d), word(e, f), 0, 0, 0, word(g, h)).into()
        }
    };
    SocketAddr::new(address, 1024 + (random % 64_000) as u16)
}

fn ask(datapath: &mut Datapath, client: SocketAddr, service: SocketAddr) -> Result<Explanation, Failed> {
    let now = datapath.now()?;
    let question = Question::new(&client.to_string(), &service.to_string())?;
    Ok(explain(&question, &datapath.reader(), &Directory::default(), &BTreeSet::new(), now)?)
}

/// Runs a frame, and says under which verdict it was counted.
fn run(datapath: &mut Datapath, hook: Hook, segment: &Segment) -> Result<(String, Vec<u8>), Failed> {
    let before = datapath.meter().verdicts()?;
    let ran = datapath.run(hook, &segment.bytes())?;
    let counted = |(verdict, traffic): (Verdict, Traffic)| {
        (before.get(&verdict) != Some(&traffic)).then(|| verdict.name().to_owned())
    };
    let verdict = datapath.meter().verdicts()?.into_iter().find_map(counted).ok_or("it was not counted")?;
    Ok((verdict, ran.frame))
}

fn segment(from: SocketAddr, to: SocketAddr, kind: Kind) -> Segment {
    Segment::new(ALICE.macs, from, to, kind)
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, said: &T, done: &T) -> Result<(), Failed> {
    if said == done { Ok(()) } else { Err(format!("{what}: explain says {said:?}, it is {done:?}").into()) }
}

/// Asks, then lets the client connect, and its replicas refuse. Returns the SYN's verdict.
fn compare(
    datapath: &mut Datapath,
    hook: Hook,
    client: SocketAddr,
    service: SocketAddr,
) -> Result<String, Failed> {
    let said = ask(datapath, client, service)?;
    let (verdict, mut frame) = run(datapath, hook, &segment(client, service, Kind::Syn))?;
    same("the verdict", &said.verdict.as_deref(), &Some(&verdict))?;
    if verdict != Verdict::Forwarded.name() {
        same("no replica", &said.replica, &None)?;
        return Ok(verdict);
    }
    let (nat, replica) = ends(&frame).ok_or("the SYN did not leave as TCP")?;
    same("the replica", &said.replica.as_ref().map(|replica| replica.address), &Some(replica))?;
    let other_end = (nat != client).then_some(nat);
    same("the NAT address and port", &said.nat, &other_end)?;
    // A connection that is there stays where it is.
    let there = ask(datapath, client, service)?;
    same("the replica of a flow", &there.replica.map(|replica| replica.address), &Some(replica))?;
    same("the NAT address and port of a flow", &there.nat, &other_end)?;
    // Every second one is refused, by one replica after the other.
    if client.port().is_multiple_of(2) {
        return Ok(verdict);
    }
    let mut asked = Vec::new();
    for _ in 0..=MAX_ATTEMPTED {
        let (nat, replica) = ends(&frame).ok_or("it did not leave as TCP")?;
        let (next, answer) = run(datapath, hook, &segment(replica, nat, Kind::Refusal))?;
        if next != Verdict::Redispatched.name() {
            break;
        }
        asked.push(ends(&answer).ok_or("it did not leave as TCP")?.1);
        frame = answer;
    }
    same("the replicas that are asked then", &said.then.iter().map(|then| then.address).collect(), &asked)?;
    Ok(verdict)
}

/// Without a source port: all ports are counted, and by address alone all have one replica.
fn shares(datapath: &Datapath) -> Result<(), Failed> {
    // One that is let in at every service.
    let (plan, client) = (Plan::V4, "192.0.2.7");
    let of = |service: End| -> Result<Explanation, Failed> {
        let question = Question::new(client, &service.at(plan).to_string())?;
        Ok(explain(&question, &datapath.reader(), &Directory::default(), &BTreeSet::new(), 0)?)
    };
    let https = of(HTTPS)?;
    let ports: Vec<_> = https.shares.iter().map(|share| share.ports).collect();
    // Two replicas of one weight; the one of weight 0 has none. The slots differ by 1 % at most, and 65,535 ports
    // are within 2 % of half, which is ten times their standard deviation.
    let even = ports.iter().all(|ports| (32_000..33_536).contains(ports));
    if ports.len() != 2 || !even || ports.iter().sum::<u32>() != 65_535 {
        return Err(format!("shares of two equal replicas: {ports:?}").into());
    }
    let http = of(HTTP)?;
    same("ports of the one replica", &http.shares.iter().map(|share| share.ports).collect(), &vec![65_535])?;
    same("the one replica", &http.shares[0].replica.clone(), &http.replica)?;
    let empty = of(EMPTY)?;
    same("who gets those of the empty one", &empty.shares[0].replica.clone(), &None)?;
    same("the verdict there", &empty.verdict.as_deref(), &Some(Verdict::AnsweredRefused.name()))
}

/// Where replicas answer clients directly there is no NAT; the frame goes to the replica by its MAC address.
fn direct(datapath: &mut Datapath, hook: Hook) -> Result<(), Failed> {
    let plan = Plan::V4;
    let world = services(plan).by(Mode::DSR);
    datapath.apply(&world)?;
    for number in 0..CLIENTS {
        let client = client(plan, number);
        let said = ask(datapath, client, HTTP.at(plan))?;
        same("NAT in mode dsr", &said.nat, &None)?;
        let (verdict, frame) = run(datapath, hook, &segment(client, HTTP.at(plan), Kind::Syn))?;
        same("the verdict", &said.verdict.as_deref(), &Some(&verdict))?;
        if verdict == Verdict::DroppedMartian.name() {
            same("no replica", &said.replica, &None)?;
            continue;
        }
        let replica = said.replica.ok_or("no replica")?.address;
        let wanted = world.services.values().flat_map(|service| &service.replicas);
        let hop = wanted.filter(|found| found.address == replica.ip()).find_map(|found| found.hop);
        let mac: Vec<u8> =
            hop.ok_or("no such replica")?.destination.iter().flat_map(|word| word.to_ne_bytes()).collect();
        same("the frame's destination", &&mac[..], &&frame[..6])?;
    }
    Ok(())
}
