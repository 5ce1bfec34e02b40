//! What outlives the agent: maps and links, pinned in a BPF file system below a directory of the layout's version.
//!
//! ```text
//! /sys/fs/bpf/dtr-lb/v1/maps/FLOWS …
//! /sys/fs/bpf/dtr-lb/v1/links/xdp-2 …
//! ```
//!
//! The root may be shared, say `/sys/fs/bpf` itself: what is not below a layout's directory is another program's, and
//! is neither judged nor removed.

use std::{
    ffi::OsStr,
    fs::{self, DirEntry, File},
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use aya::{
    maps::{MapData, MapType},
    programs::links::PinnedLink,
};
use dtr_lb_common::{
    abi::{self, LAYOUT_VERSION, map},
    address::Address,
    flow_table::{
        BUCKET_BYTES, LOCKS,
        next_hops::{NEXT_HOP_BYTES, NEXT_HOPS},
    },
    verdict::VERDICTS,
};
use nix::{
    fcntl::{Flock, FlockArg},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use super::{attach::pin_name, error::DatapathError, hook::Hook};

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

    /// Whether a datapath of this layout is there to be taken over: maps, or links, which go on forwarding.
    pub(super) fn occupied(&self) -> Result<bool, DatapathError> {
        Ok(!entries(&self.maps())?.is_empty() || !entries(&self.links())?.is_empty())
    }

    /// Looks whether what is there may be taken over, and makes the directories.
    pub(super) fn prepare(&self, flow_buckets: u32) -> Result<(), DatapathError> {
        check_layout(&self.root, flow_buckets)?;
        for directory in [self.version(), self.maps(), self.links()] {
            make_directory(&directory)?;
        }
        Ok(())
    }

    /// Removes the datapath of this layout, and the root if it holds nothing else.
    pub(super) fn remove_own(self) -> Result<(), DatapathError> {
        remove_layout(&self.version())?;
        remove_if_empty(&self.root)
    }

    /// Removes the datapaths of all layouts, and the root if it holds nothing else: programs, links and maps end with
    /// their pins. Says whether there was one.
    pub(super) fn remove(self) -> Result<bool, DatapathError> {
        let mut found = false;
        for entry in entries(&self.root)? {
            if layout(&entry.file_name()).is_some() && is_directory(&entry)? {
                remove_layout(&entry.path())?;
                found = true;
            }
        }
        remove_if_empty(&self.root)?;
        Ok(found)
    }
}

/// Whether the datapath that is pinned below `root`, if one is, may be taken over: another layout may not, and each map must
/// be what this version would make for so many flows. Changes nothing, and needs no lock.
///
/// # Errors
/// [`DatapathError::Layout`] with all that is different; the others if it cannot be looked at.
pub fn check_layout(root: &Path, max_flows: u32) -> Result<(), DatapathError> {
    let mut differences = Vec::new();
    for entry in entries(root)? {
        if layout(&entry.file_name()).is_some_and(|version| version != LAYOUT_VERSION) {
            differences.push(format!(
                "  `{}` is of another layout than this version's v{LAYOUT_VERSION}",
                entry.path().display()
            ));
        }
    }
    let maps = root.join(format!("v{LAYOUT_VERSION}")).join("maps");
    for shape in shapes(max_flows) {
        let path = maps.join(shape.name);
        if path.exists() {
            differences.extend(pinned_differences(&shape, &path)?);
        }
    }
    if differences.is_empty() {
        return Ok(());
    }
    Err(DatapathError::Layout { path: root.into(), differences })
}

/// Whether a link with an XDP program for the interface of this index is pinned below `root`, of whichever layout.
///
/// # Errors
/// It may not be looked at.
pub fn xdp_link_is_pinned(root: &Path, interface: u32) -> io::Result<bool> {
    let versions = match fs::read_dir(root) {
        Ok(found) => found.collect::<io::Result<Vec<_>>>()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    for version in versions.iter().filter(|entry| layout(&entry.file_name()).is_some()) {
        for hook in [Hook::NativeXdp, Hook::GenericXdp] {
            let pin = version.path().join("links").join(pin_name(hook, interface));
            if pin.try_exists()? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The version of the layout whose directory has this name: `v1` is 1.
fn layout(name: &OsStr) -> Option<u32> {
    let version = name.to_str()?.strip_prefix('v')?.parse().ok()?;
    (*name == *format!("v{version}")).then_some(version)
}

/// How what is pinned at `path` differs from what this version would make.
fn pinned_differences(shape: &Shape, path: &Path) -> Result<Vec<String>, DatapathError> {
    // The kernel's word for one is that it is not permitted.
    if path.is_dir() {
        return Ok(vec![format!("  `{}` is a directory, not a map", path.display())]);
    }
    let data = MapData::from_pin(path).map_err(DatapathError::map(shape.name, "opening"));
    match data.and_then(|data| shape.differences(&data)) {
        Err(error @ DatapathError::Permission { .. }) => Err(error),
        // A program or a link, say.
        Err(error) => Ok(vec![format!("  `{}`: {error}", path.display())]),
        differences => differences,
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

fn shapes(flow_buckets: u32) -> Vec<Shape> {
    let index = size_of::<u32>();
    let shape =
        |name, kind, key, value, entries: usize| Shape { name, kind, key, value, entries: entries as u32 };
    vec![
        shape(map::FLOWS, MapType::Array, index, BUCKET_BYTES, flow_buckets as usize),
        shape(map::FLOW_LOCKS, MapType::Array, index, size_of::<u64>(), LOCKS),
        shape(map::NEXT_HOPS, MapType::Array, index, NEXT_HOP_BYTES, NEXT_HOPS),
        shape(map::SYNS, MapType::Array, index, size_of::<abi::KeptSyn>(), abi::KEPT_SYNS),
        shape(map::FILTER, MapType::Array, index, size_of::<abi::Filter>(), 1),
        // The key begins with the prefix's length.
        shape(
            map::SOURCES,
            MapType::LpmTrie,
            index + size_of::<abi::SourceKey>(),
            size_of::<u32>(),
            abi::MAX_SOURCES,
        ),
        shape(
            map::SERVICES,
            MapType::Hash,
            size_of::<abi::ServiceKey>(),
            size_of::<abi::Service>(),
            abi::MAX_SERVICES,
        ),
        shape(map::VIPS, MapType::Hash, size_of::<Address>(), size_of::<u32>(), abi::MAX_VIPS),
        shape(map::TABLES, MapType::Array, index, size_of::<abi::MaglevTable>(), abi::TABLE_ENTRIES),
        shape(map::REPLICAS, MapType::Array, index, size_of::<abi::Replica>(), abi::MAX_REPLICAS),
        shape(map::SETTINGS, MapType::Array, index, size_of::<abi::Settings>(), 1),
        shape(map::PRESSURE, MapType::PerCpuArray, index, size_of::<abi::Pressure>(), abi::MAX_SERVICES),
        shape(
            map::CLIENTS,
            MapType::LruHash,
            size_of::<abi::ClientKey>(),
            size_of::<abi::Client>(),
            abi::MAX_CLIENTS,
        ),
        shape(map::ROOM, MapType::Array, index, size_of::<i64>(), abi::MAX_REPLICAS),
        shape(map::OWN_MACS, MapType::Array, index, size_of::<abi::OwnMacs>(), abi::OWN_MAC_SETS),
        shape(map::VERDICT_STATS, MapType::PerCpuArray, index, size_of::<abi::Traffic>(), VERDICTS),
        shape(
            map::REPLICA_STATS,
            MapType::PerCpuArray,
            index,
            size_of::<abi::ReplicaCounters>(),
            abi::MAX_REPLICAS,
        ),
        shape(map::WITNESSES, MapType::Array, index, size_of::<abi::Witnesses>(), abi::MAX_REPLICAS),
        shape(map::EVENTS, MapType::RingBuf, 0, 0, abi::EVENTS_BYTES),
        shape(map::EVENT_TIMES, MapType::PerCpuArray, index, size_of::<abi::Ticks>(), VERDICTS),
        shape(map::FLOW_STATS, MapType::Array, index, size_of::<abi::FlowStats>(), abi::MAX_REPLICAS),
        shape(map::FLOW_WANTED, MapType::Array, index, size_of::<u32>(), 1),
        shape(map::FLOW_EVENTS, MapType::RingBuf, 0, 0, abi::FLOW_EVENTS_BYTES),
    ]
}

/// Makes a directory in a BPF file system; its parent must be there. Elsewhere none is made.
fn make_directory(path: &Path) -> Result<(), DatapathError> {
    check_place(path)?;
    match fs::create_dir(path) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            Err(pin_error(path, "making", source))
        }
        _ => Ok(()),
    }
}

/// Whether a directory of pins is or may be made here.
///
/// # Errors
/// [`DatapathError::NoBpffs`] if it would not be in a BPF file system, [`DatapathError::Pin`] if that cannot be found out.
pub fn check_place(path: &Path) -> Result<(), DatapathError> {
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    };
    // A directory that is there may be where the file system is mounted; one that is not is in its parent's.
    if !in_bpffs(if path.exists() { path } else { parent })? {
        return Err(DatapathError::NoBpffs { path: path.into() });
    }
    Ok(())
}

fn in_bpffs(path: &Path) -> Result<bool, DatapathError> {
    match statfs(path) {
        Ok(facts) => Ok(facts.filesystem_type() == BPF_FS_MAGIC),
        Err(nix::Error::ENOENT) => Ok(false),
        Err(error) => Err(pin_error(path, "looking at", error.into())),
    }
}

/// The entries of a directory; none if it is not there.
pub(super) fn entries(directory: &Path) -> Result<Vec<DirEntry>, DatapathError> {
    let reading = |source| pin_error(directory, "reading", source);
    match fs::read_dir(directory) {
        Ok(found) => found.collect::<Result<_, _>>().map_err(reading),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(reading(source)),
    }
}

/// Whether it is a directory itself, not a link to one.
fn is_directory(entry: &DirEntry) -> Result<bool, DatapathError> {
    let kind = entry.file_type().map_err(|source| pin_error(&entry.path(), "looking at", source))?;
    Ok(kind.is_dir())
}

/// Removes what a layout's directory holds of ours, and the directory if that was all.
fn remove_layout(version: &Path) -> Result<(), DatapathError> {
    // Links first: the programs end before the maps that they use lose their names.
    let kinds: [(_, fn(&Path) -> _); 2] = [("links", end_link), ("maps", remove_file)];
    for (kind, remove) in kinds {
        let directory = version.join(kind);
        for entry in entries(&directory)? {
            if !is_directory(&entry)? {
                remove(&entry.path())?;
            }
        }
        remove_if_empty(&directory)?;
    }
    remove_if_empty(version)
}

/// Removes the pin of a link, and with it the link: the kernel detaches at once when a file descriptor is the last holder
/// and is closed, but in the background, later, when that is a pin.
pub(super) fn end_link(path: &Path) -> Result<(), DatapathError> {
    let holder = PinnedLink::from_pin(path);
    remove_file(path)?;
    drop(holder);
    Ok(())
}

/// Removes a directory unless something is in it, or it is where a file system is mounted, or it is not ours to remove.
fn remove_if_empty(path: &Path) -> Result<(), DatapathError> {
    match fs::remove_dir(path) {
        Err(source)
            if !matches!(
                source.raw_os_error(),
                Some(libc::ENOENT | libc::ENOTEMPTY | libc::EBUSY | libc::EPERM | libc::EACCES)
            ) =>
        {
            Err(pin_error(path, "removing", source))
        }
        _ => Ok(()),
    }
}

/// Removes one pin; that it is gone already is well.
pub(super) fn remove_file(path: &Path) -> Result<(), DatapathError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(pin_error(path, "removing", source)),
        _ => Ok(()),
    }
}

pub(super) fn pin_error(path: &Path, operation: &'static str, source: io::Error) -> DatapathError {
    if source.raw_os_error() == Some(libc::EPERM) || source.kind() == io::ErrorKind::PermissionDenied {
        return DatapathError::Permission { operation: format!("write to `{}`", path.display()) };
    }
    DatapathError::Pin { path: path.into(), operation, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_of_an_interface_is_found_whatever_its_layout_and_hook() {
        let root = tempfile::tempdir().expect("a directory");
        let pinned = |interface| xdp_link_is_pinned(root.path(), interface).expect("it may be looked at");
        assert!(!pinned(2));
        for (path, interface) in [("v1/links/xdp-2", 2), ("v7/links/xdpgeneric-3", 3)] {
            let pin = root.path().join(path);
            fs::create_dir_all(pin.parent().expect("a directory")).expect("directories");
            fs::write(&pin, "").expect("a file");
            assert!(pinned(interface) && !pinned(interface + 10), "{path}");
        }
        fs::write(root.path().join("v1/links/tc-4"), "").expect("a file");
        assert!(!pinned(4), "at TC it is no XDP program");
        assert!(!xdp_link_is_pinned(&root.path().join("none"), 2).expect("nothing is there"));
        check_layout(&root.path().join("none"), 1024).expect("nothing that would not fit");
    }

    #[test]
    fn only_names_that_this_program_gives_are_layouts() {
        let cases = [
            ("v1", Some(1)),
            ("v0", Some(0)),
            ("v4294967295", Some(u32::MAX)),
            ("v4294967296", None),
            ("v01", None),
            ("v+1", None),
            ("v", None),
            ("v1a", None),
            ("V1", None),
            ("1", None),
            ("cilium", None),
            ("", None),
        ];
        for (name, expected) in cases {
            assert_eq!(layout(OsStr::new(name)), expected, "{name:?}");
        }
    }
}
