//! What the dashboard takes from npm: one package, without dependencies, pinned by a digest, and not in the repository.
//!
//! The build script of `dtr-lb-agent` includes this file, too: it looks whether it is there, and set-up installs it.

use std::{fs, path::Path};

/// Where it is installed, in the agent's package.
pub(crate) const DIRECTORY: &str = "web";
/// The lock file that pins it, and the one that npm writes of what it has installed.
pub(crate) const LOCKS: [&str; 2] = ["package-lock.json", "node_modules/.package-lock.json"];
/// A file of it that the binary embeds.
const FILE: &str = "node_modules/uplot/dist/uPlot.iife.min.js";

/// Whether what the lock file in `directory` pins is installed there; an error says what is missing.
pub(crate) fn is_complete(directory: &Path) -> Result<(), String> {
    if !directory.join(FILE).is_file() {
        return Err("uPlot, which draws the dashboard's plots, is not installed from npm".to_owned());
    }
    let digests = LOCKS.map(|lock| digest(&fs::read_to_string(directory.join(lock)).unwrap_or_default()));
    match digests {
        [Some(pinned), Some(installed)] if pinned == installed => Ok(()),
        _ => {
            Err("uPlot, which draws the dashboard's plots, is not installed in the version of the lock file"
                .to_owned())
        }
    }
}

/// There is one package, so there is one.
fn digest(lock: &str) -> Option<String> {
    lock.lines().map(str::trim).find(|line| line.starts_with("\"integrity\"")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_installed_or_another_version_is_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |path: &str, text: &str| {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().expect("it is in one")).expect("a directory");
            fs::write(path, text).expect("a file");
        };
        let told = |words: &str| {
            let error = is_complete(directory.path()).expect_err(words);
            assert!(error.contains(words), "{error}");
        };
        let [pinned, installed] = LOCKS;
        write(pinned, "{\n  \"integrity\": \"sha512-A==\",\n}");
        told("not installed from npm");
        write(FILE, "");
        told("in the version of the lock file");
        write(installed, "    \"integrity\": \"sha512-B==\",");
        told("in the version of the lock file");
        write(installed, "    \"integrity\": \"sha512-A==\",");
        is_complete(directory.path()).expect("it is");
    }

    #[test]
    fn the_lock_file_has_one_package_a_digest_and_no_address() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dtr-lb-agent").join(DIRECTORY);
        let lock = fs::read_to_string(directory.join(LOCKS[0])).expect("it is in the repository");
        assert_eq!(lock.matches("\"integrity\": \"sha512-").count(), 1);
        assert!(!lock.contains("resolved") && !lock.contains("://"), "no registry's address");
    }
}
