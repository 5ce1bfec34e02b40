//! Whole configs on hosts that are made up.

use super::*;
use crate::{
    api::{ApiError, AtPath},
    config::HostFacts,
    interface::Link,
};

/// A host on which all is well.
fn good() -> Facts {
    let link = Link { index: 2, mtu: 1500, up: true, xdp_program: None, carriers: Vec::new() };
    Facts {
        process: process::Facts::good(),
        interfaces: interfaces::Facts {
            seen: Ok(vec![Seen { name: "eth0".into(), link: Some(link) }]),
            known: vec!["lo".into(), "eth0".into()],
            programs: Vec::new(),
            devices: Vec::new(),
        },
        addresses: Ok([IpAddr::from([10, 0, 0, 10]), [10, 0, 0, 2].into()].into()),
        networks: Ok(vec!["10.0.0.2/24".parse().expect("a network")]),
        routers: BTreeMap::new(),
        settings: Settings::default(),
        ipv6_addresses: String::new(),
        probes: Vec::new(),
        endpoints: endpoints::Facts {
            socket: ("/run/dtr-lb/dtr-lb.sock".into(), Ok(AtPath::Nothing)),
            http: None,
            token: Ok(()),
        },
        flow_log: flow_log::Facts { target: None, usable: Ok(()), beside_the_unit: false },
    }
}

fn config(sets: &[&str]) -> Config {
    let text = "vip = \"10.0.0.10\"\ninterfaces = [\"eth0\"]\n[[replica]]\naddress = \"10.0.0.11\"\n";
    let sets: Vec<_> = sets.iter().map(|&set| set.to_owned()).collect();
    Config::parse(text, "test", &sets, &HostFacts { ephemeral_ports: 32768..=60999 })
        .expect("the config is valid")
}

#[test]
fn a_good_host_has_nothing_but_facts() {
    let found = judge(&config(&[]), &good());
    assert!(found.warnings.is_empty() && found.errors.is_empty(), "{found:#?}");
    assert!(found.foreseen.is_empty() && found.held.is_empty(), "{found:#?}");
}

/// `run` refuses by whatever `check` calls an error, at once, and in the same words.
#[test]
fn all_that_keeps_the_agent_from_starting_is_told_at_once() {
    let token = "the admin token in `/t` is not secret: its mode is 644; run `chmod 600` on it";
    let no_place =
        ApiError::NoPlace { path: "/proc/x.sock".into(), reason: "`/proc` takes no sockets".into() };
    let facts = Facts {
        addresses: Ok(BTreeSet::new()),
        probes: vec![(
            "https".into(),
            "the probe of service `https` cannot be made: no such file; check it".into(),
        )],
        endpoints: endpoints::Facts {
            socket: ("/proc/x.sock".into(), Err(no_place)),
            http: None,
            token: Err(token.into()),
        },
        ..good()
    };
    let mut found = judge(&config(&["datapath.nat_addresses=[\"10.0.0.2\"]"]), &facts);
    let refused = found.refusal().expect_err("four things are in the way").to_string();
    let lines: Vec<_> = refused.lines().collect();
    assert_eq!(lines.len(), 4, "{refused}");
    for (line, words) in lines.iter().zip([
        "datapath.nat_addresses has 10.0.0.2, which is not an address of this host; add it",
        "the probe of service `https` cannot be made: no such file; check it",
        "the agent's socket cannot be made at `/proc/x.sock`: `/proc` takes no sockets; set agent.socket",
        token,
    ]) {
        assert!(line.starts_with(words), "{line}");
    }
    assert!(found.warnings[0].contains("the VIP 10.0.0.10 is not an address of this host"), "{found:#?}");
}

#[test]
fn what_the_kernel_does_not_tell_is_an_error() {
    let facts =
        Facts { addresses: Err("no addresses".into()), networks: Err("no networks".into()), ..good() };
    assert_eq!(judge(&config(&[]), &facts).errors.len(), 2);
}
