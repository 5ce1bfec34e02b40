//! What a trace is asked to show.

use std::{collections::BTreeSet, time::Duration};

use bytemuck::Zeroable as _;
use dtr_lb_common::{
    abi::{SNAP_MAX, ServiceKey, TraceFilter, Tuple},
    address::Address,
    verdict::Verdict,
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{config::prefix_or_none, directory::Directory};

/// How long a trace lasts if nobody says, in seconds: nobody is to forget one.
pub const SECONDS: u64 = 60;
/// How long it may last, in seconds.
pub const LONGEST: u64 = 3600;
/// How many packets are shown if nobody says.
pub const COUNT: u64 = 10_000;
/// Bytes of a frame that are taken if nobody says: all headers, and how the data begins.
pub const SNAP: u32 = 256;
/// Without frames, nothing of one is wanted.
const NO_SNAP: u32 = 0;

/// As it is asked for: packets for which all that is given holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// The client of the packet's connection is in it.
    #[serde(default, deserialize_with = "prefix_or_none")]
    pub client: Option<IpNet>,
    /// The packet's connection is to it.
    pub service: Option<String>,
    /// The same by its port.
    pub port: Option<u16>,
    /// Verdicts, with commas; `passed`, `answered` and `dropped` are all of theirs.
    pub verdicts: Option<String>,
    pub count: Option<u64>,
    pub seconds: Option<u64>,
    /// Bytes of a frame that are taken.
    pub snap: Option<u32>,
    /// Whether frames are told as well.
    #[serde(default)]
    pub frames: bool,
}

/// What the datapath is told, and what is looked at when it has told of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub filter: TraceFilter,
    /// The ends of the service; none for all.
    services: Option<BTreeSet<ServiceKey>>,
    pub count: u64,
    pub limit: Duration,
    pub frames: bool,
}

/// What cannot be traced.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    #[error("no service is called `{name}`; there are: {known}")]
    Service { name: String, known: String },
    #[error("service `{0}` is not at port {1}")]
    Port(String, u16),
    #[error(
        "`{name}` is no verdict; there are: passed, answered and dropped for all of theirs, and {}",
        Verdict::ALL.iter().map(|verdict| verdict.name()).collect::<Vec<_>>().join(", ")
    )]
    Verdict { name: String },
    #[error("a trace shows 1 packet at least")]
    Count,
    #[error("a trace lasts for 1 to {LONGEST} seconds, not {0}")]
    Seconds(u64),
    #[error("of a frame 1 to {SNAP_MAX} bytes are taken, not {0}")]
    Snap(u32),
}

impl Order {
    pub fn new(query: &Query, directory: &Directory) -> Result<Self, OrderError> {
        let Query { client, service, port, verdicts, count, seconds, snap, frames } = query;
        let services = service.as_ref().map(|name| ends(name, *port, directory)).transpose()?;
        // One port for the datapath, if there is but one.
        let ports: BTreeSet<_> = services.iter().flatten().map(|key| key.port.get()).chain(*port).collect();
        let one = if let [port] = ports.iter().copied().collect::<Vec<_>>()[..] { port } else { 0 };
        let (network, mask) = client.as_ref().map_or((Address::NONE, Address::NONE), masked);
        let snap = match snap {
            Some(snap) if !(1..=SNAP_MAX as u32).contains(snap) => return Err(OrderError::Snap(*snap)),
            _ if !frames => NO_SNAP,
            Some(snap) => *snap,
            None => SNAP,
        };
        let seconds = seconds.unwrap_or(SECONDS);
        if !(1..=LONGEST).contains(&seconds) {
            return Err(OrderError::Seconds(seconds));
        }
        let count = count.unwrap_or(COUNT);
        if count == 0 {
            return Err(OrderError::Count);
        }
        let named = verdicts.as_deref().map(bits).transpose()?;
        let filter = TraceFilter {
            verdicts: named.unwrap_or(u64::MAX),
            client: network,
            client_mask: mask,
            port: one.into(),
            snap,
            // Who names a verdict wants to see all of it.
            ours: u32::from(named.is_none()),
            ..TraceFilter::zeroed()
        };
        let limit = Duration::from_secs(seconds);
        Ok(Self { filter, services, count, limit, frames: *frames })
    }

    /// Whether a packet that the datapath has told of is to be shown; by the tuple of its client's packets.
    pub(super) fn takes(&self, client: &Tuple) -> bool {
        let key = ServiceKey::new(client.destination, client.destination_port);
        self.services.as_ref().is_none_or(|services| services.contains(&key))
    }

    /// Whether packets that concern no service are left out.
    pub fn leaves_out(&self) -> bool {
        self.filter.ours != 0
    }
}

fn ends(name: &str, port: Option<u16>, directory: &Directory) -> Result<BTreeSet<ServiceKey>, OrderError> {
    let mut ends = directory.ends(name);
    if ends.is_empty() {
        let known = directory.services().into_iter().collect::<Vec<_>>().join(", ");
        return Err(OrderError::Service { name: name.to_owned(), known });
    }
    if let Some(port) = port {
        ends.retain(|key| key.port.get() == port);
        if ends.is_empty() {
            return Err(OrderError::Port(name.to_owned(), port));
        }
    }
    Ok(ends)
}

