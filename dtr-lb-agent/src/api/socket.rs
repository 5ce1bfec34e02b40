//! The Unix socket on which the API is served: its file, its permissions, its beginning and its end.

use std::{
    fs::{self, FileType},
    io,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::UnixStream as StdUnixStream,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use axum::Router;
use nix::{
    sys::statfs::{
        BPF_FS_MAGIC, CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, PROC_SUPER_MAGIC, SYSFS_MAGIC, statfs,
    },
    unistd::{AccessFlags, Gid, Group, access, chown},
};
use tokio::{net::UnixListener, sync::oneshot, task::JoinHandle, time::timeout};

use super::asker::Peer;

/// Read and write for the owner and the group: whoever may talk to the agent may steer it.
const MODE: u32 = 0o660;

/// Whose members may steer the agent, where the host has such a group; the package makes it.
const GROUP: &str = "dtr-lb";

/// `sun_path` of unix(7), less the NUL at its end.
const LONGEST: usize = 107;

/// How long the last answers may take to be read when the agent ends.
const FINISH_LIMIT: Duration = Duration::from_secs(2);

/// The socket, served until this is dropped; then its file is gone, too.
#[derive(Debug)]
pub struct Api {
    path: PathBuf,
    /// Device and inode of the socket's file: another file of this name is not to be removed.
    file: (u64, u64),
    /// Dropped or used, it ends the serving once what was asked is answered.
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
}

/// Why the socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error(
        "another process answers on `{}`, an agent most likely; end it (`dtr-lb detach` would end the balancing, too), or give \
         this one another agent.socket",
        .0.display()
    )]
    InUse(PathBuf),
    #[error(
        "`{}` is {kind} and not a socket that an agent left behind, so it is not replaced; remove it, or set agent.socket",
        .path.display()
    )]
    NotASocket { path: PathBuf, kind: &'static str },
    #[error(
        "the agent's socket cannot be `{}`: the path is {length} bytes long, and a socket's may have {LONGEST}; set agent.socket \
         (or --socket) to a shorter one",
        .path.display()
    )]
    TooLong { path: PathBuf, length: usize },
    #[error(
        "the agent's socket cannot be made at `{}`: {reason}; set agent.socket (or --socket) to a path below /run",
        .path.display()
    )]
    NoPlace { path: PathBuf, reason: String },
    #[error("{operation} `{}` failed: {source}; run as root, or set agent.socket to another path", .path.display())]
    Socket { operation: &'static str, path: PathBuf, source: io::Error },
}

/// What is at the path of a socket that is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtPath {
    Nothing,
    /// A socket that nobody listens on.
    LeftBehind,
}

/// Finds out whether a socket can be made at `path`, as far as it can be told without making it.
///
/// # Errors
/// It cannot: [`ApiError::InUse`] if somebody listens there.
pub fn inspect(path: &Path) -> Result<AtPath, ApiError> {
    let length = path.as_os_str().len();
    if length > LONGEST {
        return Err(ApiError::TooLong { path: path.into(), length });
    }
    let failed = |operation| move |source| ApiError::Socket { operation, path: path.into(), source };
    let kind = match fs::symlink_metadata(path) {
        Ok(file) => file.file_type(),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            let no_place = |reason| ApiError::NoPlace { path: path.into(), reason };
            return has_place(path).map(|()| AtPath::Nothing).map_err(no_place);
        }
        Err(error) => return Err(failed("looking at")(error)),
    };
    if !kind.is_socket() {
        return Err(ApiError::NotASocket { path: path.into(), kind: kind_of(kind) });
    }
    match StdUnixStream::connect(path) {
        Ok(_) => Err(ApiError::InUse(path.into())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(AtPath::LeftBehind),
        Err(error) => Err(failed("finding out who listens on")(error)),
    }
}

