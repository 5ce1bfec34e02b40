//! What outlives the agent: maps and links, pinned in a BPF file system below a directory of the layout's version.
//!
//! ```text
//! /sys/fs/bpf/dtr-lb/v1/maps/FLOWS_V4 …
//! /sys/fs/bpf/dtr-lb/v1/links/xdp-2 …
//! ```

use std::{
    fs::{self, File},
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use aya::maps::{MapData, MapType};
use dtr_lb_common::{
    abi::{self, LAYOUT_VERSION, map},
    verdict::VERDICTS,
};
use nix::{
    fcntl::{Flock, FlockArg},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use super::error::DatapathError;

/// The pinned datapath of one layout, held by this process alone.
#[derive(Debug)]
pub(super) struct Pins {
    root: PathBuf,
    /// The lock on the root, for as long as this lives.
    _lock: Flock<OwnedFd>,
}

impl Pins {
    /// Takes `root`, making it where it is missing, and keeps other agents out.
    pub(super) fn hold(root: &Path) -> Result<Self, DatapathError> {
        make_directory(root)?;
        let root_file = File::open(root).map_err(|source| pin_error(root, "opening", source))?;
        let lock = Flock::lock(OwnedFd::from(root_file), FlockArg::LockExclusiveNonblock).map_err(
            |(_, error)| match error {
                nix::Error::EWOULDBLOCK => DatapathError::Locked { path: root.into() },
                other => pin_error(root, "locking", other.into()),
            },
        )?;
        Ok(Self { root: root.into(), _lock: lock })
    }

    fn version(&self) -> PathBuf {
        self.root.join(format!("v{LAYOUT_VERSION}"))
    }

    pub(super) fn maps(&self) -> PathBuf {
        self.version().join("maps")
    }

    pub(super) fn links(&self) -> PathBuf {
        self.version().join("links")
    }

    /// Whether a datapath is there to be taken over.
    pub(super) fn occupied(&self) -> bool {
        map::ALL.iter().any(|name| self.maps().join(name).exists())
    }

    /// Makes the directories, and looks whether what is there may be taken over: another layout may not, and each map
    /// must be what this version would have made.
    pub(super) fn prepare(&self, flow_entries: u32) -> Result<(), DatapathError> {
        let mut differences = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(|source| pin_error(&self.root, "reading", source))? {
            let entry = entry.map_err(|source| pin_error(&self.root, "reading", source))?;
            if entry.path() != self.version() {
                differences.push(format!(
                    "  `{}` is of another layout than this version's v{LAYOUT_VERSION}",
                    entry.path().display()
                ));
            }
        }
        for directory in [self.version(), self.maps(), self.links()] {
            make_directory(&directory)?;
        }
        for shape in shapes(flow_entries) {
            let path = self.maps().join(shape.name);
            if path.exists() {
                let data = MapData::from_pin(&path).map_err(DatapathError::map(shape.name, "opening"))?;
                differences.extend(shape.differences(&data)?);
            }
        }
        if differences.is_empty() {
            return Ok(());
        }
        Err(DatapathError::Layout { path: self.root.clone(), differences })
    }

    /// Removes everything: programs, links and maps end with their pins. Layouts of other versions, too.
    pub(super) fn remove(self) -> Result<(), DatapathError> {
        remove_tree(&self.root)
    }
}

/// What a map must be like.
struct Shape {
    name: &'static str,
    kind: MapType,
    key: usize,
    value: usize,
    entries: u32,
}

impl Shape {
    fn differences(&self, data: &MapData) -> Result<Vec<String>, DatapathError> {
        let info = data.info().map_err(DatapathError::map(self.name, "reading the properties of"))?;
        let kind = info.map_type().map_err(DatapathError::map(self.name, "reading the type of"))?;
        let mut found = Vec::new();
        if kind != self.kind {
            found.push(format!("  map {}: it is a {kind:?} map, not a {:?} one", self.name, self.kind));
        }
        let numbers = [
            ("key bytes", info.key_size(), self.key as u32),
            ("value bytes", info.value_size(), self.value as u32),
            ("entries", info.max_entries(), self.entries),
        ];
        for (what, is, wanted) in numbers {
            if is != wanted {
                found
                    .push(format!("  map {}: {is} {what}, this version and config want {wanted}", self.name));
            }
        }
        Ok(found)
    }
}

fn shapes(flow_entries: u32) -> Vec<Shape> {
    let tuple = size_of::<abi::Tuple<dtr_lb_common::address::Ipv4Words>>();
    let flow = size_of::<abi::Flow<dtr_lb_common::address::Ipv4Words>>();
    let half_open = size_of::<abi::HalfOpen<dtr_lb_common::address::Ipv4Words>>();
    let index = size_of::<u32>();
    let shape =
        |name, kind, key, value, entries: usize| Shape { name, kind, key, value, entries: entries as u32 };
    vec![
        shape(map::FLOWS_V4, MapType::LruHash, tuple, flow, flow_entries as usize),
        shape(map::HALF_OPEN_V4, MapType::LruHash, tuple, half_open, abi::HALF_OPEN_ENTRIES),
        shape(
            map::SERVICES,
            MapType::Hash,
            size_of::<abi::ServiceKey>(),
            size_of::<abi::Service>(),
            abi::MAX_SERVICES,
        ),
        shape(map::TABLES, MapType::Array, index, size_of::<abi::MaglevTable>(), abi::TABLE_ENTRIES),
        shape(map::REPLICAS, MapType::Array, index, size_of::<abi::Replica>(), abi::MAX_REPLICAS),
        shape(map::SETTINGS, MapType::Array, index, size_of::<abi::Settings>(), 1),
        shape(map::VERDICT_STATS, MapType::PerCpuArray, index, size_of::<abi::Traffic>(), VERDICTS),
        shape(
            map::REPLICA_STATS,
            MapType::PerCpuArray,
            index,
            size_of::<abi::ReplicaCounters>(),
            abi::MAX_REPLICAS,
        ),
        shape(map::EVENTS, MapType::RingBuf, 0, 0, abi::EVENTS_BYTES),
        shape(map::EVENT_TIMES, MapType::PerCpuArray, index, size_of::<abi::Ticks>(), VERDICTS),
    ]
}

/// Makes a directory in a BPF file system; its parent must be there.
fn make_directory(path: &Path) -> Result<(), DatapathError> {
    match fs::create_dir(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(DatapathError::NoBpffs { path: path.into() });
        }
        Err(source) => return Err(pin_error(path, "making", source)),
    }
    let kind = statfs(path).map_err(|error| pin_error(path, "looking at", error.into()))?.filesystem_type();
    if kind == BPF_FS_MAGIC {
        return Ok(());
    }
    // Made by us a moment ago and empty, or there before: only an empty one goes.
    let _ = fs::remove_dir(path);
    Err(DatapathError::NoBpffs { path: path.into() })
}

/// Removes one pin; that it is gone already is well.
pub(super) fn remove_file(path: &Path) -> Result<(), DatapathError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(pin_error(path, "removing", source)),
        _ => Ok(()),
    }
}

fn remove_tree(path: &Path) -> Result<(), DatapathError> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(pin_error(path, "removing", source)),
        _ => Ok(()),
    }
}

fn pin_error(path: &Path, operation: &'static str, source: io::Error) -> DatapathError {
    if source.raw_os_error() == Some(libc::EPERM) || source.kind() == io::ErrorKind::PermissionDenied {
        return DatapathError::Permission { operation: format!("write to `{}`", path.display()) };
    }
    DatapathError::Pin { path: path.into(), operation, source }
}
