//! The passive check: what the datapath saw fail, counted as nginx counts it (`max_fails` within `fail_timeout`). Pure:
//! counters, witnesses and time in, a word about the replica out. What becomes of the word is for the service.
//!
//! A refused connection is the replica's own word. That one was not answered is said by who sends SYNs: it counts only if clients of
//! several networks say so ([`network`]), so that neither one client behind a broken link nor one that means harm takes a replica
//! out; and a probe that passes outweighs it.

use std::{
    collections::{BTreeSet, VecDeque},
    net::IpAddr,
    ops::{Add, Sub},
    time::{Duration, Instant},
};

use dtr_lb_common::abi::Ticks;
use ipnet::IpNet;

use super::{ReplicaPlace, change::FailedConnections};

/// Networks of which clients must have had no answer, for that to count.
const NETWORKS: usize = 2;
/// Readings that are remembered of a replica at least, where the limit of failures is lower.
const READINGS: usize = 16;
/// Of so many connections that were steered to a replica, one must have failed at least, for its failures to count. A replica that is
/// gone fails all of them. A healthy one refuses one in some ten thousand under a flood: by the same port it has what is left of an
/// earlier handshake, and to a SYN with a number in its window Linux answers by a reset that looks like a refusal (`tcp_check_req`).
const SHARE: u64 = 16;
/// Clients that are named to the operator.
const NAMED: usize = 3;

/// What the datapath has counted for a replica of a service, since it has had the replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    pub place: ReplicaPlace,
    /// Connections that were steered to it.
    pub new_flows: u64,
    /// SYNs that were answered by a reset.
    pub refused: u64,
    /// SYNs that had to be repeated, as there was no answer.
    pub unanswered: u64,
    /// The clients who had to do so, as far as they are remembered. May be left out where `unanswered` has not changed.
    pub witnesses: Vec<Witness>,
}

/// A client who had to repeat a SYN, and when it did so last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Witness {
    pub source: IpAddr,
    pub at: Ticks,
}

/// The network that clients are near each other in. Of public addresses those that one owner has most likely (a stranger's
/// neighbours are many, and all are his): /16, and /48 of IPv6. Of private ones what an office or a rack has: /24 and /64, as all clients
/// of a company may be in 10.0.0.0/8.
fn network(source: IpAddr) -> IpNet {
    let length = match source {
        IpAddr::V4(v4) => {
            // Shared between a provider and its customers (RFC 6598).
            let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            if v4.is_private() || v4.is_link_local() || shared { 24 } else { 16 }
        }
        IpAddr::V6(v6) => {
            if v6.is_unique_local() || v6.is_unicast_link_local() {
                64
            } else {
                48
            }
        }
    };
    IpNet::new_assert(source, length).trunc()
}

/// Failed handshakes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Failures {
    pub(super) refused: u64,
    pub(super) unanswered: u64,
}

impl Failures {
    pub(super) fn count(self) -> u64 {
        self.refused.saturating_add(self.unanswered)
    }
}

impl Add for Failures {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            refused: self.refused.saturating_add(other.refused),
            unanswered: self.unanswered.saturating_add(other.unanswered),
        }
    }
}

impl Sub for Failures {
    type Output = Option<Self>;

    /// `None` if a counter went backwards.
    fn sub(self, before: Self) -> Option<Self> {
        Some(Self {
            refused: self.refused.checked_sub(before.refused)?,
            unanswered: self.unanswered.checked_sub(before.unanswered)?,
        })
    }
}

/// What is held against a replica: as many failures as are too many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Evidence {
    pub(super) failures: Failures,
    /// The clients who had no answer, as far as they are known.
    pub(super) clients: BTreeSet<IpAddr>,
}

impl Evidence {
    pub(super) fn counts(&self) -> FailedConnections {
        let Failures { refused, unanswered } = self.failures;
        let (clients, networks) = (self.clients.len(), networks(&self.clients));
        FailedConnections { refused, unanswered, clients, networks }
    }

