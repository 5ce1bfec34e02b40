//! Builds the eBPF programs of dtr-lb-ebpf for the BPF target and leaves each in `OUT_DIR` under its name
//! (`dtr-lb-ebpf`, `lab-stub`), where the agent includes it, and looks whether what the dashboard takes from npm is there. The toolchain is chosen by the rule that
//! `cargo xtask setup` follows. On success this says nothing.

use std::{
    env, io,
    path::Path,
    process::{Command, ExitCode},
};

use aya_build::{Package, Toolchain};

#[path = "../xtask/src/dashboard.rs"]
mod dashboard;
#[path = "../xtask/src/route.rs"]
mod route;

const PACKAGE: &str = "dtr-lb-ebpf";
const DIRECTORY: &str = "../dtr-lb-ebpf";

/// What the object is made from. Once a build script names anything, cargo watches nothing else by itself, and
/// aya-build names only the programs' own directory.
const SOURCES: [&str; 8] = [
    "build.rs",
    "../dtr-lb-ebpf/src",
    "../dtr-lb-ebpf/Cargo.toml",
    "../dtr-lb-common/src",
    "../dtr-lb-common/Cargo.toml",
    "../Cargo.lock",
    "../xtask/src/route.rs",
    "../xtask/src/dashboard.rs",
];

/// Makes the inner cargo report nothing but warnings and errors.
const QUIET: &str = "CARGO_TERM_QUIET";

fn main() -> ExitCode {
    // aya-build turns each line of the inner cargo's progress into a warning. The inner cargo is aya-build's
    // child, so what it should find in its environment has to be in this process's from the start.
    if env::var_os(QUIET).is_none()
        && let Ok(own) = env::current_exe()
        && let Ok(status) = Command::new(own).env(QUIET, "true").status()
    {
        return if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
    }
    for variable in [route::OVERRIDE, "RUSTC_BOOTSTRAP"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    for lock in dashboard::LOCKS {
        println!("cargo::rerun-if-changed={}/{lock}", dashboard::DIRECTORY);
    }
    match dashboard_is_complete().and_then(|()| build()) {
        Ok(used) => {
            println!("cargo::rustc-env=DTR_LB_BPF_TOOLCHAIN_USED={used}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            for line in why.lines() {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Builds the object; returns a description of what built it, for `dtr-lb --version`.
fn build() -> Result<String, String> {
    let package = Package { name: PACKAGE, root_dir: DIRECTORY, ..Package::default() };
    let listed = Command::new("rustup").args(["toolchain", "list"]).output();
    let toolchain = match &listed {
        Ok(list) => {
            let list = String::from_utf8_lossy(&list.stdout);
            let name = route::choose(env::var(route::OVERRIDE).ok(), &list);
            if !route::is_installed(&name, &list) {
                return Err(missing(&name, &format!("rustup has no toolchain {name}")));
            }
            name
        }
        // Without rustup, as in a distribution's package build, there is one compiler, and aya-build takes it.
        Err(why) if why.kind() == io::ErrorKind::NotFound => String::new(),
        Err(why) => return Err(format!("cannot run rustup to choose the eBPF toolchain: {why}")),
    };
    if !linker_is_on_path() {
        return Err(missing(&toolchain, "bpf-linker is not on PATH"));
    }
    aya_build::build_ebpf([package], Toolchain::Custom(&toolchain)).map_err(|why| {
        format!(
            "the eBPF programs were not built (toolchain {}): {why:#}\n\
             The compiler's messages are the warnings above. If they are not about the programs' own code, \
             `cargo xtask setup` finds out what is wrong with the toolchain",
            if toolchain.is_empty() { "that is on PATH" } else { &toolchain }
        )
    })?;
    Ok(describe(&toolchain))
}

/// The binary embeds it, so that without it there is nothing to compile.
fn dashboard_is_complete() -> Result<(), String> {
    dashboard::is_complete(Path::new(dashboard::DIRECTORY)).map_err(|what| {
        format!("{what}\nRun `cargo xtask setup`, or `npm ci` in dtr-lb-agent/{}", dashboard::DIRECTORY)
    })
}

fn missing(toolchain: &str, what: &str) -> String {
    format!(
        "the eBPF programs cannot be built: {what}\n\
         Run `cargo xtask setup`: it installs what is missing, or says how to. (Toolchain: {toolchain}; \
         {} in the environment overrides it)",
        route::OVERRIDE
    )
}

fn linker_is_on_path() -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| directory.join("bpf-linker").is_file())
}

/// For instance `dtr-lb-bpf: rustc 1.96.0 (ac68faa20 2026-05-25)`.
fn describe(toolchain: &str) -> String {
    let mut rustc = if toolchain.is_empty() {
        Command::new("rustc")
    } else {
        let mut rustup = Command::new("rustup");
        rustup.args(["run", toolchain, "rustc"]);
        rustup
    };
    let version = rustc.arg("--version").output().map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned(),
    );
    let name = if toolchain.is_empty() { "PATH" } else { toolchain };
    format!("{name}: {version}")
}
