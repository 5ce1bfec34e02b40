//! How eBPF programs are built for whoever embeds them: included by path by the build scripts of dtr-lb-agent and of
//! the tests' packages. The toolchain is chosen by the rule that `cargo xtask setup` follows.

use std::{
    env, io,
    process::{Command, ExitCode},
};

use aya_build::{Package, Toolchain};

#[path = "../xtask/src/route.rs"]
mod route;

/// Makes the inner cargo report nothing but warnings and errors.
const QUIET: &str = "CARGO_TERM_QUIET";

/// What every object is made with. Once a build script names anything, cargo watches nothing else by itself, and
/// aya-build names only the programs' own directory. Paths from a directory of the workspace.
const SOURCES: [&str; 2] = ["dtr-lb-ebpf/build_with.rs", "xtask/src/route.rs"];

/// Runs `build`, quietly, and tells cargo how it went. `root` is the workspace's directory.
pub(crate) fn script(root: &str, build: impl FnOnce() -> Result<(), String>) -> ExitCode {
    // aya-build turns each line of the inner cargo's progress into a warning. The inner cargo is aya-build's
    // child, so what it should find in its environment has to be in this process's from the start.
    if env::var_os(QUIET).is_none()
        && let Ok(own) = env::current_exe()
        && let Ok(status) = Command::new(own).env(QUIET, "true").status()
    {
        return if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    for source in SOURCES {
        println!("cargo::rerun-if-changed={root}/{source}");
    }
    for variable in [route::OVERRIDE, "RUSTC_BOOTSTRAP"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            for line in why.lines() {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Builds the programs of a package, and leaves each in `OUT_DIR` under its name; returns a description of what built
/// them.
pub(crate) fn build(name: &str, directory: &str) -> Result<String, String> {
    let package = Package { name, root_dir: directory, ..Package::default() };
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
