//! Whom the datapath looks at, whom it lets in, and for whom it answers: the maps of the filter, of sources and of the
//! addresses of services.

mod compare;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use aya::{
    Ebpf,
    maps::{Array, HashMap, LpmTrie, MapData, MapError, lpm_trie::Key},
};
use dtr_lb_common::{
    abi::{ALLOW, DENY, FILTER_PLACES, Filter, IS_VIP, Mode, ServiceKey, Settings, SourceKey, map},
    address::{Address, Be16},
    filter,
};

use super::{
    desired::{Desired, SourceRule},
    error::DatapathError,
    object::take,
};

/// Bits before an IPv4 prefix in the common form of addresses.
const MAPPED: u8 = 96;
/// Bits of a service's number.
const NUMBER: u32 = u32::BITS;

/// The three maps.
pub(super) struct Access {
    filter_map: Array<MapData, Filter>,
    sources_map: LpmTrie<MapData, SourceKey, u32>,
    vips_map: HashMap<MapData, Address, u32>,
    marked: BTreeSet<u32>,
    /// What was written for each service that does not let everyone in. A change is written under another number, which
    /// the service's entry then names, so that a packet meets the old rules or the new ones.
    lists: BTreeMap<ServiceKey, List>,
    /// Numbers with prefixes in the map that no service names any more.
    left: BTreeSet<u32>,
    vips: BTreeSet<Address>,
}

struct List {
    number: u32,
    rules: BTreeSet<SourceRule>,
}

impl Access {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, DatapathError> {
        Ok(Self {
            filter_map: take(ebpf, map::FILTER)?,
            sources_map: take(ebpf, map::SOURCES)?,
            vips_map: take(ebpf, map::VIPS)?,
            marked: BTreeSet::new(),
            lists: BTreeMap::new(),
            left: BTreeSet::new(),
            vips: BTreeSet::new(),
        })
    }

    /// Reads back what an earlier agent left. Its rules are not taken over one by one: they stay in force until the services
    /// name other ones.
    pub(super) fn adopt(
        &mut self,
        services: impl Iterator<Item = (ServiceKey, u32)>,
    ) -> Result<(), DatapathError> {
        let filter = self.filter_map.get(&0, 0).map_err(DatapathError::map(map::FILTER, "reading"))?;
        self.marked = (0..).zip(filter).filter(|(_, mark)| *mark != 0).map(|(place, _)| place).collect();
        for key in self.sources_map.keys() {
            let key = key.map_err(DatapathError::map(map::SOURCES, "reading"))?;
            self.left.insert(key.data().number);
        }
        for vip in self.vips_map.keys() {
            self.vips.insert(vip.map_err(DatapathError::map(map::VIPS, "reading"))?);
        }
        self.left.extend(services.map(|(_, number)| number).filter(|number| *number != 0));
        Ok(())
    }

    /// Marks the places of all that is desired. A mark stays when its service is gone: flows of it may be left, and it
    /// costs a look-up only.
    pub(super) fn mark(&mut self, desired: &Desired, settings: &Settings) -> Result<(), DatapathError> {
        let vips = desired.services.keys().map(|key| (key.address, key.port));
        let replicas = desired.services.values().filter(|service| !service.mode.direct());
        let nat = replicas.flat_map(|service| &service.replicas).flat_map(|replica| &replica.nat);
        let first = Be16::new(settings.first_port as u16);
        let dnat = desired.services.values().filter(|service| service.mode == Mode::DNAT);
        let sources = dnat.flat_map(|service| &service.replicas);
        let sources = sources.map(|replica| (replica.address.into(), Be16::new(replica.port)));
        let ends = vips.chain(nat.map(|address| ((*address).into(), first))).chain(sources);
        let places: BTreeSet<_> =
            ends.map(|(address, port)| filter::place(settings, &address, port)).collect();
        if places.is_subset(&self.marked) {
            return Ok(());
        }
        self.write_marks(self.marked.union(&places).copied().collect())
    }

    /// Marks all places: the range of NAT ports, which have one place together, is to be another, and flows with ports of the
    /// old one may be left.
    pub(super) fn mark_all(&mut self) -> Result<(), DatapathError> {
        self.write_marks((0..FILTER_PLACES as u32).collect())
    }

