//! The programs that steer probes of replicas that answer clients directly, and their map. What they do stands in
//! [`dtr_lb_common::pipeline::probe`].
//!
//! Nothing of them is pinned: they serve the probes of this process and end with it.

use std::sync::{Arc, Mutex, PoisonError};

use aya::{
    Ebpf,
    maps::{HashMap, MapData, MapError},
    programs::{LinkOrder, TcAttachType, links::FdLink},
};
use dtr_lb_common::abi::{ProbePath, Tuple, map, program};

use super::{
    error::DatapathError,
    hook::Interface,
    link::{self, TcPlace},
    object,
    reader::open,
};

const HOOKS: [TcPlace; 2] = [
    // Last, so that it does not see what the datapath forwards.
    TcPlace { program: program::PROBE_IN, attach_type: TcAttachType::Ingress, order: LinkOrder::last },
    // Last, so that it sees what other programs leave as it leaves.
    TcPlace { program: program::PROBE_OUT, attach_type: TcAttachType::Egress, order: LinkOrder::last },
];

type Paths = HashMap<MapData, Tuple, ProbePath>;

/// The programs at their hooks, and who steers by them.
pub(super) struct Probing {
    /// Dropping them detaches.
    links: Vec<FdLink>,
    steering: Steering,
}

impl Probing {
    /// Loads the programs, and attaches them to all of these interfaces.
    pub(super) fn start(ebpf: &mut Ebpf, interfaces: &[Interface]) -> Result<Self, DatapathError> {
        // Loading comes first: programs refer to the map until then, and aya closes it when it is dropped.
        for hook in &HOOKS {
            object::tc_program(ebpf, hook.program)?;
        }
        // The object keeps its own, for a second try where the interfaces do not let the programs in.
        let paths = Arc::new(Mutex::new(open(ebpf, map::PROBES)?));
        let links = attach(ebpf, interfaces)?;
        Ok(Self { links, steering: Steering { paths } })
    }

    /// Attaches to these interfaces instead, and behind all programs that are there now. A packet of a probe that is under
    /// way meanwhile goes as the stack sends it.
    pub(super) fn move_to(&mut self, ebpf: &mut Ebpf, interfaces: &[Interface]) -> Result<(), DatapathError> {
        // The kernel takes a program once at a hook.
        self.links.clear();
        self.links = attach(ebpf, interfaces)?;
        Ok(())
    }

    pub(super) fn steering(&self) -> Steering {
        self.steering.clone()
    }
}

fn attach(ebpf: &mut Ebpf, interfaces: &[Interface]) -> Result<Vec<FdLink>, DatapathError> {
    let mut links = Vec::with_capacity(interfaces.len() * HOOKS.len());
    for interface in interfaces {
        for hook in &HOOKS {
            links.push(link::attach_tc(object::tc_program(ebpf, hook.program)?, interface, hook)?);
        }
    }
    Ok(links)
}

/// Steers probes. Clones steer by the same map.
#[derive(Clone)]
pub struct Steering {
    paths: Arc<Mutex<Paths>>,
}

impl std::fmt::Debug for Steering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Steering")
    }
}

impl Steering {
    /// Steers the packets of a probe from here on, until what is returned is dropped.
    pub fn steer(&self, paths: [(Tuple, ProbePath); 2]) -> Result<Steered, DatapathError> {
        let steered = Steered { keys: paths.map(|(key, _)| key), steering: self.clone() };
        let mut map = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, path) in paths {
            map.insert(key, path, 0).map_err(DatapathError::map(map::PROBES, "writing"))?;
        }
        drop(map);
        Ok(steered)
    }

    /// How many entries the map has.
    #[cfg(test)]
    pub(super) fn entries(&self) -> usize {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner).keys().count()
    }
}

/// A probe whose packets are steered.
#[derive(Debug)]
#[must_use = "dropping it ends the steering"]
pub struct Steered {
    keys: [Tuple; 2],
    steering: Steering,
}

impl Drop for Steered {
    fn drop(&mut self) {
        let mut map = self.steering.paths.lock().unwrap_or_else(PoisonError::into_inner);
        for key in &self.keys {
            match map.remove(key) {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(error) => tracing::debug!(%error, "an entry of a probe that is over stays"),
            }
        }
    }
}
