//! What the dashboard computes, by the tests beside it (`web/tests`), in node's own runner; and that every script of it can be read.
//! Node comes with npm, without which there is no build. What the page looks like is tried in Chromium: `tests/tests/dashboard`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The files of a directory of `web` whose names end so.
fn files(directory: &str, end: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("web").join(directory);
    let entries = fs::read_dir(&directory).expect("the directory can be read");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut found: Vec<_> = paths.filter(|path| path.to_string_lossy().ends_with(end)).collect();
    found.sort();
    assert!(!found.is_empty(), "{} has no files that end in {end}", directory.display());
    found
}

/// Runs node, in UTC.
fn node(arguments: &[&str], files: &[PathBuf]) {
    let mut command = Command::new("node");
    command.args(arguments).args(files).env("TZ", "UTC").env_remove("NODE_OPTIONS");
    let output =
        command.output().expect("node starts: it comes with npm, which `cargo xtask setup` installs");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "node {arguments:?}: {}\n{said}", output.status);
}

#[test]
fn what_the_dashboard_computes_is_right() {
    node(&["--test"], &files("tests", ".test.js"));
}

#[test]
fn every_script_can_be_read() {
    for file in files("js", ".js") {
        node(&["--check"], &[file]);
    }
}
