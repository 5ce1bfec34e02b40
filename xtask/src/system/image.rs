//! The disk of the machine: Debian 12, made by mmdebstrap from the distribution's packages, and kept for the next run.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context as _, Result};

use crate::command::{captured, find_program, logged};

const SUITE: &str = "bookworm";
/// The kernel, systemd, and what guest.sh runs.
const PACKAGES: [&str; 7] =
    ["linux-image-cloud-amd64", "systemd-sysv", "adduser", "iproute2", "ethtool", "curl", "busybox"];
/// What nobody reads there is left out; dtr-lb's own files are wanted.
const DPKG: [&str; 5] = [
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/dtr-lb/*",
    "force-unsafe-io",
    // For the file that is put in place before its package.
    "force-confold",
];
/// The kernel has all that it starts from (NVMe, ext4), so nobody needs to make an initial file system.
const NO_INITRD: &str = "mkdir -p \"$1/etc/initramfs-tools\" && \
    echo update_initramfs=no >\"$1/etc/initramfs-tools/update-initramfs.conf\"";
const SIZE: &str = "900M";

/// Starts the test, and ends the machine with it. The tar archive is the second disk, the report the second serial line.
const UNIT: &str = "\
[Unit]
Description=The system test of dtr-lb
SuccessAction=poweroff
FailureAction=poweroff

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'mkdir -p /opt/test && tar -xf /dev/nvme1n1 -C /opt/test && exec /opt/test/guest.sh'
StandardOutput=file:/dev/ttyS1
StandardError=inherit

[Install]
WantedBy=multi-user.target
";

/// Files beyond those of packages.
const FILES: [(&str, &str); 2] =
    [("etc/systemd/system/system-test.service", UNIT), ("etc/hostname", "balancer\n")];

/// What would run beside the test and only take time.
const MASKED: [&str; 5] = [
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_reap.service",
    "getty@tty1.service",
];

/// The disk, and the kernel that is started with it.
pub(super) struct Image {
    pub(super) root: PathBuf,
    pub(super) kernel: PathBuf,
}

impl Image {
    /// The one that is there; made if there is none of this recipe.
    pub(super) fn get(directory: &Path) -> Result<Self> {
        let place = directory.join("image");
        let image = Self { root: place.join("root.img"), kernel: place.join("vmlinuz") };
        let recipe = format!("{SUITE} {PACKAGES:?} {DPKG:?} {NO_INITRD} {FILES:?} {MASKED:?} {SIZE}");
        let mark = place.join("recipe");
        if fs::read_to_string(&mark).is_ok_and(|made| made == recipe) {
            return Ok(image);
        }
        println!(
            "system: making a Debian system ({SUITE}) in {}; this takes a minute or two",
            place.display()
        );
        let begun = Instant::now();
        let tree = directory.join("tree");
        for old in [&place, &tree] {
            remove(old)?;
        }
        fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
        let made = image.make(&tree, &directory.join("image.log"));
        remove(&tree)?;
        made?;
        fs::write(&mark, recipe)?;
        println!("system: made in {:.0} s", begun.elapsed().as_secs_f64());
        Ok(image)
    }

    fn make(&self, tree: &Path, log: &Path) -> Result<()> {
        let mut debstrap = Command::new(find_program("mmdebstrap").context("mmdebstrap is gone")?);
        debstrap.args(["--mode=root", "--variant=apt", "--format=directory"]);
        debstrap.arg(format!("--include={}", PACKAGES.join(",")));
        debstrap.arg(format!("--essential-hook={NO_INITRD}"));
        debstrap.args(DPKG.map(|option| format!("--dpkgopt={option}")));
        logged(debstrap.args(["--aptopt=Acquire::Languages \"none\"", SUITE]).arg(tree), log)?;
        for (path, text) in FILES {
            fs::write(tree.join(path), text).with_context(|| format!("cannot write {path}"))?;
        }
        let units = tree.join("etc/systemd/system");
        for unit in MASKED {
            symlink("/dev/null", units.join(unit)).with_context(|| format!("cannot mask {unit}"))?;
        }
        let wanted = units.join("multi-user.target.wants");
        fs::create_dir_all(&wanted)?;
        symlink("../system-test.service", wanted.join("system-test.service"))?;
        fs::copy(only(&tree.join("boot"), "vmlinuz-")?, &self.kernel)?;
        captured(
            Command::new(find_program("mke2fs").context("mke2fs is gone")?)
                .args(["-q", "-t", "ext4", "-d"])
                .arg(tree)
                .arg(&self.root)
                .arg(SIZE),
        )
        .map(drop)
    }
}

/// The file whose name begins so.
fn only(directory: &Path, start: &str) -> Result<PathBuf> {
    fs::read_dir(directory)?
        .filter_map(Result::ok)
        .find(|entry| entry.file_name().to_string_lossy().starts_with(start))
        .map(|entry| entry.path())
        .with_context(|| format!("there is no {start}* in {}", directory.display()))
}

fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}
