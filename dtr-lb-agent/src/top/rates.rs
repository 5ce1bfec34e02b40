//! How much a second: from two statuses and the time between them. Pure.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use crate::status::{ReplicaStatus, Status};

/// A status, and when it came.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) at: Instant,
    pub(super) status: Status,
}

/// A replica of a service at one of its VIPs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) service: String,
    pub(super) vip: IpAddr,
    pub(super) replica: SocketAddr,
}

/// A second, of a replica or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) new_flows: f64,
    /// Connections that it refused or did not answer.
    pub(super) failed: f64,
    pub(super) packets: f64,
    pub(super) bytes_to_replica: f64,
    pub(super) bytes_to_client: f64,
}

/// What happened between two statuses, a second.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Change {
    pub(super) replicas: BTreeMap<Place, Rates>,
    /// Packets by verdict.
    pub(super) verdicts: BTreeMap<String, f64>,
}

impl Place {
    pub(super) fn new(service: &str, vip: IpAddr, replica: &ReplicaStatus) -> Self {
        let address = SocketAddr::new(replica.address, replica.port);
        Self { service: service.into(), vip, replica: address }
    }
}

impl Change {
    /// What is only in one of the two has no rate, and neither has a count that is lower than it was: it was begun anew.
    pub(super) fn between(before: &Sample, after: &Sample) -> Self {
        let seconds = after.at.saturating_duration_since(before.at).as_secs_f64();
        if seconds <= 0.0 {
            return Self::default();
        }
        let rate = |before: u64, after: u64| Some(after.checked_sub(before)? as f64 / seconds);
        let old = replicas(&before.status);
        let of = |(place, new): (Place, &ReplicaStatus)| {
            let old = old.get(&place)?;
            let rates = Rates {
                new_flows: rate(old.new_flows, new.new_flows)?,
                failed: rate(old.refused + old.unanswered, new.refused + new.unanswered)?,
                packets: rate(old.packets, new.packets)?,
                bytes_to_replica: rate(old.bytes_to_replica, new.bytes_to_replica)?,
                bytes_to_client: rate(old.bytes_to_client, new.bytes_to_client)?,
            };
            Some((place, rates))
        };
        let verdict = |(name, new): (&String, &u64)| {
            let old = before.status.verdicts.get(name)?;
            Some((name.clone(), rate(*old, *new)?))
        };
        Self {
            replicas: replicas(&after.status).into_iter().filter_map(of).collect(),
            verdicts: after.status.verdicts.iter().filter_map(verdict).collect(),
        }
    }

    /// Of all replicas together.
    pub(super) fn total(&self) -> Rates {
        self.replicas.values().fold(Rates::default(), |sum, rates| {
            let Rates { new_flows, failed, packets, bytes_to_replica, bytes_to_client } = *rates;
            Rates {
                new_flows: sum.new_flows + new_flows,
                failed: sum.failed + failed,
                packets: sum.packets + packets,
                bytes_to_replica: sum.bytes_to_replica + bytes_to_replica,
                bytes_to_client: sum.bytes_to_client + bytes_to_client,
            }
        })
    }
}

fn replicas(status: &Status) -> BTreeMap<Place, &ReplicaStatus> {
    let of = |service: &'_ crate::status::ServiceStatus| (service.name.clone(), service.vip);
    status
        .services
        .iter()
        .flat_map(|service| {
            let (name, vip) = of(service);
            service.replicas.iter().map(move |replica| (Place::new(&name, vip, replica), replica))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::status::tests::plain;

    fn samples(change: impl FnOnce(&mut Status)) -> (Sample, Sample) {
        let at = Instant::now();
        let mut before = plain();
        let replica = &mut before.services[0].replicas[0];
        (replica.new_flows, replica.refused, replica.packets, replica.bytes_to_client) = (100, 5, 1000, 5000);
        before.verdicts = BTreeMap::from([("forwarded".into(), 50)]);
        let mut after = before.clone();
        change(&mut after);
        (Sample { at, status: before }, Sample { at: at + Duration::from_secs(2), status: after })
    }

    #[test]
    fn counts_are_divided_by_the_time_between() {
        let (before, after) = samples(|status| {
            let replica = &mut status.services[0].replicas[0];
            replica.new_flows += 10;
            replica.refused += 1;
            replica.unanswered += 3;
            replica.packets += 40;
            replica.bytes_to_client += 1;
            status.verdicts = BTreeMap::from([("forwarded".into(), 150), ("dropped_late".into(), 7)]);
        });
        let change = Change::between(&before, &after);
        let want =
            Rates { new_flows: 5.0, failed: 2.0, packets: 20.0, bytes_to_replica: 0.0, bytes_to_client: 0.5 };
        assert_eq!(change.replicas.values().collect::<Vec<_>>(), [&want]);
        assert_eq!(change.total(), want);
        assert_eq!(change.verdicts, BTreeMap::from([("forwarded".into(), 50.0)]), "the other one is new");
    }

    #[test]
    fn where_counts_began_anew_or_no_time_has_passed_there_is_no_rate() {
        let (before, after) = samples(|status| {
            status.services[0].replicas[0].new_flows = 1;
            status.verdicts.insert("forwarded".into(), 3);
        });
        assert_eq!(Change::between(&before, &after), Change::default());
        let (before, mut after) = samples(|status| status.services[0].replicas[0].new_flows += 10);
        after.at = before.at;
        assert_eq!(Change::between(&before, &after), Change::default());
    }

    #[test]
    fn another_vip_or_service_is_another_place() {
        let (before, after) = samples(|status| {
            let mut second = status.services[0].clone();
            second.vip = [10, 0, 0, 99].into();
            second.replicas[0].new_flows += 1000;
            status.services.push(second);
        });
        assert_eq!(Change::between(&before, &after).total().new_flows, 0.0, "its first status has no rate");
    }
}
