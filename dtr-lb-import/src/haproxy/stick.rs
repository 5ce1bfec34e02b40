//! Clients that stay with their server, and clients that connect too often: `balance source`, `stick`, `stick-table`.

use std::{collections::HashMap, time::Duration};

use super::{
    access::Rate,
    acl::{Acls, Condition, rate_period},
    sections::Line,
    settings::time_or_fault,
    time,
};
use crate::{
    job::{Affinity, Said},
    report::Ledger,
};

/// The stick tables of all proxies, by their names.
pub(super) type Tables<'a> = HashMap<&'a str, &'a Line>;

/// For how long, and if at all, clients of an address stay with their server.
pub(super) fn affinity(
    balance: Option<&Line>,
    stick: &[&Line],
    own_table: Option<&Line>,
    tables: &Tables<'_>,
    ledger: &mut Ledger,
) -> Option<Said<Affinity>> {
    let mut affinity = None;
    if let Some(line) = balance {
        let by_source = line.word(1) == "source" || (line.word(1) == "hash" && line.word(2) == "src");
        if by_source {
            ledger.taken(line.at, "affinity = \"source-ip\"");
            affinity = Some(Said { value: Affinity { timeout: None }, at: line.at });
        } else if line.word(1).starts_with("rdp-cookie") {
            ledger.left_out_that_decides(line.at, "dtr-lb reads no cookies: a client does not get back to the server that has its session; affinity = \"source-ip\" is the nearest");
        }
    }
    for line in stick {
        let (is_on, key) = (line.word(1), line.word(2));
        if is_on == "store-response" {
            continue;
        }
        let condition = Condition::of(line.from(2), &Acls::default());
        if key != "src" {
            let why = match key {
                "dst" | "dst,ipmask(32)" => {
                    "all clients go to one server in the original: name one server, and make the others `backup`"
                }
                _ => {
                    "dtr-lb keeps clients with their server by their addresses alone: affinity = \"source-ip\" is the nearest"
                }
            };
            ledger.left_out_that_decides(line.at, why);
            continue;
        }
        if !condition.alternatives.iter().any(Vec::is_empty) && !condition.is_always() {
            ledger.differs(
                line.at,
                "all clients stay with their server, not only those that the condition holds for",
            );
        }
        let name = line.words.iter().position(|word| word == "table").map(|index| line.word(index + 1));
        let table = name.map_or(own_table, |name| tables.get(name).copied());
        let Some(table) = table else {
            ledger.fault(
                line.at,
                "there is no such stick table: HAProxy refuses this; affinity = \"source-ip\" is written",
            );
            affinity = Some(Said { value: Affinity { timeout: None }, at: line.at });
            continue;
        };
        ledger.taken(line.at, "affinity = \"source-ip\"");
        affinity = Some(Said { value: Affinity { timeout: Some(expiry(table, ledger)) }, at: line.at });
    }
    affinity
}

/// How long a table keeps what it knows.
fn expiry(table: &Line, ledger: &mut Ledger) -> Duration {
    let expire = table.words.iter().position(|word| word == "expire").map(|index| table.word(index + 1));
    if table.words.iter().any(|word| word == "peers") {
        ledger.differs(
            table.at,
            "balancers share their connections by [ha], and hash a client's address to the same replica",
        );
    }
    match expire {
        Some(text) => {
            ledger.taken(table.at, "affinity_timeout");
            time_or_fault(text, table.at, ledger).filter(|time| !time.is_zero()).unwrap_or(time::LONGEST)
        }
        None => {
            ledger.differs(
                table.at,
                "what it knows never expires in HAProxy; affinity_timeout is 7d, the longest",
            );
            time::LONGEST
        }
    }
}

/// New connections a second from one address at most.
pub(super) fn limit(
    rates: &[Rate],
    own_table: Option<&Line>,
    tracks: &[&Line],
    tables: &Tables<'_>,
    ledger: &mut Ledger,
) -> Option<Said<u32>> {
    // The table of a counter without a name is that of the rule that counts.
    let tracking = tracks.iter().find(|line| line.word(3) == "src");
    let tracked = tracking.and_then(|line| {
        let name = line.words.iter().position(|word| word == "table").map(|index| line.word(index + 1));
        name.map_or(own_table, |name| tables.get(name).copied())
    });
    let mut limit: Option<Said<u32>> = None;
    for rate in rates {
        let table = match &rate.table {
            Some(name) => tables.get(name.as_str()).copied(),
            None => tracked.or(own_table),
        };
        let period = table.and_then(rate_period).filter(|period| !period.is_zero());
        match (table, period) {
            (Some(table), Some(period)) if period == Duration::from_secs(1) && tracking.is_some() => {
                ledger.taken(rate.at, "max_new_flows_per_source");
                ledger.taken(table.at, "max_new_flows_per_source");
                if limit.is_none_or(|limit| rate.most < limit.value) {
                    limit = Some(Said { value: rate.most, at: rate.at });
                }
            }
            (Some(table), Some(period)) => {
                let a_second = (f64::from(rate.most) / period.as_secs_f64()).ceil().max(1.0);
                ledger.left_out_that_decides(
                    rate.at,
                    format!(
                        "{} connections in {} from one address: dtr-lb counts those of each second; max_new_flows_per_source = {a_second} is near",
                        rate.most,
                        humantime::format_duration(period)
                    ),
                );
                ledger.left_out(table.at, "a rule that uses it is left out");
            }
            _ => ledger.left_out_that_decides(
                rate.at,
                "there is no table that counts this: HAProxy refuses it, or it never holds",
            ),
        }
    }
    limit
}
