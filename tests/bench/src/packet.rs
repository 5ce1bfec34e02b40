//! `cargo xtask bench packet`: what a packet costs, by case.
//!
//! In each round every case is measured once, one after the other: with the program under test behind the wrapper, and with
//! an empty program there, which is subtracted. So a ratio of two cases is of one round, in which the machine was as fast
//! for both, and the median of the rounds' ratios is what can be believed. The counters are compared after each batch: one
//! whose packets did not all have the fate that the case names is an error and no figure.

use std::{collections::BTreeMap, path::Path, time::Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

mod balancer;
mod case;
mod figures;
mod prototype;
mod subject;
mod targets;
mod world;
mod wrapper;

use balancer::Balancer;
use case::{Case, Load, Sent};
use dtr_lb_common::abi::Mode;
use figures::Figures;
use prototype::Prototype;
use subject::Subject;
use wrapper::{Target, Wrapper};

/// The benchmark's programs, as the build script left them.
static PROGRAMS: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/bench-programs"));

/// How much is measured.
#[derive(Debug)]
pub(crate) struct Options {
    rounds: usize,
    /// Packets of a batch, and of the one before it that is not measured.
    packets: u32,
    warm_up: u32,
    /// Flows of a round that are opened and closed.
    opened: u32,
    only: Vec<String>,
}

/// Of the flows that are opened, those that are not measured.
const FIRST_OPENED: u32 = 4096;

impl Options {
    pub(crate) fn new(quick: bool, rounds: Option<usize>, only: Vec<String>) -> Self {
        if quick {
            Self { rounds: rounds.unwrap_or(5), packets: 100_000, warm_up: 50_000, opened: 40_000, only }
        } else {
            Self { rounds: rounds.unwrap_or(31), packets: 200_000, warm_up: 100_000, opened: 100_000, only }
        }
    }

    fn wants(&self, case: Case) -> bool {
        let name = case.to_string();
        self.only.iter().all(|word| name.split(' ').any(|part| part == word))
    }
}

/// Measures, prints, and leaves the figures in `packet.json`.
pub(crate) fn run(directory: &Path, options: &Options) -> Result<()> {
    pin()?;
    let begun = Instant::now();
    let mut bench = Bench::new(options)?;
    let filled = Instant::now();
    for round in 0..options.rounds {
        bench.round(options, round)?;
    }
    println!(
        "{} rounds of {} packets a case in {:.0} s, after {:.0} s of filling tables",
        options.rounds,
        options.packets,
        filled.elapsed().as_secs_f64(),
        (filled - begun).as_secs_f64()
    );
    bench.figures.print();
    targets::judge(&bench.figures);
    crate::write(directory, "packet.json", &bench.figures.rows())
}

/// Stays on one processor, the last that it may have, as devices interrupt the first; and goes before whoever else wants it,
/// if it may.
fn pin() -> Result<()> {
    // SAFETY: the call takes numbers only. Where it is refused, others disturb more, and figures are the same.
    let _ = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) };
    let this = Pid::from_raw(0);
    let may = sched_getaffinity(this)?;
    let last = (0..CpuSet::count()).rev().find(|&cpu| may.is_set(cpu).unwrap_or(false));
    let mut only = CpuSet::new();
    only.set(last.context("no processor may be used")?)?;
    Ok(sched_setaffinity(this, &only)?)
}

/// All that is loaded.
struct Bench {
    wrapper: Wrapper,
    established: Vec<Case>,
    lives: Vec<Vec<Case>>,
    balancers: BTreeMap<Load, Balancer>,
    prototypes: BTreeMap<Load, Prototype>,
    /// With an empty table.
    openers: BTreeMap<Load, Balancer>,
    figures: Figures,
}

impl Bench {
    fn new(options: &Options) -> Result<Self> {
        let established: Vec<_> =
            case::established().into_iter().filter(|&case| options.wants(case)).collect();
        let lives: Vec<_> = case::lives(options.opened)
            .into_iter()
            .filter(|life| life.iter().any(|&case| options.wants(case)))
            .collect();
        let mut bench = Self {
            wrapper: Wrapper::load()?,
            balancers: BTreeMap::new(),
            prototypes: BTreeMap::new(),
            openers: BTreeMap::new(),
            figures: Figures::default(),
            established,
            lives,
        };
        for &case in &bench.established {
            if let std::collections::btree_map::Entry::Vacant(e) = bench.balancers.entry(case.load) {
                let mut balancer = Balancer::filled(case.load)?;
                proves_right(&mut balancer, case)?;
                e.insert(balancer);
            }
            if has_prototype(case) && !bench.prototypes.contains_key(&case.load) {
                let mut prototype = Prototype::filled(case.load)?;
                proves_right(&mut prototype, case)?;
                bench.prototypes.insert(case.load, prototype);
            }
        }
        for load in bench.lives.iter().flatten().map(|case| case.load) {
            if let std::collections::btree_map::Entry::Vacant(e) = bench.openers.entry(load) {
                e.insert(Balancer::empty(load)?);
            }
        }
        ensure!(!(bench.established.is_empty() && bench.lives.is_empty()), "no case has such a name");
        Ok(bench)
    }

