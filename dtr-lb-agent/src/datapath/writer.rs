//! Writes what is desired into the maps, and only what differs.
//!
//! The order makes each step safe by itself: replicas before the table that names them, the table in its idle
//! generation before the service that points to it. A packet meets the old table or the new one, never a mixture. What
//! is written is remembered, so that the same wish twice costs nothing; [`Writer::adopt`] reads it back from maps that
//! an earlier agent left. A wish that cannot be met is refused before anything is written.

mod compare;

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hasher as _},
    time::{Duration, Instant},
};

use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData, MapError},
};
use dtr_lb_common::{
    abi::{
        FLOW_KEYS, Hop, MAX_NAT_ADDRESSES, MAX_SERVICES, MAX_SOURCES, MaglevTable, Mode, Replica, ReplicaId,
        Service, ServiceFlags, ServiceKey, Settings, Ticks, map,
    },
    address::{Address, Be16},
    maglev::{self, Candidate},
};

use super::{
    access::Access,
    clock,
    counters::Counters,
    desired::{Desired, DesiredReplica, DesiredService, processors},
    error::DatapathError,
    ids::{Identity, Ids, LIMIT, Missing},
    meter::Assigned,
    object::take,
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
    ids: Ids,
    /// Those that have become another replica's.
    new: Vec<ReplicaId>,
    access: Access,
    /// The interfaces by which frames can leave; none where any will do.
    reach: Option<BTreeSet<u32>>,
}

