//! Writes what is desired into the maps, and only what differs.
//!
//! The order makes each step safe by itself: replicas before the table that names them, the table in its idle
//! generation before the service that points to it. A packet meets the old table or the new one, never a mixture. What
//! is written is remembered, so that the same wish twice costs nothing; [`Writer::adopt`] reads it back from maps that
//! an earlier agent left.

use std::collections::{BTreeMap, BTreeSet};

use aya::{
    Ebpf,
    maps::{Array, HashMap, Map, MapData, MapError},
};
use dtr_lb_common::{
    abi::{
        MAX_NAT_ADDRESSES, MAX_REPLICAS, MAX_SERVICES, MaglevTable, Replica, ReplicaId, Service, ServiceKey,
        Settings, map,
    },
    address::{AnyAddress, Be16},
    maglev::{self, Candidate},
};

use super::{
    desired::{Desired, DesiredReplica},
    error::DatapathError,
};

/// The maps that the agent writes.
pub(super) struct Writer {
    services_map: HashMap<MapData, ServiceKey, Service>,
    tables_map: Array<MapData, MaglevTable>,
    replicas_map: Array<MapData, Replica>,
    settings_map: Array<MapData, Settings>,
    settings: Option<Settings>,
    services: BTreeMap<ServiceKey, Written>,
    replicas: BTreeMap<ReplicaId, Replica>,
}

/// What was written for a service.
struct Written {
    /// Which pair of tables is its own.
    pair: u32,
    /// The table in force: one of the pair.
    table: u32,
    /// What that table was built from; not known after an adoption.
    candidates: Option<Vec<Candidate>>,
}

/// What an application changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    pub tables: usize,
    pub replicas: usize,
    pub services: usize,
}

impl Writer {
    /// Takes the maps out of the object.
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, DatapathError> {
        Ok(Self {
            services_map: take(ebpf, map::SERVICES)?,
            tables_map: take(ebpf, map::TABLES)?,
            replicas_map: take(ebpf, map::REPLICAS)?,
            settings_map: take(ebpf, map::SETTINGS)?,
            settings: None,
            services: BTreeMap::new(),
            replicas: BTreeMap::new(),
        })
    }

    /// Reads back what the maps say, so that replicas keep their ids, by which flows know them.
    pub(super) fn adopt(&mut self) -> Result<(), DatapathError> {
        for (id, replica) in (0..).zip(self.replicas_map.iter()) {
            let replica = replica.map_err(DatapathError::map(map::REPLICAS, "reading"))?;
            if id != 0 && replica.port != Be16::new(0) {
                self.replicas.insert(id, replica);
            }
        }
        for entry in &self.services_map {
            let (key, service) = entry.map_err(DatapathError::map(map::SERVICES, "reading"))?;
            let written = Written { pair: service.table / 2, table: service.table, candidates: None };
            self.services.insert(key, written);
        }
        Ok(())
    }

    /// Makes the maps say what is desired. Where it fails, it may be called again with the same wish or another.
    pub(super) fn apply(&mut self, desired: &Desired, settings: Settings) -> Result<Applied, DatapathError> {
        let mut applied = Applied::default();
        if desired.services.len() > MAX_SERVICES {
            let count = desired.services.len();
            return Err(DatapathError::TooMany { what: "services", count, limit: MAX_SERVICES });
        }
        for (key, replicas) in &desired.services {
            let mut candidates = Vec::with_capacity(replicas.len());
            for replica in replicas {
                let (id, changed) = self.write_replica(*key, replica)?;
                applied.replicas += usize::from(changed);
                candidates.push(Candidate { id, identity: replica.identity(), weight: replica.weight });
            }
            let changed = self.write_table(*key, candidates)?;
            applied.tables += usize::from(changed);
        }
        applied.services = self.remove_services(desired)?;
        // Last, as packets are looked at from here on.
        if self.settings != Some(settings) {
            self.settings_map.set(0, settings, 0).map_err(DatapathError::map(map::SETTINGS, "writing"))?;
            self.settings = Some(settings);
        }
        Ok(applied)
    }

