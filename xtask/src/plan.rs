//! From what set-up found to what it will do: pure, so that every kind of machine can be tried in a test.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::Result;

use crate::{
    apt::{Size, Sorted},
    programs::{Program, services_of},
    route,
    toolchain::{DISTRO_RUSTC, DISTRO_RUSTLIB, Fault},
};

/// The bpf-linker to build. 0.13 is the newest that builds with the LLVM versions 21 to 23.
pub(crate) const LINKER_VERSION: &str = "0.13.0";

/// What was found on this machine.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// The toolchain that the build would take.
    pub(crate) chosen: String,
    /// Whether the developer named it.
    pub(crate) overridden: bool,
    /// Whether that toolchain works.
    pub(crate) fault: Option<Fault>,
    /// Whether a bpf-linker is there, and whether it starts.
    pub(crate) linker_installed: bool,
    pub(crate) linker: bool,
    /// Whether nightly would work where `chosen` does not.
    pub(crate) nightly_works: bool,
    /// What the distribution's route still lacks; `None` where the distribution does not offer it.
    pub(crate) distro: Option<Distro>,
    /// The programs that the command needs and that are not there.
    pub(crate) programs: Vec<Program>,
    /// Whether what the dashboard takes from npm is missing.
    pub(crate) dashboard_missing: bool,
    /// Whether npm is there.
    pub(crate) npm: bool,
    /// Whether packages are installed with apt here.
    pub(crate) apt: bool,
    /// Whether this process is root.
    pub(crate) root: bool,
}

/// What the distribution's route still lacks.
#[derive(Debug, Clone)]
pub(crate) struct Distro {
    /// Packages of the compiler and its `core` for BPF.
    pub(crate) compiler: Vec<String>,
    /// Packages to build bpf-linker with.
    pub(crate) linker: Vec<String>,
    /// The major version of the compiler's LLVM.
    pub(crate) llvm: u32,
    /// The directory to link as a toolchain.
    pub(crate) directory: PathBuf,
    /// The cargo to put into it.
    pub(crate) cargo: PathBuf,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Install packages, each with its reason; how much that is, where apt knows it.
    Packages { wanted: Vec<(String, String)>, size: Option<Size> },
    /// Take a program as files, because its package would harm the host.
    Unpack { program: Program, harm: String },
    /// Make the distribution's compiler a toolchain of rustup's.
    Link { directory: PathBuf, cargo: PathBuf },
    /// Take back such a link, which is broken.
    Unlink,
    /// Build and install bpf-linker.
    Linker { llvm: u32 },
    /// Install what the dashboard takes from npm.
    Dashboard,
}

/// What to do, in order, and what only the developer can do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    /// What the build needs and apt cannot install without harm to the host: package, its reason, the harm.
    pub(crate) blocked: Vec<(String, String, String)>,
    /// Lines to show; if there are any, no step is taken.
    pub(crate) by_hand: Vec<String>,
}

/// Asked once for all packages that are wanted: which of them do no harm, and how much these are.
pub(crate) type Judge<'a> = dyn FnMut(&[String]) -> Result<(Sorted, Option<Size>)> + 'a;

impl Plan {
    /// The plan for a machine; empty if nothing is missing.
    pub(crate) fn new(facts: &Facts, judge: &mut Judge<'_>) -> Result<Self> {
        let mut plan = Self::default();
        let mut packages = Vec::new();
        let mut after = Vec::new();
        plan.toolchain(facts, &mut packages, &mut after);
        if facts.dashboard_missing {
            let why = "it fetches what draws the dashboard's plots";
            match (facts.npm, facts.apt) {
                (true, _) => {}
                (false, true) => packages.push(("npm".to_owned(), why.to_owned())),
                (false, false) => plan.by_hand.push(format!("# npm, with your package manager: {why}")),
            }
            after.push(Step::Dashboard);
        }
        if facts.apt {
            packages.extend(
                facts.programs.iter().map(|program| (program.package.to_owned(), program.why.to_owned())),
            );
        } else if !facts.programs.is_empty() {
            let names = facts.programs.iter().map(|program| program.name).collect::<Vec<_>>();
            plan.by_hand
                .push(format!("# and these programs, with your package manager: {}", names.join(" ")));
        }
        if !packages.is_empty() {
            plan.packages(packages, &facts.programs, judge)?;
        }
        plan.steps.extend(after);
        if !facts.root && plan.steps.iter().any(|step| matches!(step, Step::Packages { .. })) {
            plan.by_hand.extend(plan.commands());
        }
        Ok(plan)
    }

