//! Who has been challenged, and who has proven to be at his address.

use std::collections::HashMap;

use super::{Step, Wrong, bytes};
use crate::{
    net::End,
    reader::{Seen, flag},
    world::SECOND,
};

/// A number holds for two epochs at most, and for one at least.
const EPOCH: u64 = 16 * SECOND as u64;
/// For how long a proof of an address holds, and one of an address and port.
const PROOF: u64 = 600 * SECOND as u64;
const PROOF_OF_PORT: u64 = 16 * SECOND as u64;
/// What a number is changed by that would be an acknowledgment.
const OTHER: u32 = 1 << 31;

/// What a client's address is known by: all of IPv4, half of IPv6.
type Network = Vec<u8>;

#[derive(Debug, Default)]
pub(super) struct Challenges {
    /// The number that a client was told last by a service, and when.
    told: HashMap<(End, End), (u32, u64)>,
    /// When a client last gave a right answer to a service, which is known by its number.
    ports: HashMap<(usize, End), u64>,
    networks: HashMap<(usize, Network), u64>,
    /// When a client completed a handshake, which proves it if clients had to prove themselves then.
    handshakes: HashMap<(usize, Network), u64>,
}

/// Whether a client must have proven itself before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    Holds,
    Lacks,
    /// It is about to be too old.
    Either,
}

fn network(end: End) -> Network {
    let bytes = end.ip.bytes();
    if end.ip.is_v4() { bytes.to_vec() } else { bytes[..8].to_vec() }
}

fn held(since: Option<&u64>, within: u64, now: u64) -> Proof {
    match since.map(|since| now - since) {
        Some(age) if age <= within => Proof::Holds,
        // 0 is never, so that a proof at that time is one tick younger.
        Some(age) if age == within + 1 => Proof::Either,
        _ => Proof::Lacks,
    }
}

impl Challenges {
    /// Whether a client of a service has proven itself.
    pub(super) fn proof(&self, service: usize, client: End, now: u64) -> Proof {
        let of_port = held(self.ports.get(&(service, client)), PROOF_OF_PORT, now);
        let of_network = held(self.networks.get(&(service, network(client))), PROOF, now);
        let of_handshake = held(self.handshakes.get(&(service, network(client))), PROOF, now);
        match (of_port, of_network) {
            (Proof::Lacks, Proof::Lacks) if of_handshake != Proof::Lacks => Proof::Either,
            (Proof::Holds, _) | (_, Proof::Holds) => Proof::Holds,
            (Proof::Lacks, Proof::Lacks) => Proof::Lacks,
            _ => Proof::Either,
        }
    }

    /// A SYN was challenged.
    pub(super) fn asked(&mut self, step: &Step<'_>, seen: &Seen, now: u64) -> Result<(), Wrong> {
        let number = bytes::challenge(step.before, seen, step.after, &step.came)?;
        step.leaves_by(&step.came)?;
        if let Some((before, at)) = self.told.insert((seen.from, seen.to), (number, now))
            && now == at
            && (before ^ number) & !OTHER != 0
        {
            return Err("two numbers for one connection at one time".to_owned());
        }
        Ok(())
    }

    /// Whether a packet is the answer to a challenge. Nothing where the number may be too old.
    pub(super) fn is_answer(&self, step: &Step<'_>, seen: &Seen, now: u64) -> Option<bool> {
        let (sequence, _) = seen.numbers(step.before);
        let told = self.told.get(&(seen.from, seen.to));
        let fits = seen.flags & flag::RST != 0;
        match told.filter(|(number, _)| fits && (number ^ sequence) & !OTHER == 0) {
            None => Some(false),
            Some((_, at)) if now - at < EPOCH => Some(true),
            Some((_, at)) if now - at >= 2 * EPOCH => Some(false),
            Some(_) => None,
        }
    }

    /// It was one.
    pub(super) fn proven(&mut self, service: usize, client: End, now: u64) {
        self.ports.insert((service, client), now);
        self.networks.insert((service, network(client)), now);
    }

    /// A client has completed a handshake.
    pub(super) fn completed(&mut self, service: usize, client: End, now: u64) {
        self.handshakes.insert((service, network(client)), now);
    }
}
