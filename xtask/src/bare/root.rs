//! A Debian 12 in a directory: making it, and running commands in it, in namespaces of mounts and processes that end with them.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};

use super::Expected;
use crate::command::{captured, find_program, line, logged, workspace_root};

const SUITE: &str = "bookworm";
/// What the README asks for, and certificates to reach registries with.
const PACKAGES: &str = "gcc,libc6-dev,ca-certificates";
/// Of a command that fails, how much of its output is repeated, in lines; of one that succeeds, the end.
const TAIL: usize = 40;
const END: usize = 4;
/// Where the clone and cargo are inside.
const CLONE: &str = "root/dtr-lb";
const CARGO: &str = "root/.cargo";
const RUSTUP: &str = "root/.rustup";
/// What the environment tells programs about registries, by parts of names in lower case.
const REGISTRIES: [&str; 6] = ["_proxy", "ssl_cert", "ca_bundle", "ca_certs", "npm_config_", "cargo_"];

/// Mounts what programs expect, then becomes the command. `$1` is the root, `$2` the toolchain, `$3` where it is in the root, `$4`
/// another root whose compiled files are taken over or nothing; the command follows.
const ENTER: &str = r#"
set -e
root=$1 toolchain=$2 place=$3 other=$4
shift 4
mount --make-rprivate /
# To be the root of all, as `ip netns` wants it, it has to be a mount of its own.
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount -t bpf bpf "$root/sys/fs/bpf"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
if [ -n "$other" ]; then
    for directory in root/dtr-lb root/.cargo root/.rustup; do
        mkdir -p "$root/$directory"
        mount --bind "$other/$directory" "$root/$directory"
    done
fi
mount --bind "$toolchain" "$root/$place"
mount -o remount,bind,ro "$root/$place"
exec chroot "$root" "$@"
"#;

/// A directory with a Debian in it.
pub(super) struct Root {
    name: &'static str,
    path: PathBuf,
    log: PathBuf,
    toolchain: Toolchain,
}

/// rustup's toolchain that this program was built with.
#[derive(Clone)]
struct Toolchain {
    name: String,
    directory: PathBuf,
}

impl Root {
    /// The one that was kept.
    pub(super) fn kept(directory: &Path, name: &'static str) -> Result<Self> {
        let (path, log) = (directory.join(name), directory.join(format!("{name}.log")));
        Ok(Self { name, path, log, toolchain: Toolchain::active()? })
    }

    /// A fresh one, with what the README asks for.
    pub(super) fn make(directory: &Path, name: &'static str) -> Result<Self> {
        let begun = Instant::now();
        let root = Self::kept(directory, name)?;
        let mut debstrap = Command::new(find_program("mmdebstrap").context("mmdebstrap is gone")?);
        debstrap
            .args(["--mode=root", "--variant=apt", "--format=directory"])
            .arg(format!("--include={PACKAGES}"));
        debstrap.args(apt_options()?.into_iter().map(|option| format!("--aptopt={option}")));
        logged(debstrap.arg(SUITE).arg(&root.path).args(apt_sources()?), &root.log)?;
        root.copy_of_host()?;
        println!("bare: {name}: Debian made in {:.0} s", begun.elapsed().as_secs_f64());
        Ok(root)
    }

    /// What a machine here has to have to reach registries, and rustup.
    fn copy_of_host(&self) -> Result<()> {
        for path in ["etc/resolv.conf", "etc/hosts", "etc/ssl/certs/ca-certificates.crt"] {
            let from = Path::new("/").join(path);
            if from.exists() {
                fs::copy(&from, self.path.join(path))
                    .with_context(|| format!("cannot copy {}", from.display()))?;
            }
        }
        let (home, cargo) = (home()?, cargo_home()?);
        let (to, rustup) = (self.path.join(CARGO), self.path.join(RUSTUP));
        fs::create_dir_all(to.join("bin"))?;
        fs::create_dir_all(rustup.join("toolchains").join(&self.toolchain.name))?;
        for (from, to) in [
            (cargo.join("config.toml"), to.join("config.toml")),
            (home.join(".npmrc"), self.path.join("root/.npmrc")),
            (find_program("rustup").context("rustup is gone")?, to.join("bin/rustup")),
        ] {
            if from.exists() {
                fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
            }
        }
        for name in ["cargo", "rustc", "rustdoc"] {
            std::os::unix::fs::symlink("rustup", to.join("bin").join(name))?;
        }
        fs::write(
            rustup.join("settings.toml"),
            format!(
                "version = \"12\"\nprofile = \"default\"\ndefault_toolchain = \"{}\"\n",
                self.toolchain.name
            ),
        )?;
        for name in ["cache", "index"] {
            let from = cargo.join("registry").join(name);
            if from.exists() {
                fs::create_dir_all(to.join("registry"))?;
                captured(Command::new("cp").arg("-a").arg(&from).arg(to.join("registry")))?;
            }
        }
        Ok(())
    }

