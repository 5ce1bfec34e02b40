//! The config from outside: text in, a [`Config`] or a list of [`Problem`]s out.

mod command_line;
mod edit;
mod forwarding;
mod overrides;
mod preset;
mod probes;
mod properties;
mod refused;
mod shape;
mod valid;

use super::{Config, ConfigError, HostFacts, Place, Problem};

/// Two lines, then four: whatever a test appends begins at line 7.
const TOP: &str = "vip = \"10.0.0.10\"\ninterfaces = [\"eth0\"]\n";
const REPLICAS: &str = "[[replica]]\naddress = \"10.0.0.11\"\n[[replica]]\naddress = \"10.0.0.12\"\n";

/// A service, for after [`short_and`]: its first line is 7.
const SERVICE: &str = "[[service]]\nname = \"a\"\nport = 443\n";

/// A small valid config and `more`, which begins at line 7.
fn short_and(more: &str) -> String {
    format!("{TOP}{REPLICAS}{more}")
}

/// Line 7 is `[[service]]`, 10 the first of `more`.
fn service(more: &str) -> String {
    short_and(&format!("{SERVICE}{more}"))
}

/// Line 10 is `[service.probe]`, 11 the first of `more`.
fn probe(more: &str) -> String {
    service(&format!("[service.probe]\n{more}"))
}

/// A host as Linux comes: `net.ipv4.ip_local_port_range` is 32768 to 60999.
fn host() -> HostFacts {
    HostFacts { ephemeral_ports: 32_768..=60_999 }
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    parse_with(text, &[])
}

fn parse_with(text: &str, overrides: &[&str]) -> Result<Config, ConfigError> {
    let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
    Config::parse(text, "test.toml", &overrides, &host())
}

fn valid(text: &str) -> Config {
    parse(text).unwrap_or_else(|error| panic!("refused:\n{error}\n--- config:\n{text}"))
}

fn problems(text: &str) -> Vec<Problem> {
    problems_with(text, &[])
}

fn problems_with(text: &str, overrides: &[&str]) -> Vec<Problem> {
    match parse_with(text, overrides) {
        Ok(config) => panic!("accepted: {config:#?}\n--- config:\n{text}"),
        Err(error) => {
            assert_eq!(error.to_string().lines().count(), error.problems().len(), "one line each: {error}");
            error.problems().to_vec()
        }
    }
}

/// A config with one thing wrong: where, on which key, and words that the message has to have.
struct Case {
    text: String,
    line: usize,
    key: &'static str,
    says: &'static [&'static str],
}

fn case(text: impl Into<String>, line: usize, key: &'static str, says: &'static [&'static str]) -> Case {
    Case { text: text.into(), line, key, says }
}

fn check(cases: &[Case]) {
    for Case { text, line, key, says } in cases {
        let problems = problems(text);
        let message = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert_eq!(problems.len(), 1, "one problem expected:\n{message}\n--- config:\n{text}");
        assert_eq!(problems[0].key, *key, "{message}");
        let start = format!("test.toml:{line}:");
        assert!(message.starts_with(&start), "line {line} expected: {message}\n--- config:\n{text}");
        assert!(key.is_empty() || message.contains(&format!("`{key}")), "{message}");
        for words in *says {
            assert!(message.contains(words), "{words:?} expected: {message}");
        }
    }
}
