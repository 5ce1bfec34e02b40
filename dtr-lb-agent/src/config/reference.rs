//! What people read about the keys, as the declarations have it: `examples/dtr-lb.toml`, which `dtr-lb init --all` prints, the
//! comments of `dtr-lb init`, and the tables of `docs/configuration.md`.

use super::key::{About, Key, Level};
use super::keys;

/// So wide are the comments of a config.
const WIDTH: usize = 110;

const HEAD: &str = "\
# The reference config of dtr-lb: every key, what it takes and what it is if you leave it out. A key that is commented out has no
# default, or one that depends on others: its value here is an example.
#
# Copy minimal.toml to /etc/dtr-lb/dtr-lb.toml to begin with, or what `dtr-lb init` prints, and take from here what you need.
# `dtr-lb check --config FILE` says what is wrong with a config, with its line, and touches nothing.
# One key can be set on the command line: `--set datapath.attach=tc`, `--set replica.0.weight=50`
# (tables and list elements count from 0).
#
# An unknown key, or one that would do nothing where it stands, is refused: none is ever ignored. Durations are strings with units:
# \"500ms\", \"2s\", \"1h 30m\".
";

/// A config with every key, each with its help and its default.
#[must_use]
pub fn every_key() -> String {
    let mut text = HEAD.to_owned();
    push(keys::FILE, &mut text);
    text
}

/// What there is to say about a key above its line; empty if there is no such key.
pub(super) fn comment(key: &str) -> Vec<String> {
    keys::find(key).map(|key| lines(key, &(key.about)())).unwrap_or_default()
}

fn push(level: Level, text: &mut String) {
    let known: Vec<_> = keys::in_level(level).map(|key| (key, (key.about)())).collect();
    // In TOML, the keys of a table come before the tables in it.
    for (key, about) in known.iter().filter(|(_, about)| about.header.is_empty()) {
        text.push('\n');
        lines(key, about).iter().for_each(|line| text.push_str(&format!("# {line}\n")));
        let comment = if about.commented { "# " } else { "" };
        text.push_str(&format!("{comment}{} = {}\n", key.name, about.example));
    }
    for (key, about) in known.iter().filter(|(_, about)| !about.header.is_empty()) {
        text.push_str(&format!("\n\n# {}\n{}\n", plain(&key.help()), about.header));
        push(about.below, text);
        text.push_str(about.more);
    }
}

/// Help, values, what it takes and its default.
fn lines(key: &Key, about: &About) -> Vec<String> {
    let mut lines = wrapped(&plain(&key.help()));
    let width = about.values.iter().map(|(word, _)| word.len() + 2).max().unwrap_or_default();
    for (word, help) in &about.values {
        let word = format!("\"{word}\"");
        lines.extend(wrapped(&plain(help)).into_iter().enumerate().map(|(number, line)| {
            format!("  {:width$}  {line}", if number == 0 { word.as_str() } else { "" })
        }));
    }
    let takes = if about.values.is_empty() { format!("Takes {}. ", about.takes) } else { String::new() };
    let default = match about.default.as_str() {
        "–" => "Required".to_owned(),
        default => format!("Default: {}", plain(default).replace('`', "")),
    };
    lines.extend(wrapped(&format!("{takes}{default}.")));
    lines
}

fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().filter(|line| line.is_empty() || line.len() + 1 + word.len() <= WIDTH);
        match last {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) => line.extend([" ", word]),
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Markdown without its links.
fn plain(markdown: &str) -> String {
    let mut text = markdown.to_owned();
    while let Some(middle) = text.find("](") {
        let (Some(start), Some(end)) = (text[..middle].rfind('['), text[middle..].find(')')) else { break };
        text.replace_range(middle..=middle + end, "");
        text.remove(start);
    }
    text
}

#[cfg(test)]
mod tests;
