//! `cargo xtask setup`: finds what the build and the tests need on this machine, and installs what is missing.
//!
//! It looks, plans ([`crate::plan`]), says what it is about to do and why, does it, and looks again: what an
//! installation was good for is decided by trying, never by its exit status. Every other command runs it
//! first; with nothing missing that takes some tens of milliseconds.

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    command::{captured, cargo, find_program, line, logged, succeeds, target_dir, workspace_root},
    dashboard, packages,
    plan::{Distro, Facts, Plan, Step, linker_arguments, llvm_prefix},
    route,
    toolchain::{self, DISTRO_RUSTC, DISTRO_RUSTLIB, Fault},
};

/// The packages of the distribution's compiler for BPF.
const COMPILER_PACKAGES: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];
/// The LLVM of that compiler, for as long as it is not there to be asked.
const EXPECTED_LLVM: u32 = 22;
/// How often to act and look again: once for packages, once for a linker that then turns out not to fit, and
/// once for an LLVM that is not the expected one.
const ROUNDS: usize = 3;

/// How much a command needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The eBPF toolchain.
    Build,
    /// That, and the programs that the tests run.
    All,
}

/// Makes sure that all is there, installing what is missing.
pub(crate) fn ensure(scope: Scope) -> Result<()> {
    let log = target_dir().join("setup").join("setup.log");
    let mut before = Plan::default();
    for round in 0.. {
        let (facts, ready) = look(scope)?;
        let plan = Plan::new(&facts);
        if plan.is_empty() {
            println!("setup: ready ({ready})");
            break;
        }
        announce(&facts, &plan, "will");
        if !plan.by_hand.is_empty() {
            bail!("{} Run:\n\n{}\n", refusal(&facts), indented(&plan.by_hand));
        }
        if round == ROUNDS || plan == before {
            bail!("what is missing (above) was installed and is still missing; the log is {}", log.display());
        }
        for step in &plan.steps {
            act(step, &log)?;
        }
        before = plan;
    }
    Ok(())
}

/// Only says what is missing; an error if anything is.
pub(crate) fn check() -> Result<()> {
    let (facts, ready) = look(Scope::All)?;
    let plan = Plan::new(&facts);
    if plan.is_empty() {
        println!("setup: ready ({ready})");
        return Ok(());
    }
    announce(&facts, &plan, "would");
    if plan.by_hand.is_empty() {
        let commands = plan.steps.iter().flat_map(Step::commands).collect::<Vec<_>>();
        bail!("something is missing. Run `cargo xtask setup`, which does this:\n\n{}\n", indented(&commands));
    }
    bail!("{} Run:\n\n{}\n", refusal(&facts), indented(&plan.by_hand));
}

fn announce(facts: &Facts, plan: &Plan, will: &str) {
    if let Some(fault) = &facts.fault {
        println!("setup: {fault}");
    }
    if let Some(what) = missing_in_dashboard() {
        println!("setup: {what}");
    }
    for program in &facts.programs {
        println!("setup: the tests' program {} is not on PATH", program.name);
    }
    for text in plan.steps.iter().flat_map(Step::describe) {
        println!("setup: {will} {text}");
    }
}

fn refusal(facts: &Facts) -> &'static str {
    if facts.overridden && facts.fault.is_some() {
        "DTR_LB_BPF_TOOLCHAIN names a toolchain that cannot build the eBPF programs."
    } else if facts.apt && !facts.root {
        "This needs root."
    } else {
        "This machine's packages cannot provide all of it."
    }
}

fn indented(lines: &[String]) -> String {
    lines.iter().map(|text| format!("    {text}")).collect::<Vec<_>>().join("\n")
}

/// What is there, and one line about it.
fn look(scope: Scope) -> Result<(Facts, String)> {
    let toolchains = toolchain::installed()?;
    let overridden = env::var(route::OVERRIDE).ok().filter(|name| !name.is_empty());
    let chosen = route::choose(overridden.clone(), &toolchains);
    let programs = if scope == Scope::All { packages::missing_programs() } else { Vec::new() };
    let (description, fault) = match toolchain::probe(&chosen, &toolchains) {
        Ok(description) => (description, None),
        Err(fault) => (String::new(), Some(fault)),
    };
    let broken = fault.is_some();
    let apt = find_program("apt-get").is_some();
    let facts = Facts {
        nightly_works: broken
            && chosen != route::NIGHTLY
            && toolchain::probe(route::NIGHTLY, &toolchains).is_ok(),
        linker: !matches!(fault, Some(Fault::NoLinker | Fault::LinkerBroken { .. })) && linker_starts(broken),
        distro: if broken && apt { distro()? } else { None },
        overridden: overridden.is_some(),
        root: effective_user_is_root(),
        chosen,
        fault,
        dashboard_missing: missing_in_dashboard().is_some(),
        npm: find_program("npm").is_some(),
        programs,
        apt,
    };
    let tests = if scope == Scope::All { "; the tests' programs are there" } else { "" };
    Ok((facts, format!("{description}{tests}")))
}

