//! A config from a few options of the command line or variables of the environment, for a start without a file.
//!
//! They become the text of a config, which goes the way of any other; errors name the option instead of a line. `dtr-lb init`
//! prints the same text with comments, so that what it prints means what `dtr-lb run` with the same options does.

use clap::{
    Args,
    builder::{PossibleValue, PossibleValuesParser},
};
use toml_edit::Value;

use super::Config;
use super::choice::Choice;
use super::error::ConfigError;
use super::host_facts::HostFacts;
use super::key::and;
use super::mode::Mode;
use super::preset::Preset;
use super::reference;
use super::replica::WrittenReplica;
use super::source::Source;

/// What a config needs at least, and little more. An empty value counts as none: a variable may be set to nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Without a config file")]
pub struct CommandLine {
    /// What clients connect to; may be given several times
    #[arg(
        long = "vip",
        value_name = "ADDRESS",
        value_delimiter = ',',
        env = "DTR_LB_VIP",
        hide_env_values = true
    )]
    pub vips: Vec<String>,
    /// A replica, by its address or host name; may be given several times
    #[arg(
        long = "replica",
        value_name = "[NAME=]ADDRESS",
        value_delimiter = ',',
        env = "DTR_LB_REPLICAS",
        hide_env_values = true
    )]
    pub replicas: Vec<String>,
    /// What the replicas are, which says ports and health check; dtr if not given
    #[arg(long, value_name = "PRESET", value_parser = words::<Preset>(), env = "DTR_LB_PRESET", hide_env_values = true)]
    pub preset: Option<String>,
    // Not DTR_LB_PORT: Kubernetes sets that in each container beside a service called dtr-lb, to something else.
    /// A port to balance, in place of the preset's; may be given several times
    #[arg(
        long = "port",
        value_name = "PORT",
        value_delimiter = ',',
        env = "DTR_LB_PORTS",
        hide_env_values = true
    )]
    pub ports: Vec<String>,
    /// How packets reach the replicas; nat if not given
    #[arg(long, value_name = "MODE", value_parser = words::<Mode>(), env = "DTR_LB_MODE", hide_env_values = true)]
    pub mode: Option<String>,
    /// An interface that packets arrive on; may be given several times; by the routes if not given
    #[arg(
        long = "interface",
        value_name = "NAME",
        value_delimiter = ',',
        env = "DTR_LB_INTERFACES",
        hide_env_values = true
    )]
    pub interfaces: Vec<String>,
    /// Host header and TLS server name of the health check; the replica's address if not given
    #[arg(long, value_name = "NAME", env = "DTR_LB_HOST", hide_env_values = true)]
    pub host: Option<String>,
}

fn words<T: Choice>() -> PossibleValuesParser {
    let words = T::ALL.iter().map(|choice| PossibleValue::new(choice.word()));
    PossibleValuesParser::new(words.chain([PossibleValue::new("").hide(true)]))
}

impl CommandLine {
    /// Whether it is to be the config: it says what clients connect to, or what is balanced.
    #[must_use]
    pub fn is_config(&self) -> bool {
        some(&self.vips).chain(some(&self.replicas)).next().is_some()
    }

    /// An option that says nothing without those.
    #[must_use]
    pub fn beside_a_file(&self) -> Option<&'static str> {
        [
            ("--preset", one(&self.preset).is_some()),
            ("--port", some(&self.ports).next().is_some()),
            ("--mode", one(&self.mode).is_some()),
            ("--interface", some(&self.interfaces).next().is_some()),
            ("--host", one(&self.host).is_some()),
        ]
        .into_iter()
        .find_map(|(option, given)| given.then_some(option))
    }

    /// The config that it means on this host, with the `--set` items on top.
    ///
    /// # Errors
    /// A fact about this host cannot be read, or the config is not valid.
    pub fn read(&self, overrides: &[String]) -> Result<Config, ConfigError> {
        self.parse(overrides, &HostFacts::read()?)
    }

    /// The same for any host.
    ///
    /// # Errors
    /// The config is not valid.
    pub fn parse(&self, overrides: &[String], host: &HostFacts) -> Result<Config, ConfigError> {
        let missing = |option, example| Err(ConfigError::NoOption { option, example });
        if some(&self.vips).next().is_none() {
            return missing("--vip", "--vip 10.0.0.10");
        }
        if some(&self.replicas).next().is_none() {
            return missing("--replica", "--replica 10.0.0.11 --replica 10.0.0.12");
        }
        let mut lines = Lines { commented: false, ..Lines::default() };
        lines.config(self);
        Config::parse_source(Source::of_options(&lines.text, lines.origins), &lines.text, overrides, host)
    }

    /// A config file that means the same, with comments. What has to be there and is not given is an example.
    #[must_use]
    pub fn to_file(&self) -> String {
        let mut lines = Lines { commented: true, ..Lines::default() };
        lines.comment("A config of dtr-lb. `dtr-lb check` says what is wrong with it, and what would be done on this host.");
        lines.comment("Every key there is: `dtr-lb init --all`, and /usr/share/doc/dtr-lb/configuration.md, or docs/configuration.md in the source.");
        let filled = self.with_examples();
        if filled != *self {
            lines.comment("Addresses in 192.0.2.0/24 are examples (RFC 5737): put your own in.");
        }
        lines.config(&filled);
        lines.text
    }

    /// With examples for what a config has to have.
    #[must_use]
    pub fn with_examples(&self) -> Self {
        let mut filled = self.clone();
        if some(&self.vips).next().is_none() {
            filled.vips = vec!["192.0.2.10".into()];
        }
        if some(&self.replicas).next().is_none() {
            filled.replicas = ["192.0.2.11", "192.0.2.12"].map(str::to_owned).into();
        }
        if self.preset() == Preset::Tcp && some(&self.ports).next().is_none() {
            filled.ports = vec!["443".into()];
        }
        filled
    }

    fn preset(&self) -> Preset {
        one(&self.preset).and_then(Preset::from_word).unwrap_or(Preset::Dtr)
    }
}

