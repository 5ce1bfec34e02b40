//! A `[[replica]]` table: one address, or a host name that stands for as many as DNS says.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::address::not_one_host;
use super::host_name::is_host_name;
use super::name::is_name;

/// The largest weight.
pub const MAX_WEIGHT: u16 = 256;
/// The weight of a replica for which none is written.
pub const DEFAULT_WEIGHT: u16 = 100;

/// Where a replica is, as written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Host {
    /// An address of one host, in its own family.
    Address(IpAddr),
    /// A host name, in lower case, without a dot at its end.
    Name(String),
}

/// What is written is neither an address of one host nor a host name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    #[error("neither an IP address nor a host name")]
    Neither,
    #[error("{0} address: no host on the network has it")]
    NotOneHost(&'static str),
    #[error("an IPv4 address written as IPv6; write {canonical}")]
    Mapped { canonical: IpAddr },
}

impl Host {
    /// Reads it by the rules of the config.
    ///
    /// # Errors
    /// See [`HostError`].
    pub fn parse(text: &str) -> Result<Self, HostError> {
        match text.parse::<IpAddr>() {
            Ok(address) => usable(address).map(|()| Self::Address(address)),
            Err(_) if is_host_name(text) => Ok(Self::Name(text.to_ascii_lowercase())),
            Err(_) => Err(HostError::Neither),
        }
    }

    /// The address, if it is one.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(*address),
            Self::Name(_) => None,
        }
    }

    /// The host name, if it is one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Address(_) => None,
            Self::Name(name) => Some(name),
        }
    }
}

/// Whether packets can be sent to it as to one host.
///
/// # Errors
/// Why not.
pub(crate) fn usable(address: IpAddr) -> Result<(), HostError> {
    if let Some(kind) = not_one_host(address) {
        return Err(HostError::NotOneHost(kind));
    }
    let canonical = address.to_canonical();
    if canonical != address {
        // It would be a second name for the same host, and another family to all that looks at it.
        return Err(HostError::Mapped { canonical });
    }
    Ok(())
}

impl fmt::Display for Host {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(out),
            Self::Name(name) => name.fmt(out),
        }
    }
}

impl TryFrom<String> for Host {
    type Error = HostError;

    fn try_from(text: String) -> Result<Self, HostError> {
        Self::parse(&text)
    }
}

impl From<Host> for String {
    fn from(host: Host) -> Self {
        host.to_string()
    }
}

/// A `[[replica]]` table as a service takes it; or one that an operator added at run time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its host unless it was given another; unique among the replicas.
    #[serde(deserialize_with = "name")]
    pub name: String,
    /// Unique among the replicas.
    pub host: Host,
    /// 0 to [`MAX_WEIGHT`].
    #[serde(deserialize_with = "weight")]
    pub weight: u16,
    /// For how long its share rises to its weight after it has come back; zero: at once.
    #[serde(default)]
    pub slow_start: Duration,
    /// It gets new flows only while no other is up.
    #[serde(default)]
    pub backup: bool,
}

impl Listed {
    /// The name of the replica at `address`: its own, or, if it is one of several, with the address behind it.
    #[must_use]
    pub fn name_at(&self, address: IpAddr) -> String {
        match self.host {
            Host::Address(_) => self.name.clone(),
            Host::Name(_) => format!("{}/{address}", self.name),
        }
    }
}

fn name<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    // A host name that is its own name may be longer than a name may.
    if is_name(&name) || is_host_name(&name) {
        return Ok(name);
    }
    Err(serde::de::Error::custom(format!("\"{name}\" is not usable as a name")))
}

fn weight<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    checked_weight(u16::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

/// A weight that was read from elsewhere than the config.
pub(crate) fn checked_weight(weight: u16) -> Result<u16, String> {
    if weight <= MAX_WEIGHT {
        return Ok(weight);
    }
    Err(format!("weight {weight} must be between 0 and {MAX_WEIGHT}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_an_address_or_a_name() {
        for (text, expected) in [
            ("10.0.0.11", Ok(Host::Address([10, 0, 0, 11].into()))),
            ("DTR.Example.com", Ok(Host::Name("dtr.example.com".into()))),
            ("10.0.0.256", Err("neither an IP address nor a host name")),
            ("a b", Err("neither")),
            ("127.0.0.1", Err("a loopback")),
            ("::ffff:10.0.0.1", Err("write 10.0.0.1")),
        ] {
            match (Host::parse(text), expected) {
                (Ok(host), Ok(expected)) => assert_eq!(host, expected, "{text}"),
                (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{text}: {error}"),
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
    }

    #[test]
    fn what_is_stored_is_checked_when_it_is_read() {
        let read = |name: &str, host: &str, weight: u32| {
            let text = format!(r#"{{"name":"{name}","host":"{host}","weight":{weight}}}"#);
            serde_json::from_str::<Listed>(&text)
        };
        let good = read("r1", "10.0.0.11", 256).unwrap();
        assert_eq!((good.weight, good.slow_start), (256, Duration::ZERO));
        assert_eq!(serde_json::from_str::<Listed>(&serde_json::to_string(&good).unwrap()).unwrap(), good);
        for (name, host, weight) in [("r 1", "10.0.0.11", 1), ("r1", "0.0.0.0", 1), ("r1", "10.0.0.11", 257)]
        {
            assert!(read(name, host, weight).is_err(), "{name} {host} {weight}");
        }
    }
}
