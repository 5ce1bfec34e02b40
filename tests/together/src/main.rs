//! `dtr-lb-together`: two processors over one flow table. `cargo xtask bench together` builds and runs it.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::{Parser, ValueEnum};
use dtr_lb_agent::datapath::Hook;
use dtr_lb_together::{Order, run, world::SIZES};

/// Two processors send packets over one flow table of few buckets, and an oracle looks at each.
#[derive(Debug, Parser)]
struct Arguments {
    /// Packets in all
    #[arg(long, default_value_t = 100_000_000)]
    packets: u64,
    /// The hook whose program they go through
    #[arg(long, value_enum, default_value_t = Program::Xdp)]
    hook: Program,
    /// Only the table of so many buckets
    #[arg(long)]
    buckets: Option<u32>,
    /// Of the random numbers that choose packets; by default the time
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Program {
    Xdp,
    Tc,
}

fn main() -> Result<()> {
    let Arguments { packets, hook, buckets, seed } = Arguments::parse();
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64;
    let order = Order {
        packets,
        sizes: SIZES
            .into_iter()
            .filter(|size| buckets.is_none_or(|buckets| size.buckets == buckets))
            .collect(),
        hook: match hook {
            Program::Xdp => Hook::NativeXdp,
            Program::Tc => Hook::Tc,
        },
        seed: seed.unwrap_or(now),
    };
    anyhow::ensure!(
        !order.sizes.is_empty(),
        "there is no table of so many buckets; there are those of 2, 4, 8 and 16"
    );
    println!("{packets} packets, seed {}", order.seed);
    let begun = Instant::now();
    run(&order, |words| println!("{words}"))?;
    println!("no fault in {packets} packets, {:.0} s", begun.elapsed().as_secs_f64());
    Ok(())
}