    /// For people: "2 connections refused within 30s".
    pub(super) fn describe(&self, within: Duration) -> String {
        let noun = |count| if count == 1 { "connection" } else { "connections" };
        let Failures { refused, unanswered } = self.failures;
        let what = match (refused, unanswered) {
            (refused, 0) => format!("{refused} {} refused", noun(refused)),
            (0, unanswered) => format!("{unanswered} {} unanswered", noun(unanswered)),
            (refused, unanswered) => {
                format!("{refused} {} refused and {unanswered} unanswered", noun(refused))
            }
        };
        let told = format!("passive check: {what} within {}", humantime::format_duration(within));
        if unanswered == 0 {
            return told;
        }
        let named: Vec<_> = self.clients.iter().take(NAMED).map(ToString::to_string).collect();
        let more = match self.clients.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let networks = networks(&self.clients);
        format!("{told} (no answer to {}{more}, of {networks} networks)", named.join(", "))
    }
}

fn networks(clients: &BTreeSet<IpAddr>) -> usize {
    clients.iter().map(|client| network(*client)).collect::<BTreeSet<_>>().len()
}

/// What a reading adds to the one before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    pub(super) failures: Failures,
    clients: BTreeSet<IpAddr>,
}

/// The failures of one replica.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    /// What was counted when it was last looked at, and the connections that were steered to it by then.
    seen: Option<(Failures, u64)>,
    /// Who had said so by then.
    witnesses: Vec<Witness>,
    /// The failures of the last while; not more of them than it takes to have too many.
    recent: VecDeque<(Instant, News)>,
}

impl Window {
    /// What was counted as unanswered at the last reading.
    pub(super) fn unanswered(&self) -> Option<u64> {
        self.seen.map(|(seen, _)| seen.unanswered)
    }

    /// Takes in the counters, which only ever rise, and returns what is new. The first reading, and one where a counter
    /// went backwards (another replica had them), says nothing. Nor do failures that are few among many connections.
    pub(super) fn read(&mut self, reading: &Reading) -> News {
        let Reading { place: _, new_flows, refused, unanswered, witnesses } = reading;
        let counted = Failures { refused: *refused, unanswered: *unanswered };
        let before = self.seen.replace((counted, *new_flows));
        let fresh = witnesses.iter().filter(|witness| !self.witnesses.contains(witness));
        let clients = fresh.map(|witness| witness.source).collect();
        if !witnesses.is_empty() {
            self.witnesses.clone_from(witnesses);
        }
        let Some((before, flows_before)) = before else { return News::default() };
        let flows = new_flows.saturating_sub(flows_before);
        let few = |failures: &Failures| failures.count().saturating_mul(SHARE) < flows;
        match counted - before {
            Some(failures) if !few(&failures) => News { failures, clients },
            Some(_) | None => News::default(),
        }
    }

    /// Takes in new failures. Returns those of the last `within` that count, if they are `limit` or more.
    pub(super) fn add(&mut self, new: News, limit: u32, within: Duration, now: Instant) -> Option<Evidence> {
        let fresh = |at: Instant| now.duration_since(at) < within;
        self.recent.retain(|(at, _)| fresh(*at));
        self.recent.push_back((now, new));
        // Each has a failure: more say nothing new but to whom, and a stranger could make them many.
        let most = READINGS.max(limit as usize);
        self.recent.drain(..self.recent.len().saturating_sub(most));
        let failures = self.recent.iter().fold(Failures::default(), |sum, (_, new)| sum + new.failures);
        let clients: BTreeSet<_> = self.recent.iter().flat_map(|(_, new)| &new.clients).copied().collect();
        let evidence = if networks(&clients) >= NETWORKS {
            Evidence { failures, clients }
        } else {
            Evidence { failures: Failures { unanswered: 0, ..failures }, clients: BTreeSet::new() }
        };
        (evidence.failures.count() >= limit.into()).then_some(evidence)
    }

    /// A probe has passed: what was not answered before it may never have been sent by whom it seemed to come from. A refusal was, as
    /// the replica's own word.
    pub(super) fn answered(&mut self) {
        for (_, new) in &mut self.recent {
            new.failures.unanswered = 0;
            new.clients.clear();
        }
    }

    /// Forgets the failures, not the counters.
    pub(super) fn clear(&mut self) {
        self.recent.clear();
    }
}

/// That a replica fails connections, and gets no new ones for that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ejection {
    /// When it is tried again.
    pub(super) until: Instant,
    /// Good probes in a row since it last failed.
    good_probes: u32,
    /// It has refused connections. What is only said to be unanswered loses against the first probe that passes.
    refused: bool,
}

