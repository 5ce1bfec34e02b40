//! What the documents say is what the code has: the table of verdicts, links, commands, configs, messages; and the documents that
//! messages name are there.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use clap::{CommandFactory as _, Parser as _};
use dtr_lb_agent::{
    cli::Cli,
    config::{Config, HostFacts},
    datapath::memory,
};
use dtr_lb_common::verdict::Verdict;
use regex::Regex;

/// Where the table of verdicts stands.
const VERDICTS: &str = "docs/verdicts.md";
const BEGIN: &str = "<!-- verdicts: begin. Made of dtr-lb-common/src/verdict.rs. -->\n";
const END: &str = "<!-- verdicts: end -->\n";
/// Set to anything, the test writes the table in place of comparing it.
const WRITE: &str = "DTR_LB_WRITE_DOCUMENTS";

fn repository() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    &ROOT
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Documents for people, each with its path in the repository.
fn documents() -> Vec<(String, String)> {
    let mut names = vec!["README.md".to_owned(), "CONTRIBUTING.md".into(), "ARCHITECTURE.md".into()];
    for entry in fs::read_dir(repository().join("docs")).expect("docs is there") {
        let name = entry.expect("an entry").file_name().into_string().expect("a name");
        if name.ends_with(".md") {
            names.push(format!("docs/{name}"));
        }
    }
    names.sort();
    names.into_iter().map(|name| (name.clone(), read(&repository().join(&name)))).collect()
}

/// The table as it has to stand in the document.
fn table() -> String {
    let mut table = String::from("| verdict | action | meaning | what to do |\n|---|---|---|---|\n");
    for verdict in Verdict::ALL {
        let (name, action) = (verdict.name(), verdict.action().name());
        let (meaning, advice) = (linked(verdict.meaning()), linked(verdict.advice()));
        table.push_str(&format!("| `{name}` | {action} | {meaning} | {advice}{}|\n", space_after(&advice)));
    }
    table
}

fn space_after(cell: &str) -> &'static str {
    if cell.is_empty() { "" } else { " " }
}

/// The catalogue names documents by their paths in the repository; here they are links.
fn linked(text: &str) -> String {
    named_documents().replace_all(text, "[$name]($name.md$anchor)").into_owned()
}

/// A document named by its path, perhaps with a section.
fn named_documents() -> &'static Regex {
    static NAMED: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"docs/(?<name>[a-z][a-z-]+)\.md(?<anchor>#[a-z0-9-]+)?").expect("a pattern")
    });
    &NAMED
}

#[test]
fn the_table_of_verdicts_is_the_catalogue() {
    let path = repository().join(VERDICTS);
    let text = read(&path);
    let (before, rest) = text.split_once(BEGIN).expect("the mark before the table");
    let (found, after) = rest.split_once(END).expect("the mark after the table");
    let table = table();
    if env::var_os(WRITE).is_some() {
        fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).expect("it can be written");
        return;
    }
    assert!(
        found == table,
        "{VERDICTS} is not the catalogue; to write it: {WRITE}=1 cargo test -p dtr-lb-agent --test documents"
    );
}

/// The anchor that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    let mut in_fence = false;
    let mut found = BTreeSet::new();
    for line in text.lines() {
        in_fence ^= line.starts_with("```");
        if let Some(heading) = line.strip_prefix('#').filter(|_| !in_fence) {
            found.insert(anchor(heading.trim_start_matches('#')));
        }
    }
    found
}

/// What is wrong with a reference to a document, if anything is.
fn broken(from: &str, path: &Path, section: Option<&str>) -> Option<String> {
    let whole = repository().join(path);
    if !whole.exists() {
        return Some(format!("{from} names {}, which is not there", path.display()));
    }
    let section = section?;
    let is_there = anchors(&read(&whole)).contains(section);
    (!is_there).then(|| format!("{from}: {} has no section #{section}", path.display()))
}

