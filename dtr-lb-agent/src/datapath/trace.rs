//! A trace of the datapath: the programs once more, with the trace on, in the place of the plain ones.
//!
//! They share all pinned maps. [`TraceLoader::load`] takes about a second, as the verifier does, and needs no
//! [`Datapath`]; to put them into the links and the plain ones back is one system call an interface. If the agent dies
//! meanwhile they stay, and the next agent's start replaces them, as it does any program.

use std::{io, path::PathBuf};

use aya::{
    Ebpf,
    maps::{Array, MapData, PerCpuArray, RingBuf},
};
use bytemuck::Zeroable as _;
use dtr_lb_common::{
    abi::{TRACE_BYTES, TraceCounts, TraceFilter, TracePacket, map, program},
    verdict::Verdict,
};
use tokio::io::{Interest, unix::AsyncFd};

use super::{
    Datapath, DatapathError, Hook, attach,
    object::{self, take},
};

/// Why a trace cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    #[error("another trace is under way, and there is one at a time: wait for its end, or end it")]
    Busy,
    #[error("the datapath is attached to no interface, so that there is nothing to trace")]
    NotAttached,
    #[error("the datapath is not pinned, and its programs cannot be replaced")]
    NotPinned,
    #[error(transparent)]
    Datapath(#[from] DatapathError),
}

/// What it takes to load the programs, apart from the datapath.
#[derive(Debug)]
pub struct TraceLoader {
    maps: PathBuf,
    flow_buckets: u32,
    hook: Hook,
}

/// The programs, loaded and not yet attached.
pub struct TraceVariant {
    ebpf: Ebpf,
}

/// What the programs tell.
pub struct TraceReader {
    ring: AsyncFd<RingBuf<MapData>>,
    counts: PerCpuArray<MapData, TraceCounts>,
}

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedPacket {
    pub verdict: Verdict,
    pub packet: TracePacket,
    /// The first bytes of the frame as it came.
    pub frame: Vec<u8>,
    /// The same as it left; empty if it did not.
    pub left: Vec<u8>,
}

/// How many packets there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceTotals {
    /// Those that the filter took.
    pub matched: u64,
    /// Of them, those that are not told of: whoever reads was too slow.
    pub lost: u64,
}

impl TraceLoader {
    /// Loads the programs, on a thread that may wait. Nothing changes for any packet yet. Needs a tokio runtime.
    pub fn load(self, filter: &TraceFilter) -> Result<(TraceVariant, TraceReader), DatapathError> {
        let mut ebpf = object::load_tracing(self.flow_buckets, Some(&self.maps))?;
        // aya closes a map that was taken when it is dropped; programs refer to maps until they are loaded.
        load_program(&mut ebpf, self.hook)?;
        let mut filter_map: Array<MapData, TraceFilter> = take(&mut ebpf, map::TRACE_FILTER)?;
        filter_map.set(0, filter, 0).map_err(DatapathError::map(map::TRACE_FILTER, "writing"))?;
        let ring: RingBuf<MapData> = take(&mut ebpf, map::TRACE)?;
        let counts = take(&mut ebpf, map::TRACE_COUNTS)?;
        // SAFETY: the ring owns its file descriptor, gives the same one each time, and is dropped after the registration.
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }.map_err(|error| {
            DatapathError::Map {
                map: map::TRACE,
                operation: "waiting on",
                reason: io::Error::from(error).to_string(),
            }
        })?;
        Ok((TraceVariant { ebpf }, TraceReader { ring, counts }))
    }
}

fn load_program(ebpf: &mut Ebpf, hook: Hook) -> Result<(), DatapathError> {
    match hook {
        Hook::NativeXdp | Hook::GenericXdp => object::xdp_program(ebpf).map(drop),
        Hook::Tc => object::tc_program(ebpf, program::TC).map(drop),
    }
}

impl Datapath {
    /// What it takes to load the programs of a trace.
    pub fn trace_loader(&self) -> Result<TraceLoader, TraceError> {
        let attached = self.attached.as_ref().ok_or(TraceError::NotAttached)?;
        let pins = self.pins.as_ref().ok_or(TraceError::NotPinned)?;
        Ok(TraceLoader { maps: pins.maps(), flow_buckets: self.flow_buckets, hook: attached.hook })
    }

