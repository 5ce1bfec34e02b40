//! The release build, whose bytes do not depend on where it was made.
//!
//! Compilers write the paths of sources into what they make: into panic messages and debug information, and of the eBPF programs
//! into the line table that the kernel keeps. `--remap-path-prefix` gives these fixed names. It comes by a wrapper around rustc, as
//! the inner cargo that builds the eBPF programs takes no other flags from outside, and such a build has a target directory of its
//! own, as cargo does not see that what it built before was built without the wrapper.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::write;
use crate::command::{captured, cargo, shown, target_dir, workspace_root};

/// Flags from outside that would change what is built.
const FLAGS: [&str; 4] = ["RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "CFLAGS", "RUSTC_WORKSPACE_WRAPPER"];
/// The build ID is a digest of the debug information too, in which C compilers leave paths, and which is stripped later.
const NO_BUILD_ID: &str = "-Clink-arg=-Wl,--build-id=none";

/// Builds the agent's binary and returns where it is: the unoptimised one, or that of a release.
pub(super) fn binary(debug: bool) -> Result<PathBuf> {
    let mut build = cargo();
    build.args(["build", "--quiet", "--locked", "-p", "dtr-lb-agent", "--bin", "dtr-lb"]);
    if debug {
        shown(&mut build)?;
        return Ok(target_dir().join("debug/dtr-lb"));
    }
    let target = target_dir().join("dist").join("build");
    let wrapper = target.join("rustc");
    write(&wrapper, script(&names()?))?;
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} executable", wrapper.display()))?;
    build.arg("--release").env("CARGO_TARGET_DIR", &target).env("RUSTC_WRAPPER", &wrapper);
    build.env("CARGO_ENCODED_RUSTFLAGS", NO_BUILD_ID);
    for flags in FLAGS {
        build.env_remove(flags);
    }
    shown(&mut build)?;
    Ok(target.join("release/dtr-lb"))
}

/// An error if a file holds a path of this machine: then no other machine can make the same.
pub(super) fn holds_no_path(file: &Path) -> Result<()> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    for (path, _) in names()? {
        if contains(&bytes, path.as_bytes()) {
            bail!(
                "{} holds the path {path}, so nobody can build the same elsewhere. `strings -n 8` shows where; \
                 xtask/src/dist/build.rs gives paths other names",
                file.display()
            );
        }
    }
    Ok(())
}

fn contains(bytes: &[u8], path: &[u8]) -> bool {
    bytes.windows(path.len()).any(|window| window == path)
}

/// The directories of this machine that sources are in, and the names that they get. The last one that fits counts.
fn names() -> Result<Vec<(String, String)>> {
    let home = env::home_dir().context("there is no HOME, where cargo and rustup keep sources")?;
    let below_home =
        |variable: &str, name: &str| env::var_os(variable).map_or_else(|| home.join(name), PathBuf::from);
    let cargo_home = below_home("CARGO_HOME", ".cargo");
    let mut names = vec![
        (below_home("RUSTUP_HOME", ".rustup"), "/rustup"),
        (sysroot()?.join("lib/rustlib/src"), "/rust"),
        (cargo_home.clone(), "/cargo"),
    ];
    // Named for where they were fetched from, which may be a mirror.
    if let Ok(registries) = fs::read_dir(cargo_home.join("registry/src")) {
        names.extend(registries.flatten().map(|entry| (entry.path(), "/crates")));
    }
    names.push((workspace_root().to_owned(), "/dtr-lb"));
    names.push((target_dir(), "/dtr-lb/target"));
    let text = |path: PathBuf| {
        path.into_os_string().into_string().map_err(|path| {
            anyhow::anyhow!("{} is no UTF-8, and rustc cannot be told to rename it", path.display())
        })
    };
    names.into_iter().map(|(path, name)| Ok((text(path)?, name.to_owned()))).collect()
}

/// Where the host's compiler is; the sources of its library are below, if they are installed.
fn sysroot() -> Result<PathBuf> {
    let mut rustc = Command::new("rustc");
    rustc.current_dir(workspace_root()).args(["--print", "sysroot"]);
    Ok(captured(&mut rustc)?.trim().into())
}

/// `sh` is on every host that has a compiler. Cargo calls the wrapper with the compiler and its arguments.
fn script(names: &[(String, String)]) -> String {
    let mut script = String::from("#!/bin/sh\nexec \"$@\"");
    for (path, name) in names {
        let flag = format!("--remap-path-prefix={path}={name}").replace('\'', r"'\''");
        script.push_str(&format!(" '{flag}'"));
    }
    script.push('\n');
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wrapper_adds_the_names_to_what_it_is_called_with() {
        let directory = tempfile::tempdir().unwrap();
        let wrapper = directory.path().join("rustc");
        let names = [("/it's here".to_owned(), "/a".to_owned()), ("/b".to_owned(), "/c".to_owned())];
        fs::write(&wrapper, script(&names)).unwrap();
        let said =
            captured(Command::new("sh").arg(&wrapper).args(["printf", r"%s\n", "-O", "two words"])).unwrap();
        assert_eq!(said, "-O\ntwo words\n--remap-path-prefix=/it's here=/a\n--remap-path-prefix=/b=/c\n");
    }

    #[test]
    fn what_rustc_compiles_with_the_wrapper_holds_no_path() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().to_str().unwrap().to_owned();
        let (source, wrapper) = (directory.path().join("it.rs"), directory.path().join("rustc"));
        fs::write(&source, "pub fn it(a: u8) -> u8 { [1, 2][usize::from(a)] }").unwrap();
        for (names, held) in [(vec![], true), (vec![(place.clone(), "/it".to_owned())], false)] {
            fs::write(&wrapper, script(&names)).unwrap();
            let object = directory.path().join("it.o");
            let mut compile = Command::new("sh");
            compile.arg(&wrapper).args(["rustc", "--crate-type=lib", "--emit=obj", "-o"]);
            captured(compile.arg(&object).arg(&source)).unwrap();
            assert_eq!(contains(&fs::read(&object).unwrap(), place.as_bytes()), held, "{names:?}");
        }
    }
}
