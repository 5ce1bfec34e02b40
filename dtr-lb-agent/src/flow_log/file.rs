//! The log's file: appended to, found again where somebody has renamed or removed it, and never left with half a line.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// Read and write for the owner, read for the group: it has clients' addresses.
const MODE: u32 = 0o640;

/// A file that is appended to.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    identity: (u64, u64),
    /// It ends with half a line, which could not be taken back.
    is_torn: bool,
}

/// Not all of the lines were written.
#[derive(Debug)]
pub(super) struct Unwritten {
    /// Bytes of the lines that were, whole ones.
    pub(super) written: usize,
    pub(super) error: io::Error,
}

impl LogFile {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path, open: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens it if it is not open, or if another file or none has its path by now.
    ///
    /// # Errors
    /// It cannot be opened; then it is closed.
    pub(super) fn follow(&mut self) -> io::Result<()> {
        if let Some(open) = &self.open
            && fs::metadata(&self.path).is_ok_and(|there| identity(&there) == open.identity)
        {
            return Ok(());
        }
        self.open = None;
        // Non-blocking matters for a named pipe only, on whose reader nobody is to wait.
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(MODE)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(&self.path)?;
        let identity = identity(&file.metadata()?);
        self.open = Some(Open { file, identity, is_torn: false });
        Ok(())
    }

    /// Appends whole lines.
    pub(super) fn append(&mut self, lines: &[u8]) -> Result<(), Unwritten> {
        let failed = |error| Unwritten { written: 0, error };
        if self.open.is_none() {
            self.follow().map_err(failed)?;
        }
        let Some(open) = &mut self.open else { return Err(failed(io::ErrorKind::NotFound.into())) };
        if open.is_torn {
            open.file.write_all(b"\n").map_err(failed)?;
            open.is_torn = false;
        }
        let mut written = 0;
        while written < lines.len() {
            match open.file.write(&lines[written..]) {
                Ok(0) => return Err(open.tear(lines, written, io::ErrorKind::WriteZero.into())),
                Ok(more) => written += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(open.tear(lines, written, error)),
            }
        }
        Ok(())
    }
}

impl Open {
    /// Takes half a line back: nobody else writes to the file, so that it is at its end.
    fn tear(&mut self, lines: &[u8], written: usize, error: io::Error) -> Unwritten {
        let whole = lines[..written].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let half = (written - whole) as u64;
        if half > 0 {
            let length = self.file.metadata().map_or(0, |file| if file.is_file() { file.len() } else { 0 });
            let taken_back = length.checked_sub(half).is_some_and(|length| self.file.set_len(length).is_ok());
            self.is_torn = !taken_back;
        }
        Unwritten { written: whole, error }
    }
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}
