//! What did not become part of the effective config, and why: for the log, and for who asked for it.

use std::{fmt, net::IpAddr};

use crate::config::HostError;

/// Something that is said and not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// An address of a host name, or a replica that was added, is not used. It is looked at again with the next change.
    LeftOut { service: String, replica: String, why: Unfit },
    /// More addresses than are taken; the rest in order of addresses is left out.
    TooMany { service: String, name: String, found: usize, taken: usize },
    /// A change that was made at run time is about nothing any more, and is forgotten.
    Forgotten { service: String, change: String, why: &'static str },
}

/// Why a replica cannot be one of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    Host(HostError),
    Vip { service: String },
    Mode { vip: IpAddr, rule: &'static str },
    SameAddress { replica: String },
    SameName { address: IpAddr },
}

impl fmt::Display for Note {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeftOut { service, replica, why } => {
                write!(out, "service `{service}`: replica `{replica}` is left out: {why}")
            }
            Self::TooMany { service, name, found, taken } => write!(
                out,
                "service `{service}`: `{name}` has {found} addresses, of which the first {taken} are taken; list the others \
                 by themselves, or give the name fewer"
            ),
            Self::Forgotten { service, change, why } => {
                write!(out, "service `{service}`: {change} at run time, which is forgotten: {why}")
            }
        }
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(error) => error.fmt(out),
            Self::Vip { service } => {
                write!(out, "its address is a VIP of service `{service}`; a replica needs one of its own")
            }
            Self::Mode { vip, rule } => write!(out, "it does not go together with VIP {vip}: {rule}"),
            Self::SameAddress { replica } => write!(out, "replica `{replica}` has this address already"),
            Self::SameName { address } => write!(out, "the replica at {address} has this name already"),
        }
    }
}