    /// Another one that is the same so far.
    pub(super) fn copy(&self, directory: &Path, name: &'static str) -> Result<Self> {
        let path = directory.join(name);
        captured(Command::new("cp").args(["-a", "--reflink=auto"]).arg(&self.path).arg(&path))?;
        let log = directory.join(format!("{name}.log"));
        Ok(Self { name, path, log, toolchain: self.toolchain.clone() })
    }

    /// The last commit, without anything that was built.
    pub(super) fn clone_repository(&self) -> Result<()> {
        let mut git = Command::new("git");
        git.args(["clone", "--quiet", "--no-local"]).arg(workspace_root()).arg(self.path.join(CLONE));
        captured(&mut git)?;
        let changed =
            captured(Command::new("git").arg("-C").arg(workspace_root()).args(["status", "--porcelain"]))?;
        if !changed.is_empty() {
            println!("bare: what is not committed is not tried: {} files", changed.lines().count());
        }
        Ok(())
    }

    /// Brings a clone that was kept to the last commit.
    pub(super) fn update_repository(&self) -> Result<()> {
        let git = |words: &[&str]| {
            captured(Command::new("git").arg("-C").arg(self.path.join(CLONE)).args(words)).map(drop)
        };
        git(&["fetch", "--quiet", &workspace_root().display().to_string(), "HEAD"])?;
        git(&["reset", "--quiet", "--hard", "FETCH_HEAD"])
    }

    /// Runs a command in the clone, timed, its output in the log. What `others` has compiled is taken over.
    pub(super) fn play(&self, others: &[&Self], command: &str, expected: Expected) -> Result<()> {
        let begun = Instant::now();
        println!("bare: {}: {command}", self.name);
        let (succeeded, text) = self.enter(others, &format!("cd /{CLONE} && {command}"))?;
        let lines = text.lines().collect::<Vec<_>>();
        let tail = |count: usize| lines[lines.len().saturating_sub(count)..].join("\n    ");
        let as_expected = match expected {
            Expected::Success => succeeded,
            Expected::Refusal(words) => !succeeded && text.contains(words),
        };
        if !as_expected {
            bail!(
                "in a bare Debian ({}), `{command}` came to another end than {expected:?}; the end of what it said (all of it: \
                 {}):\n    {}",
                self.name,
                self.log.display(),
                tail(TAIL)
            );
        }
        println!("    {}\nbare: {}: that took {:.0} s", tail(END), self.name, begun.elapsed().as_secs_f64());
        Ok(())
    }

    /// From Debian's backports if they are to be had, else a package of this name and version that breaks the same.
    pub(super) fn install_newer_qemu_utils(&self) -> Result<&'static str> {
        let script = r#"
set -e
cd /etc/apt
grep -rhoE 'https?://[^ ]+/debian/?( |$)' sources.list sources.list.d 2>/dev/null | head -n 1 >/tmp/mirror
printf 'deb %s bookworm-backports main\n' "$(cat /tmp/mirror)" >sources.list.d/backports.list
apt-get update && apt-get install --yes --no-install-recommends --target-release bookworm-backports qemu-utils
"#;
        if self.enter(&[], script)?.0 && self.has_newer_qemu_utils().is_ok() {
            return Ok("qemu-utils is installed from Debian's backports");
        }
        let script = r#"
set -e
rm -f /etc/apt/sources.list.d/backports.list
apt-get update
mkdir -p /tmp/qemu-utils/DEBIAN
cat >/tmp/qemu-utils/DEBIAN/control <<END
Package: qemu-utils
Version: 1:10.0.2+ds-2~bpo12+1
Architecture: all
Maintainer: nobody <nobody@packages.invalid>
Breaks: qemu-system-common (<< 1:8.0+dfsg-5~)
Description: stands for the one of Debian's backports
END
dpkg-deb --build --root-owner-group /tmp/qemu-utils /tmp/qemu-utils.deb
dpkg --install /tmp/qemu-utils.deb
"#;
        let (succeeded, text) = self.enter(&[], script)?;
        if !succeeded {
            bail!("no newer qemu-utils can be installed: {text}");
        }
        self.has_newer_qemu_utils()?;
        Ok("Debian's backports cannot be had here; a package like their qemu-utils is installed")
    }

    /// It is there, and nothing has touched it.
    pub(super) fn has_newer_qemu_utils(&self) -> Result<()> {
        let (_, text) = self.enter(&[], "dpkg-query -W -f '${db:Status-Status} ${Version}' qemu-utils")?;
        if text.starts_with("installed 1:") && text.contains("~bpo12") {
            return Ok(());
        }
        bail!("qemu-utils should be installed from backports, and is: {text}")
    }

    /// Runs a shell's command; whether it succeeded, and what it said.
    fn enter(&self, others: &[&Self], script: &str) -> Result<(bool, String)> {
        let output = self.log.with_extension("output");
        let file = File::create(&output).with_context(|| format!("cannot write {}", output.display()))?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--", "sh", "-c", ENTER, "enter"]);
        command.arg(&self.path).arg(&self.toolchain.directory);
        command.arg(Path::new(RUSTUP).join("toolchains").join(&self.toolchain.name));
        command.arg(others.first().map_or_else(OsString::new, |other| other.path.clone().into_os_string()));
        command.args(["sh", "-c", script]);
        command.env_clear().envs(environment());
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let status = command.status().with_context(|| format!("cannot start `{}`", line(&command)))?;
        let text = String::from_utf8_lossy(&fs::read(&output)?).into_owned();
        fs::remove_file(&output)?;
        append(&self.log, &format!("$ {script}\n{text}[{status}]\n\n"))?;
        Ok((status.success(), text))
    }
}