    /// What compiles and links the eBPF programs.
    fn toolchain(&mut self, facts: &Facts, packages: &mut Vec<(String, String)>, after: &mut Vec<Step>) {
        match (&facts.fault, &facts.distro) {
            (None, _) => {}
            (Some(fault), _) if facts.overridden => {
                self.by_hand.extend(repair_override(&facts.chosen, fault));
            }
            (Some(_), _) if facts.nightly_works => after.push(Step::Unlink),
            (Some(fault), Some(distro)) => {
                let wanted = |names: &[String], why: &str| {
                    names.iter().map(|name| (name.clone(), why.to_owned())).collect::<Vec<_>>()
                };
                packages.extend(wanted(&distro.compiler, "a compiler with a core library for BPF"));
                let linked = facts.chosen == route::LINKED;
                if !linked || matches!(fault, Fault::Absent { .. } | Fault::NoCore { .. }) {
                    let (directory, cargo) = (distro.directory.clone(), distro.cargo.clone());
                    after.push(Step::Link { directory, cargo });
                }
                if !facts.linker || (linked && matches!(fault, Fault::Trial { .. })) {
                    packages.extend(wanted(&distro.linker, "to build bpf-linker with"));
                    // One that is there and does not start may lack just its LLVM: it is looked at again with that.
                    if facts.linker || !facts.linker_installed || distro.linker.is_empty() {
                        after.push(Step::Linker { llvm: distro.llvm });
                    }
                }
            }
            (Some(_), None) => self.by_hand.extend(UPSTREAM.lines().map(str::to_owned)),
        }
    }

    /// Divides what is wanted: to install, to unpack, and what stands in the way.
    fn packages(
        &mut self,
        mut wanted: Vec<(String, String)>,
        programs: &[Program],
        judge: &mut Judge<'_>,
    ) -> Result<()> {
        let mut names = wanted.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        names.dedup();
        let (sorted, size) = judge(&names)?;
        wanted.retain(|(name, _)| sorted.harmless.contains(name));
        let mut unpacked = Vec::new();
        for (name, harm) in sorted.harmful {
            let of_it = programs.iter().filter(|program| program.package == name);
            let steps = of_it.map(|&program| Step::Unpack { program, harm: harm.clone() });
            let before = unpacked.len();
            unpacked.extend(steps);
            if unpacked.len() == before {
                let why = if name == "npm" {
                    "it fetches what draws the dashboard's plots"
                } else {
                    "the eBPF toolchain"
                };
                self.blocked.push((name, why.to_owned(), harm));
            }
        }
        if !wanted.is_empty() {
            self.steps.push(Step::Packages { wanted, size });
        }
        self.steps.extend(unpacked);
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.by_hand.is_empty() && self.blocked.is_empty()
    }

    /// What a person types to do the same.
    pub(crate) fn commands(&self) -> Vec<String> {
        self.steps.iter().flat_map(Step::commands).collect()
    }
}

/// Upstream's route, for where the distribution has none.
const UPSTREAM: &str = "\
rustup toolchain install nightly --component rust-src
# bpf-linker with an LLVM that is no older than nightly's: a release from
# https://github.com/aya-rs/bpf-linker/releases unpacked into ~/.cargo/bin, or
cargo install cargo-binstall && cargo binstall bpf-linker";

/// The developer chose this toolchain, so what to do about it is theirs as well.
fn repair_override(toolchain: &str, fault: &Fault) -> Vec<String> {
    let unset = format!("unset {}   # or: let `cargo xtask setup` choose", route::OVERRIDE);
    let repair = match fault {
        Fault::Absent { .. } => format!("rustup toolchain install {toolchain} --component rust-src"),
        Fault::NoCore { .. } => format!("rustup component add rust-src --toolchain {toolchain}"),
        Fault::NoLinker | Fault::LinkerBroken { .. } | Fault::Trial { .. } => {
            format!("# a bpf-linker on PATH whose LLVM is no older than that of {toolchain}")
        }
    };
    vec![repair, unset]
}

