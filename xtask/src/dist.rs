//! `cargo xtask dist`: a release build, and from it a Debian package and a tarball of the same files, in target/dist.
//!
//! `tree` says which file goes where, `licences` writes the notices of what is linked in, `deb` packs. The same sources, paths
//! and toolchain give the same bytes: every time stamp is that of the last commit, or `SOURCE_DATE_EPOCH`.

mod deb;
mod licences;
mod tree;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    command::{captured, cargo, find_program, shown, target_dir, workspace_root},
    scope::Scope,
    setup,
};

/// How to pack.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Options {
    /// Pack the unoptimised build, which tests have at hand
    #[arg(long)]
    pub(crate) debug: bool,
}

/// What is packed.
struct Release {
    version: String,
    /// As Debian calls it.
    architecture: String,
    /// Seconds since 1970, of every file.
    epoch: u64,
    binary: PathBuf,
    /// Where packages and their trees are put.
    output: PathBuf,
}

/// Builds, packs, and says what was made.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::ensure(Scope::Dist)?;
    for made in [package(options)?, tarball(options)?] {
        let size = fs::metadata(&made).with_context(|| format!("cannot look at {}", made.display()))?.len();
        println!("dist: {} ({:.1} MB)", made.display(), size as f64 / 1e6);
    }
    Ok(())
}

/// Builds, and makes the Debian package; returns where it is.
pub(crate) fn package(options: &Options) -> Result<PathBuf> {
    let release = Release::build(options)?;
    let tree = release.tree("deb")?;
    let deb = deb::pack(&release, &tree)?;
    match find_program("lintian") {
        Some(lintian) => {
            shown(Command::new(lintian).args(["--fail-on", "error,warning", "--allow-root"]).arg(&deb))?;
        }
        None => println!("dist: lintian is not here; the package was not checked by it"),
    }
    Ok(deb)
}

/// The files of the package, for hosts that are not Debian's.
fn tarball(options: &Options) -> Result<PathBuf> {
    let release = Release::build(options)?;
    let tree = release.tree("tar")?;
    // Where the Debian package has a config that is to be written first, an unpacked one could be one that is in use.
    fs::rename(tree.join("etc/dtr-lb/dtr-lb.toml"), tree.join("usr/share/doc/dtr-lb/examples/first.toml"))?;
    fs::remove_dir_all(tree.join("etc"))?;
    let tarball = release.output.join(format!("dtr-lb-{}-{}.tar.gz", release.version, release.architecture));
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--use-compress-program=gzip -9n"]);
    tar.arg(format!("--mtime=@{}", release.epoch)).arg("-cf").arg(&tarball).arg("-C").arg(&tree).arg("usr");
    captured(&mut tar)?;
    Ok(tarball)
}

impl Release {
    fn build(options: &Options) -> Result<Self> {
        let mut build = cargo();
        build.args(["build", "--quiet", "--locked", "-p", "dtr-lb-agent", "--bin", "dtr-lb"]);
        if !options.debug {
            build.arg("--release");
        }
        shown(&mut build)?;
        let profile = if options.debug { "debug" } else { "release" };
        let epoch = match env::var("SOURCE_DATE_EPOCH") {
            Ok(set) => {
                set.parse().with_context(|| format!("SOURCE_DATE_EPOCH is no number of seconds: {set}"))?
            }
            Err(_) => last_commit()?,
        };
        let release = Self {
            version: env!("CARGO_PKG_VERSION").into(),
            architecture: captured(Command::new("dpkg").arg("--print-architecture"))?.trim().into(),
            epoch,
            binary: target_dir().join(profile).join("dtr-lb"),
            output: target_dir().join("dist"),
        };
        fs::create_dir_all(&release.output)
            .with_context(|| format!("cannot make {}", release.output.display()))?;
        Ok(release)
    }

    /// A fresh directory with all files in their places.
    fn tree(&self, name: &str) -> Result<PathBuf> {
        let root = self.output.join(name);
        if root.exists() {
            fs::remove_dir_all(&root).with_context(|| format!("cannot remove {}", root.display()))?;
        }
        tree::make(self, &root)?;
        Ok(root)
    }
}

fn last_commit() -> Result<u64> {
    let mut git = Command::new("git");
    let text = captured(git.arg("-C").arg(workspace_root()).args(["log", "-1", "--format=%ct"]))
        .context("there is no last commit to take the time from; set SOURCE_DATE_EPOCH")?;
    text.trim().parse().with_context(|| format!("git's time of the last commit is no number: {text}"))
}

/// A file of the repository.
fn source(path: &str) -> PathBuf {
    workspace_root().join(path)
}

/// Writes a file, and the directories that it is in.
fn write(path: &Path, contents: impl AsRef<[u8]>) -> Result<()> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent)
        .and_then(|()| fs::write(path, contents))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
