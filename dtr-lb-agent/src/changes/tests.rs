//! Changes from outside: file, names and changes in; config, notes and what is kept out.

mod effective;
mod file;

use super::*;
use crate::config::{HostFacts, Replica};

const TOP: &str = "vip = \"10.0.0.10\"\ninterfaces = [\"eth0\"]\n";

/// Two replicas with addresses; services `http` and `https`.
const FIXED: &str =
    "[[replica]]\nname = \"r1\"\naddress = \"10.0.0.11\"\n[[replica]]\naddress = \"10.0.0.12\"\n";

/// A host name, then an address, in one service `s`.
const NAMED: &str = "[[replica]]\naddress = \"dtr.example.com\"\nweight = 50\n[[replica]]\nname = \"r1\"\n\
                     address = \"10.0.0.11\"\n[[service]]\nname = \"s\"\nport = 443\nreplica_port = 4443\n";

fn config(text: &str) -> Config {
    let host = HostFacts { ephemeral_ports: 32_768..=60_999 };
    Config::parse(&format!("{TOP}{text}"), "test.toml", &[], &host).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn names(of: &[(&str, &[&str])]) -> Names {
    of.iter().map(|(name, texts)| ((*name).to_owned(), texts.iter().map(|text| ip(text)).collect())).collect()
}

fn listed(name: &str, host: &str) -> Listed {
    let host = Host::parse(host).unwrap();
    Listed { name: name.into(), host, weight: 100, slow_start: std::time::Duration::ZERO, backup: false }
}

/// `name address:port weight admin`, of the first service.
fn shown(config: &Config) -> Vec<String> {
    let show = |replica: &Replica| {
        let Replica { name, address, port, weight, admin, .. } = replica;
        format!("{name} {address}:{port} {weight} {admin}")
    };
    config.services[0].replicas.iter().map(show).collect()
}

#[test]
fn what_is_as_in_the_file_is_no_change() {
    let mut changes = Changes::default();
    changes.set_admin("s", ip("10.0.0.11"), Admin::Drain);
    changes.set_weight("s", ip("10.0.0.11"), Some(7));
    assert!(!changes.is_empty());
    changes.set_admin("s", ip("10.0.0.11"), Admin::Ready);
    changes.set_weight("s", ip("10.0.0.11"), None);
    assert!(changes.is_empty());

    changes.add("s", listed("r4", "10.0.0.14"));
    changes.set_admin("s", ip("10.0.0.14"), Admin::Maint);
    changes.remove("s", ip("10.0.0.14"));
    assert!(changes.is_empty(), "{changes:?}");

    changes.add("s", listed("more", "more.example.com"));
    assert!(!changes.remove_name("s", "less.example.com"));
    assert!(changes.remove_name("s", "more.example.com"));
    assert!(changes.is_empty(), "{changes:?}");
}

#[test]
fn an_answer_is_news_once() {
    let mut changes = Changes::default();
    let now = Timestamp::UNIX_EPOCH;
    let answer = names(&[("a", &["10.0.0.11", "10.0.0.12"]), ("b", &[])]);
    assert!(changes.answered(&answer, now));
    assert!(!changes.answered(&answer, now));
    assert_eq!(changes.names(), names(&[("a", &["10.0.0.11", "10.0.0.12"])]), "an empty answer is none");
    assert!(!changes.answered(&names(&[("a", &[])]), now), "the last good one stays");
    assert!(changes.answered(&names(&[("a", &["10.0.0.12"])]), now));
}
