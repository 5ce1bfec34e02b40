//! The maps, for threads that look and change nothing: handles of their own, so that the main loop goes on meanwhile.

use std::{collections::BTreeMap, os::fd::AsFd as _};

use aya::{
    Ebpf,
    maps::{Array, HashMap, LpmTrie, Map, MapData, MapError, lpm_trie::Key},
};
use dtr_lb_common::{
    abi::{ALLOW, Filter, MaglevTable, Replica, ReplicaId, Service, ServiceKey, Settings, SourceKey, map},
    address::{Address, Be16},
    model::{Source, Words},
};

use super::{error::DatapathError, mapped::Mapped};

/// Bits of a key in the map of sources that come before the address.
const NUMBER: u32 = u32::BITS;

/// Handles of the maps.
pub struct Reader {
    flows: Mapped,
    next_hops: Mapped,
    filter: Array<MapData, Filter>,
    sources: LpmTrie<MapData, SourceKey, u32>,
    services: HashMap<MapData, ServiceKey, Service>,
    vips: HashMap<MapData, Address, u32>,
    tables: Array<MapData, MaglevTable>,
    replicas: Array<MapData, Replica>,
    settings: Array<MapData, Settings>,
}

impl Reader {
    /// From an object that has all of its maps still.
    pub(super) fn new(ebpf: &Ebpf) -> Result<Self, DatapathError> {
        Ok(Self {
            flows: Mapped::new(&handle(ebpf, map::FLOWS)?, map::FLOWS)?,
            next_hops: Mapped::new(&handle(ebpf, map::NEXT_HOPS)?, map::NEXT_HOPS)?,
            filter: open(ebpf, map::FILTER)?,
            sources: open(ebpf, map::SOURCES)?,
            services: open(ebpf, map::SERVICES)?,
            vips: open(ebpf, map::VIPS)?,
            tables: open(ebpf, map::TABLES)?,
            replicas: open(ebpf, map::REPLICAS)?,
            settings: open(ebpf, map::SETTINGS)?,
        })
    }

    /// The flow table.
    pub fn table_words(&self) -> Words<'_> {
        self.flows.words()
    }

    /// The next hops to clients.
    pub fn next_hop_words(&self) -> Words<'_> {
        self.next_hops.words()
    }

    /// The settings; none before the first were written.
    pub fn settings(&self) -> Result<Option<Settings>, DatapathError> {
        let settings = self.settings.get(&0, 0).map_err(DatapathError::map(map::SETTINGS, "reading"))?;
        Ok((settings.port_count != 0).then_some(settings))
    }

    /// The marks of the filter, by place.
    pub fn filter(&self) -> Result<Box<Filter>, DatapathError> {
        self.filter.get(&0, 0).map(Box::new).map_err(DatapathError::map(map::FILTER, "reading"))
    }

    pub fn service(&self, key: &ServiceKey) -> Result<Option<Service>, DatapathError> {
        known(self.services.get(key, 0), map::SERVICES)
    }

    /// Whether an address is that of a service.
    pub fn vip(&self, address: &Address) -> Result<bool, DatapathError> {
        known(self.vips.get(address, 0), map::VIPS).map(|found| found.is_some())
    }

    /// Whether a client may connect by the prefixes under `number`; none if no prefix holds it.
    pub fn allowed(&self, number: u32, source: &Address) -> Result<Option<bool>, DatapathError> {
        let bits = 8 * size_of::<SourceKey>() as u32;
        let key = Key::new(bits, SourceKey { number, address: *source });
        known(self.sources.get(&key, 0), map::SOURCES).map(|rule| rule.map(|rule| rule == ALLOW))
    }

    /// All prefixes under `number`.
    pub fn sources(&self, number: u32) -> Result<Vec<Source>, DatapathError> {
        let mut found = Vec::new();
        for entry in &self.sources {
            let (key, rule) = entry.map_err(DatapathError::map(map::SOURCES, "reading"))?;
            let SourceKey { number: of, address } = key.data();
            if of == number {
                let length = key.prefix_len().saturating_sub(NUMBER);
                found.push(Source { number, address, length, allow: rule == ALLOW });
            }
        }
        Ok(found)
    }

    /// A Maglev table.
    pub fn table(&self, index: u32) -> Result<Box<MaglevTable>, DatapathError> {
        self.tables.get(&index, 0).map(Box::new).map_err(DatapathError::map(map::TABLES, "reading"))
    }

    /// The replica of an id, if it has one.
    pub fn replica(&self, id: ReplicaId) -> Result<Option<Replica>, DatapathError> {
        let replica = known(self.replicas.get(&id.into(), 0), map::REPLICAS)?;
        Ok(replica.filter(|replica| id != 0 && replica.port != Be16::new(0)))
    }

    /// All replicas that have an id.
    pub fn replicas(&self) -> Result<BTreeMap<ReplicaId, Replica>, DatapathError> {
        let mut found = BTreeMap::new();
        for (id, replica) in (0..).zip(self.replicas.iter()) {
            let replica = replica.map_err(DatapathError::map(map::REPLICAS, "reading"))?;
            if id != 0 && replica.port != Be16::new(0) {
                found.insert(id, replica);
            }
        }
        Ok(found)
    }
}

fn known<T>(result: Result<T, MapError>, name: &'static str) -> Result<Option<T>, DatapathError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(error) => Err(DatapathError::map(name, "reading")(error)),
    }
}

fn missing(name: &str) -> DatapathError {
    DatapathError::Object { reason: format!("the object has no map {name} of its kind") }
}

fn data<'a>(map: &'a Map, name: &'static str) -> Result<&'a MapData, DatapathError> {
    match map {
        Map::Array(data) | Map::PerCpuArray(data) | Map::HashMap(data) | Map::LpmTrie(data) => Ok(data),
        _ => Err(missing(name)),
    }
}

/// Another handle of a map.
fn handle(ebpf: &Ebpf, name: &'static str) -> Result<Map, DatapathError> {
    let data = data(ebpf.map(name).ok_or_else(|| missing(name))?, name)?;
    let fd = data.fd().as_fd().try_clone_to_owned().map_err(|error| DatapathError::Map {
        map: name,
        operation: "taking another handle of",
        reason: error.to_string(),
    })?;
    let data = MapData::from_fd(fd).map_err(DatapathError::map(name, "opening"))?;
    Map::from_map_data(data).map_err(DatapathError::map(name, "opening"))
}

pub(super) fn open<M: TryFrom<Map, Error = MapError>>(
    ebpf: &Ebpf,
    name: &'static str,
) -> Result<M, DatapathError> {
    M::try_from(handle(ebpf, name)?).map_err(DatapathError::map(name, "opening"))
}
