//! Reads the counters: sums over the CPUs.

use std::collections::BTreeMap;

use aya::{
    Ebpf, Pod,
    maps::{Array, MapData, PerCpuArray, PerCpuValues},
    util::nr_cpus,
};
use dtr_lb_common::{
    abi::{FlowStats, Pressure, ReplicaCounters, ReplicaId, Ticks, Traffic, Witness, Witnesses, map},
    address::Address,
    verdict::Verdict,
};

use super::{error::DatapathError, reader::open};

/// The maps of counters.
pub(super) struct Counters {
    verdicts: PerCpuArray<MapData, Traffic>,
    replicas: PerCpuArray<MapData, ReplicaCounters>,
    pressure: PerCpuArray<MapData, Pressure>,
    witnesses: Array<MapData, Witnesses>,
    flows: Array<MapData, FlowStats>,
}

/// What was counted of the handshakes of a service, since its number was first used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handshakes {
    /// SYNs that would have opened a connection, whether they were let in or not.
    pub syns: u64,
    /// Handshakes that were completed.
    pub completed: u64,
    /// Processors on which clients have to prove their addresses.
    pub challenging: u32,
}

impl Counters {
    /// Handles of their own: the one who resets counters has some, and who reads them, others.
    pub(super) fn open(ebpf: &Ebpf) -> Result<Self, DatapathError> {
        Ok(Self {
            verdicts: open(ebpf, map::VERDICT_STATS)?,
            replicas: open(ebpf, map::REPLICA_STATS)?,
            pressure: open(ebpf, map::PRESSURE)?,
            witnesses: open(ebpf, map::WITNESSES)?,
            flows: open(ebpf, map::FLOW_STATS)?,
        })
    }

    pub(super) fn verdicts(&self) -> Result<BTreeMap<Verdict, Traffic>, DatapathError> {
        let sum = |values: PerCpuValues<Traffic>| values.iter().copied().fold(Traffic::default(), add);
        Verdict::ALL
            .iter()
            .map(|verdict| {
                let values = self.verdicts.get(&(*verdict as u32), 0);
                Ok((*verdict, sum(values.map_err(DatapathError::map(map::VERDICT_STATS, "reading"))?)))
            })
            .collect()
    }

    /// Of the service of this number.
    pub(super) fn handshakes(&self, number: u32, now: Ticks) -> Result<Handshakes, DatapathError> {
        let values = self.pressure.get(&number, 0).map_err(DatapathError::map(map::PRESSURE, "reading"))?;
        Ok(values.iter().fold(Handshakes::default(), |sum, one| Handshakes {
            syns: sum.syns + one.syns,
            completed: sum.completed + one.handshakes,
            challenging: sum.challenging + u32::from(one.is_challenging(now)),
        }))
    }

    /// Begins to count anew for a number that another service may have had.
    pub(super) fn forget_handshakes_of(&mut self, number: u32) -> Result<(), DatapathError> {
        let none = per_cpu(Pressure::default(), map::PRESSURE)?;
        self.pressure.set(number, none, 0).map_err(DatapathError::map(map::PRESSURE, "writing"))
    }

    /// The map itself.
    #[cfg(any(test, feature = "test-run"))]
    pub(super) fn verdict_map(&self) -> &PerCpuArray<MapData, Traffic> {
        &self.verdicts
    }

    pub(super) fn replica(&self, id: ReplicaId) -> Result<ReplicaCounters, DatapathError> {
        let values = self
            .replicas
            .get(&u32::from(id), 0)
            .map_err(DatapathError::map(map::REPLICA_STATS, "reading"))?;
        Ok(values.iter().copied().fold(ReplicaCounters::default(), sum))
    }

    /// The clients that are remembered as those whom a replica has not answered.
    pub(super) fn witnesses(&self, id: ReplicaId) -> Result<Vec<Witness>, DatapathError> {
        let all = self.witnesses.get(&u32::from(id), 0);
        let all = all.map_err(DatapathError::map(map::WITNESSES, "reading"))?;
        Ok(all.into_iter().filter(|witness| witness.source != Address::NONE).collect())
    }

    /// What was counted of the connections of an id; of id 0, SYNs that opened none and were not told.
    pub(super) fn flows(&self, id: ReplicaId) -> Result<FlowStats, DatapathError> {
        self.flows.get(&u32::from(id), 0).map_err(DatapathError::map(map::FLOW_STATS, "reading"))
    }

    /// Begins to count anew for an id that another replica had. No packet counts for it meanwhile.
    pub(super) fn reset(&mut self, id: ReplicaId) -> Result<(), DatapathError> {
        self.set(id, &ReplicaCounters::default())?;
        let none = FlowStats::default();
        self.flows.set(id.into(), none, 0).map_err(DatapathError::map(map::FLOW_STATS, "writing"))
    }

    /// Says what every CPU has counted for an id.
    pub(super) fn set(&mut self, id: ReplicaId, count: &ReplicaCounters) -> Result<(), DatapathError> {
        let values = per_cpu(*count, map::REPLICA_STATS)?;
        self.replicas.set(id.into(), values, 0).map_err(DatapathError::map(map::REPLICA_STATS, "writing"))
    }
}

/// The same value for each processor, for this map.
fn per_cpu<V: Pod + Clone>(value: V, map: &'static str) -> Result<PerCpuValues<V>, DatapathError> {
    let failed = |reason: String| DatapathError::Map { map, operation: "writing", reason };
    let cpus = nr_cpus().map_err(|(file, error)| failed(format!("{file}: {error}")))?;
    PerCpuValues::try_from(vec![value; cpus]).map_err(|error| failed(error.to_string()))
}

fn add(a: Traffic, b: Traffic) -> Traffic {
    Traffic { packets: a.packets + b.packets, bytes: a.bytes + b.bytes }
}

/// Each counter of one with that of the other.
pub(super) fn sum(one: ReplicaCounters, other: ReplicaCounters) -> ReplicaCounters {
    let ReplicaCounters {
        to_replica,
        to_client,
        new_flows,
        refused,
        unanswered,
        redispatched,
        reset,
        data_to_client,
    } = other;
    ReplicaCounters {
        to_replica: add(one.to_replica, to_replica),
        to_client: add(one.to_client, to_client),
        new_flows: one.new_flows + new_flows,
        refused: one.refused + refused,
        unanswered: one.unanswered + unanswered,
        redispatched: one.redispatched + redispatched,
        reset: one.reset + reset,
        data_to_client: one.data_to_client + data_to_client,
    }
}
