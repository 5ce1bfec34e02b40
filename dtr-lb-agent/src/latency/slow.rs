//! Which replicas take much longer than their peers to accept a connection. Pure.

use dtr_lb_common::abi::Histogram;
use serde::{Deserialize, Serialize};

use super::{count, quantile, two_digits};

/// Fewer handshakes, a replica's own or a peer's, say nothing.
const FEWEST: u64 = 20;
/// As many times as long as its peers is slow,
const TIMES: f64 = 3.0;
/// if it is as much longer, in microseconds: what nobody would notice is left alone.
const LONGER: f64 = 1000.0;

/// A replica that is slow to accept connections.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slow {
    /// Its name.
    pub replica: String,
    /// As many times as long as its peers.
    pub times: f64,
    /// One sentence.
    pub text: String,
}

/// Those among a service's replicas whose median is far above their peers', by name and the handshakes of the last minute.
pub fn judge<'a>(replicas: impl IntoIterator<Item = (&'a str, &'a Histogram)>) -> Vec<Slow> {
    let known = replicas.into_iter().filter(|(_, connect)| count(connect) >= FEWEST);
    let known: Vec<_> = known.map(|(name, connect)| (name, quantile(connect, 0.5))).collect();
    let of = |(place, (name, own)): (usize, &(&str, f64))| {
        let peers = known.iter().enumerate().filter(|(other, _)| *other != place);
        let mut peers: Vec<_> = peers.map(|(_, (_, median))| *median).collect();
        let theirs = median(&mut peers)?;
        let is_slow = *own >= TIMES * theirs && own - theirs >= LONGER;
        is_slow.then(|| slow(name, *own, theirs, peers.len()))
    };
    known.iter().enumerate().filter_map(of).collect()
}

fn slow(name: &str, own: f64, theirs: f64, peers: usize) -> Slow {
    // A bucket begins at 0.
    let times = own / theirs.max(1.0);
    let (them, whose) = if peers == 1 { ("its peer", "the peer's") } else { ("its peers", "theirs") };
    let text = format!(
        "{name} takes {} times as long as {them} to accept a connection ({} ms; {whose} {} ms)",
        two_digits(times),
        two_digits(own / 1000.0),
        two_digits(theirs / 1000.0)
    );
    Slow { replica: name.to_owned(), times: (times * 10.0).round() / 10.0, text }
}

/// The middle one, or between the two in the middle.
fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    let upper = *values.get(half)?;
    Some(if values.len().is_multiple_of(2) { (values[half - 1] + upper) / 2.0 } else { upper })
}
