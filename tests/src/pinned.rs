//! What pinned maps say, read behind the agent's back, in a form by which two datapaths can be compared: names instead of
//! numbers. Ids of replicas, places of tables and numbers of lists may differ between two that forward alike.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, HashMap, LpmTrie, Map, MapData, MapError, MapType};
use bytemuck::{Zeroable, bytes_of};
use dtr_lb_common::{
    abi::{
        Filter, LAYOUT_VERSION, MAGLEV_SLOTS, MaglevTable, OwnMacs, Replica, ReplicaId, Service, ServiceKey,
        Settings, SourceKey, map,
    },
    address::Address,
};

/// The directory of the pinned maps of an agent with this `agent.bpffs`.
pub fn maps(bpffs: &Path) -> PathBuf {
    bpffs.join(format!("v{LAYOUT_VERSION}/maps"))
}

/// The directory of its pinned links.
pub fn links(bpffs: &Path) -> PathBuf {
    bpffs.join(format!("v{LAYOUT_VERSION}/links"))
}

/// A pinned map, as the type that it is used as.
pub fn open<M: TryFrom<Map, Error = MapError>>(bpffs: &Path, name: &str) -> Result<M> {
    let path = maps(bpffs).join(name);
    let data = MapData::from_pin(&path).with_context(|| format!("opening `{}`", path.display()))?;
    let map = match data.info()?.map_type()? {
        MapType::Array => Map::Array(data),
        MapType::Hash => Map::HashMap(data),
        MapType::LpmTrie => Map::LpmTrie(data),
        MapType::PerCpuArray => Map::PerCpuArray(data),
        other => anyhow::bail!("map {name} is a {other:?}"),
    };
    M::try_from(map).with_context(|| format!("map {name}"))
}

/// A service as packets meet it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedService {
    pub flags: u32,
    /// Slots of the table in force, by the bytes of the replica that they name.
    pub slots: BTreeMap<Vec<u8>, Vec<u32>>,
    /// Prefixes: bits of the prefix, address, whether it may.
    pub sources: BTreeSet<(u32, [u8; 16], u32)>,
}

/// All that decides about packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    pub settings: Vec<u8>,
    /// The set in force of the host's Ethernet addresses, whichever of the two places it stands in.
    pub own_macs: Option<Vec<u8>>,
    pub services: BTreeMap<ServiceKey, PinnedService>,
    pub vips: BTreeSet<Vec<u8>>,
    pub marks: BTreeSet<usize>,
    /// All replicas, also those that no slot names.
    pub replicas: BTreeSet<Vec<u8>>,
    /// Links by name.
    pub links: BTreeSet<String>,
}

