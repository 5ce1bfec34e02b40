//! `cargo xtask dist`: a release build, and from it a Debian package, a tarball of the same files, an image for containers, and
//! the digests of all, in target/dist.
//!
//! `tree` says which file goes where, `licences` writes the notices of what is linked in, `deb` and `image` pack. The same
//! sources and toolchain are to give the same bytes, wherever they are built: time stamps are those of the last commit or
//! `SOURCE_DATE_EPOCH`, and `build` keeps paths out. `verify` tries that.

mod build;
mod deb;
mod image;
mod licences;
mod maintainer;
mod tree;
mod verify;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    command::{captured, find_program, shown, target_dir, workspace_root},
    scope::Scope,
    setup,
};

/// How to pack.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Options {
    /// Pack the unoptimised build, which tests have at hand
    #[arg(long)]
    pub(crate) debug: bool,
    /// Make all of it once more from a fresh clone elsewhere, and compare
    #[arg(long, conflicts_with = "debug")]
    pub(crate) verify: bool,
}

/// The digests, as `sha256sum --check` reads them.
const SUMS: &str = "SHA256SUMS";

/// What is packed.
struct Release {
    version: String,
    /// As Debian calls it.
    architecture: String,
    /// Who answers for the packages, as Debian writes it.
    maintainer: String,
    /// Seconds since 1970, of every file.
    epoch: u64,
    binary: PathBuf,
    /// Whether `build` kept this machine's paths out of it.
    is_reproducible: bool,
    /// Where packages and their trees are put.
    output: PathBuf,
}

/// Builds, packs, and says what was made.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.verify {
        verify::is_committed()?;
    }
    setup::ensure(Scope::Dist)?;
    let release = Release::build(options)?;
    let tree = release.tree("deb")?;
    let made = [release.package(&tree)?, release.tarball()?, image::pack(&release, &tree)?];
    let names: Vec<_> = made.iter().filter_map(|file| file.file_name()).collect();
    let sums = captured(Command::new("sha256sum").current_dir(&release.output).args(names))?;
    write(&release.output.join(SUMS), &sums)?;
    for file in &made {
        let size = fs::metadata(file).with_context(|| format!("cannot look at {}", file.display()))?.len();
        println!("dist: {} ({:.1} MB)", file.display(), size as f64 / 1e6);
    }
    println!("dist: {}", release.output.join(SUMS).display());
    if options.verify { verify::again(&release.output, &sums) } else { Ok(()) }
}

/// Builds, and makes the Debian package; returns where it is.
pub(crate) fn package(options: &Options) -> Result<PathBuf> {
    let release = Release::build(options)?;
    let tree = release.tree("deb")?;
    release.package(&tree)
}

/// What CI does with the image: makes it of the unoptimised build, and `image` proves it.
pub(crate) fn image_of_debug() -> Result<()> {
    let release = Release::build(&Options { debug: true, verify: false })?;
    let tree = release.tree("deb")?;
    image::pack(&release, &tree).map(drop)
}

impl Release {
    fn build(options: &Options) -> Result<Self> {
        let binary = build::binary(options.debug)?;
        let epoch = match env::var("SOURCE_DATE_EPOCH") {
            Ok(set) => {
                set.parse().with_context(|| format!("SOURCE_DATE_EPOCH is no number of seconds: {set}"))?
            }
            Err(_) => last_commit()?,
        };
        let release = Self {
            version: env!("CARGO_PKG_VERSION").into(),
            architecture: captured(Command::new("dpkg").arg("--print-architecture"))?.trim().into(),
            maintainer: maintainer::of_this_build()?,
            epoch,
            binary,
            is_reproducible: !options.debug,
            output: target_dir().join("dist"),
        };
        fs::create_dir_all(&release.output)
            .with_context(|| format!("cannot make {}", release.output.display()))?;
        Ok(release)
    }

    /// A fresh directory with all files in their places.
    fn tree(&self, name: &str) -> Result<PathBuf> {
        let root = fresh(&self.output.join(name))?;
        tree::make(self, &root)?;
        Ok(root)
    }

    fn package(&self, tree: &Path) -> Result<PathBuf> {
        let deb = deb::pack(self, tree)?;
        match find_program("lintian") {
            Some(lintian) => {
                shown(Command::new(lintian).args(["--fail-on", "error,warning", "--allow-root"]).arg(&deb))?;
            }
            None => println!("dist: lintian is not here; the package was not checked by it"),
        }
        Ok(deb)
    }

    /// The files of the package, for hosts that are not Debian's.
    fn tarball(&self) -> Result<PathBuf> {
        let tree = self.tree("tar")?;
        // Where the Debian package has a config that is to be written first, an unpacked one could be one that is in use.
        fs::rename(
            tree.join("etc/dtr-lb/dtr-lb.toml"),
            tree.join("usr/share/doc/dtr-lb/examples/first.toml"),
        )?;
        fs::remove_dir_all(tree.join("etc"))?;
        let tarball = self.output.join(format!("dtr-lb-{}-{}.tar.gz", self.version, self.architecture));
        self.tar(&tree, &["usr"], &tarball, Some("gzip -9n"))?;
        Ok(tarball)
    }

    /// Of what is in `directory`, `what`, in the same order with the same owner and time on every machine.
    fn tar(&self, directory: &Path, what: &[&str], to: &Path, compression: Option<&str>) -> Result<()> {
        let mut tar = Command::new("tar");
        tar.args(["--sort=name", "--format=gnu", "--owner=0", "--group=0", "--numeric-owner"]);
        tar.args(["--mode=u+rw,go+r,go-w,a+X", &format!("--mtime=@{}", self.epoch)]);
        tar.args(compression.map(|program| format!("--use-compress-program={program}")));
        captured(tar.arg("-cf").arg(to).arg("-C").arg(directory).args(what)).map(drop)
    }
}

/// An empty directory in place of what is there.
fn fresh(directory: &Path) -> Result<PathBuf> {
    if directory.exists() {
        fs::remove_dir_all(directory).with_context(|| format!("cannot remove {}", directory.display()))?;
    }
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    Ok(directory.to_owned())
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
