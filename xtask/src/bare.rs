//! `cargo xtask bare`: the README's two commands in a Debian 12 that has nothing of this repository's, as a newcomer's has.
//!
//! Twice. The first root is as bare as Debian gets, with the C compiler and rustup that the README asks for, and a clean clone of
//! the last commit: everything is installed and built there, bpf-linker too. The second one has a newer `qemu-utils` than Debian
//! 12's, which stands in the way of its `qemu-system-x86`: what must not keep `run` and `test` from anything, and what the system
//! test's set-up has to go round. It takes over what the first one has compiled (the clone with `target`, and cargo's home), but
//! no package: everything that is installed is installed again.
//!
//! From this machine come rustup's toolchain, read-only; the crates that cargo has downloaded, to save downloads; and how apt, npm
//! and cargo reach their registries here. Nothing of the host is changed, and nothing is left but `target/bare`.

mod root;

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    command::{captured, target_dir, workspace_root},
    scope::Scope,
    setup,
    survey::effective_user_is_root,
};
use root::Root;

/// The README's first command, with an end.
const RUN: &str = "cargo xtask run --for 10s";
/// The README's second command, in part: set-up is that of the whole, all tests are built, and for each program that set-up brings
/// a test is played that cannot do without it. The whole takes ten minutes, and is what `cargo xtask ci` runs anyway.
const TEST: &str = "cargo xtask test";
const PART: [&str; 10] = [
    "http_and_https::xdp_one_arm", // nginx, curl, openssl, ip, ethtool, mount
    "an_image_is_pushed_and_pulled::tc_two_arm", // docker-registry, skopeo
    "a_trace_is_a_capture_file::xdp_one_arm", // tshark
    "prometheus_reads_it",         // prometheus
    "alerts_fire_where_they_should", // promtool
    "manual_pages_are_clean",      // mandoc
    "a_name_is_asked_for_once_in_its_time", // dnsmasq
    "killed_while_it_takes_over",  // strace
    "each_connection_is_in_the_flow_log_once::tc", // jq
    "without_a_token_nothing_can_be_changed", // chromium
];
const CHECK: &str = "cargo xtask setup --check";
/// What the system test needs, qemu-system-x86 among it.
const SYSTEM: &str = "cargo xtask setup --for system";
/// Somebody who is not root, with root's toolchain, before anything is installed.
const WITHOUT_ROOT: &str = "cargo build --quiet --package xtask && chmod 711 /root && mkdir -m 777 -p /tmp/nobody target/setup && \
    setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/tmp/nobody RUSTUP_HOME=/root/.rustup \
    target/debug/xtask setup --for run";

/// For how long after a change below xtask/ CI tries this, counted from the change to the commit that is tried.
const CONCERNED: Duration = Duration::from_secs(48 * 3600);

/// How to try.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Options {
    /// Keep the roots below target/bare, to look into them
    #[arg(long)]
    keep: bool,
    /// Go on with the roots that `--keep` has left, and what is installed and built in them
    #[arg(long)]
    again: bool,
}

/// Makes both roots, one after the other, and runs the commands in them.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::ensure(Scope::Bare)?;
    if !effective_user_is_root() {
        bail!("a Debian of its own has files of root's: run `cargo xtask bare` as root");
    }
    let begun = Instant::now();
    let directory = target_dir().join("bare");
    if !options.again {
        remove(&directory)?;
    }
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let outcome = both(&directory, options.again);
    if !options.keep {
        for name in ["fresh", "backports"] {
            remove(&directory.join(name))?;
        }
    }
    println!(
        "bare: took {:.0} s; what was said is in {}",
        begun.elapsed().as_secs_f64(),
        directory.display()
    );
    outcome
}

fn both(directory: &Path, again: bool) -> Result<()> {
    let (fresh, backports) = if again {
        let fresh = Root::kept(directory, "fresh")?;
        fresh.update_repository()?;
        (fresh, Root::kept(directory, "backports")?)
    } else {
        let fresh = Root::make(directory, "fresh")?;
        let backports = fresh.copy(directory, "backports")?;
        fresh.clone_repository()?;
        let refused = "sudo apt-get install --no-install-recommends rustc-web";
        fresh.play(&[], WITHOUT_ROOT, Expected::Refusal(refused))?;
        // For the log: what each command would set up.
        fresh.play(&[], &format!("{CHECK} || true"), Expected::Success)?;
        (fresh, backports)
    };
    fresh.play(&[], RUN, Expected::Success)?;
    fresh.play(&[], &format!("{CHECK} --for run"), Expected::Success)?;
    fresh.play(&[], &part(), Expected::Success)?;
    fresh.play(&[], &format!("{CHECK} --for test"), Expected::Success)?;

    let how = backports.install_newer_qemu_utils()?;
    println!("bare: backports: {how}");
    backports.play(&[&fresh], RUN, Expected::Success)?;
    backports.play(&[&fresh], &part(), Expected::Success)?;
    backports.play(&[&fresh], SYSTEM, Expected::Success)?;
    backports.has_newer_qemu_utils()
}

fn part() -> String {
    [&[TEST][..], &PART].concat().join(" ")
}

/// What a command has to come to.
#[derive(Debug, Clone, Copy)]
enum Expected {
    Success,
    /// It fails, and says this.
    Refusal(&'static str),
}

/// Why CI is to try this, if it is.
pub(crate) fn is_due() -> Result<Option<String>> {
    let time = |paths: &[&str]| -> Result<Option<Duration>> {
        let mut git = Command::new("git");
        git.arg("-C").arg(workspace_root()).args(["log", "-1", "--format=%ct", "HEAD", "--"]).args(paths);
        let text = captured(&mut git).context("git does not tell when xtask/ was changed")?;
        Ok(text.trim().parse().ok().map(Duration::from_secs))
    };
    Ok(concerned(time(&["."])?, time(&["xtask", ".ci", ".cargo"])?))
}

/// From the time of the last commit, and that of the last one below xtask/.
fn concerned(last: Option<Duration>, ours: Option<Duration>) -> Option<String> {
    let (last, ours) = (last?, ours?);
    let hours = last.saturating_sub(ours).as_secs() / 3600;
    (last.saturating_sub(ours) < CONCERNED).then(|| {
        format!(
            "xtask/ has changed {hours} hours before the last commit (of {} that count)",
            CONCERNED.as_secs() / 3600
        )
    })
}

fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_below_xtask_concerns_the_commits_of_two_days() {
        let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
        assert!(concerned(hours(100), hours(100)).is_some());
        assert!(concerned(hours(100), hours(53)).unwrap().contains("47 hours"));
        assert_eq!(concerned(hours(100), hours(52)), None);
        assert_eq!(concerned(hours(100), None), None);
    }
}
