//! The image for containers, as one file in the OCI's form, made by umoci without a daemon.
//!
//! It holds the binary, the shared libraries that it is linked with, Mozilla's CAs for `verify = true`, and the notices of all of
//! them: no shell, no package manager. Libraries and CAs are those of this machine's Debian packages; CAs that somebody added to
//! this machine are left out.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{Release, fresh, read, tree, write};
use crate::{command::captured, survey::effective_user_is_root};

const BINARY: &str = "usr/bin/dtr-lb";
/// Of the package's files, what goes into the image besides.
const NOTICES: [&str; 2] = ["usr/share/doc/dtr-lb/copyright", "usr/share/doc/dtr-lb/third-party-licences.gz"];
/// The first of the places where rustls looks for CAs.
const CERTIFICATES: &str = "etc/ssl/certs/ca-certificates.crt";
/// Where the package of the CAs has each of them.
const MOZILLA: &str = "/usr/share/ca-certificates/mozilla/";
/// Where the host's directories are mounted.
const MOUNTED: [&str; 3] = ["etc/dtr-lb", "run/dtr-lb", "sys/fs/bpf"];
/// The only user, by name: runtimes look it up.
const PASSWD: &str = "root:x:0:0:root:/:/usr/sbin/nologin\n";
const GROUP: &str = "root:x:0:\n";

/// Makes the image and returns where it is. `packed` has the files of the package.
pub(super) fn pack(release: &Release, packed: &Path) -> Result<PathBuf> {
    let directory = fresh(&release.output.join("image"))?;
    let (layout, bundle) = (directory.join("layout"), directory.join("bundle"));
    let image = format!("{}:{}", layout.display(), release.version);
    let created = format!("--date=@{}", release.epoch);
    let created = captured(Command::new("date").args(["--utc", "+%Y-%m-%dT%H:%M:%SZ", &created]))?;
    let created = created.trim();
    umoci(&["init", "--layout"], &layout)?;
    captured(Command::new("umoci").args(["new", "--image", &image]))?;
    unpack(&image, &bundle)?;
    let root = bundle.join("rootfs");
    fill(&root, packed)?;
    tree::modes(&root)?;
    dated(&root, release.epoch)?;
    let history = ["--history.created", created, "--history.created_by", "cargo xtask dist"];
    captured(Command::new("umoci").args(["repack", "--image", &image]).args(history).arg(&bundle))?;
    configure(release, &image, created)?;
    umoci(&["gc", "--layout"], &layout)?;
    name(release, &layout)?;
    let file = release.output.join(format!("dtr-lb-{}-{}.oci.tar", release.version, release.architecture));
    release.tar(&layout, &["oci-layout", "index.json", "blobs"], &file, None)?;
    prove(release, &file, &fresh(&directory.join("proof"))?)?;
    Ok(file)
}

fn umoci(arguments: &[&str], layout: &Path) -> Result<()> {
    captured(Command::new("umoci").args(arguments).arg(layout)).map(drop)
}

/// Who is not root gets files of his own, which `repack` gives back to root.
fn unpack(image: &str, bundle: &Path) -> Result<()> {
    let mut unpack = Command::new("umoci");
    unpack.args(["unpack", "--image", image]);
    if !effective_user_is_root() {
        unpack.arg("--rootless");
    }
    captured(unpack.arg(bundle)).map(drop)
}

/// Everything in its place.
fn fill(root: &Path, packed: &Path) -> Result<()> {
    for file in [BINARY].iter().chain(&NOTICES) {
        copy(&packed.join(file), &root.join(file))?;
    }
    let mut packages = BTreeSet::from(["ca-certificates".to_owned()]);
    for library in libraries(&packed.join(BINARY))? {
        packages.insert(owner(&library)?);
        copy(&library, &root.join(library.strip_prefix("/").unwrap_or(&library)))?;
    }
    for package in packages {
        let notice = format!("usr/share/doc/{package}/copyright");
        copy(&Path::new("/").join(&notice), &root.join(&notice))?;
    }
    write(&root.join(CERTIFICATES), certificates()?)?;
    write(&root.join("etc/passwd"), PASSWD)?;
    write(&root.join("etc/group"), GROUP)?;
    for directory in MOUNTED.map(|directory| root.join(directory)) {
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    Ok(())
}

/// With its mode. What a link leads to is copied, not the link.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let parent = to.parent().unwrap_or(to);
    fs::create_dir_all(parent)
        .and_then(|()| fs::copy(from, to))
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// What the loader maps when the binary starts, the loader among it.
fn libraries(binary: &Path) -> Result<Vec<PathBuf>> {
    let text = captured(Command::new("ldd").arg(binary))?;
    let found = paths(&text)?;
    if found.is_empty() {
        bail!("ldd names no library of {}: {text}", binary.display());
    }
    Ok(found)
}

/// The files in what `ldd` says; the kernel's own (`linux-vdso`) is none.
fn paths(ldd: &str) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for line in ldd.lines().map(str::trim) {
        let place = line.split_once("=> ").map_or(line, |(_, place)| place);
        match place.split_whitespace().next() {
            Some("not") => bail!("a library is missing here: {line}"),
            Some(path) if path.starts_with('/') => paths.push(path.into()),
            _ => {}
        }
    }
    Ok(paths)
}

