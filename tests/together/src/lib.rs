//! Two processors of the kernel over one flow table of few buckets, and an oracle that knows which rewrite belongs to which
//! packet: `cargo xtask bench together` for long, and a test of the kernel's for some seconds.
//!
//! Each of two threads, on a processor of its own, has the real program run by `BPF_PROG_TEST_RUN` behind a wrapper
//! (`dtr-lb-together-ebpf`), which writes one packet after the other and looks at what became of each. Both send packets of all
//! connections, either way. Some connections stay; the others are opened, refused, left lying, closed in order or by a reset, and
//! opened again, each by the one processor that owns it, so that somebody knows what is to be. Their clients want more room and more
//! ports than there are. Strangers forge SYNs, FINs and resets.
//!
//! # What is demanded
//!
//! - A packet of a connection that was seen to be established, and that nobody has begun to close, is sent on.
//! - A packet that is sent on has the headers of its receiver, all bits of them, and checksums that fit; it leaves by the replica
//!   and port that its client's last SYN left by, or to the client whose SYN was the last one that left by that port. Only while such a SYN
//!   is under way on the other processor it may be the one or the other.
//! - No SYN leaves by the port of an established connection.
//! - What is passed to the host is as it came. Each packet is counted once.
//! - While packets go on, each entry that userspace reads is of one connection. When they rest, the whole table is what the plain
//!   model says (`walk`), and no lock is left.
//!
//! The agent's walk goes round meanwhile. Connections that nobody uses are made to look as if they had been silent for too long, so
//! that it, and whoever wants their room, ends them (`sleep`).

mod interrupts;
mod programs;
mod report;
mod session;
mod sleep;
mod steady;
mod walk;
pub mod world;

use std::thread;

use anyhow::{Context as _, Result, anyhow};
use dtr_lb_agent::datapath::Hook;
use nix::sched::{CloneFlags, CpuSet, sched_getaffinity, unshare};

pub use report::Report;
use world::Size;

/// What to do.
#[derive(Clone, Debug)]
pub struct Order {
    /// Packets in all, of both processors and over all tables.
    pub packets: u64,
    pub sizes: Vec<Size>,
    pub hook: Hook,
    /// Of the random numbers that choose packets. What both processors do at once is another thing each time.
    pub seed: u64,
}

/// Does it, in a network namespace of its own: the agent's walk tells the ends of connections that are over. Says how it goes.
pub fn run(order: &Order, say: impl Fn(&str) + Send + Sync) -> Result<Vec<Report>> {
    let processors = processors()?;
    let done = thread::scope(|scope| {
        let alone = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("leaving the network")?;
            let each = order.packets.div_ceil(order.sizes.len().max(1) as u64);
            let run = |size: &Size| {
                let report = session::run(order, size, each, processors, &say)?;
                say(&report.words());
                Ok(report)
            };
            order.sizes.iter().map(run).collect()
        });
        alone.join()
    });
    done.map_err(|panic| {
        let words = panic.downcast_ref::<String>().cloned();
        anyhow!("a thread panicked: {}", words.unwrap_or_default())
    })?
}

/// The two last processors that this process may use, as devices interrupt the first.
pub fn processors() -> Result<[usize; 2]> {
    let may = sched_getaffinity(nix::unistd::Pid::from_raw(0))?;
    let mut all = (0..CpuSet::count()).rev().filter(|&number| may.is_set(number).unwrap_or(false));
    match (all.next(), all.next()) {
        (Some(last), Some(before)) => Ok([before, last]),
        _ => Err(anyhow!("there is one processor, and it takes two")),
    }
}
