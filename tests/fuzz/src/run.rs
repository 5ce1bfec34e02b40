//! Plays a sequence.

use std::panic::{AssertUnwindSafe, catch_unwind};

use arbitrary::Unstructured;
use dtr_lb_common::{
    pipeline::{Scratch, run},
    verdict::Verdict,
};

use crate::{
    event::{Damage, Event, Pool, Sends},
    frame::Frame,
    input::records,
    memory::Memory,
    net::{End, Way, checksum, pseudo, sum},
    oracle::{Oracle, Step, connection::Phase},
    random::Random,
    reached::Reached,
    reader::{flag, read},
    world::World,
};

/// What a sequence must not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {event}: {why}")]
pub struct Finding {
    /// Which event it was, from 0 on.
    pub event: usize,
    pub why: String,
}

/// Says what happens, for whoever wants to read a sequence.
pub type Tell<'a> = &'a mut dyn FnMut(String);

/// Plays an input to its end or to the first finding. A panic is one.
pub fn play(input: &[u8], reached: &mut Reached, tell: Option<Tell<'_>>) -> Result<(), Finding> {
    let mut at = 0;
    let outcome = catch_unwind(AssertUnwindSafe(|| sequence(input, reached, &mut at, tell)));
    let why = match outcome {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(why)) => why,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            format!("panicked: {}", text.unwrap_or("without a word"))
        }
    };
    Err(Finding { event: at, why })
}

fn sequence(
    input: &[u8],
    reached: &mut Reached,
    at: &mut usize,
    mut tell: Option<Tell<'_>>,
) -> Result<(), String> {
    let (mut world, events) = records(input);
    let world = World::read(&mut world);
    if let Some(tell) = &mut tell {
        tell(format!("{world:#?}"));
    }
    let memory = Memory::new(world);
    let frame = Frame { bytes: Vec::with_capacity(2048), interface: 0 };
    let before = Vec::with_capacity(2048);
    let (oracle, scratch) = (Oracle::default(), Scratch::new());
    let mut player = Player { memory, oracle, scratch, frame, before, kind: 0, reached, tell };
    for (number, mut record) in events.enumerate() {
        *at = number;
        let event = Event::read(&mut record);
        if let Some(tell) = &mut player.tell {
            tell(format!("{number}: {event:?}"));
        }
        player.happens(&event, &mut record)?;
    }
    Ok(())
}

struct Player<'a, 'b> {
    memory: Memory,
    oracle: Oracle,
    scratch: Scratch,
    frame: Frame,
    before: Vec<u8>,
    /// Of the event, for what was reached.
    kind: u8,
    reached: &'a mut Reached,
    tell: Option<Tell<'b>>,
}

/// A way by which frames come that are nobody's in particular.
const SOMEWHERE: Way = Way { interface: 3, destination: [2, 0, 0, 0, 0, 3], source: [2, 0xee, 0, 0, 0, 9] };

impl Player<'_, '_> {
    fn happens(&mut self, event: &Event, record: &mut Unstructured<'_>) -> Result<(), String> {
        match event {
            Event::Client { client, service, other_router, sends } => {
                self.kind = 0;
                self.client_sends(*client, *service, *other_router, sends)
            }
            Event::Replica { recent, sends } => {
                self.kind = 1;
                self.replica_sends(*recent, sends)
            }
            Event::Handshake { client, service } => {
                self.kind = 2;
                self.client_sends(*client, *service, false, &Sends::plain(flag::SYN))?;
                self.answers(*client, *service, flag::SYN | flag::ACK)?;
                self.client_sends(*client, *service, false, &Sends::plain(flag::ACK))
            }
            Event::Close { client, service, replica_first } => {
                self.kind = 3;
                let fin = flag::FIN | flag::ACK;
                if *replica_first {
                    self.answers(*client, *service, fin)?;
                }
                self.client_sends(*client, *service, false, &Sends::plain(fin))?;
                if *replica_first { Ok(()) } else { self.answers(*client, *service, fin) }
            }
            Event::Wait(ticks) => {
                self.memory.now.set(self.memory.now.get().wrapping_add(*ticks));
                self.oracle.now += u64::from(*ticks);
                Ok(())
            }
            Event::Evict(nth) => {
                let flows = self.memory.flows.count();
                let all = flows + self.memory.half_open.count();
                let nth = nth % all.max(1);
                let key = self
                    .memory
                    .flows
                    .evict(nth)
                    .or_else(|| self.memory.half_open.evict(nth - flows.min(nth)));
                if let Some(key) = key {
                    self.oracle.evicted(&key, &self.memory);
                }
                Ok(())
            }
            Event::Change => {
                self.memory.world.change(record);
                self.memory.write_replicas();
                Ok(())
            }
            Event::Stranger { from, to, sends } => {
                self.kind = 4;
                let (from, mut to) = (from.end(&self.memory.world), to.end(&self.memory.world));
                if from.ip.is_v4() != to.ip.is_v4() {
                    to.ip = from.ip;
                }
                self.sends(SOMEWHERE, from, to, sends)
            }
            Event::Noise { seed, length, header } => {
                self.kind = 5;
                self.noise(*seed, *length, *header);
                self.passes(&SOMEWHERE)
            }
            Event::Error { recent, to_client, kind, code, quote, wrong, damage } => {
                self.kind = 6;
                self.error(*recent, *to_client, (*kind, *code), *quote, *wrong, damage.as_ref())
            }
            Event::Echo { to, length, wrong } => {
                self.kind = 7;
                self.echo(to, *length, *wrong)
            }
        }
    }