    fn write_marks(&mut self, all: BTreeSet<u32>) -> Result<(), DatapathError> {
        let mut filter: Filter = [0; FILTER_PLACES];
        for place in &all {
            filter[*place as usize] = 1;
        }
        self.filter_map.set(0, filter, 0).map_err(DatapathError::map(map::FILTER, "writing"))?;
        self.marked = all;
        Ok(())
    }

    /// Adds the addresses of all services that are desired.
    pub(super) fn answer_for(&mut self, desired: &Desired) -> Result<(), DatapathError> {
        for vip in vips(desired) {
            if !self.vips.contains(&vip) {
                self.vips_map.insert(vip, IS_VIP, 0).map_err(DatapathError::map(map::VIPS, "writing"))?;
                self.vips.insert(vip);
            }
        }
        Ok(())
    }

    /// Writes who may connect to a service. Returns the number that its entry is to name. A prefix of the other family is
    /// left out: `::/0` holds the whole form that both share, and so all of IPv4, too.
    pub(super) fn admit(&mut self, service: ServiceKey, rules: &[SourceRule]) -> Result<u32, DatapathError> {
        let family = service.address.family();
        let of_family = |rule: &&SourceRule| Address::from(rule.prefix.addr()).family() == family;
        let rules: BTreeSet<_> = rules.iter().filter(of_family).copied().collect();
        let before = self.lists.get(&service);
        if let Some(list) = before.filter(|list| list.rules == rules) {
            return Ok(list.number);
        }
        let before = before.map(|list| list.number);
        let mut number = 0;
        if !rules.is_empty() {
            let taken = |number: &u32| {
                self.left.contains(number) || self.lists.values().any(|list| list.number == *number)
            };
            number = (1..).find(|number| !taken(number)).unwrap_or(u32::MAX);
            // Where writing fails half-way, the number is left over.
            self.left.insert(number);
            for rule in &rules {
                let value = if rule.allow { ALLOW } else { DENY };
                self.sources_map
                    .insert(&key(number, rule), value, 0)
                    .map_err(DatapathError::map(map::SOURCES, "writing"))?;
            }
            self.left.remove(&number);
        }
        self.left.extend(before.filter(|before| *before != 0));
        self.lists.insert(service, List { number, rules });
        Ok(number)
    }

    /// Removes the addresses that no service has any more, and the prefixes that none names.
    pub(super) fn forget(&mut self, desired: &Desired) -> Result<(), DatapathError> {
        let wanted: BTreeSet<_> = vips(desired).collect();
        for vip in self.vips.difference(&wanted).copied().collect::<Vec<_>>() {
            match self.vips_map.remove(&vip) {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(DatapathError::map(map::VIPS, "removing from")(error)),
            }
            self.vips.remove(&vip);
        }
        let gone: Vec<_> =
            self.lists.keys().filter(|key| !desired.services.contains_key(key)).copied().collect();
        for key in gone {
            self.left.extend(self.lists.remove(&key).map(|list| list.number).filter(|number| *number != 0));
        }
        if self.left.is_empty() {
            return Ok(());
        }
        let keys: Vec<_> = self
            .sources_map
            .keys()
            .collect::<Result<_, _>>()
            .map_err(DatapathError::map(map::SOURCES, "reading"))?;
        for key in keys.iter().filter(|key| self.left.contains(&key.data().number)) {
            match self.sources_map.remove(key) {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(DatapathError::map(map::SOURCES, "removing from")(error)),
            }
        }
        self.left.clear();
        Ok(())
    }
}

fn vips(desired: &Desired) -> impl Iterator<Item = Address> {
    desired.services.keys().map(|service| service.address)
}

fn key(number: u32, rule: &SourceRule) -> Key<SourceKey> {
    let length = rule.prefix.prefix_len() + if rule.prefix.addr().is_ipv4() { MAPPED } else { 0 };
    Key::new(NUMBER + u32::from(length), SourceKey { number, address: rule.prefix.network().into() })
}

/// A service's end, as it is written in messages.
pub(super) fn end(service: &ServiceKey) -> SocketAddr {
    SocketAddr::new(service.address.into(), service.port.get())
}