impl Toolchain {
    fn active() -> Result<Self> {
        let sysroot =
            captured(Command::new("rustc").args(["--print", "sysroot"]).current_dir(workspace_root()))?;
        let directory = fs::canonicalize(sysroot.trim())?;
        let name =
            directory.file_name().context("rustup's toolchain has no name")?.to_string_lossy().into_owned();
        Ok(Self { name, directory })
    }
}

fn append(log: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    let mut file = File::options().create(true).append(true).open(log)?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", log.display()))
}

fn home() -> Result<PathBuf> {
    env::var_os("HOME").map(PathBuf::from).context("HOME is not set")
}

fn cargo_home() -> Result<PathBuf> {
    env::var_os("CARGO_HOME").map_or_else(|| Ok(home()?.join(".cargo")), |set| Ok(set.into()))
}

/// A login's, and what tells programs how to reach registries.
fn environment() -> Vec<(OsString, OsString)> {
    let login = [
        ("HOME", "/root"),
        ("PATH", "/root/.cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("LANG", "C.UTF-8"),
        ("TERM", "dumb"),
    ];
    let of_registries = |name: &OsString| {
        let name = name.to_string_lossy().to_lowercase();
        let of_this_run =
            ["cargo_pkg_", "cargo_manifest_", "cargo_crate_", "cargo_bin_", "cargo_home", "cargo_target_dir"];
        REGISTRIES.iter().any(|part| name.contains(part))
            && !of_this_run.iter().any(|start| name.starts_with(start))
    };
    let host = env::vars_os().filter(|(name, _)| of_registries(name));
    host.chain(login.map(|(name, value)| (name.into(), value.into()))).collect()
}

/// How apt reaches its archives here: proxies, certificates, and whether their dates are believed.
fn apt_options() -> Result<Vec<String>> {
    let dump = captured(Command::new("apt-config").arg("dump"))?;
    Ok(reaching(&dump))
}

fn reaching(dump: &str) -> Vec<String> {
    let concerned = |line: &&str| {
        let starts =
            ["Acquire::http", "Acquire::https", "Acquire::Check-", "Acquire::Retries", "Acquire::ForceIPv"];
        starts.iter().any(|start| line.starts_with(start)) && !line.ends_with(" \"\";")
    };
    dump.lines().filter(concerned).map(str::to_owned).collect()
}

/// This machine's sources, where they are of the same Debian; else mmdebstrap's own.
fn apt_sources() -> Result<Vec<PathBuf>> {
    let mut sources = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        sources.extend(entries.filter_map(Result::ok).map(|entry| entry.path()));
    }
    sources.retain(|path| {
        let is_read = path.extension().is_some_and(|extension| extension == "list" || extension == "sources");
        is_read && fs::read_to_string(path).is_ok_and(|text| text.contains(SUITE))
    });
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apts_way_to_its_archives_is_taken_along_and_nothing_else() {
        let dump = "APT::Architecture \"amd64\";\nAcquire::http::Proxy \"http://proxy:3142\";\nAcquire::https \
                    \"\";\nAcquire::Check-Date \"false\";\nDPkg::Post-Invoke:: \"rm\";\n";
        assert_eq!(
            reaching(dump),
            ["Acquire::http::Proxy \"http://proxy:3142\";", "Acquire::Check-Date \"false\";"]
        );
    }
}