impl Picture {
    /// Reads it.
    pub fn take(bpffs: &Path) -> Result<Self> {
        let settings: Array<_, Settings> = open(bpffs, map::SETTINGS)?;
        let settings = settings.get(&0, 0)?;
        let own_macs: Array<_, OwnMacs> = open(bpffs, map::OWN_MACS)?;
        let replicas: Array<_, Replica> = open(bpffs, map::REPLICAS)?;
        let tables: Array<_, MaglevTable> = open(bpffs, map::TABLES)?;
        let services: HashMap<_, ServiceKey, Service> = open(bpffs, map::SERVICES)?;
        let sources: LpmTrie<_, SourceKey, u32> = open(bpffs, map::SOURCES)?;
        let vips: HashMap<_, Address, u32> = open(bpffs, map::VIPS)?;
        let filter: Array<_, Filter> = open(bpffs, map::FILTER)?;
        let replica =
            |id: ReplicaId| -> Result<Vec<u8>> { Ok(bytes_of(&replicas.get(&id.into(), 0)?).to_vec()) };
        let mut found = BTreeMap::new();
        for entry in &services {
            let (key, service) = entry?;
            let Service { table, sources: number, flags, .. } = service;
            let mut by_id: BTreeMap<ReplicaId, Vec<u32>> = BTreeMap::new();
            for (slot, id) in (0..).zip(&tables.get(&table, 0)?[..MAGLEV_SLOTS]) {
                by_id.entry(*id).or_default().push(slot);
            }
            let mut slots = BTreeMap::new();
            for (id, of_id) in by_id {
                slots.insert(replica(id)?, of_id);
            }
            let mut list = BTreeSet::new();
            for entry in &sources {
                let (key, rule) = entry?;
                let SourceKey { number: of, address } = key.data();
                if of == number && number != 0 {
                    list.insert((key.prefix_len(), bytemuck::cast(address), rule));
                }
            }
            found.insert(key, PinnedService { flags: flags.0, slots, sources: list });
        }
        let nobody = bytes_of(&<Replica as Zeroable>::zeroed()).to_vec();
        let all = replicas.iter().map(|replica| Ok(bytes_of(&replica?).to_vec()));
        let links = std::fs::read_dir(links(bpffs))?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<_>>()?;
        Ok(Self {
            // The keys of the flow table are random: each table has its own.
            settings: bytes_of(&Settings {
                flow_keys: Zeroable::zeroed(),
                challenge_keys: Zeroable::zeroed(),
                own_macs: 0,
                ..settings
            })
            .to_vec(),
            own_macs: match settings.own_macs.checked_sub(1) {
                Some(place) => Some(bytes_of(&own_macs.get(&place, 0)?).to_vec()),
                None => None,
            },
            services: found,
            vips: vips.keys().map(|vip| Ok(bytes_of(&vip?).to_vec())).collect::<Result<_>>()?,
            marks: filter
                .get(&0, 0)?
                .iter()
                .enumerate()
                .filter(|(_, mark)| **mark != 0)
                .map(|(at, _)| at)
                .collect(),
            replicas: all.filter(|replica| replica.as_ref().ok() != Some(&nobody)).collect::<Result<_>>()?,
            links,
        })
    }

    /// How many replicas are dead, so that their flows are reset.
    pub fn dead(&self) -> usize {
        let reset = |bytes: &&Vec<u8>| bytemuck::pod_read_unaligned::<Replica>(bytes).reset != 0;
        self.replicas.iter().filter(reset).count()
    }

    /// Fails with what differs.
    pub fn must_equal(&self, other: &Self) -> Result<()> {
        let Self { marks, replicas, .. } = self;
        ensure!(*marks == other.marks, "marks of the filter {marks:?}, not {:?}", other.marks);
        ensure!(*replicas == other.replicas, "replicas {replicas:?}, not {:?}", other.replicas);
        self.must_forward_as(other)
    }

    /// The same, but for what a datapath keeps for flows of services that are gone: replicas, and marks of the filter.
    pub fn must_forward_as(&self, other: &Self) -> Result<()> {
        let Self { settings, own_macs, services, vips, marks, replicas, links } = self;
        ensure!(*settings == other.settings, "settings {settings:?}, not {:?}", other.settings);
        ensure!(*own_macs == other.own_macs, "the host's Ethernet addresses differ");
        ensure!(*links == other.links, "links {links:?}, not {:?}", other.links);
        ensure!(*vips == other.vips, "VIPs {vips:?}, not {:?}", other.vips);
        ensure!(marks.is_superset(&other.marks), "marks of the filter {marks:?}, not {:?}", other.marks);
        ensure!(replicas.is_superset(&other.replicas), "replicas {replicas:?}, not {:?}", other.replicas);
        ensure!(
            services.keys().eq(other.services.keys()),
            "services {:?}, not {:?}",
            services.keys(),
            other.services.keys()
        );
        for ((key, service), (_, wanted)) in services.iter().zip(&other.services) {
            ensure!(service.flags == wanted.flags && service.sources == wanted.sources, "service {key:?}");
            let shares = |service: &PinnedService| service.slots.values().map(Vec::len).collect::<Vec<_>>();
            ensure!(
                service.slots == wanted.slots,
                "slots of service {key:?}: {:?}, not {:?} of {} replicas",
                shares(service),
                shares(wanted),
                wanted.slots.len()
            );
        }
        Ok(())
    }
}
