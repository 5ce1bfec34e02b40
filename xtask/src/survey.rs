//! What this machine has and lacks, looked at and not changed.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    command::{captured, find_program, succeeds, workspace_root},
    dashboard, packages,
    plan::{Distro, Facts},
    programs::{PROGRAMS, Program},
    route,
    scope::Scope,
    toolchain::{self, DISTRO_RUSTC, DISTRO_RUSTLIB, Fault},
};

/// The packages of the distribution's compiler for BPF.
const COMPILER_PACKAGES: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];
/// The LLVM of that compiler, for as long as it is not there to be asked.
const EXPECTED_LLVM: u32 = 22;

/// Programs that cannot be had on this machine, with the reason.
pub(crate) type GivenUp = BTreeMap<&'static str, String>;

/// What is there, and one line about it.
pub(crate) fn look(scope: Scope, given_up: &GivenUp) -> Result<(Facts, String)> {
    let toolchains = toolchain::installed()?;
    let overridden = env::var(route::OVERRIDE).ok().filter(|name| !name.is_empty());
    let chosen = route::choose(overridden.clone(), &toolchains);
    let programs = missing_programs(scope).filter(|program| !given_up.contains_key(program.name)).collect();
    let (description, fault) = match toolchain::probe(&chosen, &toolchains) {
        _ if !scope.builds() => ("nothing is built here".to_owned(), None),
        Ok(description) => (description, None),
        Err(fault) => (String::new(), Some(fault)),
    };
    let broken = fault.is_some();
    let apt = find_program("apt-get").is_some();
    let facts = Facts {
        nightly_works: broken
            && chosen != route::NIGHTLY
            && toolchain::probe(route::NIGHTLY, &toolchains).is_ok(),
        linker_installed: find_program("bpf-linker").is_some(),
        linker: !matches!(fault, Some(Fault::NoLinker | Fault::LinkerBroken { .. })) && linker_starts(broken),
        distro: if broken && apt { distro()? } else { None },
        overridden: overridden.is_some(),
        root: effective_user_is_root(),
        chosen,
        fault,
        dashboard_missing: scope.builds() && missing_in_dashboard().is_some(),
        npm: find_program("npm").is_some(),
        programs,
        apt,
    };
    Ok((facts, description))
}

pub(crate) fn dashboard_directory() -> PathBuf {
    workspace_root().join("dtr-lb-agent").join(dashboard::DIRECTORY)
}

/// What the dashboard's files from npm lack.
pub(crate) fn missing_in_dashboard() -> Option<String> {
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

/// The programs that the command needs and that are not there.
fn missing_programs(scope: Scope) -> impl Iterator<Item = Program> {
    PROGRAMS.into_iter().filter(move |program| program.is_needed_by(scope) && !program.is_here())
}
