//! Tells clients and replicas of connections that are over: see [`dtr_lb_common::pipeline::notice`].
//!
//! The clients of a dead replica are asked, so that the datapath can reset their connections; both ends of a connection that
//! has outlived the idle time-out are sent a reset.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use aya::{
    Ebpf,
    programs::{TestRun as _, TestRunOptions},
};
use bytemuck::Zeroable as _;
use dtr_lb_common::{
    abi::{Flow, Hop, Replica, ReplicaId, program},
    flow_table::next_hops,
    model::{Frame, Words},
    pipeline::notice,
};

use super::{causes, error::DatapathError, object};

/// Walks through the flow table in which the clients of a replica are asked, since it is dead. One answers the first as a
/// rule; a lost packet, or a number that was inside its window by chance, takes another.
const WALKS: u32 = 5;
/// How often a reset is offered to an interface that does not take it: once a step of the walk.
const OFFERS: u32 = 50;
/// Resets that wait for their interface at most. An interface that is down for good must not fill the memory.
const WAITING: usize = 8192;

/// Replicas whose clients are to be asked.
#[derive(Debug, Default)]
pub(super) struct Notices {
    /// In how many walks they still are.
    walks: BTreeMap<ReplicaId, u32>,
    /// State of the numbers at random.
    random: u64,
    /// Resets that no interface took yet, and how often they were offered.
    waiting: Vec<(Frame, u32)>,
    asked: Asked,
}

/// What was done for the clients of dead replicas.
#[derive(Debug, Default)]
pub struct Asked {
    /// Clients that were sent a packet.
    pub clients: usize,
    /// Clients whose interface did not take it. It is like a packet that got lost: the next walk asks again.
    pub lost: usize,
    /// Resets of ended connections that no interface took, or whose next hop is not known any more: the receiver finds out
    /// when it sends.
    pub untold: usize,
    /// Connections that had outlived the idle time-out, and were ended: both ends were sent a reset.
    pub idle: usize,
    /// Why one could not be sent at all, the first time.
    pub error: Option<DatapathError>,
}

/// The beginning of `struct __sk_buff` (include/uapi/linux/bpf.h), up to the field that the program reads; the rest
/// is zeros then.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Context {
    length: u32,
    kind: u32,
    mark: u32,
}

impl Notices {
    /// Takes in which replicas are dead by now.
    pub(super) fn take(&mut self, dead: &BTreeSet<ReplicaId>) {
        self.walks.retain(|id, _| dead.contains(id));
        for id in dead {
            self.walks.entry(*id).or_insert(WALKS);
        }
    }

    /// The replicas whose clients are to be asked now.
    pub(super) fn due(&self) -> BTreeSet<ReplicaId> {
        self.walks.iter().filter(|(_, left)| **left > 0).map(|(id, _)| *id).collect()
    }

    /// A walk through the flow table is over.
    pub(super) fn walked(&mut self, due: &BTreeSet<ReplicaId>) {
        for id in due {
            if let Some(left) = self.walks.get_mut(id) {
                *left = left.saturating_sub(1);
            }
        }
    }

    /// Asks the client of each of these entries. The walk through the flow table goes on where that fails.
    pub(super) fn ask(&mut self, ebpf: &mut Ebpf, waiting: &[Flow], hops: Words<'_>) {
        for flow in waiting {
            self.random = dtr_lb_common::hash::mix(self.random, u64::from(flow.last_seen));
            let (sequence, acknowledgment) = (self.random as u32, (self.random >> 32) as u32);
            let hop = next_hops::get(&hops, flow.hop).unwrap_or_default();
            let Some(frame) = notice::challenge_ack(flow, &hop, sequence, acknowledgment) else { continue };
            match send(ebpf, &frame) {
                Ok(true) => self.asked.clients += 1,
                Ok(false) => self.asked.lost += 1,
                Err(error) => {
                    self.asked.error.get_or_insert(error);
                }
            }
        }
    }

    /// Resets both ends of connections that were ended, each by the number that it acknowledged last. What an interface does
    /// not take is offered again in the next steps, as the connections are in the table no more.
    pub(super) fn reset(
        &mut self,
        ebpf: &mut Ebpf,
        idle: &[(Flow, Flow)],
        hops: Words<'_>,
        replicas: &BTreeMap<ReplicaId, Replica>,
    ) {
        let mut offers = mem::take(&mut self.waiting);
        for (client, replica) in idle {
            let client_hop = next_hops::get(&hops, replica.hop).unwrap_or_default();
            let replica_hop = replicas.get(&client.replica).map_or_else(Hop::default, |replica| replica.hop);
            let frames = [
                notice::reset(replica, &client_hop, client.acknowledged),
                notice::reset(client, &replica_hop, replica.acknowledged),
            ];
            self.asked.idle += 1;
            for frame in frames {
                match frame {
                    Some(frame) => offers.push((frame, 0)),
                    None => self.asked.untold += 1,
                }
            }
        }
        for (frame, offered) in offers {
            let taken = send(ebpf, &frame).unwrap_or_else(|error| {
                self.asked.error.get_or_insert(error);
                false
            });
            match taken {
                true => {}
                false if offered < OFFERS && self.waiting.len() < WAITING => {
                    self.waiting.push((frame, offered + 1));
                }
                false => self.asked.untold += 1,
            }
        }
    }

    /// What was done since the last call, if anything was.
    pub(super) fn take_asked(&mut self) -> Option<Asked> {
        let asked = mem::take(&mut self.asked);
        let Asked { clients, lost, untold, idle, error } = &asked;
        let nothing = [clients, lost, untold, idle].into_iter().all(|count| *count == 0) && error.is_none();
        (!nothing).then_some(asked)
    }
}

/// Sends a frame by its interface. Says whether the interface took it.
fn send(ebpf: &mut Ebpf, frame: &Frame) -> Result<bool, DatapathError> {
    let program = object::tc_program(ebpf, program::SEND)?;
    let context = Context { mark: frame.interface, ..Context::zeroed() };
    let options = TestRunOptions {
        data_in: Some(&frame.bytes),
        ctx_in: Some(bytemuck::bytes_of(&context)),
        ..TestRunOptions::default()
    };
    let result = program
        .test_run(options)
        .map_err(|error| DatapathError::Refused { program: program::SEND, reason: causes(&error) })?;
    Ok(result.return_value == 0)
}
