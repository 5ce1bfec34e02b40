//! Debian packages: which ones the tests need, which are installed, and installing them without starting the
//! services that some of them bring.

use std::{
    fs,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::command::{captured, find_program, logged, succeeds};

/// A program that the tests run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Program {
    /// The executable's name.
    pub(crate) name: &'static str,
    /// The Debian package that brings it.
    pub(crate) package: &'static str,
    /// What the tests use it for.
    pub(crate) why: &'static str,
}

/// Every program that the tests run.
pub(crate) const TEST_PROGRAMS: [Program; 20] = [
    Program { name: "nginx", package: "nginx", why: "a replica's front end in the lab, and the comparison" },
    Program { name: "docker-registry", package: "docker-registry", why: "the registry behind each replica" },
    Program { name: "skopeo", package: "skopeo", why: "the client that pushes and pulls images" },
    Program { name: "curl", package: "curl", why: "the client of the HTTP scenarios" },
    Program { name: "openssl", package: "openssl", why: "the replicas' certificates, and a TLS client" },
    Program { name: "dnsmasq", package: "dnsmasq-base", why: "the name server of replicas' host names" },
    Program { name: "ip", package: "iproute2", why: "the lab's namespaces and links" },
    Program { name: "ethtool", package: "ethtool", why: "the links' offloads, turned off in the lab" },
    Program { name: "chromium", package: "chromium", why: "the browser that tries the dashboard" },
    Program { name: "chromedriver", package: "chromium-driver", why: "drives that browser" },
    Program { name: "tshark", package: "tshark", why: "reads the capture files that a trace writes" },
    Program { name: "prometheus", package: "prometheus", why: "reads the metrics in a scenario" },
    Program { name: "promtool", package: "prometheus", why: "checks metrics and alert rules" },
    Program { name: "mandoc", package: "mandoc", why: "checks the manual pages" },
    Program { name: "strace", package: "strace", why: "kills the agent at a system call of a test's choice" },
    Program { name: "qemu-system-x86_64", package: "qemu-system-x86", why: "the machine of the system test" },
    Program { name: "mmdebstrap", package: "mmdebstrap", why: "the system in that machine" },
    Program { name: "mke2fs", package: "e2fsprogs", why: "its disk" },
    Program { name: "dpkg-shlibdeps", package: "dpkg-dev", why: "what the Debian package depends on" },
    Program { name: "lintian", package: "lintian", why: "what is wrong with the Debian package" },
];

/// The packages that start a service once installed.
pub(crate) const SERVICES: [&str; 3] = ["nginx", "docker-registry", "prometheus"];

/// The test programs that are not there.
pub(crate) fn missing_programs() -> Vec<Program> {
    TEST_PROGRAMS.into_iter().filter(|program| find_program(program.name).is_none()).collect()
}

/// Those of these packages that are not installed.
pub(crate) fn not_installed(packages: &[String]) -> Vec<String> {
    let installed = |package: &String| {
        captured(Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status}\n"]).arg(package))
            .is_ok_and(|status| status.lines().any(|line| line == "installed"))
    };
    packages.iter().filter(|package| !installed(package)).cloned().collect()
}

/// Whether apt's lists know all of these packages.
pub(crate) fn known<S: AsRef<std::ffi::OsStr>>(packages: &[S]) -> bool {
    succeeds(Command::new("apt-cache").arg("show").args(packages))
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

/// `--no-remove`: a package of somebody's must never be the price (rustc-web, for one, replaces Debian's rustc).
fn apt_install(packages: &[String]) -> Command {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    apt.args(["install", "--yes", "--no-install-recommends", "--no-remove"]).args(packages);
    apt
}

/// Another repository's failure does not matter as long as the packages turn up; if they do not, the
/// installation that follows says so, and the log has the reason.
fn update(log: &Path) {
    println!("setup: apt-get update (apt's lists lack a package, or are out of date)");
    if let Err(why) = logged(&mut apt_update(), log) {
        println!("setup: going on in spite of this: {why:#}");
    }
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

pub(crate) fn services_of(packages: &[String]) -> Vec<&'static str> {
    SERVICES.into_iter().filter(|service| packages.iter().any(|package| package == service)).collect()
}

const POLICY: &str = "/usr/sbin/policy-rc.d";
const POLICY_MARK: &str = "# dtr-lb: cargo xtask setup";

/// Keeps package installation from starting services: nginx would take port 80 of the developer's machine.
/// The administrator's own policy is left alone.
struct ServicePolicy {
    ours: Option<PathBuf>,
}

impl ServicePolicy {
    fn forbid_starting(packages: &[String]) -> Result<Self> {
        let services = services_of(packages);
        if services.is_empty() {
            return Ok(Self { ours: None });
        }
        let policy = PathBuf::from(POLICY);
        if let Ok(text) = fs::read_to_string(&policy) {
            if !text.contains(POLICY_MARK) {
                println!("setup: {POLICY} decides whether this is started now: {}", services.join(" "));
                return Ok(Self { ours: None });
            }
            // One of ours, from a run that was killed.
            fs::remove_file(&policy).with_context(|| format!("cannot remove {POLICY}"))?;
        }
        println!("setup: {POLICY} is put in place meanwhile, not to start {}", services.join(" "));
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(&policy)
            .with_context(|| format!("cannot create {POLICY}"))?;
        let guard = Self { ours: Some(policy) };
        std::io::Write::write_all(&mut file, policy_text(std::process::id()).as_bytes())
            .with_context(|| format!("cannot write {POLICY}"))?;
        Ok(guard)
    }
}

/// Forbids (101) as long as this process lives: should it be killed, what stays behind has no effect.
fn policy_text(process: u32) -> String {
    format!("#!/bin/sh\n{POLICY_MARK}\n[ -d /proc/{process} ] && exit 101\nexit 0\n")
}

impl Drop for ServicePolicy {
    fn drop(&mut self) {
        if let Some(path) = &self.ours
            && let Err(why) = fs::remove_file(path)
        {
            eprintln!("setup: cannot remove {POLICY}: {why}. Remove it, or services will not start");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_forbids_only_while_its_process_lives() {
        let verdict = |process| {
            let text = policy_text(process);
            Command::new("sh").args(["-c", &text, "policy-rc.d", "nginx", "start"]).status().unwrap().code()
        };
        assert_eq!(verdict(std::process::id()), Some(101));
        assert_eq!(verdict(u32::MAX), Some(0));
    }

    #[test]
    fn only_packages_with_a_service_need_the_policy() {
        let packages = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        assert_eq!(services_of(&packages(&["curl", "docker-registry"])), ["docker-registry"]);
        assert!(services_of(&packages(&["curl", "libnginx-mod-stream"])).is_empty());
        assert!(ServicePolicy::forbid_starting(&packages(&["curl"])).unwrap().ours.is_none());
    }

    #[test]
    fn every_service_belongs_to_a_package_that_is_installed() {
        for service in SERVICES {
            assert!(TEST_PROGRAMS.iter().any(|program| program.package == service), "{service}");
        }
    }
}