    /// The id of a replica of a service, if it was written.
    pub(super) fn id(&self, service: ServiceKey, address: AnyAddress, port: Be16) -> Option<ReplicaId> {
        let mut ids = self.replicas.iter();
        ids.find(|(_, replica)| {
            replica.service == service && replica.address == address && replica.port == port
        })
        .map(|(id, _)| *id)
    }

    fn write_replica(
        &mut self,
        service: ServiceKey,
        wanted: &DesiredReplica,
    ) -> Result<(ReplicaId, bool), DatapathError> {
        let mut nat = [AnyAddress([0; 8]); MAX_NAT_ADDRESSES];
        for (slot, address) in nat.iter_mut().zip(&wanted.nat) {
            *slot = (*address).into();
        }
        let (address, port) = (wanted.address.into(), Be16::new(wanted.port));
        let id = match self.id(service, address, port) {
            Some(id) => id,
            None => self.free_id()?,
        };
        let known = self.replicas.get(&id);
        // A next hop that is not known is no reason to forget the last one: its flows go on until probes know better.
        let hop = wanted.hop.or_else(|| known.map(|known| known.hop)).unwrap_or_default();
        let (nat, nat_count) = match (wanted.nat.len().min(MAX_NAT_ADDRESSES), known) {
            (0, Some(known)) => (known.nat, known.nat_count),
            (count, _) => (nat, count as u32),
        };
        let replica = Replica { address, nat, hop, service, port, nat_count };
        if known == Some(&replica) {
            return Ok((id, false));
        }
        self.replicas_map.set(id.into(), replica, 0).map_err(DatapathError::map(map::REPLICAS, "writing"))?;
        self.replicas.insert(id, replica);
        Ok((id, true))
    }

    fn free_id(&self) -> Result<ReplicaId, DatapathError> {
        (1..MAX_REPLICAS as ReplicaId).find(|id| !self.replicas.contains_key(id)).ok_or(
            DatapathError::TooMany {
                what: "replicas (counted once for each service)",
                count: MAX_REPLICAS,
                limit: MAX_REPLICAS - 1,
            },
        )
    }

    fn write_table(&mut self, key: ServiceKey, candidates: Vec<Candidate>) -> Result<bool, DatapathError> {
        let (pair, in_force) = match self.services.get(&key) {
            Some(written) if written.candidates.as_ref() == Some(&candidates) => return Ok(false),
            Some(written) => (written.pair, Some(written.table)),
            None => (self.free_pair(), None),
        };
        let idle = match in_force {
            Some(table) if table == 2 * pair => 2 * pair + 1,
            _ => 2 * pair,
        };
        let table = maglev::build(&candidates);
        self.tables_map.set(idle, *table, 0).map_err(DatapathError::map(map::TABLES, "writing"))?;
        self.services_map
            .insert(key, Service { table: idle }, 0)
            .map_err(DatapathError::map(map::SERVICES, "writing"))?;
        self.services.insert(key, Written { pair, table: idle, candidates: Some(candidates) });
        Ok(true)
    }

    fn free_pair(&self) -> u32 {
        let taken: BTreeSet<_> = self.services.values().map(|written| written.pair).collect();
        // There is one, for there are as many pairs as services and a service more was refused.
        (0..).find(|pair| !taken.contains(pair)).unwrap_or_default()
    }

    fn remove_services(&mut self, desired: &Desired) -> Result<usize, DatapathError> {
        let gone: Vec<_> =
            self.services.keys().filter(|key| !desired.services.contains_key(key)).copied().collect();
        for key in &gone {
            match self.services_map.remove(key) {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(DatapathError::map(map::SERVICES, "removing from")(error)),
            }
            self.services.remove(key);
        }
        Ok(gone.len())
    }
}

/// Takes a map out of the object as the type that it is used as.
pub(super) fn take<M: TryFrom<Map, Error = MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<M, DatapathError> {
    let map = ebpf
        .take_map(name)
        .ok_or_else(|| DatapathError::Object { reason: format!("the object has no map {name}") })?;
    M::try_from(map).map_err(DatapathError::map(name, "opening"))
}
