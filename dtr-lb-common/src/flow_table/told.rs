//! What the datapath tells of a connection, and what stands in the table of one, in one form: for the flow log and for `flows`.

use super::{Control, Direction, ENTRY_WORDS, Flow, Line, Memory, Place, account, entry};
use crate::{
    abi::{End, FlowEvent, ReplicaId, State, Ticks, Traffic, Tuple, flow_event},
    verdict::Verdict,
};

/// A connection, at an end or under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// The tuple of the client's packets.
    pub client: Tuple,
    /// The tuple that they leave with; the same in direct modes, and where none was opened.
    pub to: Tuple,
    /// 0: none was asked.
    pub replica: ReplicaId,
    /// The replica answers the client directly: what it sends is not seen.
    pub direct: bool,
    pub opened: Ticks,
    pub to_replica: Traffic,
    pub to_client: Traffic,
    /// Microseconds from the SYN to the replica until its SYN-ACK, and from the SYN-ACK to the client until its ACK.
    pub connect: Option<u32>,
    pub client_rtt: Option<u32>,
    /// Replicas that were asked; nothing where that is not known.
    pub attempts: Option<u32>,
}

/// What the datapath tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// A connection is established.
    Started,
    Ended(End),
    /// A SYN opened none.
    Failed(Verdict),
}

/// Words that are read where they are.
#[derive(Clone, Copy)]
struct Copied<'a>(&'a [u32]);

impl Line for Copied<'_> {
    fn load(self, word: usize) -> u32 {
        self.0[word]
    }

    fn store(self, _: usize, _: u32) {}

    fn exchange(self, _: usize, _: u32, _: u32) -> bool {
        false
    }
}

/// The entry at the beginning of an event's words, at place 0.
struct One<'a>(&'a FlowEvent);

impl<'a> Memory for One<'a> {
    type Line = Copied<'a>;
    type Bucket = ();

    fn bucket(&self, _: u32) -> Option<()> {
        Some(())
    }

    fn way(&self, (): (), _: u32) -> Copied<'a> {
        Copied(&self.0.words[..ENTRY_WORDS])
    }

    fn pair_of(&self, (): (), _: u32) -> Copied<'a> {
        Copied(&self.0.words[..2 * ENTRY_WORDS])
    }

    fn lock(&self, _: u32) -> bool {
        true
    }

    fn unlock(&self, _: u32) {}
}

impl Told {
    /// What an event tells; nothing if it is none that is known, or if its words may be another connection's: its entry was taken from an
    /// ended one while they were read.
    pub fn of(event: &FlowEvent) -> Option<(News, Self)> {
        let mut flow: Flow = bytemuck::Zeroable::zeroed();
        let news = match event.kind {
            flow_event::START => News::Started,
            flow_event::END => News::Ended(event.end),
            flow_event::FAIL => {
                const WORDS: usize = size_of::<Tuple>() / 4;
                let client: Tuple = bytemuck::pod_read_unaligned(bytemuck::cast_slice(&event.words[..WORDS]));
                let opened = event.now;
                let nothing = Self { client, to: client, opened, ..Self::nothing() };
                return Some((News::Failed(Verdict::from_number(event.verdict)?), nothing));
            }
            _ => return None,
        };
        let locked_by_teller = event.after == event.control.taken();
        if !locked_by_teller && !event.control.stays(event.after) {
            return None;
        }
        entry::load(&One(event), Place(0), event.control, &mut flow)?;
        let other = (event.paired != 0).then_some(Copied(&event.words[2 * ENTRY_WORDS..]));
        Some((news, Self::made(&flow, Copied(&event.words[..ENTRY_WORDS]), other)))
    }

    /// What stands in the table of a connection by its client's entry, which was read; nothing if it is gone by now.
    pub fn standing<M: Memory>(memory: &M, flow: &Flow) -> Option<Self> {
        let line = memory.line(flow.place)?;
        let other = (flow.direction() != Direction::Direct).then(|| memory.line(flow.partner)).flatten();
        let told = Self::made(flow, line, other);
        super::stands(memory, flow).then_some(told)
    }

    fn made<L: Line>(flow: &Flow, line: L, other: Option<L>) -> Self {
        let (control, answer) = (flow.control, flow.control.towards_client());
        let over = !flow.state().handshake();
        let measured = if over { account::measured(line, control) } else { account::Measured::default() };
        let rtt = other.filter(|_| over).and_then(|other| account::measured(other, answer).micros);
        Self {
            client: flow.key,
            to: flow.to,
            replica: flow.replica,
            direct: flow.direction() == Direction::Direct,
            opened: flow.opened,
            to_replica: account::traffic(line, control),
            to_client: other.map_or(Traffic::default(), |other| account::traffic(other, answer)),
            connect: measured.micros,
            client_rtt: rtt,
            attempts: (measured.attempts != 0).then_some(measured.attempts),
        }
    }

    fn nothing() -> Self {
        let flow: Flow = bytemuck::Zeroable::zeroed();
        let control = Control::new(State::SYN_SENT, Direction::Direct, false);
        Self::made(&Flow { control, ..flow }, Copied(&[0; ENTRY_WORDS]), None)
    }
}
