//! The Ethernet addresses of this host, for the datapath to tell frames to others by: written beside the set in force, which
//! the settings name.

use std::collections::BTreeSet;

use aya::{
    Ebpf,
    maps::{Array, MapData},
};
use dtr_lb_common::{
    abi::{OWN_MAC_SETS, OwnMacs, map},
    wire::Mac,
};

use super::{error::DatapathError, object::take};

/// The map, and what it says.
pub(super) struct OwnMacSets {
    map: Array<MapData, OwnMacs>,
    /// What is in force, and its number.
    written: Option<(BTreeSet<Mac>, u32)>,
}

impl OwnMacSets {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, DatapathError> {
        Ok(Self { map: take(ebpf, map::OWN_MACS)?, written: None })
    }

    /// Whether the set of a number is this one already, as an earlier agent has written it.
    fn says(&self, number: u32, set: &OwnMacs) -> Result<bool, DatapathError> {
        let Some(at) = number.checked_sub(1) else { return Ok(false) };
        let found = self.map.get(&at, 0).map_err(DatapathError::map(map::OWN_MACS, "reading"))?;
        Ok(found == *set)
    }

    /// Writes a set, and returns its number, for [`dtr_lb_common::abi::Settings::own_macs`]. `in_force` is the number that stands
    /// there now, which an earlier agent may have written.
    ///
    /// # Errors
    /// [`DatapathError::TooMany`] if there are more addresses than fit.
    pub(super) fn write(
        &mut self,
        macs: Option<&BTreeSet<Mac>>,
        in_force: u32,
    ) -> Result<u32, DatapathError> {
        let Some(macs) = macs else {
            self.written = None;
            return Ok(0);
        };
        if let Some((written, number)) = &self.written
            && written == macs
        {
            return Ok(*number);
        }
        let set = OwnMacs::of(macs).ok_or(DatapathError::TooMany {
            what: "Ethernet addresses of this host",
            count: macs.len(),
            limit: OwnMacs::SLOTS / 2,
        })?;
        let number = if self.says(in_force, &set)? {
            in_force
        } else {
            let number = in_force % OWN_MAC_SETS as u32 + 1;
            self.map.set(number - 1, *set, 0).map_err(DatapathError::map(map::OWN_MACS, "writing"))?;
            number
        };
        self.written = Some((macs.clone(), number));
        Ok(number)
    }
}
