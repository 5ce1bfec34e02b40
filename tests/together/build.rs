//! Builds the eBPF programs of dtr-lb-together-ebpf and leaves them in `OUT_DIR` as `together-programs`.

use std::process::ExitCode;

#[path = "../../dtr-lb-ebpf/build_with.rs"]
mod programs;

const SOURCES: [&str; 6] = [
    "build.rs",
    "../together-ebpf/src",
    "../together-ebpf/Cargo.toml",
    "../../dtr-lb-common/src",
    "../../dtr-lb-common/Cargo.toml",
    "../../Cargo.lock",
];

fn main() -> ExitCode {
    programs::script("../..", || {
        for source in SOURCES {
            println!("cargo::rerun-if-changed={source}");
        }
        programs::build("dtr-lb-together-ebpf", "../together-ebpf").map(|_| ())
    })
}
