//! Debian packages: which are installed, and installing more, so that none of the services that some bring is started.

use std::{collections::BTreeSet, path::Path, process::Command};

use anyhow::{Error, Result};

use crate::{
    command::{captured, logged},
    programs::services_of,
    service_policy::ServicePolicy,
};

/// All that are installed.
pub(crate) fn installed() -> Result<BTreeSet<String>> {
    let known = captured(Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status} ${Package}\n"]))?;
    Ok(known.lines().filter_map(|line| line.strip_prefix("installed ")).map(str::to_owned).collect())
}

/// Those of these packages that are not installed.
pub(crate) fn not_installed(packages: &[String]) -> Vec<String> {
    // Without dpkg nothing is.
    let installed = installed().unwrap_or_default();
    packages.iter().filter(|package| !installed.contains(*package)).cloned().collect()
}

/// Whether apt's lists know all of these packages.
pub(crate) fn known<S: AsRef<str>>(packages: &[S]) -> bool {
    // Its exit status tells only whether it knows one of them.
    let shown = captured(
        Command::new("apt-cache")
            .args(["show", "--no-all-versions"])
            .args(packages.iter().map(AsRef::as_ref)),
    )
    .unwrap_or_default();
    let is_shown = |name: &str| shown.lines().any(|line| line.strip_prefix("Package: ") == Some(name));
    packages.iter().all(|package| is_shown(package.as_ref()))
}

/// Installs packages. apt's lists are fetched only if they lack one of them or turn out to be outdated.
pub(crate) fn install(packages: &[String], log: &Path) -> Result<()> {
    let _policy = ServicePolicy::forbid_starting(packages)?;
    let mut updated = false;
    if !known(packages) {
        update(log);
        updated = true;
    }
    match logged(&mut apt_install(packages), log) {
        Err(_) if !updated => {
            update(log);
            logged(&mut apt_install(packages), log)?;
        }
        result => result?,
    }
    keep_from_starting_at_boot(packages, log);
    Ok(())
}

/// Installs one package, with the lists as they are.
pub(crate) fn install_alone(package: &str, log: &Path) -> Result<()> {
    let packages = [package.to_owned()];
    let _policy = ServicePolicy::forbid_starting(&packages)?;
    logged(&mut apt_install(&packages), log)?;
    keep_from_starting_at_boot(&packages, log);
    Ok(())
}

/// `--no-remove`: a package of somebody's must never be the price (rustc-web, for one, replaces Debian's rustc).
fn apt_install(packages: &[String]) -> Command {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    apt.args(["install", "--yes", "--no-install-recommends", "--no-remove"]).args(packages);
    apt
}

/// Another repository's failure does not matter as long as the packages turn up; if they do not, the
/// installation that follows says so, and the log has the reason. Returns whether all is well.
pub(crate) fn update(log: &Path) -> bool {
    println!("setup: apt-get update (apt's lists lack a package, or are out of date)");
    let outcome = logged(&mut apt_update(), log);
    if let Err(why) = &outcome {
        println!("setup: going on in spite of this: {}", reason(why));
    }
    outcome.is_ok()
}

/// Of what apt has said, what it calls errors, on one line; the whole of it is in the log.
pub(crate) fn reason(error: &Error) -> String {
    let text = format!("{error:#}");
    let errors: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("E: ")).map(str::trim).collect();
    if errors.is_empty() { text.replace('\n', " ") } else { errors.join("; ") }
}

/// apt-get otherwise calls it a success to have reached no repository at all.
fn apt_update() -> Command {
    let mut apt = Command::new("apt-get");
    apt.args(["update", "-o", "APT::Update::Error-Mode=any"]);
    apt
}

/// On a running systemd, an installed service would also start at the next boot.
fn keep_from_starting_at_boot(packages: &[String], log: &Path) {
    let services = services_of(packages);
    if services.is_empty() || !Path::new("/run/systemd/system").exists() {
        return;
    }
    println!("setup: disabling the services {}: the tests start their own", services.join(" "));
    if let Err(why) = logged(Command::new("systemctl").arg("disable").args(services), log) {
        println!("setup: going on in spite of this: {why:#}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_apt_says_the_errors_are_repeated() {
        let said = Error::msg(
            "`apt-get` failed. The end of its output:\nReading...\nE: Unable to locate package x\nE: no",
        );
        assert_eq!(reason(&said), "Unable to locate package x; no");
        assert_eq!(reason(&Error::msg("killed\nby 9")), "killed by 9");
    }
}
