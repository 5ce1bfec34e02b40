//! `BPF_MAP_LOOKUP_BATCH` (Linux 5.6): many entries of a hash map by one system call. aya has no call for it.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _},
};

use aya::maps::MapData;
use bytemuck::{Pod, Zeroable};

use super::error::DatapathError;

/// Of `enum bpf_cmd`, include/uapi/linux/bpf.h.
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;

/// Entries in one call. The kernel refuses a bucket that does not fit whole; a bucket holds an entry or two.
const BATCH: usize = 4096;

/// The part of `union bpf_attr` for batches, include/uapi/linux/bpf.h.
#[repr(C)]
#[derive(Clone, Copy, Default, Pod, Zeroable)]
struct BatchAttributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    element_flags: u64,
    flags: u64,
}

/// Where a walk stands.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    /// The bucket to go on with; none at the start.
    bucket: Option<u32>,
    done: bool,
}

impl Cursor {
    /// Whether the walk has seen every bucket.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }
}

/// Reads the next entries. Ones that come or go meanwhile may be missed, others are seen once.
pub(super) fn read<K: Pod, V: Pod>(
    map: &MapData,
    name: &'static str,
    cursor: &mut Cursor,
) -> Result<Vec<(K, V)>, DatapathError> {
    let failed = |reason: String| DatapathError::Map { map: name, operation: "reading a batch of", reason };
    // The buffers are as large as the map's own keys and values, or the kernel would write past them.
    let info = map.info().map_err(DatapathError::map(name, "reading the properties of"))?;
    if info.key_size() as usize != size_of::<K>() || info.value_size() as usize != size_of::<V>() {
        return Err(failed("its entries have another size".into()));
    }
    let mut keys = vec![K::zeroed(); BATCH];
    let mut values = vec![V::zeroed(); BATCH];
    let mut next = 0u32;
    let mut attributes = BatchAttributes {
        in_batch: cursor.bucket.as_ref().map_or(0, |bucket| std::ptr::from_ref(bucket) as u64),
        out_batch: &raw mut next as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: BATCH as u32,
        map_fd: map.fd().as_fd().as_raw_fd() as u32,
        ..BatchAttributes::default()
    };
    // SAFETY: the attributes have the kernel's layout and size; each pointer is to memory that lives until the call
    // returns: `BATCH` keys and values of the map's own sizes (checked above), and two numbers of a bucket.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_MAP_LOOKUP_BATCH, &raw mut attributes, size_of::<BatchAttributes>())
    };
    if result < 0 {
        let error = io::Error::last_os_error();
        // The kernel's word for the end of the map; what was read is there.
        if error.raw_os_error() != Some(libc::ENOENT) {
            return Err(failed(error.to_string()));
        }
        cursor.done = true;
    }
    cursor.bucket = Some(next);
    let count = (attributes.count as usize).min(BATCH);
    Ok(keys.into_iter().zip(values).take(count).collect())
}
