//! Looking at the toolchains and the linker that are there, without changing anything.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    command::{captured, find_program},
    route, trial,
};

/// The distribution's compiler and its libraries, as Debian's packages place them.
pub(crate) const DISTRO_RUSTC: &str = "/usr/bin/rustc";
pub(crate) const DISTRO_RUSTLIB: &str = "/usr/lib/rustlib";

/// One of rustup's toolchains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Toolchain {
    pub(crate) name: String,
    directory: PathBuf,
}

impl Toolchain {
    /// The toolchain that goes by this name in the output of `rustup toolchain list -v`.
    pub(crate) fn find(name: &str, list: &str) -> Option<Self> {
        list.lines().find_map(|line| {
            let entry = line.split_whitespace().next()?;
            let directory = line.get(line.find(" /").or_else(|| line.find("\t/"))? + 1..)?;
            route::is_called(entry, name).then(|| Self { name: name.to_owned(), directory: directory.into() })
        })
    }

    pub(crate) fn rustc(&self) -> PathBuf {
        self.directory.join("bin/rustc")
    }

    pub(crate) fn cargo(&self) -> PathBuf {
        self.directory.join("bin/cargo")
    }

    /// Where the component rust-src puts what `-Z build-std` reads.
    pub(crate) fn core_sources(&self) -> PathBuf {
        self.directory.join("lib/rustlib/src/rust/library/Cargo.lock")
    }

    /// The precompiled `core` for BPF, if it has one.
    pub(crate) fn precompiled_core(&self) -> Option<PathBuf> {
        precompiled_core(&self.directory.join("lib/rustlib"))
    }

    /// Whether the build will compile `core` itself: the rule that aya-build follows.
    pub(crate) fn is_nightly(&self) -> Result<bool> {
        Ok(self.version()?.lines().any(|line| line.starts_with("release:") && line.ends_with("-nightly")))
    }

    /// `rustc -vV`.
    fn version(&self) -> Result<String> {
        captured(Command::new("rustup").args(["run", &self.name, "rustc", "-vV"]))
    }
}

/// The precompiled `core` for BPF below a rustlib directory.
pub(crate) fn precompiled_core(rustlib: &Path) -> Option<PathBuf> {
    let target = if cfg!(target_endian = "big") { "bpfeb-unknown-none" } else { "bpfel-unknown-none" };
    let entries = fs::read_dir(rustlib.join(target).join("lib")).ok()?;
    entries.flatten().map(|entry| entry.path()).find(|path| {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        name.starts_with(b"libcore-") && name.ends_with(b".rlib")
    })
}

/// The LLVM that a compiler brings: the major number in `rustc -vV`.
pub(crate) fn llvm_major(version: &str) -> Option<u32> {
    let line = version.lines().find_map(|line| line.strip_prefix("LLVM version:"))?;
    line.trim().split('.').next()?.parse().ok()
}

/// The major number of the LLVM of the distribution's compiler, if that compiler is there.
pub(crate) fn distro_llvm_major() -> Option<u32> {
    llvm_major(&captured(Command::new(DISTRO_RUSTC).arg("-vV")).ok()?)
}

/// What keeps a toolchain from building the eBPF object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// rustup has no such toolchain, or its directory lacks the compiler (an outdated link).
    Absent { toolchain: String },
    /// It has neither a precompiled `core` for BPF nor the sources to build one from.
    NoCore { toolchain: String },
    /// There is no bpf-linker.
    NoLinker,
    /// There is one and it does not start.
    LinkerBroken { path: PathBuf, why: String },
    /// Everything is there, and a trial object could not be built.
    Trial { toolchain: String, linker: PathBuf, why: String },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent { toolchain } => write!(f, "rustup toolchain {toolchain} is not installed"),
            Self::NoCore { toolchain } => {
                write!(f, "rustup toolchain {toolchain} has no core library for BPF, and no rust-src")
            }
            Self::NoLinker => f.write_str("bpf-linker is not on PATH"),
            Self::LinkerBroken { path, why } => write!(f, "{} does not start: {why}", path.display()),
            Self::Trial { toolchain, linker, why } => write!(
                f,
                "toolchain {toolchain} with {} cannot build a trial eBPF object: {why}",
                linker.display()
            ),
        }
    }
}

/// Tries a toolchain: what is missing, or the line that describes a working one.
pub(crate) fn probe(name: &str, list: &str) -> Result<String, Fault> {
    let absent = || Fault::Absent { toolchain: name.to_owned() };
    let toolchain = Toolchain::find(name, list).ok_or_else(absent)?;
    if !toolchain.rustc().exists() || !toolchain.cargo().exists() {
        return Err(absent());
    }
    if toolchain.precompiled_core().is_none() && !toolchain.core_sources().exists() {
        return Err(Fault::NoCore { toolchain: name.to_owned() });
    }
    let linker = find_program("bpf-linker").ok_or(Fault::NoLinker)?;
    let linker_version = captured(Command::new(&linker).arg("--version"))
        .map_err(|why| Fault::LinkerBroken { path: linker.clone(), why: format!("{why:#}") })?;
    if !trial::has_passed(&toolchain, &linker) {
        trial::build(&toolchain, &linker).map_err(|why| Fault::Trial {
            toolchain: name.to_owned(),
            linker,
            why: format!("{why:#}"),
        })?;
    }
    Ok(format!("toolchain {name}, {}", linker_version.trim()))
}

/// `rustup toolchain list -v`.
pub(crate) fn installed() -> Result<String> {
    captured(Command::new("rustup").args(["toolchain", "list", "-v"])).context(
        "rustup chooses between the compilers of the host's and the BPF code, and it does not answer. Install \
         it from https://rustup.rs (its packages in distributions do not go together with rustc-web)",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "stable-x86_64-unknown-linux-gnu (active, default) /home/a b/stable\n\
                        nightly-x86_64-unknown-linux-gnu\t/rustup/nightly\n\
                        dtr-lb-bpf /data/bpf\n\
                        no-path\n";

    #[test]
    fn a_toolchain_is_found_with_its_directory() {
        for (name, directory) in [
            ("stable", Some("/home/a b/stable")),
            ("nightly", Some("/rustup/nightly")),
            ("dtr-lb-bpf", Some("/data/bpf")),
            ("beta", None),
            ("no-path", None),
        ] {
            let found = Toolchain::find(name, LIST).map(|toolchain| toolchain.directory);
            assert_eq!(found, directory.map(PathBuf::from), "{name}");
        }
    }

    #[test]
    fn the_llvm_number_is_the_compilers_own() {
        let version = "rustc 1.96.0\nbinary: rustc\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(llvm_major(version), Some(22));
        assert_eq!(llvm_major("rustc 1.96.0\n"), None);
        assert_eq!(llvm_major("LLVM version: next\n"), None);
    }

    #[test]
    fn an_absent_toolchain_is_a_fault_with_its_name() {
        assert_eq!(probe("beta", LIST), Err(Fault::Absent { toolchain: "beta".to_owned() }));
        assert_eq!(probe("dtr-lb-bpf", LIST), Err(Fault::Absent { toolchain: "dtr-lb-bpf".to_owned() }));
    }
}