    fn client_sends(
        &mut self,
        client: usize,
        service: usize,
        other_router: bool,
        sends: &Sends,
    ) -> Result<(), String> {
        let services = &self.memory.world.services;
        let vip = services[service % services.len()].vip;
        let (end, way) = World::client(client, vip.ip.is_v4(), other_router);
        self.sends(way, end, vip, sends)
    }

    fn replica_sends(&mut self, recent: usize, sends: &Sends) -> Result<(), String> {
        let mut sides = self.oracle.connections.iter().rev().filter_map(|one| one.side);
        let Some((replica, nat)) = sides.nth(recent) else { return Ok(()) };
        self.sends(SOMEWHERE, replica, nat, sends)
    }

    /// The replica's end of a client's last connection sends.
    fn answers(&mut self, client: usize, service: usize, flags: u8) -> Result<(), String> {
        let services = &self.memory.world.services;
        let vip = services[service % services.len()].vip;
        let (end, _) = World::client(client, vip.ip.is_v4(), false);
        let current = self.oracle.current(end, vip).and_then(|at| self.oracle.connections[at].side);
        current.map_or(Ok(()), |(replica, nat)| self.sends(SOMEWHERE, replica, nat, &Sends::plain(flags)))
    }

    fn sends(&mut self, way: Way, from: End, to: End, sends: &Sends) -> Result<(), String> {
        sends.segment(way, from, to).write(&mut self.before);
        if let Some(damage) = &sends.damage {
            damage.apply(&mut self.before);
        }
        self.passes(&way)
    }

    fn noise(&mut self, seed: u64, length: u16, header: u8) {
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

    fn error(
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

    fn echo(&mut self, to: &Pool, length: u8, wrong: bool) -> Result<(), String> {
        let to = to.end(&self.memory.world);
        let (from, way) = World::client(usize::from(length), to.ip.is_v4(), false);
        let mut message = vec![if to.ip.is_v4() { 8 } else { 128 }, 0, 0, 0, 1, 2, 3, 4];
        message.extend((0..length).map(|at| at ^ 0x5a));
        Self::icmp_checksum(&mut message, from, to, wrong);
        self.ip(&way, from, to, [1, 58], &message);
        self.passes(&way)
    }

    /// The frame goes through the pipeline, and is judged.
    fn passes(&mut self, came: &Way) -> Result<(), String> {
        self.frame.bytes.clear();
        self.frame.bytes.extend(&self.before);
        self.frame.interface = came.interface;
        // The bytes of the Ethernet header count, whatever became of them.
        let mac = |at: usize| self.before.get(at..at + 6).and_then(|bytes| bytes.try_into().ok());
        let came = Way {
            destination: mac(0).unwrap_or_default(),
            source: mac(6).unwrap_or_default(),
            interface: came.interface,
        };
        let new_flows = self.memory.new_flows();
        let outcome = run(&mut self.frame, &self.memory, &mut self.scratch);
        let opened = self.memory.new_flows() - new_flows;
        self.note(outcome.verdict);
        if let Some(tell) = &mut self.tell {
            tell(format!(
                "    {:?} by {}\n    in  {}\n    out {}",
                outcome.verdict,
                outcome.interface,
                hex(&self.before),
                hex(&self.frame.bytes)
            ));
        }
        let step = Step {
            before: &self.before,
            came,
            after: &self.frame.bytes,
            verdict: outcome.verdict,
            interface: outcome.interface,
            opened,
            memory: &self.memory,
        };
        self.oracle.judge(&step).map_err(|why| format!("{}: {why}", outcome.verdict.name()))
    }

    fn note(&mut self, verdict: Verdict) {
        self.reached.frames += 1;
        self.reached.verdicts[verdict as usize] += 1;
        let mut combination = u64::from(self.kind) << 8 | verdict as u64;
        if let Ok(seen) = read(&self.before) {
            let one = self.oracle.connections.iter().rev().find(|one| {
                (one.client == seen.from && one.vip == seen.to) || one.side == Some((seen.from, seen.to))
            });
            let phase = one.map_or(15, |one| phase_number(one.phase));
            let client_side = one.is_some_and(|one| one.client == seen.from);
            let families =
                one.and_then(|one| one.side).map_or(2, |(replica, _)| u64::from(replica.ip.is_v4()));
            combination |= phase << 12 | u64::from(client_side) << 16 | u64::from(seen.v4) << 17;
            combination |= families << 18 | u64::from(seen.flags & 7) << 20;
            combination |= one.map_or(0, |one| one.tried.len() as u64) << 24;
        }
        self.reached.note(combination);
    }
}

fn phase_number(phase: Phase) -> u64 {
    phase as u64
}

fn hex(bytes: &[u8]) -> String {
    let shown = bytes.iter().take(160).map(|byte| format!("{byte:02x}")).collect::<String>();
    if bytes.len() > 160 { format!("{shown}... ({} bytes)", bytes.len()) } else { shown }
}
