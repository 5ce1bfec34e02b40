//! Builds the eBPF programs of dtr-lb-bench-ebpf and leaves them in `OUT_DIR` as `bench-programs`, where the benchmark
//! includes them.

use std::process::ExitCode;

#[path = "../../dtr-lb-ebpf/build_with.rs"]
mod programs;

const SOURCES: [&str; 4] = ["build.rs", "../bench-ebpf/src", "../bench-ebpf/Cargo.toml", "../../Cargo.lock"];

fn main() -> ExitCode {
    programs::script("../..", || {
        for source in SOURCES {
            println!("cargo::rerun-if-changed={source}");
        }
        programs::build("dtr-lb-bench-ebpf", "../bench-ebpf").map(|_| ())
    })
}
