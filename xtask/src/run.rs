//! `cargo xtask run`: the lab with a live agent, or, after `--`, dtr-lb on this host.
//!
//! Both are built in the dev profile, which takes a fraction of the time: the datapath is compiled by its own
//! settings and is the same in every profile. This process then *becomes* the program, so that a Ctrl-C and the
//! exit status are the program's own.

use std::{ffi::OsString, os::unix::process::CommandExt as _, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{
    command::{cargo, find_program, line, search_path, shown, target_dir},
    scope::Scope,
    setup,
    survey::effective_user_is_root,
};

/// Where cargo leaves what it builds in the dev profile.
const PROFILE_DIRECTORY: &str = "debug";

/// What to run. The lab's options are handed on as they are: `dtr-lb-lab` says what is wrong with one.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Options {
    /// Run unattended for so long, 10s to 10m: make traffic, fail replicas, and print what happened
    #[arg(long = "for", value_name = "DURATION", conflicts_with = "agent")]
    length: Option<String>,
    /// Where the datapath sits [default: xdp]
    #[arg(long, value_parser = ["xdp", "xdp-generic", "tc"], conflicts_with = "agent")]
    hook: Option<String>,
    /// How the lab's balancer is connected [default: one-arm]
    #[arg(long, value_parser = ["one-arm", "two-arm"], conflicts_with = "agent")]
    topology: Option<String>,
    /// How many replicas the lab has [default: 3]
    #[arg(long, value_name = "NUMBER", conflicts_with = "agent")]
    replicas: Option<String>,
    /// Play the same failures to a sample of DTR's documentation and to what `dtr-lb import` makes of it; `--for` is for each
    /// failure
    #[arg(long, value_name = "SAMPLE", value_parser = ["nginx", "haproxy", "elb"], conflicts_with_all = ["agent", "replicas"])]
    compare: Option<String>,
    /// Run `dtr-lb` on this host with these arguments instead of the lab
    #[arg(last = true, value_name = "DTR-LB ARGUMENTS")]
    agent: Vec<OsString>,
}

/// Builds and becomes the lab or the agent; returns only if that fails.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut build = cargo();
    build.args(["build", "--quiet", "--package", "dtr-lb-agent", "--bins"]);
    let (scope, program, arguments) = if options.agent.is_empty() {
        build.args(["--package", "dtr-lb-tests"]);
        (Scope::Run, "dtr-lb-lab", options.lab())
    } else {
        (Scope::Build, "dtr-lb", options.agent.clone())
    };
    setup::ensure(scope)?;
    shown(&mut build)?;
    let path = target_dir().join(PROFILE_DIRECTORY).join(program);
    let mut command = as_root(path)?;
    command.args(arguments);
    println!("run: {}", line(&command));
    let error = command.exec();
    Err(error).with_context(|| format!("cannot start `{}`", line(&command)))
}

impl Options {
    /// The arguments of `dtr-lb-lab`.
    fn lab(&self) -> Vec<OsString> {
        let Self { length, hook, topology, replicas, compare, agent: _ } = self;
        let given = [("--for", length), ("--hook", hook), ("--topology", topology), ("--replicas", replicas)];
        let pairs = given.into_iter().filter_map(|(name, value)| Some([name.into(), value.as_ref()?.into()]));
        let command: Vec<OsString> = match compare {
            Some(sample) => vec!["compare".into(), sample.into()],
            None => vec!["run".into()],
        };
        command.into_iter().chain(pairs.flatten()).collect()
    }
}

/// Namespaces and BPF need root. Without it, only the program runs as root, so that no file in the target
/// directory is root's.
pub(crate) fn as_root(program: PathBuf) -> Result<Command> {
    if effective_user_is_root() {
        let mut command = Command::new(program);
        command.env("PATH", search_path());
        return Ok(command);
    }
    if find_program("sudo").is_none() {
        bail!("this needs root, and there is no sudo. Run `cargo xtask run` as root");
    }
    let mut command = Command::new("sudo");
    // sudo sets a PATH of its own.
    command.arg("--preserve-env").arg("env").arg(path_variable()).arg(program);
    Ok(command)
}

/// `PATH=...`, for `env`.
pub(crate) fn path_variable() -> OsString {
    let mut variable = OsString::from("PATH=");
    variable.push(search_path());
    variable
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn parse(words: &[&str]) -> Result<Options, clap::Error> {
        Line::try_parse_from([&["run"], words].concat()).map(|line| line.options)
    }

    #[test]
    fn what_is_not_given_is_left_to_the_lab() {
        assert_eq!(parse(&[]).unwrap().lab(), ["run"]);
        let options = parse(&["--topology", "two-arm", "--for", "30s"]).unwrap();
        assert_eq!(options.lab(), ["run", "--for", "30s", "--topology", "two-arm"]);
    }

    #[test]
    fn what_follows_the_dashes_is_the_agents_own() {
        let options = parse(&["--", "run", "--set", "datapath.attach=tc"]).unwrap();
        assert_eq!(options.agent, ["run", "--set", "datapath.attach=tc"]);
    }

    #[test]
    fn a_mixture_or_an_unknown_hook_is_refused() {
        for words in [&["--for", "30s", "--", "status"][..], &["--hook", "ebpf"], &["status"]] {
            assert!(parse(words).is_err(), "{words:?}");
        }
    }
}
