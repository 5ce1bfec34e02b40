//! Running other programs: captured, logged to a file, or shown; and an error that says which one failed.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::{self, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// How much of a failed command's output an error repeats, in lines.
const TAIL: usize = 20;

/// The repository's root.
pub(crate) fn workspace_root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// Cargo's target directory for this workspace.
pub(crate) fn target_dir() -> PathBuf {
    workspace_root().join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// Where programs are that are unpacked and not installed.
pub(crate) fn tools_directory() -> PathBuf {
    target_dir().join("tools")
}

/// `PATH`, and after it where system administration programs are when a user's `PATH` omits them, and the unpacked programs.
pub(crate) fn search_path() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut directories = env::split_paths(&path).collect::<Vec<_>>();
    for more in ["/usr/local/sbin", "/usr/sbin", "/sbin"]
        .map(PathBuf::from)
        .into_iter()
        .chain([tools_directory().join("bin")])
    {
        if !directories.contains(&more) {
            directories.push(more);
        }
    }
    // What came from a PATH has no colon in it; a target directory that has one cannot be searched.
    env::join_paths(directories).unwrap_or(path)
}

/// The cargo that started this program, to be run in the workspace's root.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace_root()).env("PATH", search_path());
    // Cargo describes the package it runs in its environment. Left in place, that would make build scripts
    // that watch these variables run again each time a developer changes between `cargo` and `cargo xtask`.
    for (name, _) in env::vars_os() {
        let inherited = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_"]
            .iter()
            .any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes()));
        if inherited {
            command.env_remove(name);
        }
    }
    command
}

/// A program's path, by [`search_path`].
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    env::split_paths(&search_path())
        .map(|directory| directory.join(name))
        .find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Runs a command with its output on the terminal.
pub(crate) fn shown(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start `{}`", line(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status}); its output is above", line(command));
    }
    Ok(())
}

/// Runs a command quietly and returns what it wrote to stdout.
pub(crate) fn captured(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if !output.status.success() {
        bail!("`{}` failed ({}):\n{}", line(command), output.status, tail(&joined(&output)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a command can be started and succeeds; its output is dropped.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    output(command).is_ok_and(|output| output.status.success())
}

/// Runs a command with its output appended to a log file; an error repeats the end of it.
pub(crate) fn logged(command: &mut Command, log: &Path) -> Result<()> {
    let output = output(command)?;
    let text = joined(&output);
    append(log, &format!("$ {}\n{text}[{}]\n\n", line(command), output.status))?;
    if !output.status.success() {
        bail!(
            "`{}` failed ({}). The end of its output (all of it: {}):\n{}",
            line(command),
            output.status,
            log.display(),
            tail(&text)
        );
    }
    Ok(())
}

/// The command as a shell would take it, with the variables that were set for it.
pub(crate) fn line(command: &Command) -> String {
    let variables = command
        .get_envs()
        // It is long, and set for the sake of unpacked programs.
        .filter(|(name, _)| *name != "PATH")
        .filter_map(|(name, value)| Some(format!("{}={}", name.display(), quoted(value?))))
        .collect::<Vec<_>>();
    let words = [command.get_program()].into_iter().chain(command.get_args()).map(quoted);
    variables.into_iter().chain(words).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn output(command: &mut Command) -> Result<Output> {
    command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{}`", command.get_program().display()))
}

fn joined(output: &Output) -> String {
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

fn append(log: &Path, text: &str) -> Result<()> {
    let write = || {
        if let Some(directory) = log.parent() {
            fs::create_dir_all(directory)?;
        }
        OpenOptions::new().create(true).append(true).open(log)?.write_all(text.as_bytes())
    };
    write().with_context(|| format!("cannot write the log {}", log.display()))
}

fn tail(text: &str) -> String {
    let lines = text.lines().collect::<Vec<_>>();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_can_be_pasted_into_a_shell() {
        let mut command = Command::new("printf");
        command.args(["%s", "it's here", "", "$HOME"]);
        assert_eq!(line(&command), r"printf %s 'it'\''s here' '' '$HOME'");
        let mut shell = Command::new("sh");
        shell.args(["-c", &line(&command).replace("%s", "%s/")]);
        assert_eq!(captured(&mut shell).unwrap(), "it's here//$HOME/");
    }

    #[test]
    fn a_failure_names_the_command_and_repeats_the_end_of_its_output() {
        let directory = env::temp_dir().join(format!("dtr-lb-xtask-{}", std::process::id()));
        let log = directory.join("deep").join("log");
        let mut command = Command::new("sh");
        command.args(["-c", "seq 1 100; echo broken >&2; exit 3"]);
        let error = logged(&mut command, &log).unwrap_err().to_string();
        let whole = fs::read_to_string(&log).unwrap();
        fs::remove_dir_all(&directory).unwrap();
        assert!(error.contains("seq 1 100") && error.contains("exit status: 3"), "{error}");
        assert!(error.ends_with("\n100\nbroken") && !error.contains("\n50\n"), "{error}");
        assert!(whole.contains("\n50\n") && whole.contains("broken"), "{whole}");
    }

    #[test]
    fn a_program_that_does_not_exist_is_named() {
        let error = captured(&mut Command::new("no-such-program-anywhere")).unwrap_err().to_string();
        assert!(error.contains("no-such-program-anywhere"), "{error}");
    }
}
