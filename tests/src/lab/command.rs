//! Running a program to its end and turning a failure into an error that names the command line.

use std::{
    env,
    ffi::OsStr,
    io::Write as _,
    process::{Command, Output, Stdio},
};

use super::error::Error;

/// What every lab runs. `openssl`, `curl` and `skopeo` are clients, the rest builds it. What only some tests run, they ask for
/// themselves ([`missing_program`]).
pub const PROGRAMS: [&str; 8] =
    ["ip", "mount", "ethtool", "nginx", "docker-registry", "curl", "openssl", "skopeo"];

/// Set by `cargo xtask test`: programs that set-up could not get, one a line, each with the reason.
const UNAVAILABLE: &str = "DTR_LB_UNAVAILABLE";

/// Why there is no such program; `None` if there is.
pub fn missing_program(name: &str) -> Option<String> {
    let path = env::var_os("PATH").unwrap_or_default();
    if env::split_paths(&path).any(|directory| directory.join(name).is_file()) {
        return None;
    }
    Some(explained(name, &env::var(UNAVAILABLE).unwrap_or_default()))
}

/// What set-up has said of it.
fn explained(name: &str, unavailable: &str) -> String {
    let said =
        unavailable.lines().find(|line| line.split_once(": ").is_some_and(|(program, _)| program == name));
    said.map_or_else(
        || format!("{name} is not installed or not in PATH (`cargo xtask setup`)"),
        str::to_owned,
    )
}

/// What is missing on this machine to make a lab: empty if one can be made.
///
/// A test that needs the lab asks this first and reports itself as skipped, with these reasons.
pub fn missing_requirements() -> Vec<String> {
    let mut missing = Vec::new();
    if !nix::unistd::geteuid().is_root() {
        missing.push("not root: network namespaces need CAP_SYS_ADMIN and CAP_NET_ADMIN".to_owned());
    }
    missing.extend(PROGRAMS.iter().filter_map(|program| missing_program(program)));
    missing
}

/// Runs a command to its end, with no standard input.
pub(super) fn output(command: &mut Command) -> Result<Output, Error> {
    command.stdin(Stdio::null());
    command.output().map_err(|source| Error::Start { command: line(command), source })
}

/// As [`output`], but an exit status other than 0 is an error.
pub(super) fn success(command: &mut Command) -> Result<Output, Error> {
    let output = output(command)?;
    check(command, output)
}

/// As [`success`], with `input` on the command's standard input. For small outputs: all of the input is written
/// before any output is read.
pub(super) fn success_with_input(command: &mut Command, input: &[u8]) -> Result<Output, Error> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|source| Error::Start { command: line(command), source })?;
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input));
    let output =
        child.wait_with_output().map_err(|source| Error::Start { command: line(command), source })?;
    // A program that fails early stops reading: how it ended says more than the broken pipe does.
    let output = check(command, output)?;
    written.map_err(|source| Error::Start { command: line(command), source })?;
    Ok(output)
}

/// Runs a batch of `ip` commands, one a line, in a namespace (`None`: in the caller's).
pub(super) fn ip_batch(namespace: Option<&str>, batch: &str) -> Result<(), Error> {
    let mut command = Command::new("ip");
    if let Some(namespace) = namespace {
        command.args(["-n", namespace]);
    }
    success_with_input(command.args(["-batch", "-"]), batch.as_bytes()).map(drop)
}

/// The command line as a person would type it, for error messages.
pub(super) fn line(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect();
    words.join(" ")
}

fn check(command: &Command, output: Output) -> Result<Output, Error> {
    if output.status.success() {
        return Ok(output);
    }
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Command { command: line(command), status: output.status, stderr })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_set_up_could_not_get_is_told_with_its_reason() {
        let unavailable = "tshark: apt would remove wireshark\npromtool: no network";
        assert_eq!(explained("tshark", unavailable), "tshark: apt would remove wireshark");
        assert!(explained("prom", unavailable).contains("not installed"));
        assert_eq!(missing_program("sh"), None);
    }

    #[test]
    fn a_failure_names_the_command_line_and_what_it_said() {
        let error = success(Command::new("sh").args(["-c", "echo no good >&2; exit 3"])).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("sh -c") && text.contains("exit status: 3") && text.contains("no good"),
            "{text}"
        );
    }

    #[test]
    fn input_reaches_the_program_and_one_that_does_not_read_it_is_judged_by_its_status() {
        let echoed = success_with_input(&mut Command::new("cat"), b"text").unwrap();
        assert_eq!(echoed.stdout, b"text");
        let failed = success_with_input(&mut Command::new("false"), &[0; 1 << 20]).unwrap_err();
        assert!(matches!(failed, Error::Command { .. }), "{failed}");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = output(&mut Command::new("dtr-lb-no-such-program")).unwrap_err();
        assert!(matches!(error, Error::Start { ref command, .. } if command == "dtr-lb-no-such-program"));
    }
}
