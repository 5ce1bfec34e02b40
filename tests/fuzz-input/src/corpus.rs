//! Inputs that are kept in the repository: findings of the past, and a few to begin with.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::Target;

/// The directory of a target's inputs.
pub fn directory(target: Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name())
}

/// The inputs of a target by their names; for the config also the examples.
///
/// # Errors
/// They cannot be read.
pub fn load(target: Target) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut directories = vec![directory(target)];
    if target == Target::Config {
        directories.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples"));
    }
    let mut inputs = Vec::new();
    for directory in directories {
        let list = fs::read_dir(&directory).with_context(|| format!("listing `{}`", directory.display()))?;
        for entry in list {
            let path = entry?.path();
            if path.is_file() {
                let input = fs::read(&path).with_context(|| format!("reading `{}`", path.display()))?;
                inputs.push((path, input));
            }
        }
    }
    inputs.sort();
    Ok(inputs)
}

/// Keeps a finding, under a name made from what it is.
///
/// # Errors
/// It cannot be written.
pub fn keep(target: Target, input: &[u8]) -> Result<PathBuf> {
    let hash = input.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let path = directory(target).join(format!("finding-{hash:016x}.txt"));
    fs::write(&path, input).with_context(|| format!("writing `{}`", path.display()))?;
    Ok(path)
}
