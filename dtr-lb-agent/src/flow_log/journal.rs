//! The systemd journal as the log's place, by its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): a datagram an entry, of
//! lines `KEY=VALUE`. No value here has a line's end in it, which would ask for the protocol's other form.

use std::{
    io::{self, Write as _},
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    time::Duration,
};

use super::FlowEnd;

/// Where journald takes entries.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";

/// As long is waited for a journal that is busy; meanwhile the queue fills.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// `info` of syslog(3).
const PRIORITY: u8 = 6;

/// The journal.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    socket: Option<UnixDatagram>,
    entry: Vec<u8>,
}

/// What of an entry can be asked for by name.
pub(super) struct Fields<'a> {
    pub(super) service: &'a str,
    pub(super) replica: Option<&'a str>,
    pub(super) end: FlowEnd,
}

impl Journal {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path, socket: None, entry: Vec::new() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Sends an entry. `line` has no end of a line.
    pub(super) fn send(&mut self, line: &[u8], fields: Option<&Fields<'_>>) -> io::Result<()> {
        let Self { path, socket, entry } = self;
        entry.clear();
        entry.extend_from_slice(b"MESSAGE=");
        entry.extend_from_slice(line);
        write!(entry, "\nPRIORITY={PRIORITY}\nSYSLOG_IDENTIFIER=dtr-lb\n")?;
        if let Some(Fields { service, replica, end }) = fields {
            writeln!(entry, "DTR_LB_SERVICE={}\nDTR_LB_END={}", one_line(service), end.word())?;
            if let Some(replica) = replica {
                writeln!(entry, "DTR_LB_REPLICA={}", one_line(replica))?;
            }
        }
        let open = match socket.take() {
            Some(open) => open,
            None => connect(path)?,
        };
        // After an error it is connected anew: journald may be another one by then.
        open.send(entry)?;
        *socket = Some(open);
        Ok(())
    }
}

/// Names are of one line; that anything else could forge fields must not depend on that.
fn one_line(value: &str) -> &str {
    value.lines().next().unwrap_or_default()
}

/// Whether there is a journal at `path`.
pub(super) fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.set_write_timeout(Some(LONGEST_WAIT))?;
    Ok(socket)
}