impl Step {
    /// What is about to be done and why, one line each.
    pub(crate) fn describe(&self) -> Vec<String> {
        match self {
            Self::Packages { wanted, size } => describe_packages(wanted, size.as_ref()),
            Self::Unpack { program, harm } => vec![format!(
                "unpack {} below target/tools and leave the host as it is ({}): {harm}",
                program.package, program.why
            )],
            Self::Link { directory, .. } => vec![format!(
                "link {DISTRO_RUSTC} into rustup as toolchain {}, in {} (it compiles the eBPF programs)",
                route::LINKED,
                directory.display()
            )],
            Self::Unlink => {
                vec![format!("unlink toolchain {} (it is broken, and nightly works)", route::LINKED)]
            }
            Self::Dashboard => {
                vec!["npm ci in dtr-lb-agent/web: one package, which draws the dashboard's plots".to_owned()]
            }
            Self::Linker { llvm } => {
                vec![format!(
                    "build bpf-linker {LINKER_VERSION} with LLVM {llvm}, about a minute (it links them)"
                )]
            }
        }
    }

    /// The same as commands for a shell, for somebody who is not root.
    pub(crate) fn commands(&self) -> Vec<String> {
        match self {
            Self::Packages { wanted, .. } => {
                let mut names = wanted.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
                names.dedup();
                let services = services_of(&names);
                let mut commands = vec![
                    "sudo apt-get update".to_owned(),
                    format!("sudo apt-get install --no-install-recommends {}", names.join(" ")),
                ];
                if !services.is_empty() {
                    let services = services.join(" ");
                    commands
                        .push(format!("sudo systemctl disable --now {services}   # tests start their own"));
                }
                commands
            }
            Self::Unpack { .. } => Vec::new(),
            Self::Link { directory, cargo } => {
                let at = quoted(directory);
                vec![
                    format!("mkdir -p {at}/bin {at}/lib"),
                    format!("ln -sfn {DISTRO_RUSTC} {at}/bin/rustc"),
                    format!("ln -sfn {} {at}/bin/cargo", quoted(cargo)),
                    format!("ln -sfn {DISTRO_RUSTLIB} {at}/lib/rustlib"),
                    format!("rustup toolchain link {} {at}", route::LINKED),
                ]
            }
            Self::Unlink => vec![format!("rustup toolchain uninstall {}", route::LINKED)],
            Self::Dashboard => vec!["(cd dtr-lb-agent/web && npm ci)".to_owned()],
            Self::Linker { llvm } => vec![format!(
                "LLVM_PREFIX={} cargo {}",
                llvm_prefix(*llvm),
                linker_arguments(*llvm).join(" ")
            )],
        }
    }
}

/// How many and how much, then the packages, those with one reason on one line.
fn describe_packages(wanted: &[(String, String)], size: Option<&Size>) -> Vec<String> {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut names = BTreeSet::new();
    for (name, why) in wanted {
        names.insert(name);
        match reasons.iter_mut().find(|(reason, _)| reason == why) {
            Some((_, packages)) => packages.push(name),
            None => reasons.push((why, vec![name])),
        }
    }
    let count = match names.len() {
        1 => "1 package".to_owned(),
        many => format!("{many} packages"),
    };
    let size = match size {
        Some(Size { download, disk }) => {
            format!("with what they depend on {download} to download, {disk} on disk")
        }
        None => "how much that is, apt does not know before `apt-get update`".to_owned(),
    };
    let lines = reasons.into_iter().map(|(why, packages)| format!("  {}: {why}", packages.join(" ")));
    [format!("install {count} by apt; {size}")].into_iter().chain(lines).collect()
}

/// Where Debian's packages put an LLVM.
pub(crate) fn llvm_prefix(llvm: u32) -> String {
    format!("/usr/lib/llvm-{llvm}")
}

/// cargo's arguments that install bpf-linker, over one that does not work if need be.
pub(crate) fn linker_arguments(llvm: u32) -> Vec<String> {
    let feature = format!("llvm-{llvm}");
    ["install", "bpf-linker", "--version", LINKER_VERSION, "--locked", "--force", "--no-default-features"]
        .into_iter()
        .chain(["--features", &feature])
        .map(str::to_owned)
        .collect()
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display())
}

#[cfg(test)]
mod tests;
