//! `cargo xtask bench probes`: what probing costs the agent.

use std::path::Path;

use anyhow::Result;
use dtr_lb_tests::many_probes::{self, Figures};

use crate::write;

/// Measures, prints, and leaves the figures in `probes.json`.
pub(crate) fn run(directory: &Path) -> Result<()> {
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
