//! What the datapath needs of the kernel, by name and by the version that has it.

use aya::{
    maps::MapType,
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported, is_map_supported, is_program_supported},
    util::KernelVersion,
};

use super::error::{DatapathError, causes, os_error};

/// One thing that the kernel must have.
#[derive(Debug)]
pub struct Requirement {
    pub feature: &'static str,
    /// The first Linux that has it.
    pub since: &'static str,
    probe: fn() -> Result<bool, Box<dyn std::error::Error>>,
}

/// All of them, the oldest first.
pub const REQUIREMENTS: &[Requirement] = &[
    Requirement {
        feature: "the helper bpf_l4_csum_replace for TC",
        since: "4.1",
        probe: || Ok(is_helper_supported(ProgramType::SchedClassifier, BpfHelper::BPF_FUNC_l4_csum_replace)?),
    },
    Requirement {
        feature: "XDP programs",
        since: "4.8",
        probe: || Ok(is_program_supported(ProgramType::Xdp)?),
    },
    Requirement {
        feature: "the helper bpf_jiffies64 for XDP",
        since: "5.5",
        probe: || Ok(is_helper_supported(ProgramType::Xdp, BpfHelper::BPF_FUNC_jiffies64)?),
    },
    Requirement {
        feature: "BPF ring buffers",
        since: "5.8",
        probe: || Ok(is_map_supported(MapType::RingBuf)?),
    },
    // Older than this, and without a probe of their own: arrays that can be mapped (5.5), XDP links (5.9), and compare-and-exchange
    // of 32 bits (5.12).
    Requirement {
        feature: "XDP frames in several buffers",
        since: "5.18",
        probe: || Ok(is_helper_supported(ProgramType::Xdp, BpfHelper::BPF_FUNC_xdp_get_buff_len)?),
    },
];

/// The release of the running kernel.
pub fn running() -> String {
    nix::sys::utsname::uname()
        .map_or_else(|_| "?".into(), |name| name.release().to_string_lossy().into_owned())
}

/// Fails on the first requirement that the kernel does not meet.
pub fn check() -> Result<(), DatapathError> {
    for requirement in REQUIREMENTS {
        match (requirement.probe)() {
            Ok(true) => {}
            Ok(false) => {
                return Err(DatapathError::Unsupported {
                    feature: requirement.feature,
                    since: requirement.since,
                    running: running(),
                    remedy: "run a newer one",
                });
            }
            Err(error) if os_error(error.as_ref()) == Some(libc::EPERM) => {
                return Err(DatapathError::Permission {
                    operation: "ask the kernel for its BPF features".into(),
                });
            }
            Err(error) => {
                return Err(DatapathError::Object {
                    reason: format!(
                        "asking the kernel for {} failed: {}",
                        requirement.feature,
                        causes(error.as_ref())
                    ),
                });
            }
        }
    }
    Ok(())
}

/// What TC needs, and probes of replicas that answer directly.
pub(super) const TC_LINKS: (&str, &str) = ("TC links (TCX)", "6.6");

/// What to do where probes of replicas that answer directly lack them.
pub(super) const WITHOUT_STEERING: &str = "probes of services in mode \"dsr\" or \"ipip\" need them: use mode \"nat\", or turn \
     the probe off (service.probe.scheme = \"none\")";

/// Fails if the kernel cannot steer probes of replicas that answer directly.
pub fn check_probing() -> Result<(), DatapathError> {
    let (feature, since) = TC_LINKS;
    // By the version: the kernel makes a link only where there is an interface to put it on. Where the version cannot be
    // read, attaching will tell.
    if KernelVersion::current().map_or(true, |version| version >= KernelVersion::new(6, 6, 0)) {
        return Ok(());
    }
    Err(DatapathError::Unsupported { feature, since, running: running(), remedy: WITHOUT_STEERING })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> (u32, u32) {
        let (major, minor) = text.split_once('.').expect("two numbers");
        (major.parse().expect("a number"), minor.parse().expect("a number"))
    }

    #[test]
    fn they_come_the_oldest_first() {
        let versions: Vec<_> = REQUIREMENTS.iter().map(|requirement| version(requirement.since)).collect();
        assert!(versions.is_sorted(), "{versions:?}");
        let last = REQUIREMENTS.last().expect("there are some");
        assert_eq!(version(last.since), (5, 18));
    }

    #[test]
    fn the_version_of_the_running_kernel_can_be_read() {
        let (major, minor) = {
            let release = running();
            let mut numbers = release.split(['.', '-']);
            let mut next = || numbers.next().and_then(|number| number.parse().ok()).unwrap_or(0u32);
            (next(), next())
        };
        assert_eq!(version(TC_LINKS.1), (6, 6));
        assert_eq!(check_probing().is_ok(), (major, minor) >= (6, 6));
    }
}