#[test]
fn each_link_leads_somewhere() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").expect("a pattern");
    let mut wrong = Vec::new();
    for (name, text) in documents() {
        for found in link.captures_iter(&text) {
            let to = &found[1];
            if to.contains("://") {
                continue;
            }
            let (file, section) =
                to.split_once('#').map_or((to, None), |(file, section)| (file, Some(section)));
            let directory = Path::new(&name).parent().unwrap_or(Path::new(""));
            let path = if file.is_empty() { PathBuf::from(&name) } else { directory.join(file) };
            wrong.extend(broken(&name, &path, section));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_index_has_each_document() {
    let index = read(&repository().join("docs/README.md"));
    for (name, _) in documents() {
        if let Some(file) = name.strip_prefix("docs/").filter(|file| *file != "README.md") {
            assert!(index.contains(&format!("]({file}")), "docs/README.md does not name {file}");
        }
    }
}

/// Messages, help texts, alerts and comments name documents; so does the catalogue.
#[test]
fn each_document_that_is_named_is_there() {
    let mut sources = Vec::new();
    for directory in [
        "dtr-lb-agent",
        "dtr-lb-common",
        "dtr-lb-ebpf",
        "dtr-lb-import",
        "xtask",
        "tests",
        "packaging",
        "examples",
    ] {
        sources_below(&repository().join(directory), &mut sources);
    }
    assert!(sources.len() > 100, "{}", sources.len());
    let mut wrong = Vec::new();
    for source in sources {
        let name = source.display().to_string();
        for found in named_documents().captures_iter(&read(&source)) {
            let section = found.name("anchor").map(|anchor| &anchor.as_str()[1..]);
            wrong.extend(broken(&name, &Path::new("docs").join(format!("{}.md", &found["name"])), section));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn sources_below(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display())) {
        let path = entry.expect("an entry").path();
        let kind = path.extension().unwrap_or_default();
        let is_text = ["rs", "js", "html", "json", "yml", "toml", "service"].iter().any(|ext| kind == *ext);
        if path.is_dir() && !path.ends_with("node_modules") {
            sources_below(&path, found);
        } else if is_text {
            found.push(path);
        }
    }
}

/// What follows `dtr-lb` in code of a document, up to what the shell takes for itself.
fn commands(text: &str) -> Vec<String> {
    let mut in_fence = false;
    let mut found = Vec::new();
    for line in text.lines() {
        in_fence ^= line.starts_with("```");
        let code = line.trim_start_matches("$ ");
        let Some(code) = code.strip_prefix("    ").or(in_fence.then_some(code)) else { continue };
        for part in code.split(['|', ';', '&', '#', '>']) {
            if let Some(words) = part.trim().strip_prefix("dtr-lb ") {
                found.push(words.to_owned());
            }
        }
    }
    found
}

#[test]
fn each_command_is_one() {
    let mut count = 0;
    for (name, text) in documents() {
        for command in commands(&text) {
            count += 1;
            let words = command.split_whitespace().map(|word| word.trim_matches(['"', '\'']));
            // What stands for anything is checked as far as it is named.
            let is_whole = !command.contains("...") && !command.contains('[');
            let parsed = Cli::try_parse_from(["dtr-lb"].into_iter().chain(words.clone()));
            if is_whole && let Err(error) = parsed {
                panic!("{name}: `dtr-lb {command}`: {error}");
            }
            let first = words.clone().next().expect("a word");
            assert!(is_subcommand(first), "{name}: `dtr-lb {command}`");
        }
    }
    assert!(count > 40, "{count}");
}

fn is_subcommand(word: &str) -> bool {
    Cli::command().get_subcommands().any(|command| command.get_name() == word)
}

/// Commands in a sentence, as far as their names.
#[test]
fn each_command_in_a_sentence_is_one() {
    let inline = Regex::new(r"`dtr-lb ([a-z]+)\b").expect("a pattern");
    for (name, text) in documents() {
        for found in inline.captures_iter(&text) {
            assert!(is_subcommand(&found[1]), "{name}: `dtr-lb {}`", &found[1]);
        }
    }
}

/// Every example of a config in a document is one.
#[test]
fn each_config_is_valid() {
    let host = HostFacts { ephemeral_ports: 32768..=60999 };
    for (name, text) in documents() {
        for example in text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            if let Err(error) = Config::parse(example, &name, &[], &host) {
                panic!("{error}\n{example}");
            }
        }
    }
}

/// The table below `## Memory`, and what the README says of the default.
#[test]
fn the_figures_of_memory_are_the_estimate() {
    let sizing = read(&repository().join("docs/sizing.md"));
    let section =
        sizing.split("\n## ").find(|section| section.starts_with("Memory\n")).expect("a section `Memory`");
    let row = Regex::new(r"(?m)^\| ([0-9,]+)[^|]* \| ([0-9,]+) \|$").expect("a pattern");
    let number = |text: &str| text.replace(',', "").parse::<u32>().expect("a number");
    let rows: Vec<_> = row.captures_iter(section).map(|row| (number(&row[1]), number(&row[2]))).collect();
    assert_eq!(rows.len(), 5);
    let mib = |max_flows| memory::estimate(max_flows).div_ceil(1 << 20);
    for (max_flows, said) in rows {
        assert_eq!(mib(max_flows), u64::from(said), "docs/sizing.md: {max_flows} flows");
    }
    let default = format!("{} MiB of kernel memory", mib(1_048_576));
    for (name, text) in
        documents().into_iter().filter(|(name, _)| ["README.md", "docs/sizing.md"].contains(&&**name))
    {
        assert!(text.contains(&default), "{name} does not say `{default}`");
    }
}

/// The first column of docs/messages.md: what stands there is in the code, up to what the code fills in.
#[test]
fn each_message_is_one() {
    let mut sources = Vec::new();
    sources_below(&repository().join("dtr-lb-agent/src"), &mut sources);
    let continued = Regex::new(r"\\\n\s*").expect("a pattern");
    let code: String =
        sources.iter().map(|source| continued.replace_all(&read(source), "").into_owned()).collect();
    let quoted = Regex::new("`([^`]+)`").expect("a pattern");
    let filled_in = Regex::new(r"\.\.\.|/\.\.\./|\b[NM]\b").expect("a pattern");
    let text = read(&repository().join("docs/messages.md"));
    let mut count = 0;
    let mut unknown = Vec::new();
    for row in text.lines().filter(|line| line.starts_with("| `")) {
        let cell = row.trim_start_matches("| ").split(" | ").next().unwrap_or_default();
        for message in quoted.captures_iter(cell) {
            for part in filled_in.split(&message[1]).map(|part| part.trim_matches([' ', ':', '(', ')', ',']))
            {
                count += 1;
                let last_is_filled_in =
                    part.rsplit_once(' ').is_some_and(|(first, _)| code.contains(&format!("{first} {{")));
                let after_subject = part.splitn(3, ' ').nth(2).unwrap_or(part);
                if !(code.contains(part)
                    || last_is_filled_in
                    || (after_subject.len() > 12 && code.contains(after_subject)))
                {
                    unknown.push(part.to_owned());
                }
            }
        }
    }
    assert!(count > 80, "{count}");
    assert!(unknown.is_empty(), "docs/messages.md has what no code says: {unknown:#?}");
}

/// Scripts and alerts rely on the names of lines.
#[test]
fn each_name_of_a_line_is_documented() {
    let mut sources = Vec::new();
    sources_below(&repository().join("dtr-lb-agent/src"), &mut sources);
    sources.retain(|source| !source.ends_with("tests.rs") && !source.to_string_lossy().contains("/tests/"));
    let name = Regex::new(r#"\bevent = "([a-z_]+)""#).expect("a pattern");
    let code: String = sources.iter().map(|source| read(source)).collect();
    let text = read(&repository().join("docs/messages.md"));
    let names: BTreeSet<_> = name.captures_iter(&code).map(|found| found[1].to_owned()).collect();
    assert!(names.len() > 15, "{names:?}");
    let missing: Vec<_> = names.iter().filter(|name| !text.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/messages.md does not have {missing:?}");
}

#[test]
fn the_readers_of_documents_see_what_is_there() {
    assert_eq!(anchor(" `allow` and `deny`, or: what?"), "allow-and-deny-or-what");
    assert_eq!(
        commands("    dtr-lb check && dtr-lb run  # so\ndtr-lb no\n```\n$ dtr-lb top\n```\n"),
        ["check", "run", "top"]
    );
    let text = linked("See docs/sizing.md#flows. Or docs/floods.md.");
    assert_eq!(text, "See [sizing](sizing.md#flows). Or [floods](floods.md).");
}
