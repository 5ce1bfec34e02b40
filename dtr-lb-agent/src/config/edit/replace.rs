//! A file takes the place of another: all of it or nothing, with the same owner and permissions.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use super::EditError;

/// Puts `text` into the file at `path`, which is no symbolic link, unless it says something else than `before` by now.
pub(super) fn replace(path: &Path, before: &str, text: &str) -> Result<(), EditError> {
    let failed = |source| EditError::Write { path: path.to_path_buf(), source };
    let new = beside(path);
    let written = write(path, &new, text).map_err(failed).and_then(|()| {
        if fs::read_to_string(path).map_err(failed)? != before {
            return Err(EditError::ChangedMeanwhile(path.to_path_buf()));
        }
        fs::rename(&new, path).map_err(failed)
    });
    if written.is_err() {
        // It would only take up space.
        let _ = fs::remove_file(&new);
        return written;
    }
    // The new name survives a loss of power once the directory is written; where that cannot be, it is there all the same.
    let _ =
        path.parent().and_then(|directory| File::open(directory).ok()).map(|directory| directory.sync_all());
    Ok(())
}

fn write(path: &Path, new: &Path, text: &str) -> io::Result<()> {
    let old = fs::metadata(path)?;
    // Nobody but us may read it before it has the old one's owner.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    file.write_all(text.as_bytes())?;
    let ours = file.metadata()?;
    if (ours.uid(), ours.gid()) != (old.uid(), old.gid()) {
        fchown(&file, Some(old.uid()), Some(old.gid()))?;
    }
    file.set_permissions(old.permissions())?;
    file.sync_all()
}

/// Hidden, and nobody's who reads all `*.toml`.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.new", std::process::id()))
}
