//! Plays a sequence.

use std::panic::{AssertUnwindSafe, catch_unwind};

use arbitrary::Unstructured;
use dtr_lb_common::{
    pipeline::{Outcome, PacketContext, fast, run},
    verdict::Verdict,
};

use crate::{
    event::{Event, Sends},
    frame::Frame,
    input::records,
    memory::Memory,
    net::{Tags, Way},
    oracle::{Oracle, Step, connection::Phase},
    reached::Reached,
    reader::{flag, read},
    world::{SECOND, World},
};

mod others;
mod speak;

use speak::Speaker;

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
    let frame = || Frame { bytes: Vec::with_capacity(2048), interface: 0 };
    let mut player = Player {
        memory,
        oracle: Oracle::default(),
        context: PacketContext::new(),
        frame: frame(),
        again: frame(),
        before: Vec::with_capacity(2048),
        wire: Vec::with_capacity(2048),
        kind: 0,
        reached,
        tell,
    };
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
    context: PacketContext,
    frame: Frame,
    /// The same frame, played without the fast path.
    again: Frame,
    before: Vec<u8>,
    /// It as it is on the wire, with its tags.
    wire: Vec<u8>,
    /// Of the event, for what was reached.
    kind: u8,
    reached: &'a mut Reached,
    tell: Option<Tell<'b>>,
}

/// A way by which frames come that are nobody's in particular.
const SOMEWHERE: Way =
    Way { interface: 3, destination: [2, 0, 0, 0, 0, 3], source: [2, 0xee, 0, 0, 0, 9], vlans: Tags::NONE };

/// Microseconds in a tick.
const MICROS: u32 = 1_000_000 / SECOND;

/// Tags beside those of a way, of a frame that has none: one that says a priority only, alone and before a VLAN's.
const BESIDE: [Tags; 2] =
    [Tags([Some([0x81, 0, 0, 0]), None]), Tags([Some([0x81, 0, 0, 0]), Some([0x81, 0, 0, 30])])];

impl Player<'_, '_> {
    fn happens(&mut self, event: &Event, record: &mut Unstructured<'_>) -> Result<(), String> {
        match event {
            Event::Client { client, service, other_router, sends } => {
                self.kind = 0;
                self.client_sends(*client, *service, *other_router, sends)
            }
            Event::Replica { recent, sends } => {
                self.kind = 1;
                let Some(at) = self.oracle.recent_with_side(*recent) else { return Ok(()) };
                self.replica_sends(at, sends)
            }
            Event::Handshake { client, service, talks } => {
                self.kind = 2;
                self.shake_hands(*client, *service)?;
                if *talks {
                    let talk = flag::PSH | flag::ACK;
                    self.client_sends(*client, *service, false, &Sends::plain(talk))?;
                    self.answers(*client, *service, talk)?;
                }
                Ok(())
            }
            Event::Close { client, service, replica_first } => {
                self.kind = 3;
                self.close(*client, *service, *replica_first)
            }
            Event::Again { client, service, replica_first, drains, sends } => {
                self.kind = 9;
                let Some(before) = self.last(*client, *service) else { return Ok(()) };
                self.close(*client, *service, *replica_first)?;
                if *drains {
                    self.memory.world.drain(self.oracle.connections[before].replica);
                    self.memory.write_replicas();
                }
                self.shake_hands(*client, *service)?;
                self.replica_sends(before, sends)
            }
            Event::Wait(ticks) => {
                self.memory.now = self.memory.now.wrapping_add(*ticks);
                self.memory.micros = self.memory.micros.wrapping_add(ticks.wrapping_mul(MICROS));
                // The agent has read all events.
                self.memory.leave_room(None);
                self.oracle.now += u64::from(*ticks);
                Ok(())
            }
            Event::Sweep => {
                let swept = self.memory.sweep();
                self.oracle.swept(swept, &self.memory)
            }
            Event::Busy(after) => {
                self.memory.refuse_lock(*after);
                // And the agent is busy.
                self.memory.leave_room(Some(*after));
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
                self.sends(SOMEWHERE, from, to, sends, Speaker::Nobody)
            }
            Event::Spoof { recent, from_client, same_way, sends } => {
                self.kind = 8;
                self.spoofs(*recent, *from_client, *same_way, sends)
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

    /// The frame goes through the pipeline, and is judged.
    fn passes(&mut self, came: &Way) -> Result<(), String> {
        // What a frame's tags are beyond its VLANs is drawn from its length.
        let length = self.before.len();
        let tags = match length % 16 {
            at @ 0..2 if came.vlans == Tags::NONE => BESIDE[at],
            _ => came.vlans,
        };
        tags.at(length as u8 & 0x0f).join(&self.before, &mut self.wire);
        let (tags, before) = Tags::split(&self.wire);
        self.before = before;
        self.frame.bytes.clone_from(&self.wire);
        self.frame.interface = came.interface;
        // The bytes of the Ethernet header count, whatever became of them.
        let mac = |at: usize| self.before.get(at..at + 6).and_then(|bytes| bytes.try_into().ok());
        let came = Way {
            destination: mac(0).unwrap_or_default(),
            source: mac(6).unwrap_or_default(),
            interface: came.interface,
            vlans: tags.vlans(),
        };
        self.again.bytes.clone_from(&self.wire);
        self.again.interface = came.interface;
        self.memory.micros = self.memory.micros.wrapping_add(7 + 31 * length as u32);
        self.memory.branch();
        let new_flows = self.memory.store.new_flows();
        let tables = self.memory.tables();
        let quick = fast(&mut self.frame, &tables);
        let untouched = quick.is_some() || (self.frame.bytes == self.wire && self.memory.differs().is_none());
        if !untouched {
            return Err("the fast path leaves a frame to the stages that it has changed".to_owned());
        }
        let outcome = quick.unwrap_or_else(|| run(&mut self.frame, &tables, &mut self.context));
        let opened = self.memory.store.new_flows() - new_flows;
        self.note(outcome.verdict);
        if let Some(tell) = &mut self.tell {
            tell(format!(
                "    {:?} by {}\n    in  {}\n    out {}",
                outcome.verdict,
                outcome.interface,
                hex(&self.wire),
                hex(&self.frame.bytes)
            ));
        }
        if quick.is_some() {
            self.reached.fast += 1;
            self.plays_again(outcome)?;
        }
        let (left, after) = Tags::split(&self.frame.bytes);
        let step = Step {
            before: &self.before,
            came,
            tags,
            after: &after,
            left,
            verdict: outcome.verdict,
            interface: outcome.interface,
            opened,
            memory: &self.memory,
        };
        self.oracle.judge(&step).map_err(|why| format!("{}: {why}", outcome.verdict.name()))
    }

    /// The stages must do what the fast path did.
    fn plays_again(&mut self, outcome: Outcome) -> Result<(), String> {
        let slow = run(&mut self.again, &self.memory.tables_again(), &mut self.context);
        if slow != outcome {
            return Err(format!("by the fast path {outcome:?}, and by the stages {slow:?}"));
        }
        if self.frame.bytes != self.again.bytes {
            return Err(format!("the fast path and the stages differ: {}", hex(&self.again.bytes)));
        }
        let differs = self.memory.differs();
        differs.map_or(Ok(()), |what| Err(format!("the fast path and the stages leave different {what}")))
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
            combination |= one.map_or(0, |one| u64::from(one.waiting_fins())) << 27;
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
