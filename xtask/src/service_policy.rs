//! `policy-rc.d`: what Debian's packages ask before they start a service of theirs.

use std::{fs, os::unix::fs::OpenOptionsExt as _, path::PathBuf};

use anyhow::{Context as _, Result};

use crate::programs::services_of;

const POLICY: &str = "/usr/sbin/policy-rc.d";
const POLICY_MARK: &str = "# dtr-lb: cargo xtask setup";

/// Keeps package installation from starting services: nginx would take port 80 of the developer's machine.
/// The administrator's own policy is left alone.
pub(crate) struct ServicePolicy {
    ours: Option<PathBuf>,
}

impl ServicePolicy {
    pub(crate) fn forbid_starting(packages: &[String]) -> Result<Self> {
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
    use std::process::Command;

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
        let packages = ["curl", "libnginx-mod-stream"].map(str::to_owned);
        assert!(ServicePolicy::forbid_starting(&packages).unwrap().ours.is_none());
    }
}