impl Ejection {
    pub(super) fn new(evidence: &Evidence, until: Instant) -> Self {
        Self { until, good_probes: 0, refused: evidence.failures.refused > 0 }
    }

    /// It has failed more connections meanwhile.
    pub(super) fn failed(&mut self, failures: Failures) {
        self.refused |= failures.refused > 0;
        if self.refused {
            self.good_probes = 0;
        }
    }

    /// Takes in a probe. Returns how many good ones end the ejection, where this was the last of them. A refusal takes `rise` of
    /// them.
    pub(super) fn probed(&mut self, ok: bool, rise: u32) -> Option<u32> {
        self.good_probes = if ok { self.good_probes + 1 } else { 0 };
        let enough = if self.refused { rise } else { 1 };
        (self.good_probes >= enough).then_some(self.good_probes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: ReplicaPlace = ReplicaPlace { service: 0, replica: 0 };

    fn failures(refused: u64, unanswered: u64) -> Failures {
        Failures { refused, unanswered }
    }

    fn reading(refused: u64, unanswered: u64) -> Reading {
        Reading { place: PLACE, new_flows: 0, refused, unanswered, witnesses: Vec::new() }
    }

    fn addresses(clients: &[&str]) -> BTreeSet<IpAddr> {
        clients.iter().map(|client| client.parse().expect("an address")).collect()
    }

    #[test]
    fn what_is_new_is_the_difference() {
        type Readings = &'static [(u64, u64)];
        let cases: [(&str, Readings, (u64, u64)); 6] = [
            ("the first says nothing", &[(7, 8)], (0, 0)),
            ("nothing new", &[(7, 8), (7, 8)], (0, 0)),
            ("both", &[(7, 8), (9, 9)], (2, 1)),
            ("one went backwards", &[(7, 8), (1, 9)], (0, 0)),
            ("and on from there", &[(7, 8), (1, 0), (2, 0)], (1, 0)),
            ("to the end", &[(0, 0), (u64::MAX, u64::MAX)], (u64::MAX, u64::MAX)),
        ];
        for (name, readings, expected) in cases {
            let mut window = Window::default();
            let mut new = News { failures: failures(9, 9), ..News::default() };
            for (refused, unanswered) in readings {
                new = window.read(&reading(*refused, *unanswered));
            }
            assert_eq!(new.failures, failures(expected.0, expected.1), "{name}");
        }
    }

    #[test]
    fn failures_that_are_few_among_many_connections_say_nothing() {
        for (new_flows, refused, unanswered, counts) in
            [(1, 1, 0, true), (32, 2, 0, true), (33, 2, 0, false), (9000, 1, 1, false), (9000, 9000, 0, true)]
        {
            let mut window = Window::default();
            window.read(&Reading { new_flows: 70, ..reading(5, 6) });
            let new =
                window.read(&Reading { new_flows: 70 + new_flows, ..reading(5 + refused, 6 + unanswered) });
            let expected = if counts { failures(refused, unanswered) } else { Failures::default() };
            assert_eq!(new.failures, expected, "{refused} and {unanswered} of {new_flows}");
        }
    }

    #[test]
    fn a_witness_is_new_when_it_says_so_again() {
        let mut window = Window::default();
        let mut clients = |unanswered: u64, witnesses: &[(&str, Ticks)]| {
            let witness = |(source, at): &(&str, Ticks)| Witness { source: source.parse().unwrap(), at: *at };
            let witnesses = witnesses.iter().map(witness).collect();
            window.read(&Reading { witnesses, ..reading(0, unanswered) }).clients
        };
        assert_eq!(clients(3, &[("10.0.1.1", 1), ("10.0.2.1", 2)]), addresses(&[]), "from before the agent");
        assert_eq!(clients(4, &[("10.0.1.1", 1), ("10.0.2.1", 9)]), addresses(&["10.0.2.1"]));
        assert_eq!(clients(4, &[]), addresses(&[]), "left out, as nothing has changed");
        let now = [("10.0.1.1", 1), ("10.0.2.1", 9), ("10.0.3.1", 12)];
        assert_eq!(clients(5, &now), addresses(&["10.0.3.1"]));
    }

    #[test]
    fn too_many_within_the_time_are_too_many() {
        // Each: at which millisecond how many failed, and whether it was too many then, for 3 within 10 s.
        type Steps = &'static [(u64, u64, bool)];
        let cases: [(&str, Steps); 5] = [
            ("one by one", &[(0, 1, false), (1, 1, false), (2, 1, true)]),
            ("all at once", &[(0, 3, true)]),
            ("the first is too old", &[(0, 1, false), (5000, 1, false), (10_000, 1, false)]),
            ("the first is just young enough", &[(0, 1, false), (5000, 1, false), (9999, 1, true)]),
            ("old ones do not come back", &[(0, 2, false), (20_000, 2, false), (29_999, 1, true)]),
        ];
        let start = Instant::now();
        for (name, steps) in cases {
            let mut window = Window::default();
            for (at, refused, expected) in steps {
                let now = start + Duration::from_millis(*at);
                let new = News { failures: failures(*refused, 0), ..News::default() };
                let found = window.add(new, 3, Duration::from_secs(10), now);
                assert_eq!(found.is_some(), *expected, "{name}, at {at} ms");
            }
        }
    }

    #[test]
    fn silence_is_believed_of_clients_who_are_not_near_each_other() {
        // The clients of each failure, and whether two failures count.
        let cases: [(&[&str], bool); 11] = [
            (&["192.0.2.1", "192.0.2.1"], false),
            (&["203.0.113.1", "203.0.200.1"], false),
            (&["203.0.113.1", "198.51.100.1"], true),
            (&["10.1.2.3", "10.1.2.200"], false),
            (&["10.1.2.3", "10.1.3.3"], true),
            (&["100.64.1.1", "100.64.2.1"], true),
            (&["100.128.1.1", "100.128.2.1"], false),
            (&["2001:db8:1:1::1", "2001:db8:1:2::1"], false),
            (&["2001:db8:1::1", "2001:db8:2::1"], true),
            (&["fd00:1:2:3::1", "fd00:1:2:4::1"], true),
            (&["10.1.2.3"], false),
        ];
        for (clients, counts) in cases {
            let (mut window, now) = (Window::default(), Instant::now());
            let mut found = None;
            for client in clients.iter().cycle().take(8) {
                let new = News { failures: failures(0, 1), clients: addresses(&[client]) };
                found = window.add(new, 2, Duration::from_secs(10), now);
            }
            assert_eq!(found.is_some(), counts, "{clients:?}");
            window.answered();
            let new = News { failures: failures(0, 2), clients: addresses(&clients[..1]) };
            let found = window.add(new, 2, Duration::from_secs(10), now);
            assert_eq!(found, None, "what was said before a probe passed is no evidence");
        }
    }

    #[test]
    fn what_a_stranger_repeats_takes_no_room() {
        let (mut window, now) = (Window::default(), Instant::now());
        for _ in 0..10_000 {
            let new = News { failures: failures(0, 1), clients: addresses(&["192.0.2.1"]) };
            assert_eq!(window.add(new, 2, Duration::from_secs(3600), now), None);
        }
        assert_eq!(window.recent.len(), READINGS);
        // And does not hide what others say.
        let new = News { failures: failures(0, 1), clients: addresses(&["198.51.100.1"]) };
        assert!(window.add(new, 2, Duration::from_secs(3600), now).is_some());
    }

    #[test]
    fn the_reason_says_what_was_seen_and_by_whom() {
        let five = &["10.0.1.1", "10.0.1.2", "10.0.2.1", "10.0.3.1", "10.0.4.1"];
        let cases: [(Failures, &[&str], &str); 4] = [
            (failures(2, 0), &[], "passive check: 2 connections refused within 30s"),
            (
                failures(0, 1),
                &["10.0.1.1", "10.0.2.1"],
                "passive check: 1 connection unanswered within 30s (no answer to 10.0.1.1, 10.0.2.1, of 2 networks)",
            ),
            (
                failures(1, 2),
                &["10.0.1.1", "10.0.2.1"],
                "passive check: 1 connection refused and 2 unanswered within 30s (no answer to 10.0.1.1, 10.0.2.1, of 2 \
                 networks)",
            ),
            (
                failures(0, 7),
                five,
                "passive check: 7 connections unanswered within 30s (no answer to 10.0.1.1, 10.0.1.2, 10.0.2.1 and 2 more, \
                 of 4 networks)",
            ),
        ];
        for (failures, clients, expected) in cases {
            let evidence = Evidence { failures, clients: addresses(clients) };
            assert_eq!(evidence.describe(Duration::from_secs(30)), expected);
        }
    }
}
