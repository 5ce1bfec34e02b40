//! What an agent that is started as this process was could do: capabilities, kernel, memory, open files, BPF file system.

use std::{
    fs,
    path::{Path, PathBuf},
};

use dtr_lb_common::abi;
use nix::unistd::{AccessFlags, access};

use super::finding::Findings;
use crate::{
    agent::descriptors,
    config::Config,
    datapath::{DatapathError, check_layout, check_place, memory, requirements},
};

/// Of include/uapi/linux/capability.h. CAP_SYS_ADMIN includes CAP_BPF and CAP_PERFMON.
const NET_ADMIN: u32 = 12;
const SYS_ADMIN: u32 = 21;
const PERFMON: u32 = 38;
const BPF: u32 = 39;

/// A part of the memory that is free, above which the flow tables are told to be large.
const LARGE_SHARE: u64 = 2;

/// What was found.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    /// The release of the running kernel.
    kernel: String,
    /// Whether it has what the datapath needs.
    features: Result<(), String>,
    /// Whether it can steer probes of replicas that answer directly.
    steering: Result<(), String>,
    /// The effective capabilities, a bit each; `None` if /proc does not tell.
    capabilities: Option<u64>,
    /// Bytes of memory that are available.
    available: Option<u64>,
    /// Open files that there may be.
    open_files: Option<u64>,
    bpffs: PathBuf,
    /// Whether pins can be kept there.
    pins: Result<(), String>,
    /// There are pins already: the memory is taken.
    pinned: bool,
    /// Whether the datapath that is pinned there, if one is, may be taken over, as far as this process may look.
    layout: Result<(), String>,
}

impl Facts {
    pub(super) fn read(config: &Config) -> Self {
        let bpffs = config.agent.bpffs.clone();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self {
            kernel: requirements::running(),
            features: requirements::check().map_err(|error| error.to_string()),
            steering: requirements::check_probing().map_err(|error| error.to_string()),
            capabilities: field(&status, "CapEff:").and_then(|bits| u64::from_str_radix(bits, 16).ok()),
            available: field(&memory, "MemAvailable:").and_then(|kib| Some(kib.parse::<u64>().ok()? << 10)),
            open_files: descriptors::obtainable().ok(),
            pins: pins(&bpffs),
            pinned: bpffs.join(format!("v{}", abi::LAYOUT_VERSION)).exists(),
            layout: layout(&bpffs, config.datapath.max_flows),
            bpffs,
        }
    }
}

#[cfg(test)]
impl Facts {
    /// Of a host on which all is well.
    pub(super) fn good() -> Self {
        Self {
            kernel: "6.18.0".into(),
            features: Ok(()),
            steering: Ok(()),
            capabilities: Some(1 << NET_ADMIN | 1 << PERFMON | 1 << BPF),
            available: Some(8 << 30),
            open_files: Some(4096),
            bpffs: "/sys/fs/bpf/dtr-lb".into(),
            pins: Ok(()),
            pinned: false,
            layout: Ok(()),
        }
    }
}

/// The first word after `name` in a text of lines.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()
}

