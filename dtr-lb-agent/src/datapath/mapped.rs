//! A map's values, mapped into this process: a walk through them takes no system call.

use std::{num::NonZeroUsize, os::fd::AsFd as _, ptr::NonNull, sync::atomic::AtomicU32};

use aya::maps::{Map, MapData};
use dtr_lb_common::model::Words;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use super::error::DatapathError;

/// All values of an array map that was made to be mapped (`BPF_F_MMAPABLE`).
#[derive(Debug)]
pub struct Mapped {
    start: NonNull<AtomicU32>,
    words: usize,
    bytes: usize,
}

// SAFETY: what it points to is mapped for as long as it lives, belongs to no thread, and is used by atomic operations only.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// Maps the values to be looked at.
    pub(super) fn new(map: &Map, name: &'static str) -> Result<Self, DatapathError> {
        Self::with(map, name, ProtFlags::PROT_READ)
    }

    /// Maps them to be written as well: a test's, or a benchmark's. The agent only looks.
    #[cfg(any(test, feature = "test-run"))]
    pub(super) fn writable(map: &Map, name: &'static str) -> Result<Self, DatapathError> {
        Self::with(map, name, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)
    }

    fn with(map: &Map, name: &'static str, protection: ProtFlags) -> Result<Self, DatapathError> {
        let Map::Array(data) = map else {
            return Err(DatapathError::Object { reason: format!("{name} is no array") });
        };
        let bytes = bytes(data, name)?;
        let failed = |reason: String| DatapathError::Map { map: name, operation: "mapping", reason };
        let length = NonZeroUsize::new(bytes).ok_or_else(|| failed("it is empty".into()))?;
        // SAFETY: a new mapping, whose place the kernel chooses; nothing of this process is there.
        let start = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, data.fd().as_fd(), 0) };
        let start = start.map_err(|error| failed(error.to_string()))?;
        Ok(Self { start: start.cast(), words: bytes / size_of::<AtomicU32>(), bytes })
    }

    pub fn words(&self) -> Words<'_> {
        // SAFETY: the mapping has as many words, is aligned to a page, and lives as long as this. Where it is read-only, who has
        // the words only loads them, as the agent does; the kernel's programs change them by whole words.
        Words(unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.words) })
    }
}

/// Bytes of all values.
fn bytes(data: &MapData, name: &'static str) -> Result<usize, DatapathError> {
    let info = data.info().map_err(DatapathError::map(name, "reading the properties of"))?;
    Ok(info.value_size().next_multiple_of(8) as usize * info.max_entries() as usize)
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's own, and nothing borrows from it any more. It fails only for wrong arguments.
        let _ = unsafe { munmap(self.start.cast(), self.bytes) };
    }
}
