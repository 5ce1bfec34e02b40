//! `dtr-lb-bench`: what a packet costs, and what probing costs. `cargo xtask bench packet` and `cargo xtask bench probes`
//! build and run it.
//!
//! A packet's figure is the median over many batches, of the mean of a batch of runs by `BPF_PROG_TEST_RUN`, less the same of
//! an empty program measured in turn with it. The verdict counters are compared after each batch: a batch that took
//! another path than it was meant to is an error and no figure.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Parser, Subcommand};
use dtr_lb_agent::datapath::{Datapath, DesiredService, Hook, Options};
use dtr_lb_common::{
    abi::{Flow, Side, Tuple},
    verdict::Verdict,
};
use dtr_lb_tests::{
    fixture::{
        Plan,
        frames::{Kind, Macs, Segment, ends},
        world::{ALICE, HTTPS, REPLICA_1, World, one_replica},
    },
    many_probes::{self, Figures},
};

/// Runs in a batch: a forwarded packet loses one of its 255 hops in each.
const RUNS: u32 = 250;
const BATCHES: usize = 400;

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// What each path costs a packet
    Packet {
        /// Where to leave packet.json
        directory: PathBuf,
    },
    /// What probing a thousand replicas each second costs the agent
    Probes {
        /// Where to leave probes.json
        directory: PathBuf,
    },
}

/// A path through the pipeline.
struct Path {
    name: &'static str,
    frame: Vec<u8>,
    verdict: Verdict,
}

fn main() -> Result<()> {
    match Arguments::parse().what {
        What::Packet { directory } => packet(&directory),
        What::Probes { directory } => probes(&directory),
    }
}

fn probes(directory: &std::path::Path) -> Result<()> {
    let mut figures = Vec::new();
    println!("scheme  replicas  probes/s  processor  memory (largest)    all up after");
    for (scheme, replicas) in [("http", 100), ("http", 1000), ("https", 100), ("https", 1000)] {
        let Figures { up_after, probes, processor, memory, largest_memory, threads, open_files } =
            many_probes::measure(scheme, replicas)?;
        println!(
            "{scheme:<8}{replicas:>8}{probes:>10.0}{processor:>9.1} %{:>8} MiB ({} MiB){:>12.2} s",
            memory >> 10,
            largest_memory >> 10,
            up_after.as_secs_f64()
        );
        figures.push(serde_json::json!({
            "scheme": scheme, "replicas": replicas, "probes_per_second": probes, "processor_percent": processor,
            "memory_kib": memory, "largest_memory_kib": largest_memory, "threads": threads, "open_files": open_files,
            "all_up_after_seconds": up_after.as_secs_f64(),
        }));
    }
    write(directory, "probes.json", &figures)
}

fn write(directory: &std::path::Path, name: &str, figures: &[serde_json::Value]) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("making `{}`", directory.display()))?;
    let file = directory.join(name);
    fs::write(&file, serde_json::to_string_pretty(figures)?)
        .with_context(|| format!("writing `{}`", file.display()))
}

fn packet(directory: &std::path::Path) -> Result<()> {
    let mut figures = Vec::new();
    println!(
        "ns a packet, net of an empty program: median (10th to 90th percentile) of {BATCHES} batches of {RUNS}"
    );
    for hook in [Hook::NativeXdp, Hook::Tc] {
        let mut datapath = Datapath::open(&Options { max_flows: 65_536, pins: None, log_packets: false })?;
        datapath.apply(&world())?;
        let mirrored = mirrored_flow(&mut datapath, hook)?;
        for path in paths() {
            let measured = measure(&mut datapath, hook, &path, &mirrored)?;
            let [low, median, high] = measured.map(f64::round);
            println!("{:4} {:40} {median:4} ({low} to {high})", hook.name(), path.name);
            figures.push(serde_json::json!({
                "hook": hook.name(), "path": path.name, "ns": { "p10": low, "median": median, "p90": high },
            }));
        }
        let verified = datapath.verified_instructions(hook)?;
        println!("{:4} {:40} {verified}", hook.name(), "instructions that the verifier walked");
        figures.push(serde_json::json!({ "hook": hook.name(), "verified_instructions": verified }));
    }
    println!(
        "not measured: new flows and refusals (a run cannot be repeated), cache misses of many flows, real devices"
    );
    write(directory, "packet.json", &figures)
}

