//! Builds the eBPF programs of dtr-lb-lab-ebpf and leaves them in `OUT_DIR` as `lab-programs`, where the lab includes them.

use std::process::ExitCode;

#[path = "../dtr-lb-ebpf/build_with.rs"]
mod programs;

const SOURCES: [&str; 4] = ["build.rs", "lab-ebpf/src", "lab-ebpf/Cargo.toml", "../Cargo.lock"];

fn main() -> ExitCode {
    programs::script("..", || {
        for source in SOURCES {
            println!("cargo::rerun-if-changed={source}");
        }
        programs::build("dtr-lb-lab-ebpf", "lab-ebpf").map(|_| ())
    })
}
