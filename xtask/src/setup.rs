//! `cargo xtask setup`: finds what a command needs on this machine, and installs what is missing.
//!
//! It looks ([`crate::survey`]), plans ([`crate::plan`]), says what it is about to do, why and how much that is, does it, and
//! looks again: what an installation was good for is decided by trying, never by its exit status. Every other command runs it
//! first, for itself; with nothing missing that takes some tens of milliseconds.

use std::{collections::BTreeMap, fs, os::unix::fs::symlink, path::Path, process::Command};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::ValueEnum as _;

use crate::{
    apt,
    command::{cargo, line, logged, target_dir},
    packages,
    plan::{Facts, Plan, Step, linker_arguments, llvm_prefix},
    programs::PROGRAMS,
    route,
    scope::Scope,
    survey::{GivenUp, dashboard_directory, look, missing_in_dashboard},
    toolchain::{DISTRO_RUSTC, DISTRO_RUSTLIB},
    unpacked,
};

/// How often to act and look again: once for packages, once for a linker that then turns out not to fit, and
/// once for an LLVM that is not the expected one.
const ROUNDS: usize = 3;

/// Makes sure that all is there, installing what is missing. Returns the programs that cannot be had, if the command goes on
/// without them.
pub(crate) fn ensure(scope: Scope) -> Result<GivenUp> {
    let log = target_dir().join("setup").join("setup.log");
    let mut given_up = GivenUp::new();
    let mut before = Plan::default();
    for round in 0.. {
        let (facts, ready) = look(scope, &given_up)?;
        let plan = Plan::new(&facts, &mut |packages| judge(packages, facts.root.then_some(&log)))?;
        if plan.is_empty() {
            for (name, why) in &given_up {
                println!("setup: {name} cannot be had: {why}");
            }
            println!("setup: ready for {} ({ready})", scope.command());
            break;
        }
        announce(scope, &facts, &plan, if plan.by_hand.is_empty() { "will" } else { "would" });
        refuse(scope, &facts, &plan)?;
        if round == ROUNDS || plan == before {
            bail!("what is missing (above) was installed and is still missing; the log is {}", log.display());
        }
        for step in &plan.steps {
            act(step, &log, &mut given_up).map_err(|why| anyhow!("{why:#}\n{}", by_hand(scope, &plan)))?;
        }
        if !given_up.is_empty() && !scope.goes_on_without() {
            let reasons = given_up.iter().map(|(name, why)| format!("{name} cannot be had: {why}"));
            bail!("{}\n{}", reasons.collect::<Vec<_>>().join("\n"), by_hand(scope, &plan));
        }
        before = plan;
    }
    Ok(given_up)
}

/// Only says what is missing, for one command or a block for each; an error if anything is.
pub(crate) fn check(scope: Option<Scope>) -> Result<()> {
    let scopes = scope.map_or_else(|| Scope::value_variants().to_vec(), |scope| vec![scope]);
    let mut unready = Vec::new();
    // Several commands need the same.
    let mut judged = BTreeMap::new();
    for scope in scopes {
        let (facts, ready) = look(scope, &GivenUp::new())?;
        let plan = Plan::new(&facts, &mut |packages| {
            if !judged.contains_key(packages) {
                judged.insert(packages.to_vec(), judge(packages, None)?);
            }
            Ok(judged[packages].clone())
        })?;
        if plan.is_empty() {
            println!("{}: ready ({ready})", scope.command());
            continue;
        }
        announce(scope, &facts, &plan, "would");
        unready.push((scope, facts, plan));
    }
    match unready.as_slice() {
        [] => Ok(()),
        [(scope, facts, plan)] => {
            refuse(*scope, facts, plan)?;
            bail!(
                "something is missing for {0}. `cargo xtask {0}` and `cargo xtask setup --for {1}` do this:\n\n{2}\n",
                scope.command(),
                name(*scope),
                indented(&plan.commands())
            )
        }
        several => {
            let names = several.iter().map(|(scope, ..)| scope.command()).collect::<Vec<_>>();
            bail!(
                "something is missing for: {}. Each installs what it needs; `cargo xtask setup --check --for COMMAND` shows the \
                 commands",
                names.join(", ")
            )
        }
    }
}