fn some(list: &[String]) -> impl Iterator<Item = &str> {
    list.iter().map(String::as_str).filter(|text| !text.is_empty())
}

fn one(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

/// The text of a config, and for each of its lines the option that it is from.
#[derive(Debug, Default)]
struct Lines {
    text: String,
    origins: Vec<String>,
    commented: bool,
}

impl Lines {
    fn push(&mut self, text: &str, origin: &str) {
        self.text.push_str(text);
        self.text.push('\n');
        // A value may have line breaks of its own.
        self.origins.extend(text.split('\n').map(|_| origin.to_owned()));
    }

    fn comment(&mut self, text: &str) {
        if self.commented {
            self.push(&format!("# {text}"), "");
        }
    }

    fn gap(&mut self, comment: &str) {
        if self.commented {
            self.push("", "");
            self.comment(comment);
        }
    }

    /// What the key's declaration says of it.
    fn help(&mut self, key: &str) {
        if self.commented && !self.text.ends_with("\n\n") {
            self.push("", "");
        }
        reference::comment(key).iter().for_each(|line| self.comment(line));
    }

    fn config(&mut self, options: &CommandLine) {
        // What is missing on the whole is told of the first line.
        self.push("", "the command line");
        self.top(options);
        self.services(options);
        let names = WrittenReplica::KEYS.iter().map(|key| format!("`{}`", key.name)).collect::<Vec<_>>();
        self.gap(&format!(
            "The replicas, each with an address or a host name. Their keys are {}.",
            and(&names)
        ));
        for written in some(&options.replicas) {
            let origin = format!("--replica {written}");
            self.push("[[replica]]", &origin);
            let (name, address) = match written.split_once('=') {
                Some((name, address)) => (Some(name), address),
                None => (None, written),
            };
            if let Some(name) = name {
                self.push(&format!("name = {}", quoted(name)), &origin);
            }
            self.push(&format!("address = {}", quoted(address)), &origin);
        }
    }

    fn top(&mut self, options: &CommandLine) {
        self.help("vip");
        self.list("vip", "--vip", some(&options.vips));
        self.help("preset");
        match one(&options.preset) {
            Some(preset) => self.push(&format!("preset = {}", quoted(preset)), &format!("--preset {preset}")),
            None => self.comment("preset = \"dtr\""),
        }
        self.help("interfaces");
        if some(&options.interfaces).next().is_some() {
            self.list("interfaces", "--interface", some(&options.interfaces));
        } else {
            self.comment("interfaces = [\"eth0\"]");
        }
        self.help("host");
        match one(&options.host) {
            Some(host) => self.push(&format!("host = {}", quoted(host)), &format!("--host {host}")),
            None => self.comment("host = \"registry.example.com\""),
        }
    }

    /// A list with an element a line, so that each has a line to be known by.
    fn list<'a>(&mut self, key: &str, option: &str, values: impl Iterator<Item = &'a str>) {
        self.push(&format!("{key} = ["), option);
        for value in values {
            self.push(&format!("    {},", quoted(value)), &format!("{option} {value}"));
        }
        self.push("]", option);
    }

    fn services(&mut self, options: &CommandLine) {
        let preset = options.preset();
        let mode = one(&options.mode);
        // A mode is a service's, so the preset's have to be written for it.
        let own = || preset.services().iter().map(|service| (service.port.to_string(), "--mode"));
        let given = some(&options.ports).map(|port| (port.to_owned(), "--port"));
        let ports: Vec<_> = match (some(&options.ports).next(), mode) {
            (None, None) => Vec::new(),
            (None, Some(_)) => own().collect(),
            (Some(_), _) => given.collect(),
        };
        if ports.is_empty() {
            return;
        }
        self.gap("What is balanced, in place of the preset's services; each port goes to the same port of the replicas.");
        for (port, option) in ports {
            let origin = match option {
                "--mode" => format!("--mode {}", mode.unwrap_or_default()),
                option => format!("{option} {port}"),
            };
            self.push("[[service]]", &origin);
            let number = port.parse::<i64>();
            let known = number.as_ref().ok().and_then(|number| u16::try_from(*number).ok());
            if known.is_none_or(|known| preset.name_of(known).is_none()) {
                let name = match (preset, known) {
                    (Preset::Tcp | Preset::KubernetesApi, _) => format!("port-{port}"),
                    (_, Some(80)) => "http".to_owned(),
                    (_, Some(443)) => "https".to_owned(),
                    _ => format!("port-{port}"),
                };
                self.push(&format!("name = {}", quoted(&name)), &origin);
            }
            let number = number.map_or_else(|_| quoted(&port), |number| number.to_string());
            self.push(&format!("port = {number}"), &origin);
            if let Some(mode) = mode {
                self.push(&format!("mode = {}", quoted(mode)), &format!("--mode {mode}"));
            }
        }
    }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