/// The Debian package that a file belongs to. Where `/lib` is a link to `/usr/lib`, dpkg may know it by either name.
fn owner(file: &Path) -> Result<String> {
    let other = Path::new("/usr").join(file.strip_prefix("/").unwrap_or(file));
    let asked = [file, &other].map(|name| captured(Command::new("dpkg").arg("--search").arg(name)));
    let found = asked.iter().flatten().find_map(|text| text.split([':', ',']).next());
    let found = found.with_context(|| {
        format!("{} belongs to no Debian package, so its licence is unknown: not packed", file.display())
    })?;
    Ok(found.to_owned())
}

/// Those that come with the package, one after the other, as `update-ca-certificates` would write them.
fn certificates() -> Result<String> {
    let files = captured(Command::new("dpkg").args(["--listfiles", "ca-certificates"]))?;
    let mut files: Vec<_> = files.lines().filter(|path| path.starts_with(MOZILLA)).collect();
    files.sort_unstable();
    if files.is_empty() {
        bail!("the package ca-certificates has no CAs in {MOZILLA}");
    }
    files.into_iter().map(|file| read(Path::new(file))).collect()
}

/// The time of everything below `root`, and of links themselves.
fn dated(root: &Path, epoch: u64) -> Result<()> {
    let mut find = Command::new("find");
    find.arg(root).args([
        "-depth",
        "-exec",
        "touch",
        "--no-dereference",
        &format!("--date=@{epoch}"),
        "{}",
        "+",
    ]);
    captured(&mut find).map(drop)
}

/// What a runtime does with it if nothing else is said.
fn configure(release: &Release, image: &str, created: &str) -> Result<()> {
    let mut config = Command::new("umoci");
    config.args(["config", "--image", image, "--no-history", "--created", created, "--os", "linux"]);
    config.args(["--architecture", &release.architecture, "--author", &release.maintainer]);
    config.args(["--config.entrypoint", "/usr/bin/dtr-lb", "--config.cmd", "run", "--config.cmd", "--json"]);
    config.args(["--config.env", "PATH=/usr/bin"]);
    // It ends the agent; the datapath stays in the host's kernel, and the next container takes it over.
    config.args(["--config.stopsignal", "SIGTERM"]);
    for (label, value) in [
        ("title", "dtr-lb"),
        ("description", "TCP load balancer in the Linux kernel"),
        ("version", &release.version),
        ("licenses", "MIT OR Apache-2.0"),
    ] {
        config.arg("--config.label").arg(format!("org.opencontainers.image.{label}={value}"));
    }
    captured(&mut config).map(drop)
}

/// umoci's tags are of one word. What loads the file (`podman load`) takes the name that stands there.
fn name(release: &Release, layout: &Path) -> Result<()> {
    let index = layout.join("index.json");
    let tag = |name: &str| format!("\"org.opencontainers.image.ref.name\":\"{name}\"");
    let text = read(&index)?;
    let (from, to) = (tag(&release.version), tag(&format!("localhost/dtr-lb:{}", release.version)));
    if !text.contains(&from) {
        bail!("umoci did not name the image as expected: {text}");
    }
    write(&index, text.replace(&from, &to))
}

/// Reads the file as others would, and starts the binary with nothing around it but what is in the image.
fn prove(release: &Release, file: &Path, directory: &Path) -> Result<()> {
    let archive = format!("oci-archive:{}", file.display());
    captured(Command::new("skopeo").args(["inspect", "--config", &archive]))?;
    let layout = directory.join("layout");
    let mut copy = Command::new("skopeo");
    // A copy compares each digest with what it reads.
    copy.args(["copy", "--quiet", &archive]).arg(format!("oci:{}:it", layout.display()));
    captured(&mut copy)?;
    let bundle = directory.join("bundle");
    unpack(&format!("{}:it", layout.display()), &bundle)?;
    let mut start = Command::new("unshare");
    if !effective_user_is_root() {
        start.arg("--map-root-user");
    }
    start.arg("--root").arg(bundle.join("rootfs")).args(["/usr/bin/dtr-lb", "--version"]).env_clear();
    let said = captured(&mut start).context("dtr-lb does not start in the root of its image")?;
    if !said.contains(&release.version) {
        bail!("dtr-lb in the image is of another version: {said}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_and_the_libraries_are_found_and_a_missing_one_is_told() {
        let said = "\tlinux-vdso.so.1 (0x00007f2e393db000)\n\
                    \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f2e35a1e000)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f2e393dd000)\n";
        let want = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(paths(said).unwrap(), want);
        let error = paths("\tlibzstd.so.1 => not found\n").unwrap_err().to_string();
        assert!(error.contains("libzstd.so.1"), "{error}");
    }
}