fn dashboard_directory() -> PathBuf {
    workspace_root().join("dtr-lb-agent").join(dashboard::DIRECTORY)
}

/// What the dashboard's files from npm lack.
fn missing_in_dashboard() -> Option<String> {
    dashboard::is_complete(&dashboard_directory()).err()
}

/// The fault that is reported is the first one; the linker's may hide behind it.
fn linker_starts(ask: bool) -> bool {
    !ask || find_program("bpf-linker").is_some_and(|path| succeeds(Command::new(path).arg("--version")))
}

pub(crate) fn effective_user_is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|found| std::os::unix::fs::MetadataExt::uid(&found) == 0)
}

/// What the distribution's route lacks, where there is one.
fn distro() -> Result<Option<Distro>> {
    let has_compiler =
        Path::new(DISTRO_RUSTC).exists() && toolchain::precompiled_core(Path::new(DISTRO_RUSTLIB)).is_some();
    if !has_compiler && !is_debian() && !packages::known(&COMPILER_PACKAGES) {
        return Ok(None);
    }
    let compiler = if has_compiler { Vec::new() } else { COMPILER_PACKAGES.map(str::to_owned).to_vec() };
    let llvm = Some(EXPECTED_LLVM)
        .filter(|_| !has_compiler)
        .or_else(toolchain::distro_llvm_major)
        .unwrap_or(EXPECTED_LLVM);
    let linker = [
        format!("llvm-{llvm}-dev"),
        format!("libpolly-{llvm}-dev"),
        "libzstd-dev".to_owned(),
        "zlib1g-dev".to_owned(),
    ];
    Ok(Some(Distro {
        compiler: packages::not_installed(&compiler),
        linker: packages::not_installed(&linker),
        llvm,
        directory: data_directory()?.join("dtr-lb").join("bpf-toolchain"),
        cargo: captured(Command::new("rustup").args(["which", "cargo"]))?.trim().into(),
    }))
}

/// Debian itself has the packages even if apt's lists, never fetched, do not know them yet.
fn is_debian() -> bool {
    fs::read_to_string("/etc/os-release")
        .is_ok_and(|text| text.lines().any(|line| line == "ID=debian" || line == "ID=\"debian\""))
}

/// The link is the user's, like rustup's other toolchains, and serves every checkout.
fn data_directory() -> Result<PathBuf> {
    let set = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    set("XDG_DATA_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".local/share")))
        .context("neither XDG_DATA_HOME nor HOME is set to a path: no place for the toolchain's link")
}

fn act(step: &Step, log: &Path) -> Result<()> {
    match step {
        Step::Packages(wanted) => {
            let names = wanted.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
            packages::install(&names, log)
        }
        Step::Link { directory, cargo } => link(directory, cargo, log),
        Step::Dashboard => logged(Command::new("npm").arg("ci").current_dir(dashboard_directory()), log),
        Step::Unlink => logged(Command::new("rustup").args(["toolchain", "uninstall", route::LINKED]), log),
        Step::Linker { llvm } => {
            let mut command = cargo();
            command.args(linker_arguments(*llvm)).env("LLVM_PREFIX", llvm_prefix(*llvm));
            // It is a program of its own: a target directory or flags meant for this workspace are not its.
            command.env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS");
            println!("setup: {}", line(&command));
            logged(&mut command, log)
        }
    }
}

/// rustup takes any directory that has `bin` and `lib` for a toolchain.
fn link(directory: &Path, cargo: &Path, log: &Path) -> Result<()> {
    for (target, name) in [
        (Path::new(DISTRO_RUSTC), "bin/rustc"),
        (cargo, "bin/cargo"),
        (Path::new(DISTRO_RUSTLIB), "lib/rustlib"),
    ] {
        let path = directory.join(name);
        let place = || {
            fs::create_dir_all(path.parent().unwrap_or(directory))?;
            if path.is_symlink() {
                fs::remove_file(&path)?;
            }
            symlink(target, &path)
        };
        place().with_context(|| format!("cannot link {} to {}", path.display(), target.display()))?;
    }
    logged(Command::new("rustup").args(["toolchain", "link", route::LINKED]).arg(directory), log)
}
