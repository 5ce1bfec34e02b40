//! Which file goes where.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{Release, build, licences, read, source, write};
use crate::command::captured;

const DOC: &str = "usr/share/doc/dtr-lb";

/// Files that are packed as they stand in the repository.
const AS_THEY_ARE: [(&str, &str); 4] = [
    ("packaging/systemd/dtr-lb.service", "lib/systemd/system/dtr-lb.service"),
    ("packaging/logrotate/dtr-lb", "etc/logrotate.d/dtr-lb"),
    ("packaging/debian/dtr-lb.toml", "etc/dtr-lb/dtr-lb.toml"),
    ("packaging/debian/lintian-overrides", "usr/share/lintian/overrides/dtr-lb"),
];

/// Directories whose files are packed as they are: from where, and to where.
const DIRECTORIES: [(&str, &str); 4] = [
    ("docs", DOC),
    ("examples", "usr/share/doc/dtr-lb/examples"),
    ("packaging/grafana", "usr/share/dtr-lb/grafana"),
    ("packaging/prometheus", "usr/share/dtr-lb/prometheus"),
];

/// Of these, what is for developers.
const LEFT_OUT: [&str; 1] = ["alerts_test.yml"];

/// Where each shell looks for completions.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/dtr-lb"),
    ("zsh", "usr/share/zsh/vendor-completions/_dtr-lb"),
    ("fish", "usr/share/fish/vendor_completions.d/dtr-lb.fish"),
];

/// Puts all files in their places below `root`.
pub(super) fn make(release: &Release, root: &Path) -> Result<()> {
    let binary = root.join("usr/bin/dtr-lb");
    write(&binary, [])?;
    captured(Command::new("strip").arg("-o").arg(&binary).arg(&release.binary))?;
    if release.is_reproducible {
        build::holds_no_path(&binary)?;
    }
    for (from, to) in AS_THEY_ARE {
        write(&root.join(to), fs::read(source(from)).with_context(|| format!("cannot read {from}"))?)?;
    }
    for (from, to) in DIRECTORIES {
        for file in files(&source(from))? {
            let name = file.file_name().unwrap_or_default();
            if !LEFT_OUT.iter().any(|left_out| name == *left_out) {
                write(&root.join(to).join(name), fs::read(&file)?)?;
            }
        }
    }
    generated(&release.binary, root)?;
    let doc = root.join(DOC);
    write(&doc.join("copyright"), copyright()?)?;
    write(&doc.join("third-party-licences"), licences::notices()?)?;
    write(&doc.join("changelog"), read(&source("CHANGELOG.md"))?)?;
    for compressed in ["third-party-licences", "changelog"] {
        gzip(&[doc.join(compressed)])?;
    }
    modes(root)
}

/// What the binary itself writes: the manual and the completions.
fn generated(binary: &Path, root: &Path) -> Result<()> {
    let manual = root.join("usr/share/man/man8");
    captured(Command::new(binary).arg("man").arg(&manual))?;
    gzip(&files(&manual)?)?;
    for (shell, to) in COMPLETIONS {
        write(&root.join(to), captured(Command::new(binary).args(["completions", shell]))?)?;
    }
    Ok(())
}

/// In Debian's machine-readable form: whose it is, and under which licences. Those that every Debian system has are only
/// pointed to.
fn copyright() -> Result<String> {
    let mit = read(&source("LICENSE-MIT"))?;
    let grant = mit.split_once("\n\nPermission").map(|(_, rest)| format!("Permission{rest}"));
    let grant = grant.context("LICENSE-MIT does not begin as the MIT licence does")?;
    let paragraph: String = grant
        .lines()
        .map(|line| if line.trim().is_empty() { " .\n".into() } else { format!(" {}\n", line.trim_end()) })
        .collect();
    Ok(read(&source("packaging/debian/copyright.in"))?.replace("@MIT@\n", &paragraph))
}

/// As `gzip` names them, without name and time in the file.
fn gzip(files: &[PathBuf]) -> Result<()> {
    captured(Command::new("gzip").args(["-9", "-n", "-f"]).args(files)).map(drop)
}

fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let reading = || format!("cannot read {}", directory.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).with_context(reading)? {
        let entry = entry.with_context(reading)?;
        if entry.file_type().with_context(reading)?.is_file() {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Whatever the umask of who packs is: who may execute is kept, and that everybody may read is set.
pub(super) fn modes(directory: &Path) -> Result<()> {
    let set = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .with_context(|| format!("cannot set the mode of {}", path.display()))
    };
    set(directory, 0o755)?;
    for entry in fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let entry = entry?;
        let found = entry.metadata()?;
        if found.is_dir() {
            modes(&entry.path())?;
        } else if found.is_file() {
            let executable = found.permissions().mode() & 0o100 != 0;
            set(&entry.path(), if executable { 0o755 } else { 0o644 })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_the_same_whatever_the_umask() {
        let directory = tempfile::tempdir().unwrap();
        let (program, text) = (directory.path().join("bin/program"), directory.path().join("text"));
        write(&program, "").unwrap();
        write(&text, "").unwrap();
        for (path, before) in [(&program, 0o700), (&text, 0o600), (&program.with_file_name(""), 0o700)] {
            fs::set_permissions(path, fs::Permissions::from_mode(before)).unwrap();
        }
        modes(directory.path()).unwrap();
        for (path, after) in [(&program, 0o755), (&text, 0o644), (&program.with_file_name(""), 0o755)] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o7777, after, "{path:?}");
        }
    }
}
