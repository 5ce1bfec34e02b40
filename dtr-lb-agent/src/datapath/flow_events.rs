//! What becomes of connections, as the datapath tells it: read many times a second, while somebody wants to know.

use std::{ops::Range, sync::Arc};

use aya::{
    Ebpf,
    maps::{Array, MapData, RingBuf},
};
use dtr_lb_common::{
    abi::{End, FlowEvent, Replica, ReplicaId, Ticks, map},
    flow_table::{
        room,
        told::{News, Told},
    },
};

use super::{
    error::DatapathError,
    meter::Meter,
    object,
    reader::{Reader, open},
};

/// The stream of them, and the switch by which the datapath tells them.
pub struct FlowEvents {
    ring: RingBuf<MapData>,
    wanted: Array<MapData, u32>,
    reader: Arc<Reader>,
    meter: Arc<Meter>,
    ticks_per_second: u32,
    overtaken: u64,
}

/// A piece of news, with the replica that it is about as the datapath knows it now.
#[derive(Clone, Copy, Debug)]
pub struct FlowNews {
    pub news: News,
    pub told: Told,
    /// When it happened.
    pub at: Ticks,
    pub replica: Option<Replica>,
}

impl FlowEvents {
    pub(super) fn new(
        ebpf: &mut Ebpf,
        reader: Arc<Reader>,
        meter: Arc<Meter>,
        ticks_per_second: u32,
    ) -> Result<Self, DatapathError> {
        let wanted = open(ebpf, map::FLOW_WANTED)?;
        let ring = object::take(ebpf, map::FLOW_EVENTS)?;
        Ok(Self { ring, wanted, reader, meter, ticks_per_second, overtaken: 0 })
    }

    /// Has the datapath tell this from now on ([`dtr_lb_common::abi::flow_wanted`]). One that runs on without an agent goes on so.
    pub fn want(&mut self, wanted: u32) -> Result<(), DatapathError> {
        self.wanted.set(0, wanted, 0).map_err(DatapathError::map(map::FLOW_WANTED, "writing"))
    }

    /// Takes at most so many that have come, in the order in which they did.
    pub fn take(&mut self, most: usize) -> Vec<FlowNews> {
        let mut found = Vec::new();
        let mut last: Option<(ReplicaId, Option<Replica>)> = None;
        while found.len() < most
            && let Some(item) = self.ring.next()
        {
            let Ok(event) = bytemuck::try_pod_read_unaligned::<FlowEvent>(&item) else { continue };
            let Some((news, told)) = Told::of(&event) else {
                self.overtaken += 1;
                continue;
            };
            // Neighbours are often of the same replica; a look into the map costs more than that comparison.
            let replica = match last {
                Some((id, replica)) if id == told.replica => replica,
                _ => self.reader.replica(told.replica).ok().flatten(),
            };
            last = Some((told.replica, replica));
            found.push(FlowNews { news, told, at: event.now, replica });
        }
        found
    }

    /// How many could not be told since the last call, as another connection took the entry meanwhile.
    pub fn take_overtaken(&mut self) -> u64 {
        std::mem::take(&mut self.overtaken)
    }

    /// Buckets of the table.
    pub fn buckets(&self) -> u32 {
        self.reader.table_words().buckets()
    }

    /// All connections that stand in these buckets: those that are not over, as ended so, and those of whose end nobody was told.
    pub fn standing(&self, buckets: Range<u32>, end: End) -> Vec<FlowNews> {
        let table = self.reader.table_words();
        let (at, replicas) = (self.now(), self.reader.replicas().unwrap_or_default());
        let of_clients = table.entries(buckets).filter(|flow| flow.direction().from_client());
        let left = of_clients.filter_map(|flow| {
            let state = flow.state();
            let how = if state.live() { end } else { room::end(flow.control, End::OUTLIVED) };
            let untold = state.live() || state.ended() && !flow.control.told();
            untold.then(|| Told::standing(&table, &flow)).flatten().map(|told| (how, told))
        });
        left.map(|(how, told)| FlowNews {
            news: News::Ended(how),
            told,
            at,
            replica: replicas.get(&told.replica).copied(),
        })
        .collect()
    }

    /// The kernel's clock, and how many of its ticks make a second.
    pub fn now(&self) -> Ticks {
        self.meter.now()
    }

    pub fn ticks_per_second(&self) -> u32 {
        self.ticks_per_second
    }
}

impl std::fmt::Debug for FlowEvents {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("FlowEvents").finish_non_exhaustive()
    }
}