/// That it may not be looked at is told by the capabilities.
fn layout(bpffs: &Path, max_flows: u32) -> Result<(), String> {
    match check_layout(bpffs, max_flows) {
        Ok(()) | Err(DatapathError::Permission { .. }) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

fn pins(bpffs: &Path) -> Result<(), String> {
    check_place(bpffs).map_err(|error| error.to_string())?;
    let place = if bpffs.exists() { bpffs } else { bpffs.parent().unwrap_or(bpffs) };
    access(place, AccessFlags::W_OK | AccessFlags::X_OK).map_err(|error| {
        format!(
            "{} may not be written to ({error}); run as root, or give the agent's user the directory",
            place.display()
        )
    })
}

/// Those that an agent needs and has not.
fn missing(capabilities: u64) -> Vec<&'static str> {
    let has = |bit: u32| capabilities & (1 << bit) != 0;
    let all = [
        ("CAP_NET_ADMIN", has(NET_ADMIN)),
        ("CAP_BPF", has(BPF) || has(SYS_ADMIN)),
        ("CAP_PERFMON", has(PERFMON) || has(SYS_ADMIN)),
    ];
    all.into_iter().filter_map(|(name, has)| (!has).then_some(name)).collect()
}

impl Findings {
    pub(super) fn process(&mut self, config: &Config, facts: &Facts) {
        self.kernel(facts);
        self.steering(config, &facts.steering);
        self.pinned(facts);
        self.memory(config, facts);
        let shortage = facts.open_files.and_then(|limit| descriptors::shortage(config, limit));
        shortage.into_iter().for_each(|shortage| self.warn("open files", shortage));
        let (nat, own) = (&config.datapath.nat_ports, config.datapath.nat_ports.clone().count());
        self.fact(
            "datapath.nat_ports",
            format!(
                "NAT ports {} to {}: up to {own} connections from an address of this host to each replica",
                nat.start(),
                nat.end()
            ),
        );
    }

    fn kernel(&mut self, Facts { kernel, features, capabilities, .. }: &Facts) {
        let missing = capabilities.map(missing).unwrap_or_default();
        if missing.is_empty() {
            match features {
                Ok(()) => self.fact("kernel", format!("kernel {kernel}: has what the datapath needs")),
                Err(error) => self.error("kernel", error),
            }
        } else {
            // The kernel's features are not told to those who lack them.
            self.error(
                "capabilities",
                format!(
                    "this process lacks {}, so it is not permitted to load the datapath, or to ask the kernel {kernel} for its \
                     features; run as root, or give it these (AmbientCapabilities= in its systemd unit)",
                    missing.join(", ")
                ),
            );
        }
    }

    fn pinned(&mut self, Facts { bpffs, pins, layout, .. }: &Facts) {
        match pins {
            Ok(()) => {
                self.fact("agent.bpffs", format!("BPF file system {}: can be written to", bpffs.display()));
            }
            Err(error) => self.error("agent.bpffs", error),
        }
        if let Err(error) = layout {
            self.error("agent.bpffs", error);
        }
    }

    fn memory(&mut self, config: &Config, Facts { available, pinned, .. }: &Facts) {
        let (wanted, flows) = (memory::estimate(config.datapath.max_flows), config.datapath.max_flows);
        let mib = wanted.div_ceil(1 << 20);
        self.fact("datapath.max_flows", format!("flow table: {mib} MiB of kernel memory for {flows} flows"));
        if let Some(available) = available
            && !pinned
            && wanted > available / LARGE_SHARE
        {
            self.warn(
                "datapath.max_flows",
                format!(
                    "the flow table takes {mib} MiB at the start, of {} MiB of memory that are available; set \
                     datapath.max_flows lower, or add memory",
                    available >> 20
                ),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HostFacts;

    fn judged(facts: &Facts) -> Findings {
        let text = "vip = \"10.0.0.10\"\ninterfaces = [\"eth0\"]\n[[replica]]\naddress = \"10.0.0.11\"\n";
        let host = HostFacts { ephemeral_ports: 32768..=60999 };
        let config = Config::parse(text, "test", &[], &host).expect("the config is valid");
        let mut found = Findings::default();
        found.process(&config, facts);
        found
    }

    #[test]
    fn a_good_host_is_told_in_facts_only() {
        let found = judged(&Facts::good());
        assert!(found.warnings.is_empty() && found.errors.is_empty(), "{found:?}");
        assert!(found.facts.iter().any(|fact| fact.contains("kernel 6.18.0: has what")), "{found:?}");
    }

    #[test]
    fn capabilities_that_are_missing_are_named() {
        for (capabilities, named) in [
            (0, &["CAP_NET_ADMIN", "CAP_BPF", "CAP_PERFMON"][..]),
            (1 << NET_ADMIN, &["CAP_BPF", "CAP_PERFMON"]),
            (1 << SYS_ADMIN, &["CAP_NET_ADMIN"]),
            (1 << NET_ADMIN | 1 << BPF, &["CAP_PERFMON"]),
            (1 << NET_ADMIN | 1 << SYS_ADMIN, &[]),
            (u64::MAX, &[]),
        ] {
            assert_eq!(missing(capabilities), named);
            let found = judged(&Facts {
                capabilities: Some(capabilities),
                features: if named.is_empty() { Ok(()) } else { Err("not permitted".into()) },
                ..Facts::good()
            });
            assert_eq!(found.errors.len(), usize::from(!named.is_empty()), "told once: {found:?}");
            assert!(named.iter().all(|name| found.errors[0].contains(name)), "{found:?}");
        }
    }

    #[test]
    fn what_an_agent_would_miss_is_told() {
        let old = Facts {
            features: Err("this kernel lacks ring buffers; run a newer one".into()),
            ..Facts::good()
        };
        assert!(judged(&old).errors[0].contains("ring buffers"));
        let unmounted = Facts { pins: Err("not in a BPF file system; mount one".into()), ..Facts::good() };
        assert!(judged(&unmounted).errors[0].contains("mount one"));
        let other = Facts {
            layout: Err("the datapath pinned at `/x` does not fit; remove it".into()),
            ..Facts::good()
        };
        assert!(judged(&other).errors[0].contains("does not fit"));
        let few = Facts { open_files: Some(64), ..Facts::good() };
        assert!(judged(&few).warnings[0].contains("LimitNOFILE="));
    }

    #[test]
    fn tables_too_large_for_the_memory_are_told_unless_they_are_there_already() {
        let small = Facts { available: Some(256 << 20), ..Facts::good() };
        assert!(judged(&small).warnings[0].contains("of 256 MiB"));
        assert_eq!(judged(&Facts { pinned: true, ..small }).warnings, []);
    }

    #[test]
    fn this_host_is_understood() {
        let status = fs::read_to_string("/proc/self/status").expect("/proc");
        let bits = field(&status, "CapEff:").expect("capabilities");
        assert!(u64::from_str_radix(bits, 16).is_ok(), "{bits}");
        let memory = fs::read_to_string("/proc/meminfo").expect("/proc");
        let available = field(&memory, "MemAvailable:").and_then(|kib| kib.parse::<u64>().ok());
        assert!(available.is_some_and(|kib| kib > 0));
    }
}
