//! What the config has to agree with on the host it is for.

use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

use super::error::ConfigError;

const PORT_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// Facts of one network namespace of one host. An argument of the checks, so that a config can be checked for a host
/// other than this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// The ports from which the kernel takes the source port of the host's own connections.
    pub ephemeral_ports: RangeInclusive<u16>,
}

impl HostFacts {
    /// Asks the kernel, for the network namespace of the calling thread.
    ///
    /// # Errors
    /// [`ConfigError::Host`] if `/proc` cannot be read or holds something else than two ports.
    pub fn read() -> Result<Self, ConfigError> {
        let path = Path::new(PORT_RANGE);
        let failed = |reason: String| ConfigError::Host { path: path.to_path_buf(), reason };
        let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        let ephemeral_ports =
            port_range(&text).ok_or_else(|| failed(format!("{:?} is not two ports", text.trim())))?;
        Ok(Self { ephemeral_ports })
    }
}

fn port_range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut ports = text.split_whitespace().map(str::parse::<u16>);
    match (ports.next(), ports.next(), ports.next()) {
        (Some(Ok(first)), Some(Ok(last)), None) if first <= last => Some(first..=last),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ports_make_a_range() {
        assert_eq!(port_range("32768\t60999\n"), Some(32768..=60999));
        for bad in ["", "1", "1 2 3", "2 1", "1 70000", "a b"] {
            assert_eq!(port_range(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn this_kernel_is_understood() {
        let facts = HostFacts::read().unwrap();
        assert!(!facts.ephemeral_ports.is_empty());
    }
}
