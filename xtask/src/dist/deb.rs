//! The Debian package: its control files around the tree, packed by dpkg-deb.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{Release, read, source, write};
use crate::command::captured;

/// The revision of the packaging.
const REVISION: &str = "1";
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// Packs the tree; returns where the package is.
pub(super) fn pack(release: &Release, tree: &Path) -> Result<PathBuf> {
    let version = format!("{}-{REVISION}", release.version);
    changelog(release, &version, tree)?;
    let sums = sums(tree)?;
    let size = kilobytes(tree)?;
    let control = tree.join("DEBIAN");
    let fields = [
        ("@VERSION@", version.clone()),
        ("@ARCHITECTURE@", release.architecture.clone()),
        ("@INSTALLED_SIZE@", size.to_string()),
        ("@DEPENDS@", libraries(release, tree)?),
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
    fs::set_permissions(&control, fs::Permissions::from_mode(0o755))?;
    let package = release.output.join(format!("dtr-lb_{version}_{}.deb", release.architecture));
    let mut pack = Command::new("dpkg-deb");
    pack.env("SOURCE_DATE_EPOCH", release.epoch.to_string());
    pack.args(["--build", "--root-owner-group", "-Zxz"]).arg(tree).arg(&package);
    captured(&mut pack)?;
    Ok(package)
}

/// Debian's own form of it, which has an entry for each packaging.
fn changelog(release: &Release, version: &str, tree: &Path) -> Result<()> {
    let mut date = Command::new("date");
    date.env("LC_ALL", "C").args(["--utc", "--rfc-email"]).arg(format!("--date=@{}", release.epoch));
    let text = format!(
        "dtr-lb ({version}) unstable; urgency=medium\n\n  * As released: see changelog.gz.\n\n \
         -- The dtr-lb contributors <dtr-lb@packages.invalid>  {}",
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

fn kilobytes(tree: &Path) -> Result<u64> {
    let text =
        captured(Command::new("du").args(["--summarize", "--apparent-size", "--block-size=1024"]).arg(tree))?;
    let number = text.split_whitespace().next().and_then(|number| number.parse().ok());
    number.with_context(|| format!("du says no number: {text}"))
}
