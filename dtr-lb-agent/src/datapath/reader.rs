//! The maps, for threads that look and change nothing: handles of their own, so that the main loop goes on meanwhile.

use std::{collections::BTreeMap, os::fd::AsFd as _};

use aya::{
    Ebpf,
    maps::{Array, HashMap, LpmTrie, Map, MapData, MapError, lpm_trie::Key},
};
use dtr_lb_common::{
    abi::{
        ALLOW, Filter, Flow, HalfOpen, MaglevTable, Replica, ReplicaId, Service, ServiceKey, Settings,
        SourceKey, Tuple, map,
    },
    address::{Address, Be16},
    model::Source,
};

use super::{
    batch,
    error::DatapathError,
    run::{FlowEntry, HalfOpenEntry},
};

/// Bits of a key in the map of sources that come before the address.
const NUMBER: u32 = u32::BITS;

/// Handles of the maps.
pub struct Reader {
    flows: Map,
    half_open: Map,
    filter: Array<MapData, Filter>,
    sources: LpmTrie<MapData, SourceKey, u32>,
    services: HashMap<MapData, ServiceKey, Service>,
    vips: HashMap<MapData, Address, u32>,
    tables: Array<MapData, MaglevTable>,
    replicas: Array<MapData, Replica>,
    settings: Array<MapData, Settings>,
}

/// Where a walk through a flow table stands.
#[derive(Debug, Default)]
pub struct Walk(batch::Cursor);

impl Walk {
    /// Whether every entry has been seen.
    pub fn is_done(&self) -> bool {
        self.0.is_done()
    }
}

impl Reader {
    /// From an object that has all of its maps still.
    pub(super) fn new(ebpf: &Ebpf) -> Result<Self, DatapathError> {
        Ok(Self {
            flows: handle(ebpf, map::FLOWS)?,
            half_open: handle(ebpf, map::HALF_OPEN)?,
            filter: open(ebpf, map::FILTER)?,
            sources: open(ebpf, map::SOURCES)?,
            services: open(ebpf, map::SERVICES)?,
            vips: open(ebpf, map::VIPS)?,
            tables: open(ebpf, map::TABLES)?,
            replicas: open(ebpf, map::REPLICAS)?,
            settings: open(ebpf, map::SETTINGS)?,
        })
    }

    /// Reads the next entries of the flow table. Those that come or go meanwhile may be missed.
    pub fn flows(&self, walk: &mut Walk) -> Result<Vec<FlowEntry>, DatapathError> {
        batch::read(data(&self.flows, map::FLOWS)?, map::FLOWS, &mut walk.0)
    }

    /// The same of the half-open table.
    pub fn half_open(&self, walk: &mut Walk) -> Result<Vec<HalfOpenEntry>, DatapathError> {
        batch::read(data(&self.half_open, map::HALF_OPEN)?, map::HALF_OPEN, &mut walk.0)
    }

    /// One entry of the flow table.
    pub fn flow(&self, key: &Tuple) -> Result<Option<Flow>, DatapathError> {
        entry(&self.flows, map::FLOWS, key)
    }

    /// One entry of the half-open table.
    pub fn half_open_entry(&self, key: &Tuple) -> Result<Option<HalfOpen>, DatapathError> {
        entry(&self.half_open, map::HALF_OPEN, key)
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

fn entry<V: aya::Pod>(map: &Map, name: &'static str, key: &Tuple) -> Result<Option<V>, DatapathError> {
    let table = HashMap::<&MapData, Tuple, V>::try_from(map).map_err(DatapathError::map(name, "opening"))?;
    known(table.get(key, 0), name)
}

fn missing(name: &str) -> DatapathError {
    DatapathError::Object { reason: format!("the object has no map {name} of its kind") }
}

fn data<'a>(map: &'a Map, name: &'static str) -> Result<&'a MapData, DatapathError> {
    match map {
        Map::Array(data) | Map::HashMap(data) | Map::LruHashMap(data) | Map::LpmTrie(data) => Ok(data),
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

fn open<M: TryFrom<Map, Error = MapError>>(ebpf: &Ebpf, name: &'static str) -> Result<M, DatapathError> {
    M::try_from(handle(ebpf, name)?).map_err(DatapathError::map(name, "opening"))
}
