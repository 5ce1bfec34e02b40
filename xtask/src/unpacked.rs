//! Programs that apt could not install without harm to the host (it would remove, downgrade or change what is there), taken as
//! files below target/tools: their packages are fetched and unpacked, with what they depend on and the host lacks. The host
//! stays as it is, so this needs no root either.
//!
//! `bin` has a script for each, which tells it where its libraries and its data are. [`crate::command`] puts `bin` at the end of
//! `PATH`: what is installed is taken first.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    apt,
    command::{captured, logged, tools_directory},
    programs::Program,
};

/// Where packages put executables; `usr` and the root are one on Debian.
const EXECUTABLES: [&str; 4] = ["usr/bin", "usr/sbin", "bin", "sbin"];

/// Unpacks a program and what it depends on, and finds out whether it starts.
pub(crate) fn take(program: &Program, log: &Path) -> Result<()> {
    let files = tools_directory().join("files").join(program.package);
    if !files.exists() {
        fetch(program.package, &files, log)?;
    }
    let script = tools_directory().join("bin").join(program.name);
    let text = wrapper(program, &files)?;
    fs::create_dir_all(tools_directory().join("bin"))
        .and_then(|()| fs::write(&script, text))
        .and_then(|()| fs::set_permissions(&script, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("cannot write {}", script.display()))?;
    if let Err(why) = captured(Command::new(&script).arg(program.version)) {
        // What does not start must not be found.
        let _ = fs::remove_file(&script);
        return Err(why.context("unpacked, it does not start"));
    }
    Ok(())
}

/// Into a directory beside it first: what is there under its name is whole.
fn fetch(package: &str, files: &Path, log: &Path) -> Result<()> {
    let needed = apt::needed(package)?;
    let archives = tools_directory().join("archives");
    let unfinished = files.with_extension("unfinished");
    for old in [&archives, &unfinished] {
        if old.exists() {
            fs::remove_dir_all(old).with_context(|| format!("cannot remove {}", old.display()))?;
        }
        fs::create_dir_all(old).with_context(|| format!("cannot make {}", old.display()))?;
    }
    let mut download = Command::new("apt-get");
    // Its unprivileged user may not be able to write here.
    download.current_dir(&archives).args(["download", "-o", "APT::Sandbox::User=root"]);
    logged(download.args(needed.iter().map(|(name, version)| format!("{name}={version}"))), log)?;
    let mut unpacked = 0;
    for archive in fs::read_dir(&archives)?.filter_map(Result::ok).map(|entry| entry.path()) {
        logged(Command::new("dpkg").arg("-x").arg(&archive).arg(&unfinished), log)?;
        unpacked += 1;
    }
    if unpacked != needed.len() {
        bail!("of {} packages apt-get has downloaded {unpacked}; the log is {}", needed.len(), log.display());
    }
    fs::remove_dir_all(&archives)?;
    fs::rename(&unfinished, files).with_context(|| format!("cannot make {}", files.display()))
}

/// Finds its files by its own place, so that a repository that is moved takes them along.
fn wrapper(program: &Program, files: &Path) -> Result<String> {
    let executable = program
        .behind
        .map(PathBuf::from)
        .into_iter()
        .chain(EXECUTABLES.map(|directory| Path::new(directory).join(program.name)))
        .find(|path| files.join(path).exists())
        .with_context(|| format!("the package {} has no program {}", program.package, program.name))?;
    let mut libraries = BTreeSet::new();
    find_libraries(files, Path::new(""), &mut libraries)
        .with_context(|| format!("cannot look for libraries in {}", files.display()))?;
    let below = |path: &Path| format!("$root/{}", path.display());
    let joined =
        |paths: &BTreeSet<PathBuf>| paths.iter().map(|path| below(path)).collect::<Vec<_>>().join(":");
    let (perl, libraries) = (joined(&perl_directories(files)), joined(&libraries));
    let arguments: String =
        program.unpacked.iter().map(|word| format!(" \"{}\"", word.replace('@', "$root"))).collect();
    Ok(format!(
        "#!/bin/sh\n\
         # dtr-lb: {package}, unpacked by cargo xtask setup and not installed.\n\
         root=$(cd \"$(dirname \"$0\")/../files/{package}\" && pwd) || exit 127\n\
         LD_LIBRARY_PATH=\"{libraries}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}\"\n\
         PERL5LIB=\"{perl}${{PERL5LIB:+:$PERL5LIB}}\"\n\
         export LD_LIBRARY_PATH PERL5LIB\n\
         exec \"{executable}\"{arguments} \"$@\"\n",
        package = program.package,
        executable = below(&executable),
    ))
}

/// Where Debian's packages put modules of Perl, relative to `files`: `usr/share/perl5`, and with machine code
/// `usr/lib/TRIPLET/perl5/VERSION`.
fn perl_directories(files: &Path) -> BTreeSet<PathBuf> {
    let below = |directory: PathBuf| {
        let entries = fs::read_dir(files.join(&directory)).into_iter().flatten().filter_map(Result::ok);
        entries.map(move |entry| directory.join(entry.file_name()))
    };
    let compiled = below("usr/lib".into()).flat_map(|triplet| below(triplet.join("perl5")));
    compiled.chain([PathBuf::from("usr/share/perl5")]).filter(|path| files.join(path).is_dir()).collect()
}

/// Each directory that has a shared library, relative to `root`.
fn find_libraries(root: &Path, directory: &Path, found: &mut BTreeSet<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(root.join(directory))? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if entry.file_type()?.is_dir() {
            find_libraries(root, &directory.join(&*name), found)?;
        } else if name.starts_with("lib") && (name.ends_with(".so") || name.contains(".so.")) {
            found.insert(directory.to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::programs::PROGRAMS;

    #[test]
    fn the_script_starts_the_program_with_its_libraries_and_its_data() {
        let place = tempfile::tempdir().unwrap();
        let (files, bin) = (place.path().join("files/qemu-system-x86"), place.path().join("bin"));
        for directory in ["usr/bin", "usr/lib/x86_64-linux-gnu/pulse"] {
            fs::create_dir_all(files.join(directory)).unwrap();
        }
        fs::create_dir_all(&bin).unwrap();
        fs::write(files.join("usr/lib/x86_64-linux-gnu/pulse/libpulse.so.0"), "").unwrap();
        let write = |path: &Path, text: &str| {
            fs::write(path, text).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        let program = PROGRAMS.iter().find(|program| program.name == "qemu-system-x86_64").unwrap();
        assert!(wrapper(program, &files).unwrap_err().to_string().contains("has no program"));
        write(&files.join("usr/bin/qemu-system-x86_64"), "#!/bin/sh\necho \"$LD_LIBRARY_PATH\" \"$@\"\n");
        write(&bin.join(program.name), &wrapper(program, &files).unwrap());
        let said =
            captured(Command::new(bin.join(program.name)).args(["-m", "1 G"]).env_remove("LD_LIBRARY_PATH"));
        let files = fs::canonicalize(files).unwrap().display().to_string();
        assert_eq!(
            said.unwrap().trim(),
            format!(
                "{files}/usr/lib/x86_64-linux-gnu/pulse -L {files}/usr/share/qemu -L {files}/usr/share/seabios -L \
                 {files}/usr/lib/ipxe/qemu -m 1 G"
            )
        );
    }
}
