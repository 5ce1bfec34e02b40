//! What the datapath counts, for any thread to read while another one writes the tables: handles of its own of the maps of
//! counters, and the ids by which replicas and services stand in them.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock},
};

use aya::Ebpf;
use dtr_lb_common::{
    abi::{FlowStats, Mode, ReplicaCounters, ReplicaId, ServiceKey, Ticks, Traffic, Witness},
    address::{Address, Be16},
    verdict::Verdict,
};

use super::{
    clock::Clock,
    counters::{self, Counters, Handshakes},
    desired::service_key,
    error::DatapathError,
    ids::Identity,
    sweep::Census,
};

/// The counters, as of each call.
pub struct Meter {
    counters: Counters,
    clock: Clock,
    assigned: RwLock<Arc<Assigned>>,
}

/// Under which ids replicas count, and under which numbers services do, since the last write of the tables.
#[derive(Debug, Default)]
pub(super) struct Assigned {
    pub(super) ids: HashMap<Identity, ReplicaId>,
    pub(super) numbers: HashMap<ServiceKey, u32>,
}

impl Meter {
    pub(super) fn new(ebpf: &mut Ebpf, ticks_per_second: u32) -> Result<Self, DatapathError> {
        Ok(Self {
            counters: Counters::open(ebpf)?,
            clock: Clock::start(ebpf, ticks_per_second)?,
            assigned: RwLock::default(),
        })
    }

    /// Takes in what the tables say from now on.
    pub(super) fn assign(&self, assigned: Assigned) {
        *self.assigned.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(assigned);
    }

    /// The kernel's clock, to a tick.
    #[must_use]
    pub fn now(&self) -> Ticks {
        self.clock.now()
    }

    /// How many packets had which verdict, since the maps were made.
    ///
    /// # Errors
    /// The kernel does not hand out its counters; so it is with all of these.
    pub fn verdicts(&self) -> Result<BTreeMap<Verdict, Traffic>, DatapathError> {
        self.counters.verdicts()
    }

    /// The counters of a replica of a service, and its connections in `census`.
    pub fn replica(
        &self,
        vip: IpAddr,
        service_port: u16,
        address: IpAddr,
        port: u16,
        census: &Census,
    ) -> Result<(ReplicaCounters, u64), DatapathError> {
        let (mut counted, mut flows) = (ReplicaCounters::default(), 0);
        for id in self.ids(vip, service_port, address, port) {
            counted = counters::sum(counted, self.counters.replica(id)?);
            flows += census.flows.get(&id).copied().unwrap_or_default();
        }
        Ok((counted, flows))
    }

    /// What was counted of the connections of a replica of a service.
    pub fn flows(
        &self,
        vip: IpAddr,
        service_port: u16,
        address: IpAddr,
        port: u16,
    ) -> Result<FlowStats, DatapathError> {
        let ids = self.ids(vip, service_port, address, port).into_iter();
        ids.map(|id| self.counters.flows(id)).try_fold(FlowStats::default(), |sum, one| Ok(sum.plus(&one?)))
    }

    /// What was counted of all connections, those among them that opened none, and those of replicas that no service names any more.
    pub fn all_flows(&self) -> Result<FlowStats, DatapathError> {
        let assigned = self.assigned();
        let mut ids = assigned.ids.values().copied().chain([0]);
        ids.try_fold(FlowStats::default(), |sum, id| Ok(sum.plus(&self.counters.flows(id)?)))
    }

    /// What was counted of the handshakes of a service; nothing if there is no such service.
    pub fn pressure(&self, vip: IpAddr, port: u16) -> Result<Option<Handshakes>, DatapathError> {
        let number = self.assigned().numbers.get(&service_key(vip, port)).copied();
        number.map(|number| self.counters.handshakes(number, self.now())).transpose()
    }

    /// Clients of a service that a replica has not answered; see [`dtr_lb_common::abi::Witnesses`].
    pub fn witnesses(
        &self,
        vip: IpAddr,
        service_port: u16,
        address: IpAddr,
        port: u16,
    ) -> Result<Vec<Witness>, DatapathError> {
        let mut witnesses = Vec::new();
        for id in self.ids(vip, service_port, address, port) {
            witnesses.extend(self.counters.witnesses(id)?);
        }
        Ok(witnesses)
    }

    /// The ids of a replica of a service: one for each mode that it has been reached by and that flows may be left of.
    fn ids(&self, vip: IpAddr, service_port: u16, address: IpAddr, port: u16) -> Vec<ReplicaId> {
        let assigned = self.assigned();
        let (service, address): (_, Address) = (service_key(vip, service_port), address.into());
        let of = |mode: Mode| assigned.ids.get(&(service, address, Be16::new(port), mode)).copied();
        Mode::ALL.into_iter().filter_map(of).collect()
    }

    fn assigned(&self) -> Arc<Assigned> {
        Arc::clone(&self.assigned.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Meter").finish_non_exhaustive()
    }
}
