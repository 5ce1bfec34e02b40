//! A lab's identity and its directory: certificates, configurations, logs, and a bpffs of its own.
//!
//! The directory is `dlb-<id>` under the system's temporary directory. Its `lock` file is locked for as long as
//! the lab's owner lives; whoever can lock it may therefore clean up after that owner. The id begins with the
//! owner's process id, which covers the moments when there is no lock file (yet, or any more).

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::error::Error;

/// What the names of directories and namespaces begin with.
pub(super) const PREFIX: &str = "dlb-";
/// Digits of the owner's process id in an id: the kernel's largest is 2^22.
const PID_DIGITS: usize = 6;
const ID_DIGITS: usize = 8;
const BPFFS: &str = "bpf";
const LOGS: &str = "log";

/// A lab's directory, locked.
#[derive(Debug)]
pub(super) struct Directory {
    id: String,
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Makes and locks a directory under an id that is free, and mounts the bpffs.
    pub(super) fn create() -> Result<Self, Error> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (id, path) = loop {
            let serial = NEXT.fetch_add(1, Ordering::Relaxed) % 256;
            let id = format!("{:0PID_DIGITS$x}{serial:02x}", std::process::id());
            let path = path_of(&id);
            match fs::create_dir(&path) {
                Ok(()) => break (id, path),
                // Left by an owner that had our process id, or a lab of our own that is 256 labs old.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && serial < 255 => {}
                Err(source) => return Err(Error::File { doing: "create the directory", path, source }),
            }
        };
        let made = lock_new(&path).and_then(|lock| furnish(&path).map(|()| lock));
        match made {
            Ok(lock) => Ok(Self { id, path, _lock: lock }),
            Err(error) => {
                // The first error is the one to tell; what is left of the directory is swept by the next lab.
                let _ = remove(&path);
                Err(error)
            }
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn bpffs(&self) -> PathBuf {
        self.path.join(BPFFS)
    }

    pub(super) fn logs(&self) -> PathBuf {
        self.path.join(LOGS)
    }
}

/// Makes what every lab has in its directory, and mounts the bpffs.
fn furnish(path: &Path) -> Result<(), Error> {
    for name in [BPFFS, LOGS] {
        let path = path.join(name);
        fs::create_dir(&path).map_err(Error::file("create the directory", path))?;
    }
    let bpffs = path.join(BPFFS);
    mount(Some("bpf"), &bpffs, Some("bpf"), MsFlags::empty(), None::<&str>)
        .map_err(|errno| Error::file("mount a bpffs on", bpffs)(errno.into()))
}

/// The directory of the lab of this id, whether it exists or not.
pub(super) fn path_of(id: &str) -> PathBuf {
    std::env::temp_dir().join(format!("{PREFIX}{id}"))
}

/// Removes a lab's directory and unmounts its bpffs. It is no error if any of it is gone already.
pub(super) fn remove(path: &Path) -> Result<(), Error> {
    let bpffs = path.join(BPFFS);
    unpin_all(&bpffs)?;
    match umount2(&bpffs, MntFlags::MNT_DETACH) {
        // EINVAL: not a mount.
        Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
        Err(errno) => return Err(Error::file("unmount", bpffs)(errno.into())),
    }
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(Error::File { doing: "remove the directory", path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// Removes all pins. Unmounting alone may not do it: every `ip netns exec` copies the mounts that exist at the
/// time, those of other labs too, so a process of another lab may keep this bpffs alive, and all that is pinned.
fn unpin_all(bpffs: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(bpffs).into_iter().flatten().flatten() {
        // `maps.debug` and `progs.debug` are the kernel's own and cannot be removed. Nobody else's name has a dot
        // in it: bpffs refuses to make one.
        if entry.file_name().as_encoded_bytes().contains(&b'.') {
            continue;
        }
        let path = entry.path();
        let directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let removed = if directory { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(Error::file("unpin", path))?;
    }
    Ok(())
}

/// Whether a lab's owner still lives.
#[derive(Debug)]
pub(super) enum Owner {
    Lives,
    /// Gone. The lock is held until this is dropped, so that nobody else sweeps the same lab.
    Gone(#[expect(dead_code, reason = "held for its lock only")] Option<File>),
}

/// Finds out whether the owner of this lab lives, by its lock; by its process id if there is no lock.
pub(super) fn owner(id: &str) -> Result<Owner, Error> {
    let path = path_of(id).join("lock");
    match File::open(&path) {
        Ok(file) => match file.try_lock() {
            Ok(()) => Ok(Owner::Gone(Some(file))),
            Err(TryLockError::WouldBlock) => Ok(Owner::Lives),
            Err(TryLockError::Error(source)) => Err(Error::File { doing: "lock", path, source }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(if owner_pid(id).is_some_and(process_exists) { Owner::Lives } else { Owner::Gone(None) })
        }
        Err(source) => Err(Error::File { doing: "open", path, source }),
    }
}

/// The id in the name of a lab's directory or namespace: `dlb-<id>`, `dlb-<id>-client`.
pub(super) fn id_in(name: &str) -> Option<&str> {
    let rest = name.strip_prefix(PREFIX)?;
    let (id, rest) = rest.split_at_checked(ID_DIGITS)?;
    let ours = id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (ours && (rest.is_empty() || rest.starts_with('-'))).then_some(id)
}

fn owner_pid(id: &str) -> Option<u32> {
    u32::from_str_radix(id.get(..PID_DIGITS)?, 16).ok()
}

fn process_exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// Makes the lock file, which gets its name only when it is locked: nobody ever finds it unlocked while its
/// owner lives. It is not inherited by children (close-on-exec), so it is released with this process.
fn lock_new(directory: &Path) -> Result<File, Error> {
    let (unlocked, path) = (directory.join("lock.new"), directory.join("lock"));
    let file = File::create(&unlocked).map_err(Error::file("create", &unlocked))?;
    file.lock().map_err(Error::file("lock", &unlocked))?;
    fs::rename(&unlocked, &path).map_err(Error::file("create", &path))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_labs_have_an_id() {
        for (name, id) in [
            ("dlb-0012ab07", Some("0012ab07")),
            ("dlb-0012ab07-client", Some("0012ab07")),
            ("dlb-0012ab0", None),
            ("dlb-0012ab07x", None),
            ("dlb-0012AB07", None),
            ("dlb-0012ab0é", None),
            ("xlb-0012ab07", None),
        ] {
            assert_eq!(id_in(name), id, "{name}");
        }
    }

    #[test]
    fn the_id_has_the_owner_in_it() {
        let id = format!("{:0PID_DIGITS$x}{:02x}", 4_194_303, 255);
        assert_eq!(id.len(), ID_DIGITS);
        assert_eq!(owner_pid(&id), Some(4_194_303));
        assert!(process_exists(std::process::id()));
    }
}
