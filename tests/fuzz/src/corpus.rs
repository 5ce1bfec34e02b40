//! Inputs that are kept in the repository: `seeds` reach what matters, `regressions` are findings of the past.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{reached::Reached, run::play};

/// Why the corpus cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {}: {source}. The corpus of the fuzzer stands in tests/fuzz/corpus", path.display())]
pub struct Error {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// A directory of the corpus.
pub fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name)
}

/// The inputs of a directory, by their names.
pub fn load(directory: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>, Error> {
    let list =
        fs::read_dir(directory).map_err(|source| Error { what: "list", path: directory.into(), source })?;
    let mut inputs = Vec::new();
    for entry in list {
        let path = entry.map_err(|source| Error { what: "list", path: directory.into(), source })?.path();
        if path.extension().is_some_and(|extension| extension == "bin") {
            inputs.push((path.clone(), input(&path)?));
        }
    }
    inputs.sort();
    Ok(inputs)
}

/// An input.
pub fn input(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error { what: "read", path: path.into(), source })
}

/// Keeps an input, under a name made from what it is.
pub fn keep(directory: &Path, input: &[u8]) -> Result<PathBuf, Error> {
    let hash = input.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let path = directory.join(format!("{hash:016x}.bin"));
    let wrong = |source| Error { what: "write", path: path.clone(), source };
    fs::create_dir_all(directory).map_err(wrong)?;
    fs::write(&path, input).map_err(wrong)?;
    Ok(path)
}

/// So many of the inputs as reach most together: at each turn the one that adds most.
pub fn best(inputs: &[Vec<u8>], count: usize) -> Vec<&[u8]> {
    let reaches = |input: &Vec<u8>| {
        let mut reached = Reached::default();
        // A finding reaches what came before it.
        let _ = play(input, &mut reached, None);
        reached
    };
    let mut left: Vec<_> = inputs.iter().map(|input| (input, reaches(input))).collect();
    let (mut all, mut best) = (Reached::default(), Vec::new());
    while best.len() < count {
        let next = (0..left.len()).max_by_key(|at| left[*at].1.beyond(&all));
        let Some(at) = next.filter(|at| left[*at].1.beyond(&all) > 0) else { break };
        let (input, reached) = left.swap_remove(at);
        all.join(&reached);
        best.push(input.as_slice());
    }
    best
}
