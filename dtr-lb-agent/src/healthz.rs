//! Whether this balancer is able to serve: for keepalived, for BGP daemons and for whoever else decides which of several
//! balancers gets the traffic.
//!
//! It is, if all of this holds:
//! - the datapath is on every interface of the config;
//! - its tables say what was decided last;
//! - one service at least has a replica that is up, or, where the question names services, each of these.
//!
//! Not every service, unless named: one whose replicas all fail has failed behind every balancer, and to take the VIP away
//! for it would end the others. Where all of them are down, this balancer's own network may be the reason. Replicas that
//! get connections only because all are down (`all_down = "fail-open"`) do not count.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{control::ReplicaState, status::Status};

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Healthz {
    pub ok: bool,
    /// Why it is not.
    pub reasons: Vec<String>,
    /// The state of each service that was asked about.
    pub services: BTreeMap<String, String>,
}

impl Healthz {
    /// Judges a status. `named`: the services that have to be up; without any, one of all.
    #[must_use]
    pub fn of(status: &Status, named: &[String]) -> Self {
        let mut reasons = of_datapath(status);
        let all = || status.services.iter().map(|service| (&service.name, &service.state));
        let known: BTreeMap<_, _> = all().map(|(name, state)| (name.clone(), state.clone())).collect();
        let mut services = known.clone();
        if named.is_empty() {
            if !known.values().any(|state| is_up(state)) {
                reasons.push("no service has a replica that is up".into());
            }
        } else {
            services.retain(|name, _| named.contains(name));
            for name in named {
                match known.get(name) {
                    Some(state) if is_up(state) => {}
                    Some(state) => {
                        reasons.push(format!("service `{name}` has no replica that is up: it is {state}"));
                    }
                    None => {
                        let names: Vec<_> = known.keys().map(|name| format!("`{name}`")).collect();
                        reasons.push(format!("there is no service `{name}`, only {}", names.join(", ")));
                    }
                }
            }
        }
        Self { ok: reasons.is_empty(), reasons, services }
    }

    /// Where nothing can be known.
    #[must_use]
    pub fn unknown(reason: String) -> Self {
        Self { ok: false, reasons: vec![reason], services: BTreeMap::new() }
    }
}

fn is_up(state: &str) -> bool {
    state == ReplicaState::Up.as_str()
}

fn of_datapath(status: &Status) -> Vec<String> {
    let mut reasons = Vec::new();
    let datapath = &status.datapath;
    if datapath.attach.is_empty() {
        reasons.push("the datapath is not attached".into());
    }
    let missing = datapath.attach.iter().filter(|place| !place.present);
    reasons.extend(missing.map(|place| format!("the datapath is not on interface {}", place.interface)));
    if !datapath.up_to_date {
        reasons
            .push("the datapath's tables could not be brought up to date; the agent's log says why".into());
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::plain;

    fn reasons(change: impl FnOnce(&mut Status), named: &[&str]) -> Vec<String> {
        let mut status = plain();
        let mut other = status.services[0].clone();
        other.name = "https".into();
        status.services.push(other);
        change(&mut status);
        let named: Vec<_> = named.iter().map(ToString::to_string).collect();
        let healthz = Healthz::of(&status, &named);
        assert_eq!(healthz.ok, healthz.reasons.is_empty());
        let asked: Vec<_> = if named.is_empty() { vec!["http".into(), "https".into()] } else { named };
        assert!(healthz.services.keys().all(|name| asked.contains(name)), "{healthz:?}");
        healthz.reasons
    }

    #[test]
    fn what_keeps_it_from_serving_is_told() {
        let none: [&str; 0] = [];
        let down = |place: usize| move |status: &mut Status| status.services[place].state = "down".into();
        assert_eq!(reasons(|_| {}, &[]), none);
        assert_eq!(reasons(|status| status.datapath.attach.clear(), &[]), ["the datapath is not attached"]);
        assert_eq!(
            reasons(|status| status.datapath.attach[0].present = false, &[]),
            ["the datapath is not on interface eth0"]
        );
        let behind = reasons(|status| status.datapath.up_to_date = false, &[]);
        assert!(behind.len() == 1 && behind[0].contains("up to date"), "{behind:?}");
        // One of two services is enough, unless the other one is asked about.
        assert_eq!(reasons(down(1), &[]), none);
        assert_eq!(reasons(down(1), &["http"]), none);
        assert_eq!(
            reasons(down(1), &["http", "https"]),
            ["service `https` has no replica that is up: it is down"]
        );
        let starting = |status: &mut Status| {
            status.services.iter_mut().for_each(|service| service.state = "starting".into());
        };
        assert_eq!(reasons(starting, &[]), ["no service has a replica that is up"]);
        assert_eq!(reasons(|_| {}, &["ftp"]), ["there is no service `ftp`, only `http`, `https`"]);
    }
}
