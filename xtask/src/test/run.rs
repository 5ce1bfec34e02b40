//! One program of tests, run once, or twice where some of its tests need root: its output goes to a log, its results are counted
//! as they come.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead as _, BufReader, Read, Write as _},
    path::PathBuf,
    process::Stdio,
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{Counts, Progress, Selection, Suite, command, progress::clock};
use crate::{
    command::{line, search_path, target_dir},
    survey::GivenUp,
};

/// Tests of programs that otherwise need no root: they are ignored by a plain `cargo test`, and run here as root.
const AS_ROOT: &str = "as_root_";
/// Why a test is ignored that another one starts. It is not skipped, so it is not counted.
const PLAYED: &str = "another test plays it";
/// Unit tests that start a program, by their names' beginning.
const UNIT_TESTS_OF: [(&str, &str); 1] = [("dnsmasq", "resolve::tests::server::")];
/// How often the progress is looked at.
const POLL: Duration = Duration::from_millis(200);

/// A suite with the arguments it is started with.
#[derive(Debug)]
pub(super) struct Run<'a> {
    suite: &'a Suite,
    as_root: bool,
    arguments: Vec<String>,
    /// How many results it will tell.
    pub(super) expected: usize,
    /// What is skipped without even being tried.
    beforehand: Vec<(usize, String)>,
    /// Whether another run plays the tests for root that this one calls ignored.
    leaves_root: bool,
}

impl<'a> Run<'a> {
    /// How the suite is to be run for a selection.
    pub(super) fn of(
        suite: &'a Suite,
        selection: &Selection,
        given_up: &GivenUp,
        environment: &BTreeMap<&'static str, String>,
    ) -> Result<Vec<Self>> {
        let all = suite.list(false, environment.clone())?;
        let run = |arguments: Vec<String>, expected| Self {
            suite,
            as_root: suite.as_root,
            arguments,
            expected,
            beforehand: Vec::new(),
            leaves_root: false,
        };
        if suite.own_harness {
            let of_filter = |filter: &String| {
                let expected = all.iter().filter(|name| name.contains(filter.as_str())).count();
                (expected > 0).then(|| run(vec![filter.clone()], expected))
            };
            if selection.filters.is_empty() {
                return Ok(Vec::from_iter((!all.is_empty()).then(|| run(Vec::new(), all.len()))));
            }
            return Ok(selection.filters.iter().filter_map(of_filter).collect());
        }
        let wanted = |name: &String| {
            selection.filters.is_empty()
                || selection.filters.iter().any(|filter| name.contains(filter.as_str()))
        };
        let (root, plain): (Vec<_>, Vec<_>) =
            all.into_iter().filter(wanted).partition(|name| is_for_root(name));
        let mut arguments = selection.filters.clone();
        let mut beforehand = Vec::new();
        let mut expected = plain.len();
        for (program, prefix) in UNIT_TESTS_OF {
            let of_it = plain.iter().filter(|name| name.starts_with(prefix)).count();
            if let (Some(why), 1..) = (given_up.get(program), of_it) {
                arguments.extend(["--skip".to_owned(), prefix.to_owned()]);
                expected -= of_it;
                beforehand.push((of_it, format!("{program}: {why}")));
            }
        }
        let mut runs = Vec::new();
        let leaves_root = !root.is_empty() && !selection.host_only;
        if !plain.is_empty() || (!root.is_empty() && !leaves_root) {
            runs.push(Self { beforehand, leaves_root, ..run(arguments, expected) });
        }
        if leaves_root {
            let arguments = ["--ignored", "--exact"].map(str::to_owned).into_iter().chain(root.clone());
            runs.push(Self { as_root: true, ..run(arguments.collect(), root.len()) });
        }
        Ok(runs)
    }

