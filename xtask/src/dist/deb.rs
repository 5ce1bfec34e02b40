//! The Debian package: its control files around the tree, packed by dpkg-deb.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{Release, read, source, tree, write};
use crate::command::captured;

/// The revision of the packaging.
const REVISION: &str = "1";
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// Packs the tree; returns where the package is.
pub(super) fn pack(release: &Release, root: &Path) -> Result<PathBuf> {
    let version = format!("{}-{REVISION}", release.version);
    changelog(release, &version, root)?;
    let sums = sums(root)?;
    let size = kilobytes(root)?;
    let control = root.join("DEBIAN");
    let fields = [
        ("@VERSION@", version.clone()),
        ("@ARCHITECTURE@", release.architecture.clone()),
        ("@MAINTAINER@", release.maintainer.clone()),
        ("@INSTALLED_SIZE@", size.to_string()),
        ("@DEPENDS@", libraries(release, root)?),
    ];
    let template = read(&source("packaging/debian/control.in"))?;
    let text = fields.iter().fold(template, |text, (field, value)| text.replace(field, value));
    write(&control.join("control"), text)?;
    write(&control.join("md5sums"), sums)?;
    write(&control.join("conffiles"), read(&source("packaging/debian/conffiles"))?)?;
    for name in SCRIPTS {
        let path = control.join(name);
        write(&path, read(&source("packaging/debian").join(name))?)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    tree::modes(root)?;
    let package = release.output.join(format!("dtr-lb_{version}_{}.deb", release.architecture));
    let mut pack = Command::new("dpkg-deb");
    pack.env("SOURCE_DATE_EPOCH", release.epoch.to_string());
    pack.args(["--build", "--root-owner-group", "-Zxz"]).arg(root).arg(&package);
    captured(&mut pack)?;
    Ok(package)
}

/// Debian's own form of it, which has an entry for each packaging.
fn changelog(release: &Release, version: &str, tree: &Path) -> Result<()> {
    let mut date = Command::new("date");
    date.env("LC_ALL", "C").args(["--utc", "--rfc-email"]).arg(format!("--date=@{}", release.epoch));
    let text = format!(
        "dtr-lb ({version}) unstable; urgency=medium\n\n  * As released: see changelog.gz.\n\n \
         -- {}  {}",
        release.maintainer,
        captured(&mut date)?
    );
    let path = tree.join("usr/share/doc/dtr-lb/changelog.Debian");
    write(&path, text)?;
    captured(Command::new("gzip").args(["-9", "-n"]).arg(&path)).map(drop)
}

/// The packages whose libraries the binary is linked with, and since which version these fit.
fn libraries(release: &Release, tree: &Path) -> Result<String> {
    // dpkg-shlibdeps wants to find itself in a source package.
    let around = release.output.join("shlibdeps");
    write(&around.join("debian/control"), "Source: dtr-lb\n\nPackage: dtr-lb\nArchitecture: any\n")?;
    let mut ask = Command::new("dpkg-shlibdeps");
    ask.current_dir(&around).arg("-O").arg(tree.join("usr/bin/dtr-lb"));
    let text = captured(&mut ask)?;
    let depends = text.lines().find_map(|line| line.strip_prefix("shlibs:Depends="));
    Ok(depends.with_context(|| format!("dpkg-shlibdeps says no dependencies: {text}"))?.to_owned())
}

/// What `dpkg --verify` compares.
fn sums(tree: &Path) -> Result<String> {
    let mut find = Command::new("find");
    find.current_dir(tree).args(["usr", "lib", "-type", "f", "-exec", "md5sum", "{}", "+"]);
    let text = captured(&mut find)?;
    let mut lines = text.lines().collect::<Vec<_>>();
    lines.sort_unstable_by_key(|line| line.split_once("  ").map(|(_, path)| path));
    Ok(lines.into_iter().map(|line| format!("{line}\n")).collect())
}

/// What it takes once installed, as dpkg-gencontrol reckons: files in full kilobytes, and one for all else. What directories take
/// on this machine's file system is left out.
fn kilobytes(directory: &Path) -> Result<u64> {
    let mut sum = 1;
    for entry in fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let entry = entry?;
        let found = entry.metadata()?;
        sum += match () {
            () if found.is_dir() => kilobytes(&entry.path())?,
            () if found.is_file() => found.len().div_ceil(1024),
            () => 1,
        };
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_that_of_the_files_in_kilobytes() {
        let directory = tempfile::tempdir().unwrap();
        write(&directory.path().join("deep/one"), [0; 1025]).unwrap();
        write(&directory.path().join("two"), [0; 1]).unwrap();
        assert_eq!(kilobytes(directory.path()).unwrap(), 1 + 1 + 2 + 1);
    }
}