    /// Puts the programs of a trace in the place of the plain ones. Where it fails, the plain ones stay.
    pub fn start_trace(&mut self, variant: TraceVariant) -> Result<(), TraceError> {
        let attached = self.attached.as_ref().ok_or(TraceError::NotAttached)?;
        let links = self.pins.as_ref().ok_or(TraceError::NotPinned)?.links();
        let TraceVariant { mut ebpf } = variant;
        // The hook may have changed since they were loaded.
        load_program(&mut ebpf, attached.hook)?;
        if let Err(error) = attach::put_in(&mut ebpf, attached, &links) {
            // The first error is the one that matters. Where this fails, too, packets go on as they do while a trace lasts.
            let _ = attach::put_in(&mut self.ebpf, attached, &links);
            return Err(error.into());
        }
        self.tracing = Some(ebpf);
        Ok(())
    }

    /// Puts the plain programs back, if a trace is under way.
    pub fn stop_trace(&mut self) -> Result<(), DatapathError> {
        let (Some(attached), Some(pins)) = (&self.attached, &self.pins) else { return Ok(()) };
        if self.tracing.is_some() {
            attach::put_in(&mut self.ebpf, attached, &pins.links())?;
            self.tracing = None;
        }
        Ok(())
    }

    /// Whether the programs of a trace are attached.
    pub fn traces(&self) -> bool {
        self.tracing.is_some()
    }

    /// The same after links were made anew. That it does not succeed ends the trace's packets and nothing else.
    pub(super) fn trace_again(&mut self, ebpf: Ebpf) {
        if let Err(error) = self.start_trace(TraceVariant { ebpf }) {
            tracing::warn!(%error, "a trace that is under way sees no more packets");
        }
    }
}

impl TraceReader {
    /// Waits for the next packets, a bounded number at a time. May be dropped and called again.
    pub async fn next(&mut self) -> io::Result<Vec<TracedPacket>> {
        loop {
            let mut ready = self.ring.readable_mut().await?;
            let (found, empty) = drain(ready.get_inner_mut(), AT_ONCE);
            // With packets left the ring stays ready: the kernel tells of new ones only where all were read.
            if empty {
                ready.clear_ready();
            }
            if !found.is_empty() {
                return Ok(found);
            }
        }
    }

    /// What is there now; not without end, if more comes all the time.
    pub fn rest(&mut self) -> Vec<TracedPacket> {
        drain(self.ring.get_mut(), RECORDS).0
    }

    /// How many packets there were so far.
    pub fn totals(&self) -> Result<TraceTotals, DatapathError> {
        let values = self.counts.get(&0, 0).map_err(DatapathError::map(map::TRACE_COUNTS, "reading"))?;
        Ok(values.iter().fold(TraceTotals::default(), |sum, TraceCounts { matched, lost }| TraceTotals {
            matched: sum.matched + matched,
            lost: sum.lost + lost,
        }))
    }
}

/// Packets that are taken out of the ring at once.
const AT_ONCE: usize = 256;
/// Records that the ring holds at most.
const RECORDS: usize = TRACE_BYTES / size_of::<TracePacket>();

/// Takes so many packets out of the ring at most; says whether it is empty now.
fn drain(ring: &mut RingBuf<MapData>, most: usize) -> (Vec<TracedPacket>, bool) {
    let mut found = Vec::new();
    while found.len() < most {
        let Some(item) = ring.next() else { return (found, true) };
        found.extend(read(&item));
    }
    (found, false)
}

/// A record of the ring; nothing if it is none.
fn read(record: &[u8]) -> Option<TracedPacket> {
    let (head, frames) = record.split_at_checked(size_of::<TracePacket>())?;
    let mut packet = TracePacket::zeroed();
    bytemuck::bytes_of_mut(&mut packet).copy_from_slice(head);
    let (frame, rest) = frames.split_at_checked(packet.captured as usize)?;
    let left = rest.get(..packet.left_captured as usize)?;
    let verdict = Verdict::from_number(packet.verdict)?;
    Some(TracedPacket { verdict, packet, frame: frame.to_vec(), left: left.to_vec() })
}
