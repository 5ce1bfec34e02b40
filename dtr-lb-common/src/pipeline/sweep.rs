//! What the agent's sweep asks of the kernel: userspace only reads the flow table, as it may lose its processor at any time, and
//! a lock that it held would stop packets. It hands over what is to be ended, and the kernel looks again.

use super::Tables;
use crate::{
    abi::{Control, End, Flow, Place, Settings, Ticks},
    flow_table::{self, Direction, Memory, State, next_hops},
};

/// Requests in one run at most.
pub const REQUESTS: usize = 64;

/// Of what kind a request is.
pub mod kind {
    /// To end the connection at a place, if both directions have outlived its state and it is as it was seen.
    pub const END: u32 = 1;
    /// To free the next hop of an index, unless it was assigned since.
    pub const FREE_HOP: u32 = 2;
    /// To tell how the connection at a place ended, which nobody was told when it did, if it is as it was seen.
    pub const TELL: u32 = 3;
}

/// A request, and its answer.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Request {
    /// Of [`kind`]; 0 when it was carried out.
    pub kind: [u16; 2],
    /// A place, or an index.
    pub at: [u16; 2],
    /// The control word as it was seen, or a time.
    pub seen: [u16; 2],
}

impl Request {
    pub const CARRIED_OUT: [u16; 2] = [0; 2];

    pub fn end(flow: &Flow) -> Self {
        Self::new(kind::END, flow.place.0, flow.control.0)
    }

    pub fn tell(flow: &Flow) -> Self {
        Self::new(kind::TELL, flow.place.0, flow.control.0)
    }

    pub fn free_hop(index: u16, since: Ticks) -> Self {
        Self::new(kind::FREE_HOP, index.into(), since)
    }

    #[inline(always)]
    pub fn kind(&self) -> u32 {
        bytemuck::must_cast(self.kind)
    }

    #[inline(always)]
    pub fn at(&self) -> u32 {
        bytemuck::must_cast(self.at)
    }

    #[inline(always)]
    pub fn summary(&self) -> u32 {
        bytemuck::must_cast(self.seen)
    }

    #[inline(always)]
    pub fn new(kind: u32, at: u32, seen: u32) -> Self {
        Self { kind: bytemuck::must_cast(kind), at: bytemuck::must_cast(at), seen: bytemuck::must_cast(seen) }
    }
}

/// Carries out a request. Says whether it was.
#[inline(always)]
pub fn carry_out(request: &Request, tables: &impl Tables, flow: &mut Flow, other: &mut Flow) -> bool {
    let (at, seen) = (request.at(), request.summary());
    match request.kind() {
        kind::END => {
            let Some(settings) = tables.settings() else { return false };
            let memory = &tables.flows();
            flow_table::read(memory, Place(at), flow)
                && flow.control == Control(seen)
                && outlived(settings, flow, other_seen(memory, flow, other), tables.now())
                && flow_table::end(memory, flow, End::OUTLIVED)
        }
        kind::TELL => {
            let memory = &tables.flows();
            flow_table::read(memory, Place(at), flow)
                && flow.control == Control(seen)
                && flow_table::tell_again(memory, flow)
        }
        kind::FREE_HOP => next_hops::free(&tables.next_hops(), at as u16, seen),
        _ => false,
    }
}

/// When the other direction was seen last; the same time if it is gone.
#[inline(always)]
fn other_seen<M: Memory>(memory: &M, flow: &Flow, other: &mut Flow) -> Ticks {
    if flow_table::partner(memory, flow, other) { other.last_seen } else { flow.last_seen }
}

/// Whether both directions of a connection have been silent for longer than its state lasts. `other` is when the other one was
/// seen last; of one that is alone it does not count.
#[inline(always)]
pub fn outlived(settings: &Settings, flow: &Flow, other: Ticks, now: Ticks) -> bool {
    let alone = flow.direction() == Direction::Direct || flow.state() == State::TIME_WAIT_HELD;
    settings.expired(flow.state(), flow.last_seen, now)
        && (alone || settings.expired(flow.state(), other, now))
}
