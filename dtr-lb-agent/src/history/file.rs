//! The file that keeps the history for the next agent: a line of JSON that says what is in it, and the samples as they are in
//! memory, in little endian. It stands beside the agent's socket. Nobody misses it for long: what is wrong with it, or too old, is
//! not used.

use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Kept, Key, LENGTH, STEP, series::Series};

const VERSION: u32 = 1;
/// A larger file is not ours: see the bound in [`super`].
const LARGEST: u64 = 32 << 20;
/// Read and write for its owner, who owns the socket, too.
const MODE: u32 = 0o600;

/// What is in the file.
#[derive(Serialize, Deserialize)]
struct Head {
    version: u32,
    /// Milliseconds since 1970, UTC; at least one.
    times: Vec<i64>,
    /// Whose samples come, as many of each as there are times.
    keys: Vec<Key>,
}

/// Why a history is not used.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it is damaged: {0}")]
    Damaged(String),
    #[error("its last sample is older than what is shown")]
    Old,
    #[error("its last sample is of the future: the clock was set back")]
    Future,
}

fn damaged(what: impl std::fmt::Display) -> HistoryError {
    HistoryError::Damaged(what.to_string())
}

impl Kept {
    /// As it stands in the file.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, HistoryError> {
        let head = Head {
            version: VERSION,
            times: self.times.iter().map(|time| time.as_millisecond()).collect(),
            keys: self.series.keys().cloned().collect(),
        };
        let mut bytes = serde_json::to_vec(&head).map_err(damaged)?;
        bytes.push(b'\n');
        let numbers = self.series.values().flat_map(Series::samples).flatten();
        bytes.extend(numbers.flat_map(f32::to_le_bytes));
        Ok(bytes)
    }

    /// What was kept, with a gap from its end to `now`.
    pub(super) fn from_bytes(bytes: &[u8], now: Timestamp) -> Result<Self, HistoryError> {
        let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(|| damaged("it has no head"))?;
        let Head { version, times, keys } = serde_json::from_slice(&bytes[..end]).map_err(damaged)?;
        if version != VERSION {
            return Err(damaged(format!("it is of version {version}, and this dtr-lb knows {VERSION}")));
        }
        let times: Result<Vec<_>, _> = times.into_iter().map(Timestamp::from_millisecond).collect();
        let times = times.map_err(damaged)?;
        if times.len() > LENGTH || !times.is_sorted() {
            return Err(damaged("its times make no sense"));
        }
        let last = *times.last().ok_or_else(|| damaged("it has no samples"))?;
        if last > now {
            return Err(HistoryError::Future);
        }
        let gap = now.duration_since(last).unsigned_abs();
        let missing = usize::try_from(gap.as_millis() / STEP.as_millis()).unwrap_or(usize::MAX);
        if missing >= LENGTH {
            return Err(HistoryError::Old);
        }
        let (numbers, rest) = bytes[end + 1..].as_chunks::<4>();
        let count = times.len();
        if !rest.is_empty() || numbers.len() != keys.len() * count * 4 {
            return Err(damaged("samples are missing"));
        }
        let mut numbers = numbers.iter().map(|bytes| f32::from_le_bytes(*bytes));
        let mut series = std::collections::BTreeMap::new();
        for key in keys {
            let sample = |_| std::array::from_fn(|_| numbers.next().unwrap_or(f32::NAN));
            series.insert(key, Series::of((0..count).map(sample)));
        }
        let mut kept = Self { times: times.into(), series, left_out: 0 };
        // While no agent ran nobody has looked: that is no sample, and no zero.
        for _ in 1..missing {
            let time = kept.times.back().and_then(|last| last.checked_add(STEP).ok()).unwrap_or(now);
            kept.begin(time);
            kept.series.values_mut().for_each(Series::add_none);
        }
        Ok(kept)
    }
}

pub(super) fn read(path: &Path, now: Timestamp) -> Result<Kept, HistoryError> {
    let mut bytes = Vec::new();
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(damaged("it is not a regular file"));
    }
    file.take(LARGEST).read_to_end(&mut bytes)?;
    Kept::from_bytes(&bytes, now)
}

/// Whoever reads the file finds it as it was or as it is, never half of it.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut new: OsString = path.as_os_str().to_owned();
    new.push(".new");
    // What is left of an agent that was killed here.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&new)?;
    let written = file.write_all(bytes).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // It would only take up space.
        let _ = fs::remove_file(&new);
    }
    written
}