    /// Runs it, and shows what of it failed.
    pub(super) fn play(
        &self,
        environment: &BTreeMap<&'static str, String>,
        progress: &mut Progress,
    ) -> Result<Counts> {
        let name = if self.as_root && !self.suite.as_root {
            format!("{}, as root", self.suite.name)
        } else {
            self.suite.name.clone()
        };
        let log = target_dir()
            .join("tests")
            .join(format!("{}.log", name.replace("::", "-").replace(", ", "-").replace(' ', "-")));
        let mut file = create(&log)?;
        let begun = Instant::now();
        let mut command = command(self.suite, self.as_root);
        command.args(&self.arguments).current_dir(&self.suite.directory).envs(environment);
        command.env("PATH", search_path()).env("CARGO_MANIFEST_DIR", &self.suite.directory);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start `{}`", line(&command)))?;
        let (sender, lines) = channel();
        let errors = sender.clone();
        let readers = [
            child.stdout.take().map(|pipe| thread::spawn(move || pass_on(pipe, &sender, false))),
            child.stderr.take().map(|pipe| thread::spawn(move || pass_on(pipe, &errors, true))),
        ];
        let mut said = Said { leaves_root: self.leaves_root, ..Said::default() };
        loop {
            match lines.recv_timeout(POLL) {
                Ok((text, is_error)) => {
                    writeln!(file, "{text}").with_context(|| format!("cannot write {}", log.display()))?;
                    if said.hear(&text, is_error) {
                        progress.step();
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            progress.show(&format!("{name}: {}", said.under_way()));
        }
        let status = child.wait().with_context(|| format!("cannot wait for `{}`", line(&command)))?;
        for reader in readers.into_iter().flatten() {
            // It has nothing to panic about.
            let _ = reader.join();
        }
        let mut counts = said.counts(status.success());
        for (count, why) in &self.beforehand {
            counts.skip(*count, why);
        }
        progress.say(&format!("{name}: {counts} in {}", clock(begun.elapsed())));
        if counts.failed > 0 {
            println!("{}\n(all of it: {}; it ended with {status})", said.failures.join("\n"), log.display());
        }
        Ok(counts)
    }
}

fn create(log: &PathBuf) -> Result<File> {
    let parent = log.parent().unwrap_or(log);
    fs::create_dir_all(parent)
        .and_then(|()| File::create(log))
        .with_context(|| format!("cannot write {}", log.display()))
}

/// Hands on a pipe's lines, which need not be text.
fn pass_on(pipe: impl Read, lines: &Sender<(String, bool)>, is_error: bool) {
    let mut pipe = BufReader::new(pipe);
    let mut bytes = Vec::new();
    while pipe.read_until(b'\n', &mut bytes).is_ok_and(|count| count > 0) {
        let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        bytes.clear();
        if lines.send((text, is_error)).is_err() {
            return;
        }
    }
}

/// Tests for root are named so, in whatever module.
fn is_for_root(name: &str) -> bool {
    name.rsplit("::").next().is_some_and(|name| name.starts_with(AS_ROOT))
}

/// What a program of tests has said so far.
#[derive(Debug, Default)]
struct Said {
    leaves_root: bool,
    /// Of its last line.
    summary: Option<(usize, usize)>,
    skipped: BTreeMap<String, usize>,
    /// Those that are under way, and since when.
    running: BTreeMap<String, Instant>,
    last: String,
    times: Vec<(Duration, String)>,
    /// The part in which it says what failed.
    failures: Vec<String>,
    in_failures: bool,
}

impl Said {
    /// Takes in a line; whether it is a result that was expected.
    fn hear(&mut self, text: &str, is_error: bool) -> bool {
        if is_error {
            if let Some(name) = text.strip_prefix("begins: ") {
                self.running.insert(name.to_owned(), Instant::now());
            } else if let Some((count, why)) = skipped(text) {
                *self.skipped.entry(why.to_owned()).or_default() += count;
            }
            return false;
        }
        if let Some(summary) = summary(text) {
            self.summary = Some(summary);
            self.in_failures = false;
            return false;
        }
        self.in_failures |= text == "failures:";
        if self.in_failures {
            self.failures.push(text.to_owned());
            return false;
        }
        let Some((name, outcome)) = result(text) else { return false };
        if let Some(begun) = self.running.remove(name) {
            self.times.push((begun.elapsed(), name.to_owned()));
        }
        name.clone_into(&mut self.last);
        let Some(why) = outcome.strip_prefix("ignored") else { return true };
        let why = why.trim_start_matches(", ");
        let elsewhere = self.leaves_root && is_for_root(name);
        if elsewhere || why.ends_with(PLAYED) {
            return !elsewhere;
        }
        // A harness of ours has told the reason before, for all of them.
        if !why.is_empty() {
            *self.skipped.entry(why.to_owned()).or_default() += 1;
        }
        true
    }

    /// What it is at.
    fn under_way(&self) -> String {
        let mut running: Vec<_> = self.running.iter().collect();
        running.sort_by_key(|(_, begun)| **begun);
        let since = |begun: &Instant| begun.elapsed().as_secs();
        let told: Vec<_> = running.iter().map(|(name, begun)| format!("{name} {} s", since(begun))).collect();
        if told.is_empty() { self.last.clone() } else { told.join(", ") }
    }

    fn counts(&self, succeeded: bool) -> Counts {
        let (passed, failed) = self.summary.unwrap_or_default();
        let mut counts = Counts { passed, failed, times: self.times.clone(), ..Counts::default() };
        for (why, count) in &self.skipped {
            counts.skip(*count, why);
        }
        // One that was killed, or that aborted, has counted nothing.
        if failed == 0 && (!succeeded || self.summary.is_none()) {
            counts.failed = 1;
        }
        counts
    }
}

/// `test result: ok. 12 passed; 0 failed; 3 ignored; ...`: how many passed and failed.
fn summary(text: &str) -> Option<(usize, usize)> {
    let rest = text.strip_prefix("test result: ")?.split_once(". ")?.1;
    let number = |word: &str| rest.split("; ").find_map(|part| part.strip_suffix(word)?.trim().parse().ok());
    Some((number("passed")?, number("failed")?))
}

/// `test name ... outcome`, also where a program has left something before it on its line.
fn result(text: &str) -> Option<(&str, &str)> {
    let (name, outcome) = text.split_once(" ... ")?;
    // Ours pads names to a column.
    let name = name.rsplit("test ").next()?.trim_end();
    (["ok", "FAILED"].contains(&outcome) || outcome.starts_with("ignored")).then_some((name, outcome))
}

/// `skipped: 3 tests, because ...`, of our own harness.
fn skipped(text: &str) -> Option<(usize, &str)> {
    let (count, why) = text.strip_prefix("skipped: ")?.split_once(" tests, because ")?;
    Some((count.parse().ok()?, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(text: &str, leaves_root: bool) -> (Said, usize) {
        let mut said = Said { leaves_root, ..Said::default() };
        let results = text.lines().filter(|line| said.hear(line, line.starts_with("skipped: "))).count();
        (said, results)
    }

    #[test]
    fn results_are_counted_as_the_program_counts_them() {
        let (said, results) = heard(
            "running 4 tests\ntest a::b   ... ok\nnoise test c ... FAILED\ntest d ... ignored, needs root\ntest played ... ignored, \
             lowers a limit: another test plays it\n\nfailures:\n\n---- c stdout ----\npanicked\n\nfailures:\n    c\n\ntest \
             result: FAILED. 1 passed; 1 failed; 2 ignored; 0 measured; 7 filtered out; finished in 0.10s\n",
            false,
        );
        let counts = said.counts(false);
        assert_eq!(counts.to_string(), "1 passed, 1 failed, 1 skipped");
        assert_eq!(counts.reasons, BTreeMap::from([("needs root".to_owned(), 1)]));
        assert_eq!(results, 4);
        assert!(said.failures.contains(&"panicked".to_owned()), "{:?}", said.failures);
    }

    #[test]
    fn what_another_run_plays_as_root_is_neither_counted_nor_awaited() {
        let text = "test x::as_root_it_works ... ignored, needs root\ntest x::y ... ok\ntest result: ok. 1 passed; 0 failed; \
                    1 ignored; 0 measured\n";
        let (said, results) = heard(text, true);
        assert_eq!((said.counts(true).to_string().as_str(), results), ("1 passed, 0 failed, 0 skipped", 1));
        let (said, results) = heard(text, false);
        assert_eq!((said.counts(true).to_string().as_str(), results), ("1 passed, 0 failed, 1 skipped", 2));
    }

    #[test]
    fn a_harness_of_ours_tells_why_it_skips() {
        let (said, _) = heard(
            "skipped: 2 tests, because no tshark\ntest a ... ignored\ntest b ... ignored\ntest result: ok. 0 passed; 0 \
             failed; 2 ignored; 0 measured\n",
            false,
        );
        let counts = said.counts(true);
        assert_eq!(counts.reasons, BTreeMap::from([("no tshark".to_owned(), 2)]));
        assert_eq!(counts.skipped, 2);
    }

    /// A test that returns where it is not root would pass, and say nothing.
    #[test]
    fn tests_for_root_are_ignored_by_a_plain_run() {
        let mut directories = vec![crate::command::workspace_root().join("dtr-lb-agent/src")];
        let mut seen = 0;
        while let Some(directory) = directories.pop() {
            for path in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    directories.push(path);
                    continue;
                }
                let text = fs::read_to_string(&path).unwrap_or_default();
                for before in text.split(&format!("fn {AS_ROOT}")).collect::<Vec<_>>().split_last().unwrap().1
                {
                    seen += 1;
                    assert!(
                        before.lines().rev().take(3).any(|line| line.starts_with("#[ignore = \"needs root")),
                        "{}: a test {AS_ROOT}... is not ignored: put #[ignore = \"needs root: cargo xtask test runs it\"] \
                         before it",
                        path.display()
                    );
                }
            }
        }
        assert!(seen > 0);
    }

    #[test]
    fn a_program_that_ends_without_a_result_has_failed() {
        assert_eq!(heard("test a ... ok\n", false).0.counts(false).failed, 1);
        assert_eq!(heard("test a ... ok\n", false).0.counts(true).failed, 1);
    }
}
