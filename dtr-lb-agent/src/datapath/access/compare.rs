//! The maps of who is looked at and let in, compared with what was written: see [`repair`](super::super::repair).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use aya::maps::{MapError, lpm_trie::Key};
use dtr_lb_common::{
    abi::{ALLOW, DENY, IS_VIP, SourceKey, map},
    address::Address,
};

use super::{Access, key};
use crate::datapath::{DatapathError, repair::Repaired};

type Compared = Result<Option<Repaired>, DatapathError>;

impl Access {
    pub(in crate::datapath) fn compare_filter(&mut self) -> Compared {
        let found = self.filter_map.get(&0, 0).map_err(DatapathError::map(map::FILTER, "reading"))?;
        let missing = self.marked.iter().filter(|place| found[**place as usize] == 0).count();
        let marks = found.iter().filter(|mark| **mark != 0).count();
        let others = marks - (self.marked.len() - missing);
        if missing + others == 0 {
            return Ok(None);
        }
        self.write_marks(self.marked.clone())?;
        let first = format!("{missing} marks were missing, {others} were not the agent's");
        Ok(Some(Repaired { map: map::FILTER, entries: (missing + others) as u64, first }))
    }

    pub(in crate::datapath) fn compare_vips(&mut self) -> Compared {
        let found: BTreeSet<Address> = self
            .vips_map
            .keys()
            .collect::<Result<_, _>>()
            .map_err(DatapathError::map(map::VIPS, "reading"))?;
        let mut repaired = None;
        for vip in self.vips.difference(&found) {
            self.vips_map.insert(vip, IS_VIP, 0).map_err(DatapathError::map(map::VIPS, "writing"))?;
            Repaired::add(&mut repaired, map::VIPS, || format!("{} was not there", IpAddr::from(*vip)));
        }
        for other in found.difference(&self.vips) {
            match self.vips_map.remove(other) {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(DatapathError::map(map::VIPS, "removing from")(error)),
            }
            Repaired::add(&mut repaired, map::VIPS, || format!("{} is no VIP", IpAddr::from(*other)));
        }
        Ok(repaired)
    }

    pub(in crate::datapath) fn compare_sources(&mut self) -> Compared {
        let reading = || DatapathError::map(map::SOURCES, "reading");
        // By number, prefix and address: a key of the map has no order.
        let place = |key: &Key<SourceKey>| (key.data().number, key.prefix_len(), key.data().address);
        let mut found = BTreeMap::new();
        for entry in &self.sources_map {
            let (key, rule) = entry.map_err(reading())?;
            found.insert(place(&key), (key, rule));
        }
        let mut repaired = None;
        for (service, list) in &self.lists {
            for rule in &list.rules {
                let (key, wanted) = (key(list.number, rule), if rule.allow { ALLOW } else { DENY });
                if found.remove(&place(&key)).map(|(_, found)| found) != Some(wanted) {
                    self.sources_map
                        .insert(&key, wanted, 0)
                        .map_err(DatapathError::map(map::SOURCES, "writing"))?;
                    Repaired::add(&mut repaired, map::SOURCES, || {
                        format!("the rule of service {} for {}", super::end(service), rule.prefix)
                    });
                }
            }
        }
        // Numbers that are left over are on their way out by themselves.
        for (number, (key, _)) in found.into_iter().filter(|((number, ..), _)| !self.left.contains(number)) {
            match self.sources_map.remove(&key) {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(DatapathError::map(map::SOURCES, "removing from")(error)),
            }
            Repaired::add(&mut repaired, map::SOURCES, || format!("a rule that no service has: {number:?}"));
        }
        Ok(repaired)
    }
}