    /// Measures each case once.
    fn round(&mut self, options: &Options, round: usize) -> Result<()> {
        let Self { wrapper, established, lives, balancers, prototypes, openers, figures } = self;
        for &case in &*established {
            let run = Run { warm_up: options.warm_up, packets: options.packets, counted: false };
            if has_prototype(case)
                && let Some(prototype) = prototypes.get_mut(&case.load)
            {
                figures.add(prototype.name(), case, round, run.measure(wrapper, prototype, case)?);
            }
            let balancer = balancers.get_mut(&case.load).context("a table that was not filled")?;
            figures.add(balancer.name(), case, round, run.measure(wrapper, balancer, case)?);
        }
        for life in &*lives {
            let load = life.first().context("a life without a packet")?.load;
            let balancer = openers.get_mut(&load).context("no table for handshakes")?;
            balancer.clear()?;
            let run = Run { warm_up: FIRST_OPENED, packets: load.flows - FIRST_OPENED, counted: true };
            for &case in life {
                figures.add(balancer.name(), case, round, run.measure(wrapper, balancer, case)?);
            }
        }
        Ok(())
    }
}

/// Whether the prototype can be sent this.
fn has_prototype(case: Case) -> bool {
    !case.tc && !case.load.v6 && case.load.mode == Mode::NAT
}

/// How a batch is measured.
#[derive(Clone, Copy)]
struct Run {
    warm_up: u32,
    packets: u32,
    /// One flow after the other: each is sent one packet, and the warm-up's are other flows.
    counted: bool,
}

impl Run {
    /// Nanoseconds a packet, net of what the empty program costs.
    fn measure(self, wrapper: &mut Wrapper, subject: &mut dyn Subject, case: Case) -> Result<f64> {
        let (first, then) = if self.counted { (Some(0), Some(self.warm_up)) } else { (None, None) };
        wrapper.aim(case.hook(), Target::Empty)?;
        wrapper.send(case, self.warm_up, first)?;
        let empty = wrapper.send(case, self.packets, then)?;
        let program = subject.program(case.hook())?;
        wrapper.aim(case.hook(), Target::Program(&program))?;
        let before = subject.counted(case.sent)?;
        wrapper.send(case, self.warm_up, first)?;
        let whole = wrapper.send(case, self.packets, then)?;
        let counted = subject.counted(case.sent)? - before;
        let all = u64::from(self.warm_up + self.packets);
        if (counted as f64) < all as f64 * subject.share() {
            bail!("{}, {case}: {counted} of {all} packets went this way", subject.name());
        }
        Ok(whole - empty)
    }
}

/// Sends one frame of some flows each way, and looks at what leaves: the entries that were written directly do what those
/// of a handshake do.
fn proves_right(subject: &mut dyn Subject, case: Case) -> Result<()> {
    let Load { flows, mode, .. } = case.load;
    if mode.direct() || !case.sent.ours() {
        return Ok(());
    }
    let mut passed = 0;
    let some = [0, 1, 17, flows / 2, flows - 1];
    let some: Vec<_> = some.into_iter().filter(|&flow| flow < flows).collect();
    for &flow in &some {
        let ways = world::ways(case.load, flow);
        for (sent, macs, (to, from)) in [
            (Sent::ToReplica, world::TO_REPLICA, ways.replica),
            (Sent::ToClient, world::TO_CLIENT, ways.client),
        ] {
            let segment = world::segment(sent, case.load, flow);
            let left = subject.run(case.hook(), &segment.bytes())?;
            let expected = segment.through(macs, from, to).bytes();
            if left == segment.bytes() && subject.share() < 1.0 {
                passed += 1;
            } else {
                ensure!(
                    left == expected,
                    "{}, {case}: flow {flow} left as {left:02x?}, not {expected:02x?}",
                    subject.name()
                );
            }
        }
    }
    ensure!(passed < some.len(), "{}: {passed} of {} frames passed", subject.name(), 2 * some.len());
    Ok(())
}