/// What may be named as a verdict.
pub fn verdicts() -> Vec<&'static str> {
    let all = Verdict::ALL.iter().map(|verdict| verdict.name());
    GROUPS.into_iter().chain(all).collect()
}

/// How long a trace is to last, in whole seconds.
pub fn parse_limit(text: &str) -> Result<Duration, String> {
    let limit = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    match limit.as_secs() {
        seconds @ 1..=LONGEST => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("a trace lasts for 1 to {LONGEST} seconds")),
    }
}

/// All verdicts of a kind.
const GROUPS: [&str; 3] = ["passed", "answered", "dropped"];

/// The bits of verdicts by their names.
fn bits(names: &str) -> Result<u64, OrderError> {
    names.split(',').map(str::trim).try_fold(0, |bits, name| {
        let group = GROUPS.contains(&name).then(|| format!("{name}_"));
        let meant = |verdict: &&Verdict| match &group {
            Some(prefix) => verdict.name().starts_with(prefix),
            None => verdict.name() == name,
        };
        match Verdict::ALL.iter().filter(meant).map(|verdict| TraceFilter::bit(*verdict)).sum::<u64>() {
            0 => Err(OrderError::Verdict { name: name.to_owned() }),
            found => Ok(bits | found),
        }
    })
}

/// A prefix in the form that addresses have in the datapath, and the mask of the bits that count.
fn masked(prefix: &IpNet) -> (Address, Address) {
    let length = u32::from(prefix.prefix_len()) + if prefix.addr().is_ipv4() { 96 } else { 0 };
    let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
    (Address::from(prefix.network()), Address::v6(bytemuck::cast(mask.to_be_bytes())))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use dtr_lb_common::address::Be16;

    use super::*;

    fn order(query: &Query) -> Result<Order, OrderError> {
        Order::new(query, &Directory::default())
    }

    fn client(address: &str) -> Tuple {
        Tuple {
            source: address.parse::<IpAddr>().expect("an address").into(),
            destination: IpAddr::from([10, 0, 0, 10]).into(),
            source_port: Be16::new(40_000),
            destination_port: Be16::new(443),
        }
    }

    #[test]
    fn without_a_word_it_shows_what_concerns_services_for_a_while() {
        let order = order(&Query::default()).expect("it is valid");
        assert_eq!((order.count, order.limit), (COUNT, Duration::from_secs(SECONDS)));
        assert!(order.leaves_out());
        assert_eq!(order.filter.snap, 0, "nobody asked for frames");
        for verdict in Verdict::ALL {
            assert!(order.filter.takes(*verdict as u32, &client("192.0.2.1")), "{verdict:?}");
        }
    }

    #[test]
    fn verdicts_are_named_one_by_one_or_by_kind() {
        let named = |names: &str| {
            let query = Query { verdicts: Some(names.into()), ..Query::default() };
            let order = order(&query).expect("it is valid");
            assert!(!order.leaves_out(), "{names}");
            let shown = |verdict: &&Verdict| order.filter.takes(**verdict as u32, &client("192.0.2.1"));
            Verdict::ALL.iter().filter(shown).map(|verdict| verdict.name()).collect::<Vec<_>>()
        };
        assert_eq!(named("forwarded"), ["forwarded"]);
        assert_eq!(named("dropped_denied, forwarded"), ["forwarded", "dropped_denied"]);
        let dropped = named("dropped");
        assert!(dropped.len() > 5 && dropped.iter().all(|name| name.starts_with("dropped_")), "{dropped:?}");
        let error = order(&Query { verdicts: Some("drop".into()), ..Query::default() }).unwrap_err();
        assert!(error.to_string().contains("`drop`") && error.to_string().contains("dropped_denied"));
    }

    #[test]
    fn clients_are_those_of_the_prefix() {
        let cases = [
            ("192.0.2.0/24", "192.0.2.7", true),
            ("192.0.2.0/24", "192.0.3.7", false),
            ("0.0.0.0/0", "192.0.2.7", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::/64", "2001:db8::ffff", true),
            ("2001:db8::/64", "2001:db8:0:1::1", false),
        ];
        for (prefix, address, expected) in cases {
            let query = Query { client: Some(prefix.parse().expect("a prefix")), ..Query::default() };
            let filter = order(&query).expect("it is valid").filter;
            assert_eq!(filter.takes(0, &client(address)), expected, "{prefix} {address}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let cases = [
            (Query { service: Some("web".into()), ..Query::default() }, "no service is called `web`"),
            (Query { count: Some(0), ..Query::default() }, "1 packet at least"),
            (Query { seconds: Some(0), ..Query::default() }, "not 0"),
            (Query { seconds: Some(LONGEST + 1), ..Query::default() }, "seconds"),
            (Query { snap: Some(0), frames: true, ..Query::default() }, "not 0"),
            (Query { snap: Some(SNAP_MAX as u32 + 1), frames: true, ..Query::default() }, "2048"),
        ];
        for (query, words) in cases {
            let error = order(&query).expect_err("it is refused").to_string();
            assert!(error.contains(words), "{query:?}: {error}");
        }
    }
}