/// What was written for a service.
struct Written {
    /// Which pair of tables is its own.
    pair: u32,
    /// The table in force: one of the pair.
    table: u32,
    service: Service,
    /// What that table was built from; not known after an adoption.
    candidates: Option<Vec<Candidate>>,
    /// A digest of that table, to know it again by; not known after an adoption.
    digest: Option<u64>,
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
            ids: Ids::default(),
            new: Vec::new(),
            access: Access::new(ebpf)?,
            reach: None,
        })
    }

    /// Reads back what the maps say, so that replicas keep their ids, by which flows know them.
    pub(super) fn adopt(&mut self) -> Result<(), DatapathError> {
        for (id, replica) in (0..).zip(self.replicas_map.iter()) {
            let replica = replica.map_err(DatapathError::map(map::REPLICAS, "reading"))?;
            if id != 0 && replica.port != Be16::new(0) {
                self.ids.adopt(id, (replica.service(), replica.address, replica.port, replica.mode));
                self.replicas.insert(id, replica);
            }
        }
        for entry in &self.services_map {
            let (key, service) = entry.map_err(DatapathError::map(map::SERVICES, "reading"))?;
            let written = Written {
                pair: service.table / 2,
                table: service.table,
                service,
                candidates: None,
                digest: None,
            };
            self.services.insert(key, written);
        }
        let settings = self.settings_map.get(&0, 0).map_err(DatapathError::map(map::SETTINGS, "reading"))?;
        // All zeroes if the earlier agent came to nothing.
        self.settings = (settings.port_count > 0).then_some(settings);
        self.access.adopt(self.services.iter().map(|(key, written)| (*key, written.service.sources)))
    }

    /// Looks whether there is room for what is desired.
    pub(super) fn fits(&self, desired: &Desired) -> Result<(), DatapathError> {
        let wanted = check(desired)?;
        self.ids.choose(&wanted).map(drop).map_err(|missing| no_free_replica(missing, &wanted))
    }

    /// Makes the maps say what is desired from `at` on. Where it fails, it may be called again with the same wish or
    /// another.
    pub(super) fn apply(
        &mut self,
        desired: &Desired,
        settings: Settings,
        counters: &mut Counters,
        at: Instant,
    ) -> Result<Applied, DatapathError> {
        let wanted = check(desired)?;
        for id in self.ids.assign(&wanted).map_err(|missing| no_free_replica(missing, &wanted))? {
            // What is known of the replica that had the id says nothing about this one.
            self.replicas.remove(&id);
            self.new.push(id);
            counters.reset(id)?;
        }
        let mut applied = Applied::default();
        // New services come before old ones go, so that there are some all the time. Where both do not fit, the old ones
        // go first; theirs would be dropped in a moment anyway.
        let new = desired.services.keys().filter(|key| !self.services.contains_key(key)).count();
        if self.services.len() + new > MAX_SERVICES {
            applied.services += self.remove_services(desired)?;
        }
        // Before the services that it lets through.
        if self.settings.is_some_and(|before| ports(&before) != ports(&settings)) {
            self.access.mark_all()?;
        }
        self.access.mark(desired, &settings)?;
        self.access.answer_for(desired)?;
        if let Some(before) = self.settings {
            // Before the services whose replicas' answers are known by it.
            self.write_settings(Settings { by_source: settings.by_source, ..before })?;
        }
        for (key, service) in &desired.services {
            let mut candidates = Vec::with_capacity(service.replicas.len());
            for replica in &service.replicas {
                let (id, changed) = self.write_replica(*key, service.mode, replica)?;
                applied.replicas += usize::from(changed);
                candidates.push(Candidate { id, identity: replica.identity(), weight: replica.weight });
            }
            let sources = self.access.admit(*key, &service.sources)?;
            let wanted = Service {
                sources,
                flags: flags(service),
                challenge_above: service.limits.challenge.above(processors()),
                new_flows_per_source: service.limits.new_flows_per_source,
                affinity: affinity(service.limits.affinity_timeout, settings.second),
                table: 0,
            };
            let is_new = !self.services.contains_key(key);
            let changed = self.write_table(*key, candidates, wanted)?;
            if is_new && let Some(number) = self.number(key) {
                counters.forget_handshakes_of(number)?;
            }
            applied.tables += usize::from(changed);
        }
        applied.services += self.remove_services(desired)?;
        self.leave_out(&wanted)?;
        self.access.forget(desired)?;
        self.ids.name(&wanted, at);
        // Last, as packets are looked at from here on.
        self.write_settings(settings)?;
        Ok(applied)
    }

    fn write_settings(&mut self, settings: Settings) -> Result<(), DatapathError> {
        if self.settings != Some(settings) {
            self.settings_map.set(0, settings, 0).map_err(DatapathError::map(map::SETTINGS, "writing"))?;
            self.settings = Some(settings);
        }
        Ok(())
    }

    /// Whether packets are to be looked at by their source: replicas answer to the addresses of their clients, or did, and flows
    /// of that time may be left.
    pub(super) fn looks_by_source(&self, desired: &Desired) -> bool {
        self.settings.is_some_and(|settings| settings.by_source != 0)
            || desired.services.values().any(|service| service.mode == Mode::DNAT)
    }

    /// Under which ids and numbers replicas and services count.
    pub(super) fn assigned(&self) -> Assigned {
        let numbers = self.services.iter().map(|(key, written)| (*key, written.service.number()));
        Assigned { ids: self.ids.all().collect(), numbers: numbers.collect() }
    }

    /// The ids of a replica of a service: one for each mode that it has been reached by and that flows may be left of.
    pub(super) fn ids(
        &self,
        service: ServiceKey,
        address: Address,
        port: Be16,
    ) -> impl Iterator<Item = ReplicaId> {
        Mode::ALL.into_iter().filter_map(move |mode| self.ids.get(&(service, address, port, mode)))
    }

    /// What the flow table's hash takes, as it stands in the maps; nothing before the first settings were written.
    pub(super) fn flow_keys(&self) -> Option<[u64; FLOW_KEYS]> {
        self.settings.map(|settings| settings.flow_keys)
    }

    /// The ids that have become another replica's since the last call.
    pub(super) fn take_new(&mut self) -> Vec<ReplicaId> {
        std::mem::take(&mut self.new)
    }

    /// Which set of this host's Ethernet addresses is in force.
    pub(super) fn own_macs(&self) -> u32 {
        self.settings.map_or(0, |settings| settings.own_macs)
    }

    /// The number of a service; nothing if there is none.
    pub(super) fn number(&self, service: &ServiceKey) -> Option<u32> {
        self.services.get(service).map(|written| written.service.number())
    }

    /// How many connections each replica may have that has a limit.
    pub(super) fn limits(&self, desired: &Desired) -> BTreeMap<ReplicaId, u32> {
        let services = desired.services.iter().filter(|(_, service)| service.limits.flows_per_replica != 0);
        let of = |(key, service): (&ServiceKey, &DesiredService)| {
            let (key, mode, limit) = (*key, service.mode, service.limits.flows_per_replica);
            let replicas = service.replicas.iter().map(|replica| (replica.address, replica.port));
            let ids = replicas.filter_map(move |(address, port)| {
                self.ids.get(&(key, address.into(), Be16::new(port), mode))
            });
            ids.map(|id| (id, limit)).collect::<Vec<_>>()
        };
        services.flat_map(of).collect()
    }

    pub(super) fn replicas(&self) -> &BTreeMap<ReplicaId, Replica> {
        &self.replicas
    }

    /// The replicas whose flows are reset.
    pub(super) fn dead(&self) -> BTreeSet<ReplicaId> {
        self.replicas.iter().filter(|(_, replica)| replica.reset != 0).map(|(id, _)| *id).collect()
    }

    /// What the map says of an id.
    #[cfg(test)]
    pub(super) fn written(&self, id: ReplicaId) -> Result<Replica, DatapathError> {
        self.replicas_map.get(&id.into(), 0).map_err(DatapathError::map(map::REPLICAS, "reading"))
    }

    /// Takes in which ids the entries of the flow table named, in a walk that began at `begun`.
    pub(super) fn take_census(&mut self, begun: Instant, held: BTreeSet<ReplicaId>) {
        self.ids.take_census(begun, held);
    }

    /// Says by which interfaces frames can leave; none where any will do. A replica behind another one has no next hop
    /// from now on: its packets are dropped and counted as such, not sent where nobody is told of their loss.
    pub(super) fn set_reach(&mut self, interfaces: Option<BTreeSet<u32>>) -> Result<(), DatapathError> {
        self.reach = interfaces;
        let reach = &self.reach;
        for (id, replica) in &mut self.replicas {
            let hop = reachable(replica.hop, reach.as_ref());
            if replica.hop != hop {
                let changed = Replica { hop, ..*replica };
                self.replicas_map
                    .set((*id).into(), changed, 0)
                    .map_err(DatapathError::map(map::REPLICAS, "writing"))?;
                *replica = changed;
            }
        }
        Ok(())
    }

    fn write_replica(
        &mut self,
        service: ServiceKey,
        mode: Mode,
        wanted: &DesiredReplica,
    ) -> Result<(ReplicaId, bool), DatapathError> {
        let mut nat = [Address::NONE; MAX_NAT_ADDRESSES];
        for (slot, address) in nat.iter_mut().zip(&wanted.nat) {
            *slot = (*address).into();
        }
        let (address, port) = (wanted.address.into(), Be16::new(wanted.port));
        let id = self.ids.get(&(service, address, port, mode)).ok_or_else(|| DatapathError::Object {
            reason: format!("replica {}:{} was given no id", wanted.address, wanted.port),
        })?;
        let known = self.replicas.get(&id);
        // A next hop that is not known is no reason to forget the last one: its flows go on until probes know better.
        let hop = wanted.hop.or_else(|| known.map(|known| known.hop)).unwrap_or_default();
        let hop = reachable(hop, self.reach.as_ref());
        let (nat, nat_count) = match (wanted.nat.len(), known) {
            (0, Some(known)) => (known.nat, known.nat_count),
            (count, _) => (nat, count as u16),
        };
        let mtu = u16::try_from(wanted.mtu).unwrap_or(u16::MAX);
        let reset = u8::from(wanted.reset);
        let replica = Replica {
            address,
            nat,
            hop,
            vip: service.address,
            vip_port: service.port,
            nat_count,
            port,
            mtu,
            mode,
            reset,
            weight: wanted.weight,
        };
        let changed = self.set_replica(id, replica)?;
        // Flows that were opened in another mode go the same way to the same replica.
        for other in self.ids(service, address, port).filter(|other| *other != id).collect::<Vec<_>>() {
            if let Some(before) = self.replicas.get(&other) {
                self.set_replica(other, Replica { hop, mtu, reset, ..*before })?;
            }
        }
        Ok((id, changed))
    }

    /// Those that are not wanted any more get no new connections, also of clients that would keep them.
    fn leave_out(&mut self, wanted: &BTreeSet<Identity>) -> Result<(), DatapathError> {
        let kept: BTreeSet<_> = wanted.iter().filter_map(|identity| self.ids.get(identity)).collect();
        let left: Vec<_> = self.replicas.iter().map(|(id, replica)| (*id, *replica)).collect();
        for (id, replica) in
            left.into_iter().filter(|(id, replica)| replica.weight != 0 && !kept.contains(id))
        {
            self.set_replica(id, Replica { weight: 0, ..replica })?;
        }
        Ok(())
    }

    /// Writes the entry, if it is not the one that was written.
    fn set_replica(&mut self, id: ReplicaId, replica: Replica) -> Result<bool, DatapathError> {
        if self.replicas.get(&id) == Some(&replica) {
            return Ok(false);
        }
        self.replicas_map.set(id.into(), replica, 0).map_err(DatapathError::map(map::REPLICAS, "writing"))?;
        self.replicas.insert(id, replica);
        Ok(true)
    }

    fn write_table(
        &mut self,
        key: ServiceKey,
        candidates: Vec<Candidate>,
        wanted: Service,
    ) -> Result<bool, DatapathError> {
        let (pair, in_force) = match self.services.get(&key) {
            Some(written) if written.candidates.as_ref() == Some(&candidates) => {
                let wanted = Service { table: written.table, ..wanted };
                if written.service != wanted {
                    self.write_service(key, wanted)?;
                }
                return Ok(false);
            }
            Some(written) => (written.pair, Some(written.table)),
            None => (self.free_pair()?, None),
        };
        let idle = match in_force {
            Some(table) if table == 2 * pair => 2 * pair + 1,
            _ => 2 * pair,
        };
        let table = maglev::build(&candidates);
        self.tables_map.set(idle, *table, 0).map_err(DatapathError::map(map::TABLES, "writing"))?;
        let service = Service { table: idle, ..wanted };
        self.services_map.insert(key, service, 0).map_err(DatapathError::map(map::SERVICES, "writing"))?;
        let (candidates, digest) = (Some(candidates), Some(digest(&table)));
        self.services.insert(key, Written { pair, table: idle, service, candidates, digest });
        Ok(true)
    }

    /// Changes what holds for a service, and not its table.
    fn write_service(&mut self, key: ServiceKey, service: Service) -> Result<(), DatapathError> {
        self.services_map.insert(key, service, 0).map_err(DatapathError::map(map::SERVICES, "writing"))?;
        if let Some(written) = self.services.get_mut(&key) {
            written.service = service;
        }
        Ok(())
    }

    /// The first pair of tables that no service has.
    fn free_pair(&self) -> Result<u32, DatapathError> {
        let taken: BTreeSet<_> = self.services.values().map(|written| written.pair).collect();
        (0..MAX_SERVICES as u32).find(|pair| !taken.contains(pair)).ok_or(DatapathError::TooMany {
            what: "services",
            count: taken.len() + 1,
            limit: MAX_SERVICES,
        })
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

fn no_free_replica(missing: Missing, wanted: &BTreeSet<Identity>) -> DatapathError {
    DatapathError::NoFreeReplica {
        missing: missing.replicas,
        configured: wanted.len(),
        leaving: missing.leaving,
        limit: LIMIT,
    }
}

/// The range of NAT ports.
fn ports(settings: &Settings) -> (u32, u32) {
    (settings.first_port, settings.port_count)
}

/// What a table is known by, without keeping it.
fn digest(table: &MaglevTable) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytemuck::cast_slice(table));
    hasher.finish()
}

