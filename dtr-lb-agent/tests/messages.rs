//! Error messages as a stranger meets them: each says what failed, on what, why, and what to do. docs/check.md has their text,
//! and this plays each of them: what the document has is what is printed.

use std::{
    collections::BTreeSet,
    fs,
    net::TcpListener,
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    path::Path,
    process::Command,
};

use dtr_lb_agent::{
    agent::{Immutable, NoFile},
    config::{Change, Difference},
    datapath::DatapathError,
    interface::InterfaceError,
};

const DOCUMENT: &str = include_str!("../../docs/check.md");

/// The messages of the document, each with its exit status.
fn documented() -> BTreeSet<(i32, String)> {
    let section = DOCUMENT.split("\n## ").find(|section| section.starts_with("Messages\n"));
    let lines = section.expect("docs/check.md has a section `Messages`").lines();
    let message = |line: &str| {
        let (status, message) = line.strip_prefix("    ")?.split_once("  ")?;
        Some((status.parse().ok()?, message.to_owned()))
    };
    lines.filter_map(message).collect()
}

/// What was found to be printed.
struct Played {
    /// A directory that stands for /etc/dtr-lb and /run/dtr-lb in the document.
    directory: tempfile::TempDir,
    documented: BTreeSet<(i32, String)>,
    met: BTreeSet<(i32, String)>,
}

impl Played {
    fn path(&self, below: &str) -> String {
        self.directory.path().join(below).to_str().expect("text").to_owned()
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(&format!("etc/{name}"));
        fs::write(&path, text).expect("a file");
        path
    }

    /// The document has this message.
    #[track_caller]
    fn words(&mut self, status: i32, message: impl std::fmt::Display) {
        self.any_of(status, [message.to_string()]);
    }

    /// The document has one of these.
    #[track_caller]
    fn any_of(&mut self, status: i32, messages: impl IntoIterator<Item = String>) {
        let messages: Vec<_> = messages.into_iter().map(|message| (status, message)).collect();
        let known: Vec<_> =
            messages.iter().filter(|message| self.documented.contains(message)).cloned().collect();
        assert!(!known.is_empty(), "docs/check.md has none of {messages:#?}");
        self.met.extend(known);
    }

    /// The binary says one of the document's messages, and ends with its status.
    #[track_caller]
    fn says(&mut self, arguments: &[&str]) {
        let output = Command::new(env!("CARGO_BIN_EXE_dtr-lb"))
            .args(arguments)
            .current_dir(self.path("etc"))
            .output()
            .expect("the binary was built with the test");
        let text = String::from_utf8_lossy(&output.stderr)
            .replace(&self.path("etc"), "/etc/dtr-lb")
            .replace(&self.path("run"), "/run/dtr-lb");
        let lines =
            text.lines().map(|line| line.trim_start_matches("dtr-lb: ").trim_start_matches("error: "));
        self.any_of(output.status.code().expect("it ends by itself"), lines.map(str::to_owned));
    }

    /// `check` and `run` say the same of a config, with these arguments.
    #[track_caller]
    fn both(&mut self, config: &str, more: &[&str]) {
        for command in ["check", "run"] {
            self.says(&[&[command, "--config", config], more].concat());
        }
    }
}

/// No agent can start by it: it has an interface that no host has.
const CONFIG: &str = "vip = \"10.0.0.10\"\ninterfaces = [\"none0\"]\n[[service]]\nname = \"https\"\nport = 443\n[[replica]]\naddress = \
                      \"10.0.0.11\"\n[agent]\nsocket = \"SOCKET\"\nhttp = \"\"\n";

#[test]
fn each_says_what_on_what_why_and_what_to_do() {
    let directory = tempfile::tempdir().expect("a directory");
    for below in ["etc", "run"] {
        fs::create_dir(directory.path().join(below)).expect("a directory");
    }
    let mut played = Played { directory, documented: documented(), met: BTreeSet::new() };
    refused_configs(&mut played);
    refused_starts(&mut played);
    failed_commands(&mut played);
    let Played { documented, met, .. } = played;
    let never: Vec<_> = documented.difference(&met).collect();
    assert!(never.is_empty(), "docs/check.md has messages that nothing prints: {never:#?}");
    assert!(met.len() >= 20, "{met:#?}");
}

