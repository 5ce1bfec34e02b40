//! The file of events: a line of JSON each, in two segments. When the current one is full it becomes the older one, in the
//! place of the older one before.
//!
//! It stands beside the agent's socket, as the changes do ([`crate::changes`]), and so ends with a reboot where that is below
//! /run. An agent that is killed leaves half a line at most, which the next one cuts off. What makes no sense is moved aside.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::Event;

/// The most that a segment has, in bytes.
pub(super) const SEGMENT: usize = 1_500_000;
/// A larger file is not ours.
const LARGEST: u64 = 2 * SEGMENT as u64;
/// Read and write for its owner, who owns the socket, too.
const MODE: u32 = 0o600;

/// What was read of both segments; nothing is changed by it.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// By rising number.
    pub(super) events: Vec<Event>,
    /// What was left out, and why.
    pub(super) notes: Vec<String>,
}

/// What an agent takes up.
#[derive(Debug, Default)]
pub(super) struct Opened {
    pub(super) events: Vec<Event>,
    /// What is as is to be expected of an agent that was killed.
    pub(super) notes: Vec<String>,
    /// What is not.
    pub(super) warnings: Vec<String>,
    /// Why nothing can be written for now.
    pub(super) problem: Option<String>,
}

/// One segment.
#[derive(Debug, Default)]
struct Segment {
    events: Vec<Event>,
    /// Lines that are none.
    bad: usize,
    /// Where the last whole line ends, if something comes after it.
    torn: Option<u64>,
}

/// Reads both segments.
///
/// # Errors
/// The current one cannot be read. That there is no older one is no error.
pub(super) fn read(path: &Path) -> io::Result<Read> {
    let mut read = Read::default();
    let older = older(path);
    for (segment, must) in [(&older, false), (&path.to_owned(), true)] {
        match Segment::read(segment, read.events.last().map_or(0, |event| event.id)) {
            Ok(Segment { events, bad, torn }) => {
                read.events.extend(events);
                if bad > 0 {
                    read.notes.push(format!("{bad} lines of `{}` are no events", segment.display()));
                }
                if torn.is_some() {
                    read.notes.push(format!("the last line of `{}` is cut off", segment.display()));
                }
            }
            Err(error) if !must && error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if must => return Err(error),
            Err(error) => read.notes.push(format!("`{}` cannot be read: {error}", segment.display())),
        }
    }
    Ok(read)
}

/// Reads both segments, and mends them so that lines can be appended.
pub(super) fn open(path: &Path) -> Opened {
    let mut opened = Opened::default();
    for segment in [&older(path), &path.to_owned()] {
        let last = opened.events.last().map_or(0, |event| event.id);
        let found = match Segment::read(segment, last) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                opened.warnings.push(format!("events cannot be read: {error}; {}", set_aside(segment)));
                continue;
            }
        };
        let Segment { events, bad, torn } = found;
        if bad > 0 {
            let aside = set_aside(segment);
            let kept = match rewrite(segment, &events) {
                Ok(()) => "the others are kept".to_owned(),
                Err(error) => format!("the others are in memory only ({error})"),
            };
            opened.warnings.push(format!("{bad} lines among the events make no sense; {kept}; {aside}"));
        } else if let Some(end) = torn {
            opened.notes.push(match truncate(segment, end) {
                Ok(()) => "the last event was cut off in the midst, as its agent was killed: it is skipped"
                    .to_owned(),
                Err(error) => {
                    format!("the last event is cut off in the midst, and cannot be removed: {error}")
                }
            });
        }
        opened.events.extend(events);
    }
    opened.problem = Segments::new(path.to_owned()).reopen().err().map(|error| error.to_string());
    opened
}

impl Segment {
    /// `last`: the number that the first event has to exceed.
    fn read(path: &Path, mut last: u64) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        if !found.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        if found.len() > LARGEST {
            return Err(io::Error::other(format!(
                "it has {} bytes, and is no file of an agent's",
                found.len()
            )));
        }
        let bytes = fs::read(path)?;
        let mut segment = Self::default();
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if whole < bytes.len() {
            segment.torn = Some(whole as u64);
        }
        for line in bytes[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice::<Event>(line) {
                Ok(event) if event.id > last => {
                    last = event.id;
                    segment.events.push(event);
                }
                Ok(_) | Err(_) => segment.bad += 1,
            }
        }
        Ok(segment)
    }
}

/// The current segment, open for more, and what is done when it is full.
#[derive(Debug)]
pub(super) struct Segments {
    path: PathBuf,
    open: Option<(File, u64)>,
}

impl Segments {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path, open: None }
    }

    pub(super) const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Appends a line with its end. It is not brought to the disk: it outlives the agent, not the host.
    ///
    /// # Errors
    /// It cannot; then no part of it is in the file, as far as that can be helped.
    pub(super) fn append(&mut self, line: &str) -> io::Result<()> {
        // Somebody may have removed the file.
        let there =
            self.open.as_ref().is_some_and(|(file, _)| file.metadata().is_ok_and(|file| file.nlink() > 0));
        if !there {
            self.reopen()?;
        }
        if let Some((_, length)) = &self.open
            && *length > 0
            && *length + line.len() as u64 > SEGMENT as u64
        {
            self.open = None;
            fs::rename(&self.path, older(&self.path))?;
            self.reopen()?;
        }
        let Some((file, length)) = &mut self.open else { return Err(io::Error::other("it is not open")) };
        match file.write_all(line.as_bytes()) {
            Ok(()) => {
                *length += line.len() as u64;
                Ok(())
            }
            Err(error) => {
                // What half of it is there would spoil the next line, too.
                let _ = file.set_len(*length);
                self.open = None;
                Err(error)
            }
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(MODE)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&self.path)?;
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        self.open = Some((file, found.len()));
        Ok(())
    }
}

/// The segment before the current one.
fn older(path: &Path) -> PathBuf {
    with_suffix(path, ".1")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Says what became of it.
fn set_aside(path: &Path) -> String {
    let aside = with_suffix(path, ".broken");
    match fs::rename(path, &aside) {
        Ok(()) => format!("`{}` is moved to `{}`", path.display(), aside.display()),
        Err(error) => format!("`{}` could not be moved aside: {error}", path.display()),
    }
}

fn rewrite(path: &Path, events: &[Event]) -> io::Result<()> {
    let mut text = Vec::new();
    for event in events {
        serde_json::to_writer(&mut text, event)?;
        text.push(b'\n');
    }
    let new = with_suffix(path, ".new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&new)?;
    file.write_all(&text).and_then(|()| fs::rename(&new, path))
}

fn truncate(path: &Path, length: u64) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.set_len(length)
}
