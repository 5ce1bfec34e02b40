//! What the datapath needs of the kernel, by name and by the version that has it.

use aya::{
    maps::MapType,
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported, is_map_supported, is_program_supported},
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
        feature: "LRU hash maps",
        since: "4.10",
        probe: || Ok(is_map_supported(MapType::LruHash)?),
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
    // XDP links are older (5.9).
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

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> (u32, u32) {
        let (major, minor) = text.split_once('.').expect("two numbers");
        (major.parse().expect("a number"), minor.parse().expect("a number"))
    }

    #[test]
    fn they_come_the_oldest_first_and_end_with_links() {
        let versions: Vec<_> = REQUIREMENTS.iter().map(|requirement| version(requirement.since)).collect();
        assert!(versions.is_sorted(), "{versions:?}");
        let last = REQUIREMENTS.last().expect("there are some");
        assert_eq!((last.feature, version(last.since)), ("XDP links", (5, 9)));
    }

    #[test]
    fn the_version_of_the_running_kernel_can_be_read() {
        let links = REQUIREMENTS.last().expect("there are some");
        let (major, minor) = {
            let release = running();
            let mut numbers = release.split(['.', '-']);
            let mut next = || numbers.next().and_then(|number| number.parse().ok()).unwrap_or(0u32);
            (next(), next())
        };
        assert_eq!((links.probe)().expect("the version"), (major, minor) >= (5, 9));
    }
}
