//! The figures of all rounds, and what is told of them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::case::{Case, Load};

/// Width of a column of the table.
const COLUMN: usize = 19;

/// Nanoseconds a packet, by system, case and round.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    by_case: BTreeMap<(Case, &'static str), Vec<f64>>,
    /// In the order in which they are measured.
    order: Vec<(Case, &'static str)>,
}

/// The 10th percentile, the median and the 90th.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

impl Spread {
    /// Of some numbers; of none there is none.
    pub(crate) fn of(mut numbers: Vec<f64>) -> Option<Self> {
        numbers.sort_by(f64::total_cmp);
        let at =
            |percent: usize| numbers.get((numbers.len().saturating_sub(1) * percent + 50) / 100).copied();
        Some(Self { low: at(10)?, median: at(50)?, high: at(90)? })
    }
}

impl Figures {
    /// Adds a figure of a round. Rounds come one after the other.
    pub(crate) fn add(&mut self, system: &'static str, case: Case, round: usize, nanoseconds: f64) {
        let key = (case, system);
        if round == 0 && !self.by_case.contains_key(&key) {
            self.order.push(key);
        }
        self.by_case.entry(key).or_default().push(nanoseconds);
    }

    /// The figures of a case, a round each; of a case that was not measured there are none.
    pub(crate) fn of(&self, system: &'static str, case: Case) -> &[f64] {
        self.by_case.get(&(case, system)).map_or(&[], Vec::as_slice)
    }

    /// The cases that were measured of a system.
    pub(crate) fn cases(&self, system: &'static str) -> impl Iterator<Item = Case> + '_ {
        self.order.iter().filter(move |(_, of)| *of == system).map(|(case, _)| *case)
    }

    /// What one case costs in another's, round by round.
    pub(crate) fn ratio(
        &self,
        (system, case): (&'static str, Case),
        (to, of): (&'static str, Case),
    ) -> Option<Spread> {
        let pairs = self.of(system, case).iter().zip(self.of(to, of));
        Spread::of(pairs.map(|(one, other)| one / other.max(1.0)).collect())
    }

    /// A line for what is sent, with a column for each hook and family, and the prototype's.
    pub(crate) fn print(&self) {
        println!(
            "ns a packet, net of the wrapper with an empty program: median (10th to 90th percentile of the rounds)"
        );
        println!(
            "{:38}{:>COLUMN$}{:>COLUMN$}{:>COLUMN$}{:>COLUMN$}{:>COLUMN$}",
            "", "XDP, IPv4", "XDP, IPv6", "TC, IPv4", "TC, IPv6", "prototype"
        );
        let mut told = Vec::new();
        for &(Case { sent, load, .. }, _) in &self.order {
            let of = |system, tc, v6| {
                let case = Case { sent, tc, load: Load { v6, ..load } };
                Spread::of(self.of(system, case).to_vec())
                    .map(|Spread { low, median, high }| format!("{median:.1} ({low:.0}-{high:.0})"))
                    .unwrap_or_default()
            };
            let row = (sent, load.mode, load.flows);
            if told.contains(&row) {
                continue;
            }
            told.push(row);
            let name = Case { sent, load, tc: false }.what();
            println!(
                "{name:38}{:>COLUMN$}{:>COLUMN$}{:>COLUMN$}{:>COLUMN$}{:>COLUMN$}",
                of("dtr-lb", false, false),
                of("dtr-lb", false, true),
                of("dtr-lb", true, false),
                of("dtr-lb", true, true),
                of("prototype", false, false),
            );
        }
    }

    /// A row for each figure of each round.
    pub(crate) fn rows(&self) -> Vec<Value> {
        let row = |(case, system): &(Case, &str), round: usize, value: f64| {
            json!({
                "system": system, "workload": case.to_string(), "metric": "packet", "value": value,
                "unit": "ns", "round": round,
            })
        };
        let all = self.order.iter().filter_map(|key| Some((key, self.by_case.get(key)?)));
        all.flat_map(|(key, values)| {
            values.iter().enumerate().map(move |(round, value)| row(key, round, *value))
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_made_of_numbers_that_were_measured() {
        let numbers: Vec<_> = (0..=10).rev().map(f64::from).collect();
        assert_eq!(Spread::of(numbers), Some(Spread { low: 1.0, median: 5.0, high: 9.0 }));
        assert_eq!(Spread::of(vec![7.0]), Some(Spread { low: 7.0, median: 7.0, high: 7.0 }));
        assert_eq!(Spread::of(Vec::new()), None);
    }
}
