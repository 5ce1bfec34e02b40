//! Frames that are no end's segments: bytes at random, and ICMP.

use super::{Player, SOMEWHERE};
use crate::{
    event::{Damage, Pool, Sends},
    net::{End, Way, checksum, pseudo, sum},
    random::Random,
    reader::flag,
    world::World,
};

impl Player<'_, '_> {
    pub(super) fn noise(&mut self, seed: u64, length: u16, header: u8) {
        self.before.clear();
        self.before.resize(length.into(), 0);
        Random::new(seed).fill(&mut self.before);
        let kinds: [&[u8]; 8] = [
            &[],
            &[0x08, 0x00, 0x45, 0],
            &[0x86, 0xdd, 0x60, 0],
            &[0x08, 0x00],
            &[0x86, 0xdd],
            &[0x81, 0x00],
            &[0x08, 0x06],
            &[0x08, 0x00, 0x45, 0, 0, 60, 0, 0, 0, 0, 9, 17],
        ];
        let start = kinds[usize::from(header)];
        if let Some(place) = self.before.get_mut(12..12 + start.len()) {
            place.copy_from_slice(start);
        }
    }

    /// An IP header, and then what `message` says, behind it.
    fn ip(&mut self, way: &Way, from: End, to: End, protocols: [u8; 2], message: &[u8]) {
        let before = &mut self.before;
        before.clear();
        before.extend(way.destination);
        before.extend(way.source);
        if from.ip.is_v4() {
            let length = (20 + message.len() as u16).to_be_bytes();
            before.extend([8, 0, 0x45, 0, length[0], length[1], 0, 7, 0x40, 0, 61, protocols[0], 0, 0]);
            before.extend(from.ip.bytes());
            before.extend(to.ip.bytes());
            let right = checksum(sum(0, &before[14..])).to_be_bytes();
            before[24..26].copy_from_slice(&right);
        } else {
            let length = (message.len() as u16).to_be_bytes();
            before.extend([0x86, 0xdd, 0x60, 0, 0, 0, length[0], length[1], protocols[1], 61]);
            before.extend(from.ip.bytes());
            before.extend(to.ip.bytes());
        }
        before.extend(message);
    }

    /// Writes the checksum of an ICMP message.
    fn icmp_checksum(message: &mut [u8], from: End, to: End, wrong: bool) {
        let start = if from.ip.is_v4() { 0 } else { pseudo(&from.ip, &to.ip, 58, message.len()) };
        let right = checksum(sum(start, message)).wrapping_add(u16::from(wrong));
        message[2..4].copy_from_slice(&right.to_be_bytes());
    }

    pub(super) fn error(
        &mut self,
        recent: usize,
        to_client: bool,
        (kind, code): (u8, u8),
        quote: u8,
        wrong: bool,
        damage: Option<&Damage>,
    ) -> Result<(), String> {
        let Some(one) = self.oracle.connections.iter().rev().nth(recent) else { return Ok(()) };
        // The packet that did not arrive: to the client, or to the replica.
        let (from, to) = match (to_client, one.side) {
            (true, _) | (false, None) => (one.vip, one.client),
            (false, Some((replica, nat))) => (nat, replica),
        };
        let router = if quote & 1 == 0 {
            to
        } else {
            Pool { address: 4, port: 0, v4: from.ip.is_v4() }.end(&self.memory.world)
        };
        let router = if router.ip.is_v4() == from.ip.is_v4() { router } else { to };
        let kinds: [u8; 6] = if from.ip.is_v4() { [3, 3, 11, 12, 5, 0] } else { [1, 2, 3, 4, 2, 129] };
        let mut quoted = Vec::new();
        Sends { flags: flag::ACK, knobs: [12, 0, 0, 9, 0, 0], damage: None }
            .segment(SOMEWHERE, from, to)
            .write(&mut quoted);
        let header = if from.ip.is_v4() { 20 } else { 40 };
        let quoted = &quoted[14..];
        let length = (header + [8, 8, 20, 40, 60, 4, 0, 1000][usize::from(quote >> 5)]).min(quoted.len());
        let mut message = vec![kinds[usize::from(kind) % 6], code, 0, 0, 0, 0, 4 + (kind >> 7), 220];
        message.extend(&quoted[..length]);
        Self::icmp_checksum(&mut message, router, from, wrong);
        self.ip(&SOMEWHERE, router, from, [1, 58], &message);
        if let Some(damage) = damage {
            damage.apply(&mut self.before);
        }
        self.passes(&SOMEWHERE)
    }

    pub(super) fn echo(&mut self, to: &Pool, length: u8, wrong: bool) -> Result<(), String> {
        let to = to.end(&self.memory.world);
        let (from, way) = World::client(usize::from(length), to.ip.is_v4(), false);
        let mut message = vec![if to.ip.is_v4() { 8 } else { 128 }, 0, 0, 0, 1, 2, 3, 4];
        message.extend((0..length).map(|at| at ^ 0x5a));
        Self::icmp_checksum(&mut message, from, to, wrong);
        self.ip(&way, from, to, [1, 58], &message);
        self.passes(&way)
    }
}
