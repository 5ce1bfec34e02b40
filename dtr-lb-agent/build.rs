//! Builds the eBPF programs of dtr-lb-ebpf for the BPF target and leaves them in `OUT_DIR` as `dtr-lb-ebpf`, where the agent
//! includes them, and looks whether what the dashboard takes from npm is there. The toolchain is chosen by the rule that
//! `cargo xtask setup` follows. On success this says nothing.

use std::{path::Path, process::ExitCode};

#[path = "../xtask/src/dashboard.rs"]
mod dashboard;
#[path = "../dtr-lb-ebpf/build_with.rs"]
mod programs;

/// What the object is made from, but for what builds it.
const SOURCES: [&str; 7] = [
    "build.rs",
    "../dtr-lb-ebpf/src",
    "../dtr-lb-ebpf/Cargo.toml",
    "../dtr-lb-common/src",
    "../dtr-lb-common/Cargo.toml",
    "../Cargo.lock",
    "../xtask/src/dashboard.rs",
];

fn main() -> ExitCode {
    programs::script("..", || {
        for source in SOURCES {
            println!("cargo::rerun-if-changed={source}");
        }
        for lock in dashboard::LOCKS {
            println!("cargo::rerun-if-changed={}/{lock}", dashboard::DIRECTORY);
        }
        dashboard_is_complete()?;
        let used = programs::build("dtr-lb-ebpf", "../dtr-lb-ebpf")?;
        println!("cargo::rustc-env=DTR_LB_BPF_TOOLCHAIN_USED={used}");
        Ok(())
    })
}

/// The binary embeds it, so that without it there is nothing to compile.
fn dashboard_is_complete() -> Result<(), String> {
    dashboard::is_complete(Path::new(dashboard::DIRECTORY)).map_err(|what| {
        format!("{what}\nRun `cargo xtask setup`, or `npm ci` in dtr-lb-agent/{}", dashboard::DIRECTORY)
    })
}
