//! What apt would do, asked before it does anything, and the packages that it could not install without harm to the host.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{command::target_dir, packages};

/// What an installation would do, in apt's own words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Simulation {
    /// Name and version of each package that would be installed or upgraded.
    pub(crate) installs: Vec<(String, String)>,
    removes: Vec<String>,
    downgrades: Vec<String>,
    /// Those that somebody holds, and that would be changed all the same.
    held: Vec<String>,
    /// What apt says if it finds no way at all.
    failure: Option<String>,
}

/// What an installation takes, in apt's own numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) download: String,
    pub(crate) disk: String,
}

/// What is to be installed, and each package that is not, with the reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sorted {
    pub(crate) harmless: Vec<String>,
    pub(crate) harmful: Vec<(String, String)>,
}

/// `apt-get install`, which says something and does nothing, for anybody.
fn ask(packages: &[String], how: &[&str]) -> Command {
    let mut apt = Command::new("apt-get");
    apt.env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive");
    apt.args(["install", "--no-install-recommends", "-o", "Debug::NoLocking=1"]);
    // Images of containers keep apt from remembering what it has read of its lists, and it is asked several times.
    for cache in ["pkgcache", "srcpkgcache"] {
        let place = target_dir().join("setup").join(cache);
        apt.arg("-o").arg(format!("Dir::Cache::{cache}={}", place.display()));
    }
    apt.args(how).args(packages);
    apt
}

/// Asks apt what it would do to install these.
pub(crate) fn simulate(packages: &[String]) -> Result<Simulation> {
    // All is allowed, so that apt says it: nothing of it is done.
    let how = ["--simulate", "--allow-downgrades", "--allow-change-held-packages"];
    let output = ask(packages, &how).output().context("cannot start apt-get")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    Ok(Simulation::read(&text, &errors, output.status.success()))
}

/// Name and version of a package and of all that it depends on and this machine lacks, whatever stands in the way of installing
/// them. Asked as for a machine that has nothing: where what is there breaks the package, apt may find no way at all.
pub(crate) fn needed(package: &str) -> Result<Vec<(String, String)>> {
    let how = ["--simulate", "-o", "Dir::State::status=/dev/null", "-o", "Dir::Cache::pkgcache="];
    let output = ask(&[package.to_owned()], &how).output().context("cannot start apt-get")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let simulation = Simulation::read(&text, &errors, output.status.success());
    if let Some(failure) = simulation.failure {
        bail!("apt knows no packages that it could be unpacked from: {failure}");
    }
    let there = packages::installed()?;
    Ok(simulation.installs.into_iter().filter(|(name, _)| name == package || !there.contains(name)).collect())
}

/// Asks apt how much these are, with what they depend on.
pub(crate) fn size(packages: &[String]) -> Result<Option<Size>> {
    if packages.is_empty() {
        return Ok(None);
    }
    let output = ask(packages, &["--assume-no"]).output().context("cannot start apt-get")?;
    Ok(Size::read(&String::from_utf8_lossy(&output.stdout)))
}

impl Simulation {
    fn read(text: &str, errors: &str, succeeded: bool) -> Self {
        let section = |heading: &str| {
            let lines = text.lines().skip_while(|line| !line.starts_with(heading)).skip(1);
            let words = lines.take_while(|line| line.starts_with(' ')).flat_map(str::split_whitespace);
            words.map(str::to_owned).collect::<Vec<_>>()
        };
        // `Inst name [old version] (new version archive)`
        let install = |line: &str| {
            let rest = line.strip_prefix("Inst ")?;
            let version = rest.split_once('(')?.1.split([' ', ')']).next()?;
            Some((rest.split_whitespace().next()?.to_owned(), version.to_owned()))
        };
        let remove = |line: &str| Some(line.strip_prefix("Remv ")?.split_whitespace().next()?.to_owned());
        Self {
            installs: text.lines().filter_map(install).collect(),
            removes: text.lines().filter_map(remove).collect(),
            downgrades: section("The following packages will be DOWNGRADED:"),
            held: section("The following held packages will be changed:"),
            failure: (!succeeded).then(|| failure(text, errors)),
        }
    }

    /// What it would do to packages that are there, or why it cannot be done; `None` if it only adds.
    pub(crate) fn harm(&self) -> Option<String> {
        if let Some(failure) = &self.failure {
            return Some(format!("apt cannot install it: {failure}"));
        }
        let said = |what: &str, names: &[String]| {
            (!names.is_empty()).then(|| format!("apt would {what} {}", names.join(" ")))
        };
        let harms = [
            said("remove", &self.removes),
            said("downgrade", &self.downgrades),
            said("change what is held:", &self.held),
        ];
        let harms = harms.into_iter().flatten().collect::<Vec<_>>();
        (!harms.is_empty()).then(|| harms.join("; "))
    }
}

/// So much of what does not fit is repeated: where apt's own state is broken, it is all that is installed.
const UNMET: usize = 3;

/// apt says what does not fit on stdout, and that something does not fit on stderr.
fn failure(text: &str, errors: &str) -> String {
    let plain = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let unmet = text
        .lines()
        .skip_while(|line| *line != "The following packages have unmet dependencies:")
        .skip(1)
        .take_while(|line| line.starts_with(' '))
        .map(plain)
        .collect::<Vec<_>>();
    let more = unmet.len().saturating_sub(UNMET);
    let more = (more > 0).then(|| format!("and {more} more"));
    let errors = errors.lines().filter_map(|line| line.strip_prefix("E: ")).map(plain);
    let said = unmet.into_iter().take(UNMET).chain(more).chain(errors).collect::<Vec<_>>().join("; ");
    if said.is_empty() { "it does not say why".to_owned() } else { said }
}

impl Size {
    /// `Need to get 18.2 MB/20.0 MB of archives.` and `After this operation, 89.1 MB of additional disk space will be used.`
    fn read(text: &str) -> Option<Self> {
        let between = |start: &str, end: &str| {
            text.lines().find_map(|line| Some(line.strip_prefix(start)?.split_once(end)?.0.to_owned()))
        };
        let download = between("Need to get ", " of archives")?;
        // What has been fetched already is in the second number only.
        let download = download.split_once('/').map_or(download.as_str(), |(rest, _)| rest).to_owned();
        let disk = between("After this operation, ", " of additional disk space")
            .unwrap_or_else(|| "nothing".to_owned());
        Some(Self { download, disk })
    }
}

/// Finds out which of the packages go together without harm. As long as nothing stands in the way it asks once; if something
/// does, once for each.
pub(crate) fn sort_out(
    packages: &[String],
    mut simulate: impl FnMut(&[String]) -> Result<Simulation>,
) -> Result<Sorted> {
    let mut sorted = Sorted::default();
    if packages.is_empty() {
        return Ok(sorted);
    }
    if simulate(packages)?.harm().is_none() {
        sorted.harmless = packages.to_vec();
        return Ok(sorted);
    }
    for package in packages {
        let with = [sorted.harmless.as_slice(), std::slice::from_ref(package)].concat();
        match simulate(&with)?.harm() {
            None => sorted.harmless = with,
            Some(why) => sorted.harmful.push((package.clone(), why)),
        }
    }
    Ok(sorted)
}

#[cfg(test)]
mod tests;