/// Whether a file of this path, and the directories that it lacks, can be made. The error says why not.
fn has_place(path: &Path) -> Result<(), String> {
    let directory = path.ancestors().skip(1).find(|directory| fs::symlink_metadata(directory).is_ok());
    let directory = directory.filter(|there| !there.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let shown = directory.display();
    if !directory.is_dir() {
        return Err(format!("`{shown}` is no directory"));
    }
    // These permit root everything, and then have no files but their own.
    let kind = match statfs(directory).map(|system| system.filesystem_type()) {
        Ok(PROC_SUPER_MAGIC) => Some("proc"),
        Ok(SYSFS_MAGIC) => Some("sysfs"),
        Ok(CGROUP2_SUPER_MAGIC | CGROUP_SUPER_MAGIC) => Some("cgroup"),
        Ok(BPF_FS_MAGIC) => Some("BPF"),
        Ok(_) | Err(_) => None,
    };
    if let Some(kind) = kind {
        return Err(format!("`{shown}` is in a {kind} file system, which takes no sockets"));
    }
    access(directory, AccessFlags::W_OK | AccessFlags::X_OK)
        .map_err(|error| format!("nothing can be made in `{shown}` ({})", io::Error::from(error)))
}

impl Api {
    /// Opens the socket, within a tokio runtime, and serves `router` there. A socket that an agent left behind is replaced;
    /// one that somebody listens on is not, and neither is a file of another kind.
    pub fn open(path: &Path, router: Router) -> Result<Self, ApiError> {
        let failed =
            |operation: &'static str| move |source| ApiError::Socket { operation, path: path.into(), source };
        match inspect(path)? {
            AtPath::LeftBehind => fs::remove_file(path).map_err(failed("replacing"))?,
            AtPath::Nothing => {
                let directory = path.parent().unwrap_or(path);
                fs::create_dir_all(directory).map_err(failed("making the directory of"))?;
            }
        }
        let listener = UnixListener::bind(path).map_err(failed("listening on"))?;
        // First, so that the socket is open to no group but this one.
        if let Ok(Some(group)) = Group::from_name(GROUP)
            && let Err(error) = give_to(path, group.gid)
        {
            tracing::warn!(
                %error,
                socket = %path.display(),
                "the socket was not given to the group {GROUP}, whose members cannot use dtr-lb then; root can"
            );
        }
        fs::set_permissions(path, fs::Permissions::from_mode(MODE))
            .map_err(failed("setting the permissions of"))?;
        let file = identity(path).map_err(failed("looking at"))?;
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            let service = router.into_make_service_with_connect_info::<Peer>();
            if let Err(error) = axum::serve(listener, service).with_graceful_shutdown(stopped).await {
                tracing::error!(%error, "the agent's socket is no longer served");
            }
        });
        Ok(Self { path: path.into(), file, stop: Some(stop), server })
    }

    /// Ends the serving after the last answers are out. The socket's file goes first: a new agent may start.
    pub async fn finish(mut self) {
        self.remove_file();
        drop(self.stop.take());
        // Who does not read its answer is not waited for any longer; the drop ends the rest.
        let _ = timeout(FINISH_LIMIT, &mut self.server).await;
    }

    fn remove_file(&self) {
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            // It would be replaced by the next agent.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.server.abort();
        self.remove_file();
    }
}

/// The owner stays. A service that runs with this group has nothing to do, and may have no right to.
fn give_to(path: &Path, group: Gid) -> io::Result<()> {
    if fs::symlink_metadata(path)?.gid() == group.as_raw() {
        return Ok(());
    }
    Ok(chown(path, None, Some(group))?)
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}

fn kind_of(kind: FileType) -> &'static str {
    match kind {
        _ if kind.is_file() => "a regular file",
        _ if kind.is_dir() => "a directory",
        _ if kind.is_symlink() => "a symbolic link",
        _ if kind.is_fifo() => "a named pipe",
        _ => "a device",
    }
}

#[cfg(test)]
mod tests;
