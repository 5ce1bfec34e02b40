//! What dtr-lb hands to other programs is what these programs take: alert rules, manual pages, completions.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context as _, Result, ensure};
use dtr_lb_tests::{balancer::binary, privilege};
use libtest_mimic::{Arguments, Trial};

const PACKAGING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging");

type Test = fn() -> Result<()>;

fn main() {
    let tests: [(&str, &[&str], Test); 4] = [
        ("alerts_fire_where_they_should", &["promtool"], alerts),
        ("manual_pages_are_clean_and_there_is_one_for_each_command", &["mandoc"], manual),
        ("bash_takes_the_completions", &["bash"], bash),
        ("every_shell_has_completions", &[], shells),
    ];
    let trial = |(name, programs, test): (&str, &[&str], Test)| {
        let trial = Trial::test(name, move || test().map_err(|error| format!("{error:?}").into()));
        privilege::needing(programs, trial)
    };
    privilege::run(&Arguments::from_args(), None, tests.map(trial).into());
}

fn run(command: &mut Command) -> Result<Output> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output)
}

fn dtr_lb(arguments: &[&str]) -> Result<String> {
    Ok(String::from_utf8(run(Command::new(binary()?).args(arguments))?.stdout)?)
}

fn alerts() -> Result<()> {
    let directory = Path::new(PACKAGING).join("prometheus");
    let rules = directory.join("alerts.yml");
    let checked = run(Command::new("promtool").args(["check", "rules"]).arg(&rules))?;
    let said = String::from_utf8_lossy(&checked.stdout);
    ensure!(said.contains("SUCCESS"), "{said}");
    run(Command::new("promtool").args(["test", "rules", "alerts_test.yml"]).current_dir(&directory))?;
    // A rule that no test makes fire might never fire.
    let (rules, tests) = (fs::read_to_string(rules)?, fs::read_to_string(directory.join("alerts_test.yml"))?);
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let fires = tests
            .split("- eval_time:")
            .any(|test| test.contains(&format!("alertname: {alert}\n")) && test.contains("exp_alerts:"));
        ensure!(fires, "no test makes {alert} fire");
    }
    Ok(())
}

/// The commands that `--help` lists, with those below them: `replica`, `replica list`.
fn commands(above: &[&str]) -> Result<Vec<Vec<String>>> {
    let help = dtr_lb(&[above, &["--help"]].concat())?;
    let Some((_, list)) = help.split_once("\nCommands:\n") else { return Ok(Vec::new()) };
    let names = list.lines().take_while(|line| !line.is_empty()).filter_map(|line| {
        // Lines that go on are indented further.
        let line = line.strip_prefix("  ").filter(|line| !line.starts_with(' '))?;
        line.split_whitespace().next().filter(|name| *name != "help")
    });
    let mut commands = Vec::new();
    for name in names {
        let path = [above, &[name]].concat();
        commands.push(path.iter().map(ToString::to_string).collect());
        commands.extend(self::commands(&path)?);
    }
    Ok(commands)
}

fn manual() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let pages = directory.path().join("man");
    dtr_lb(&["man", pages.to_str().context("a path of text")?])?;
    let written: BTreeSet<String> = fs::read_dir(&pages)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    let commands = commands(&[])?;
    ensure!(commands.len() > 8, "{commands:?}");
    let named = commands.iter().map(|words| format!("dtr-lb-{}.8", words.join("-")));
    let wanted: BTreeSet<String> = named.chain(["dtr-lb.8".to_owned()]).collect();
    ensure!(written == wanted, "{written:?} are written, not {wanted:?}");
    let paths: Vec<PathBuf> = written.iter().map(|name| pages.join(name)).collect();
    // The levels below are matters of style, which the generator does not share, and so are its empty paragraphs. There is no
    // date, on purpose.
    let meant = |line: &str| line.contains("missing date") || line.contains("skipping paragraph macro");
    let lint = Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).args(&paths).output()?;
    let said = [lint.stdout, lint.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let faults: Vec<_> = said.lines().filter(|line| !meant(line)).collect();
    ensure!(faults.is_empty(), "{faults:#?}");
    let shown = run(Command::new("mandoc").args(["-T", "ascii"]).arg(pages.join("dtr-lb-status.8")))?;
    let shown = unstruck(&String::from_utf8_lossy(&shown.stdout));
    for words in ["--healthy", "EXIT STATUS", "No agent is running", "/run/dtr-lb/dtr-lb.sock"] {
        ensure!(shown.contains(words), "no `{words}`: {shown}");
    }
    let first = dtr_lb(&["man"])?;
    ensure!(first == fs::read_to_string(pages.join("dtr-lb.8"))?, "the page is another one");
    Ok(())
}

/// Without the letters that are struck over: that is how mandoc prints bold ones.
fn unstruck(text: &str) -> String {
    let mut plain = String::new();
    for letter in text.chars() {
        match letter {
            '\u{8}' => drop(plain.pop()),
            letter => plain.push(letter),
        }
    }
    plain
}

fn bash() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let script = directory.path().join("dtr-lb");
    fs::write(&script, dtr_lb(&["completions", "bash"])?)?;
    run(Command::new("bash").arg("-n").arg(&script))?;
    // What a shell that has it completes: `dtr-lb det<Tab>`, and `dtr-lb status --h<Tab>`.
    let ask = "source \"$1\"; complete -p dtr-lb >&2; \
               COMP_WORDS=(dtr-lb \"${@:2}\") COMP_CWORD=$(($# - 1)); \
               $(complete -p dtr-lb | sed 's/.*-F \\([^ ]*\\).*/\\1/') dtr-lb \"${@: -1}\" \"${@: -2:1}\"; \
               echo \"${COMPREPLY[@]}\"";
    for (words, want) in [
        (["det"].as_slice(), "detach"),
        (&["status", "--he"], "--help --healthy"),
        (&["completions", "z"], "zsh"),
    ] {
        let output = run(Command::new("bash").args(["-c", ask, "bash"]).arg(&script).args(words))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let said: BTreeSet<_> = said.split_whitespace().collect();
        ensure!(said == want.split(' ').collect(), "{words:?}: {said:?}, not {want}");
    }
    Ok(())
}

fn shells() -> Result<()> {
    for shell in ["bash", "zsh", "fish"] {
        let script = dtr_lb(&["completions", shell])?;
        for words in commands(&[])? {
            let last = words.last().context("a command")?;
            ensure!(script.contains(last.as_str()), "{shell} does not know {words:?}");
        }
    }
    let refused = Command::new(binary()?).args(["completions", "tcsh"]).output()?;
    ensure!(refused.status.code() == Some(2), "{refused:?}");
    Ok(())
}