fn refused_configs(played: &mut Played) {
    played.says(&["check", "--config", "dtr-lb.toml"]);
    let minimal = "vip = \"10.0.0.10\"\ninterfaces = [\"eth0\"]\n";
    for (name, more) in [
        ("key.toml", "weigth = 3\n[[replica]]\naddress = \"10.0.0.11\"\n"),
        ("vip.toml", "[[replica]]\naddress = \"10.0.0.10\"\n"),
    ] {
        played.file(name, &format!("{minimal}{more}"));
        played.both(name, &[]);
    }
    played.both("key.toml", &["--vip", "10.0.0.10", "--replica", "10.0.0.11"]);
    played.says(&["run", "--vip", "10.0.0.10"]);
}

fn refused_starts(played: &mut Played) {
    let config = played.file("dtr-lb.toml", &CONFIG.replace("SOCKET", &played.path("run/dtr-lb.sock")));
    let known = vec!["lo".to_owned(), "eth0".to_owned()];
    played.words(1, InterfaceError::NotFound { name: "eth7".into(), known });
    played.both(&config, &["--set", "datapath.nat_addresses=[\"192.0.2.7\"]"]);

    let token = played.file("token", "0123456789abcdef0123456789abcdef\n");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).expect("permissions");
    played.both(&config, &["--set", &format!("agent.admin_token_file={token:?}")]);
    let none = played.path("etc/none");
    played.both(&config, &["--set", &format!("agent.admin_token_file={none:?}")]);
    let ca = played.file("ca.crt", "no certificate\n");
    played.both(&config, &["--set", &format!("service.0.probe.verify={ca:?}")]);

    played.both(&config, &["--socket", "/proc/dtr-lb.sock"]);
    let file = played.path("etc/token/dtr-lb.sock");
    played.both(&config, &["--socket", &file]);
    let bpffs = played.path("run/pins");
    played.both(&config, &["--set", &format!("agent.bpffs={bpffs:?}")]);

    let agent = played.path("run/other.sock");
    let _agent = UnixListener::bind(&agent).expect("a socket");
    played.says(&["run", "--config", &config, "--socket", &agent]);
    // Whoever has it.
    let _taken = TcpListener::bind("127.0.0.1:8181");
    played.says(&["check", "--config", &config, "--set", "agent.http=127.0.0.1:8181"]);
    // What needs a datapath to be there.
    let (interface, pins) = ("eth0".to_owned(), Path::new("/sys/fs/bpf/dtr-lb"));
    let holder = "`firewall`, id 7 (not dtr-lb's)".to_owned();
    played.words(1, DatapathError::Busy { interface: interface.clone(), holder });
    played.words(1, DatapathError::NoNativeXdp { interface, reason: "Operation not supported".into() });
    played.words(1, DatapathError::Locked { path: pins.into() });
    played.words(
        2,
        Immutable(Difference {
            key: "datapath.max_flows".into(),
            before: "1048576".into(),
            after: "65536".into(),
            change: Change::Detach,
        }),
    );
    played.words(2, NoFile::Reload);
}

fn failed_commands(played: &mut Played) {
    let socket = played.path("run/none.sock");
    for command in [&["status"][..], &["reload"], &["replica", "drain", "10.0.0.11"], &["flows"]] {
        played.says(&[command, &["--socket", &socket]].concat());
    }
    let config = played.path("etc/dtr-lb.toml");
    played.says(&["check", "--diff", "--config", &config, "--socket", &socket]);
    played.says(&["explain", "dtr.example.com", "10.0.0.10:443", "--socket", &socket]);
    played.says(&["init", "--vip", "10.0.0.10", "--replica", "10.0.0.11", "--preset", "habor"]);
    played.says(&["top", "--socket", &socket]);
}
