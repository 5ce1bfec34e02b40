//! The loaded wrappers, and how long a packet takes behind one.

use std::time::Duration;

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{Array, ProgramArray},
    programs::{ProgramFd, SchedClassifier, TestRun as _, TestRunOptions, Xdp},
};
use bytemuck::cast;
use dtr_lb_agent::datapath::Hook;
use dtr_lb_bench_ebpf::flows::Order;
use dtr_lb_common::abi::Mode;
use nix::time::{ClockId, clock_gettime};

use super::{PROGRAMS, case::Case, world};

/// The wrappers.
pub(crate) struct Wrapper {
    ebpf: Ebpf,
    empty: [ProgramFd; 2],
    /// What the next batch's random numbers begin with.
    random: u64,
}

/// What goes on after a wrapper.
#[derive(Clone, Copy)]
pub(crate) enum Target<'a> {
    /// A program that does nothing.
    Empty,
    Program(&'a ProgramFd),
}

impl Wrapper {
    pub(crate) fn load() -> Result<Self> {
        let mut ebpf = Ebpf::load(PROGRAMS)?;
        for name in ["xdp_v4", "xdp_v6", "xdp_outer_v4", "xdp_outer_v6"] {
            xdp(&mut ebpf, name)?.load()?;
        }
        for name in ["tc_v4", "tc_v6"] {
            tc(&mut ebpf, name)?.load()?;
        }
        let under_xdp = xdp(&mut ebpf, "xdp_empty")?;
        under_xdp.load()?;
        let under_xdp = under_xdp.fd()?.try_clone()?;
        let under_tc = tc(&mut ebpf, "tc_empty")?;
        under_tc.load()?;
        let under_tc = under_tc.fd()?.try_clone()?;
        Ok(Self { ebpf, empty: [under_xdp, under_tc], random: world::SEED })
    }

    /// Says what goes on after the wrappers of a hook.
    pub(crate) fn aim(&mut self, hook: Hook, target: Target<'_>) -> Result<()> {
        let (name, empty) = match hook {
            Hook::Tc => ("TC_TARGET", 1),
            Hook::NativeXdp | Hook::GenericXdp => ("XDP_TARGET", 0),
        };
        let program = match target {
            Target::Empty => &self.empty[empty],
            Target::Program(program) => program,
        };
        let mut map: ProgramArray<_> = self.ebpf.map_mut(name).context(name)?.try_into()?;
        Ok(map.set(0, program, 0)?)
    }

    /// Runs so many packets of a case: of flows at random, or of those from `first` on. Nanoseconds a packet, by the time
    /// that this thread had on its processor.
    pub(crate) fn send(&mut self, case: Case, packets: u32, first: Option<u32>) -> Result<f64> {
        let (frame, order) = world::ordered(case);
        // Any odd number will do: the generator must not stand at 0, and batches are to differ.
        self.random = self.random.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let counted = first.is_some().into();
        let order = Order { random: self.random, next: first.unwrap_or(0), counted, ..order };
        let map = self.ebpf.map_mut("ORDER").context("no map of orders")?;
        let mut map: Array<_, [u8; size_of::<Order>()]> = map.try_into()?;
        map.set(0, cast::<_, [u8; size_of::<Order>()]>(order), 0)?;
        let outer = case.load.mode == Mode::IPIP;
        let name = match (case.hook(), outer, case.load.v6) {
            (Hook::Tc, _, false) => "tc_v4",
            (Hook::Tc, _, true) => "tc_v6",
            (_, false, false) => "xdp_v4",
            (_, false, true) => "xdp_v6",
            (_, true, false) => "xdp_outer_v4",
            (_, true, true) => "xdp_outer_v6",
        };
        let options = TestRunOptions { data_in: Some(&frame), repeat: packets, ..TestRunOptions::default() };
        let ebpf = &mut self.ebpf;
        let (begun, ended) = if case.tc {
            let program = tc(ebpf, name)?;
            let begun = now()?;
            program.test_run(options)?;
            (begun, now()?)
        } else {
            let program = xdp(ebpf, name)?;
            let begun = now()?;
            program.test_run(options)?;
            (begun, now()?)
        };
        Ok((ended - begun).as_nanos() as f64 / f64::from(packets))
    }
}

/// Time of this thread on its processor: what others take of it does not count. The system call itself is in it, for a
/// batch with the empty program as for one with another.
fn now() -> Result<Duration> {
    Ok(Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?))
}

fn xdp<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    Ok(ebpf.program_mut(name).with_context(|| format!("no program `{name}`"))?.try_into()?)
}

fn tc<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier> {
    Ok(ebpf.program_mut(name).with_context(|| format!("no program `{name}`"))?.try_into()?)
}