/// A service with one replica; and one without any at the replica's own end, where the packets of the mirrored flow come in,
/// so that the filter lets them in.
fn world() -> World {
    let mut world = one_replica(Plan::V4);
    world.add(REPLICA_1, DesiredService::nat(Vec::new()));
    world
}

fn segment(kind: Kind, payload: usize) -> Segment {
    let payload = vec![0x5a; payload];
    let (client, service) = (ALICE.at(Plan::V4), HTTPS.at(Plan::V4));
    Segment { ttl: 255, payload, ..Segment::new(ALICE.macs, client, service, kind) }
}

fn paths() -> [Path; 4] {
    let mut elsewhere = segment(Kind::Ack, 10);
    elsewhere.destination.set_ip([203, 0, 113, 9].into());
    let mut other_port = segment(Kind::Ack, 10);
    other_port.destination.set_port(22);
    [
        Path {
            name: "established flow, 64 bytes",
            frame: segment(Kind::Ack, 10).bytes(),
            verdict: Verdict::Forwarded,
        },
        Path {
            name: "established flow, 1500 bytes",
            frame: segment(Kind::Ack, 1446).bytes(),
            verdict: Verdict::Forwarded,
        },
        Path { name: "not a VIP, 64 bytes", frame: elsewhere.bytes(), verdict: Verdict::PassedNotService },
        Path {
            name: "another port of the VIP, 64 bytes",
            frame: other_port.bytes(),
            verdict: Verdict::PassedNotService,
        },
    ]
}

type Entry = (Tuple, Flow);

/// Opens a connection, and adds a flow that takes its packets, as they leave, back to what they were: so that each run of
/// a batch is a hit of the same path.
fn mirrored_flow(datapath: &mut Datapath, hook: Hook) -> Result<[Entry; 4]> {
    let syn = datapath.run(hook, &segment(Kind::Syn, 0).bytes())?;
    let (nat, replica) = ends(&syn.frame).context("the SYN did not leave as TCP")?;
    let answer = Segment::new(Macs { ..ALICE.macs }, replica, nat, Kind::SynAck);
    datapath.run(hook, &answer.bytes())?;
    datapath.run(hook, &segment(Kind::Ack, 0).bytes())?;
    let entries = datapath.flow_entries()?;
    let [one, other] = entries[..] else { bail!("{} entries of one connection", entries.len()) };
    let (out, back) = if one.1.side == Side::TO_REPLICA { (one, other) } else { (other, one) };
    let mirror = Flow {
        to: out.0,
        hop: back.1.hop,
        address_delta: !out.1.address_delta,
        port_delta: !out.1.port_delta,
        side: Side::TO_CLIENT,
        ..out.1
    };
    // Its own other direction, for the look once a second.
    let partner = Flow { to: out.1.to.reversed(), ..out.1 };
    Ok([out, back, (out.1.to, mirror), (out.0.reversed(), partner)])
}

/// The 10th percentile, the median and the 90th.
fn measure(datapath: &mut Datapath, hook: Hook, path: &Path, entries: &[Entry]) -> Result<[f64; 3]> {
    let mut samples = Vec::with_capacity(BATCHES);
    for _ in 0..BATCHES {
        let now = datapath.now()?;
        for (key, flow) in entries {
            datapath.put_flow(key, &Flow { last_seen: now, checked: now, ..*flow })?;
        }
        let before = datapath.verdicts()?[&path.verdict].packets;
        let ran = datapath.run_again_and_again(hook, &path.frame, RUNS)?.mean;
        let counted = datapath.verdicts()?[&path.verdict].packets - before;
        ensure!(
            counted == u64::from(RUNS),
            "{}: {counted} of {RUNS} were {}",
            path.name,
            path.verdict.name()
        );
        let empty = datapath.run_empty(hook, &path.frame, RUNS)?;
        samples.push(ran.as_nanos() as f64 - empty.as_nanos() as f64);
    }
    samples.sort_by(f64::total_cmp);
    Ok([BATCHES / 10, BATCHES / 2, BATCHES * 9 / 10].map(|place| samples[place]))
}