fn flags(service: &DesiredService) -> ServiceFlags {
    ServiceFlags::default()
        .with(ServiceFlags::SOURCE_AFFINITY, service.source_affinity)
        .with(ServiceFlags::DIRECT, service.mode.direct())
        .with(ServiceFlags::LIMITS_REPLICAS, service.limits.flows_per_replica != 0)
        .with(ServiceFlags::RESETS_DENIED, service.limits.resets_denied)
}

fn affinity(timeout: Duration, ticks_per_second: u32) -> Ticks {
    if timeout.is_zero() { 0 } else { clock::ticks(timeout, ticks_per_second) }
}

/// Looks whether a wish fits into the maps, and returns the replicas that it names.
fn check(desired: &Desired) -> Result<BTreeSet<Identity>, DatapathError> {
    let refuse_over = |limit, what, count| match count {
        _ if count > limit => Err(DatapathError::TooMany { what, count, limit }),
        _ => Ok(()),
    };
    refuse_over(MAX_SERVICES, "services (counted once for each VIP)", desired.services.len())?;
    let mut wanted = BTreeSet::new();
    let prefixes = desired.services.values().map(|service| service.sources.len()).sum();
    // While they change, the old ones and the new ones are there.
    refuse_over(MAX_SOURCES / 2, "prefixes of allow and deny (counted once for each VIP)", prefixes)?;
    for (key, service) in &desired.services {
        for replica in &service.replicas {
            refuse_over(MAX_NAT_ADDRESSES, "NAT addresses", replica.nat.len())?;
            wanted.insert((*key, replica.address.into(), Be16::new(replica.port), service.mode));
        }
    }
    refuse_over(LIMIT, "replicas (counted once for each service and VIP)", wanted.len())?;
    Ok(wanted)
}

/// The hop, if frames can leave by its interface, or else one that is not known.
fn reachable(hop: Hop, reach: Option<&BTreeSet<u32>>) -> Hop {
    if reach.is_none_or(|interfaces| interfaces.contains(&hop.interface)) { hop } else { Hop::default() }
}
