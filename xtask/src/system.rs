//! `cargo xtask test --system`: the Debian package, installed in a whole Debian 12 with its own kernel and systemd, in an
//! emulated machine. What happens there stands in tests/system/guest.sh.
//!
//! The emulator translates instructions (TCG), so it needs no rights and no hardware, and runs the same everywhere.

mod image;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    command::{captured, find_program, line, target_dir, workspace_root},
    dist,
    scope::Scope,
    setup,
    survey::effective_user_is_root,
};
use image::Image;

/// From the start of the machine to its end. On an idle machine with two processors it takes two minutes; a busy one takes
/// several times that.
const LIMIT: Duration = Duration::from_secs(15 * 60);
/// How often what it says is looked at.
const POLL: Duration = Duration::from_millis(200);
/// udev would look at all devices first, for half a minute; nothing here needs it.
const KERNEL_LINE: &str = "root=/dev/nvme0n1 rw console=ttyS0 panic=-1 systemd.mask=systemd-udevd.service \
    systemd.mask=systemd-udev-trigger.service";
/// Of its console, what an error repeats, in lines.
const TAIL: usize = 30;
/// The last word of a guest in which all went well.
const PASSED: &str = "PASSED";

/// Makes the package, and has it tried in the machine.
pub(crate) fn run() -> Result<()> {
    setup::ensure(Scope::System)?;
    if !effective_user_is_root() {
        bail!("the system test makes a Debian system with files of root's: run it as root, e.g. by sudo");
    }
    let directory = target_dir().join("system");
    let image = Image::get(&directory)?;
    let package = dist::package(&dist::Options { debug: true, verify: false })?;
    let payload = payload(&directory, &package)?;
    let begun = Instant::now();
    let guest = Guest::start(&directory, &image, &payload)?;
    guest.watch()?;
    println!("system: passed in {:.0} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// What the guest is given: a disk that is a tar archive.
fn payload(directory: &Path, package: &Path) -> Result<PathBuf> {
    let staging = directory.join("payload");
    fs::create_dir_all(&staging)?;
    fs::copy(package, staging.join("dtr-lb.deb"))?;
    fs::copy(workspace_root().join("tests/system/guest.sh"), staging.join("guest.sh"))?;
    let payload = directory.join("payload.tar");
    captured(
        Command::new("tar").arg("-cf").arg(&payload).arg("-C").arg(&staging).args(["dtr-lb.deb", "guest.sh"]),
    )?;
    Ok(payload)
}

/// The machine. It ends with this value.
struct Guest {
    emulator: Child,
    /// What the kernel and systemd say.
    console: PathBuf,
    /// What the test says.
    report: PathBuf,
}

impl Guest {
    fn start(directory: &Path, image: &Image, payload: &Path) -> Result<Self> {
        let (console, report) = (directory.join("console.log"), directory.join("report.log"));
        for log in [&console, &report] {
            File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        }
        let emulator = find_program("qemu-system-x86_64").context("qemu-system-x86_64 is gone")?;
        let mut command = Command::new(emulator);
        command.args(["-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "1024"]);
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        command.arg("-kernel").arg(&image.kernel);
        command.args(["-append", KERNEL_LINE]);
        // What the guest writes is gone with it.
        for (name, disk) in [("system", image.root.as_path()), ("payload", payload)] {
            command.arg("-drive").arg(drive(disk, name));
            command.arg("-device").arg(format!("nvme,drive={name},serial={name}"));
        }
        for log in [&console, &report] {
            command.arg("-serial").arg(format!("file:{}", log.display()));
        }
        command.stdin(Stdio::null());
        let emulator = command.spawn().with_context(|| format!("cannot start `{}`", line(&command)))?;
        Ok(Self { emulator, console, report })
    }

    /// Repeats what the test says, until the machine ends.
    fn watch(mut self) -> Result<()> {
        let begun = Instant::now();
        let mut shown = 0;
        loop {
            let ended = self.emulator.try_wait().context("cannot wait for the emulator")?;
            let report = read(&self.report)?;
            // Whole lines only: the last one may be half written.
            let whole = report.rfind('\n').map_or(0, |end| end + 1);
            if whole > shown {
                print!(
                    "{}",
                    report[shown..whole].lines().map(|line| format!("system: {line}\n")).collect::<String>()
                );
                shown = whole;
            }
            match ended {
                Some(_) if report.trim_end().ends_with(PASSED) => return Ok(()),
                Some(status) => {
                    bail!("the system test failed ({status}); the end of its console:\n{}", self.tail()?)
                }
                None if begun.elapsed() > LIMIT => {
                    bail!(
                        "the system test is not over after {LIMIT:?}; the end of its console:\n{}",
                        self.tail()?
                    )
                }
                None => thread::sleep(POLL),
            }
        }
    }

    fn tail(&self) -> Result<String> {
        let text = read(&self.console)?;
        let lines = text.lines().collect::<Vec<_>>();
        Ok(format!(
            "{}\n(all of it: {})",
            lines[lines.len().saturating_sub(TAIL)..].join("\n"),
            self.console.display()
        ))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Where it has ended, there is nothing to end.
        let _ = self.emulator.kill();
        let _ = self.emulator.wait();
    }
}

/// What is on a disk. A comma in a path is written twice.
fn drive(path: &Path, name: &str) -> String {
    let path = path.display().to_string().replace(',', ",,");
    format!("file={path},format=raw,if=none,id={name},snapshot=on")
}

/// What a serial line said: with carriage returns, and not always text.
fn read(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).replace('\r', ""))
}
