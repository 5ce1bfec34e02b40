//! The maps of the writer, compared with what was written: see [`repair`](super::super::repair).

use std::{collections::BTreeMap, ops::Range};

use aya::maps::MapError;
use bytemuck::Zeroable as _;
use dtr_lb_common::abi::{MAX_REPLICAS, Replica, ReplicaId, Service, ServiceKey, map};

use super::{DatapathError, Writer, digest};
use crate::datapath::{access, repair::Repaired};

type Compared = Result<Option<Repaired>, DatapathError>;

impl Writer {
    /// How many services were written.
    pub(in crate::datapath) fn service_count(&self) -> usize {
        self.services.len()
    }

    pub(in crate::datapath) fn compare_settings(&mut self) -> Compared {
        let Some(wanted) = self.settings else { return Ok(None) };
        let found = self.settings_map.get(&0, 0).map_err(DatapathError::map(map::SETTINGS, "reading"))?;
        if found == wanted {
            return Ok(None);
        }
        self.settings_map.set(0, wanted, 0).map_err(DatapathError::map(map::SETTINGS, "writing"))?;
        Ok(Some(Repaired {
            map: map::SETTINGS,
            entries: 1,
            first: format!("{found:?} instead of {wanted:?}"),
        }))
    }

    pub(in crate::datapath) fn compare_filter(&mut self) -> Compared {
        self.access.compare_filter()
    }

    pub(in crate::datapath) fn compare_vips(&mut self) -> Compared {
        self.access.compare_vips()
    }

    pub(in crate::datapath) fn compare_sources(&mut self) -> Compared {
        self.access.compare_sources()
    }

    /// Entries of these ids, also those that no replica has: a later agent would take them over.
    pub(in crate::datapath) fn compare_replicas(&mut self, ids: Range<ReplicaId>) -> Compared {
        let mut repaired = None;
        for id in ids.start..ids.end.min(MAX_REPLICAS as ReplicaId) {
            let found =
                self.replicas_map.get(&id.into(), 0).map_err(DatapathError::map(map::REPLICAS, "reading"))?;
            let wanted = self.replicas.get(&id).copied();
            let wanted = wanted.unwrap_or_else(Replica::zeroed);
            if found == wanted {
                continue;
            }
            self.replicas_map
                .set(id.into(), wanted, 0)
                .map_err(DatapathError::map(map::REPLICAS, "writing"))?;
            Repaired::add(&mut repaired, map::REPLICAS, || {
                format!("id {id}: {found:?} instead of {wanted:?}")
            });
        }
        Ok(repaired)
    }

    pub(in crate::datapath) fn compare_services(&mut self) -> Compared {
        let found: BTreeMap<ServiceKey, Service> = self
            .services_map
            .iter()
            .collect::<Result<_, _>>()
            .map_err(DatapathError::map(map::SERVICES, "reading"))?;
        let mut repaired = None;
        for key in found.keys().filter(|key| !self.services.contains_key(key)) {
            match self.services_map.remove(key) {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(DatapathError::map(map::SERVICES, "removing from")(error)),
            }
            Repaired::add(&mut repaired, map::SERVICES, || format!("{} is no service", access::end(key)));
        }
        for (key, written) in &self.services {
            let (found, wanted) = (found.get(key), written.service);
            if found != Some(&wanted) {
                self.services_map
                    .insert(key, wanted, 0)
                    .map_err(DatapathError::map(map::SERVICES, "writing"))?;
                let end = access::end(key);
                Repaired::add(&mut repaired, map::SERVICES, || match found {
                    Some(found) => format!("service {end}: {found:?} instead of {wanted:?}"),
                    None => format!("service {end} was not there"),
                });
            }
        }
        Ok(repaired)
    }

    /// The table in force of the n-th service. A wrong one is not corrected in place, where packets would see half of it: it
    /// is made anew in the idle one.
    pub(in crate::datapath) fn compare_table(&mut self, place: usize) -> Compared {
        let Some((key, written)) = self.services.iter_mut().nth(place) else { return Ok(None) };
        let Some(wanted) = written.digest else { return Ok(None) };
        let found =
            self.tables_map.get(&written.table, 0).map_err(DatapathError::map(map::TABLES, "reading"))?;
        if digest(&found) == wanted {
            return Ok(None);
        }
        let (key, service) = (*key, written.service);
        let Some(candidates) = written.candidates.take() else { return Ok(None) };
        self.write_table(key, candidates, service)?;
        let first = format!("the slots of service {}", access::end(&key));
        Ok(Some(Repaired { map: map::TABLES, entries: 1, first }))
    }
}