/// As `--for` takes it.
fn name(scope: Scope) -> String {
    scope.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// Which packages do no harm, and how much these are. Where a log is given, apt's lists may be fetched; without lists nobody can
/// say what would do harm.
fn judge(packages: &[String], log: Option<&Path>) -> Result<(apt::Sorted, Option<apt::Size>)> {
    let unjudged = || Ok((apt::Sorted { harmless: packages.to_vec(), harmful: Vec::new() }, None));
    if !packages::known(packages) {
        match log {
            // The installation will say so, and what to do by hand.
            Some(log) if !packages::update(log) && !packages::known(packages) => return unjudged(),
            Some(_) => {}
            None => return unjudged(),
        }
    }
    let sorted = apt::sort_out(packages, apt::simulate)?;
    let size = apt::size(&sorted.harmless)?;
    Ok((sorted, size))
}

fn announce(scope: Scope, facts: &Facts, plan: &Plan, will: &str) {
    println!("{}: something is missing", scope.command());
    if let Some(fault) = &facts.fault {
        println!("  {fault}");
    }
    if let (true, Some(what)) = (facts.dashboard_missing, missing_in_dashboard()) {
        println!("  {what}");
    }
    if !facts.programs.is_empty() {
        let names = facts.programs.iter().map(|program| program.name).collect::<Vec<_>>();
        println!("  not on PATH: {}", names.join(" "));
    }
    for text in plan.steps.iter().flat_map(Step::describe) {
        match text.strip_prefix(' ') {
            Some(detail) => println!("     {detail}"),
            None => println!("  {will} {text}"),
        }
    }
    for (package, why, harm) in &plan.blocked {
        println!("  cannot install {package} ({why}): {harm}");
    }
}

/// An error if there is something that only the developer can do.
fn refuse(scope: Scope, facts: &Facts, plan: &Plan) -> Result<()> {
    if !plan.by_hand.is_empty() {
        let why = if facts.overridden && facts.fault.is_some() {
            "DTR_LB_BPF_TOOLCHAIN names a toolchain that cannot build the eBPF programs."
        } else if facts.apt && !facts.root {
            "This needs root."
        } else {
            "This machine's packages cannot provide all of it."
        };
        bail!("{why} Run:\n\n{}\n\nand `cargo xtask {}` again", indented(&plan.by_hand), scope.command());
    }
    if !plan.blocked.is_empty() {
        let names = plan.blocked.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>().join(" ");
        let commands =
            ["apt-get update".to_owned(), format!("apt-get install --no-install-recommends {names}")];
        bail!(
            "the build needs packages that apt cannot add as things are (the reasons are above). Decide yourself what may be \
             changed, with:\n\n{}\n\nand run `cargo xtask {}` again",
            indented(&commands),
            scope.command()
        );
    }
    Ok(())
}

/// What to do if set-up itself fails at it.
fn by_hand(scope: Scope, plan: &Plan) -> String {
    format!(
        "set-up failed. What it was to do is, by hand:\n\n{}\n\nand then `cargo xtask {}` again",
        indented(&plan.commands()),
        scope.command()
    )
}

fn indented(lines: &[String]) -> String {
    lines.iter().map(|text| format!("    {text}")).collect::<Vec<_>>().join("\n")
}

fn act(step: &Step, log: &Path, given_up: &mut GivenUp) -> Result<()> {
    match step {
        Step::Packages { wanted, .. } => {
            let mut names = wanted.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
            names.dedup();
            install(&names, log, given_up)
        }
        Step::Unpack { program, harm } => {
            println!("setup: unpacking {}", program.package);
            if let Err(why) = unpacked::take(program, log) {
                given_up.insert(program.name, format!("{harm}; {}", packages::reason(&why)));
            }
            Ok(())
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

/// All at once; if that fails, one by one, so that one package's trouble hurts only what needs it.
fn install(names: &[String], log: &Path, given_up: &mut GivenUp) -> Result<()> {
    let Err(together) = packages::install(names, log) else { return Ok(()) };
    println!("setup: together they cannot be installed, so each is tried: {}", packages::reason(&together));
    for name in names {
        let Err(why) = packages::install_alone(name, log) else { continue };
        let mut programs = PROGRAMS.iter().filter(|program| program.package == name).peekable();
        if programs.peek().is_none() {
            bail!("the build needs {name}: {}", packages::reason(&why));
        }
        for program in programs {
            if let Err(unpacking) = unpacked::take(program, log) {
                let reasons = [packages::reason(&why), packages::reason(&unpacking)];
                given_up.insert(
                    program.name,
                    format!("apt: {}; as files it is no better: {}", reasons[0], reasons[1]),
                );
            }
        }
    }
    Ok(())
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
