use super::*;
use crate::config::HostFacts;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address in a test")
}

fn config(mode: Mode) -> Config {
    let text = "vip = \"10.0.0.10\"\ninterfaces = [\"eth0\", \"eth1\"]\n[[replica]]\naddress = \"10.0.0.11\"\n\
                [[replica]]\naddress = \"10.0.0.12\"\n[[service]]\nname = \"https\"\nport = 443\n";
    let host = HostFacts { ephemeral_ports: 32768..=60999 };
    let mut config = Config::parse(text, "test", &[], &host).expect("the config is valid");
    config.services[0].mode = mode;
    config
}

#[test]
fn a_probe_of_another_port_is_told() {
    for (mode, port, scheme, told) in [
        (Mode::Dsr, 443, Scheme::Https, 0),
        (Mode::Dsr, 8443, Scheme::Https, 1),
        (Mode::Ipip, 8443, Scheme::Tcp, 1),
        (Mode::Ipip, 8443, Scheme::None, 0),
        (Mode::Nat, 8443, Scheme::Https, 0),
        (Mode::Dnat, 8443, Scheme::Https, 0),
    ] {
        let mut config = config(mode);
        config.services[0].probe.port = port;
        config.services[0].probe.scheme = scheme;
        let mut found = Findings::default();
        found.probed_ports(&config);
        assert_eq!(found.warnings.len(), told, "{mode} {port}: {found:?}");
    }
}

#[test]
fn that_probes_cannot_be_steered_keeps_the_agent_from_starting() {
    let old = || Err("this kernel lacks TC links".to_owned());
    for (mode, attach, scheme, kernel, told) in [
        (Mode::Dsr, Attach::Auto, Scheme::Https, Ok(()), 0),
        (Mode::Dsr, Attach::XdpGeneric, Scheme::Https, Ok(()), 1),
        (Mode::Ipip, Attach::XdpGeneric, Scheme::Tcp, old(), 2),
        (Mode::Ipip, Attach::XdpGeneric, Scheme::None, old(), 0),
        (Mode::Nat, Attach::XdpGeneric, Scheme::Https, old(), 0),
        (Mode::Dnat, Attach::XdpGeneric, Scheme::Https, old(), 0),
    ] {
        let mut config = config(mode);
        config.datapath.attach = attach;
        config.services[0].probe.scheme = scheme;
        let mut found = Findings::default();
        found.direct(&config, &BTreeMap::new(), &Settings::default());
        found.steering(&config, &kernel);
        assert_eq!(found.errors.len(), told, "{mode} {attach} {scheme}: {found:?}");
        let hook = attach == Attach::XdpGeneric && told > 0;
        assert_eq!(check_steering(&config).is_err(), hook, "{mode} {attach} {scheme}");
    }
}

#[test]
fn a_router_on_the_way_is_told() {
    let routers = BTreeMap::from([(ip("10.0.0.11"), ip("10.0.0.254"))]);
    for (mode, told) in [(Mode::Dsr, 1), (Mode::Ipip, 0), (Mode::Nat, 0)] {
        let mut found = Findings::default();
        found.direct(&config(mode), &routers, &Settings::default());
        assert_eq!(found.warnings.len(), told, "{mode}: {found:?}");
        assert!(
            found
                .warnings
                .iter()
                .all(|warning| warning.contains("10.0.0.254") && warning.contains("\"ipip\"")),
            "{found:?}"
        );
    }
}

#[test]
fn a_strict_filter_is_told() {
    let config = config(Mode::Dsr);
    for (all, eth0, eth1, told) in [
        (Some("0\n"), Some("0\n"), Some("0\n"), 0),
        (Some("1\n"), Some("0\n"), Some("2\n"), 1),
        (Some("0\n"), Some("1\n"), Some("1\n"), 2),
        (Some("2\n"), Some("1\n"), Some("1\n"), 0),
        (None, None, None, 0),
    ] {
        let values = [("all", all), ("eth0", eth0), ("eth1", eth1)];
        let set =
            values.into_iter().filter_map(|(name, value)| Some((reverse_path(name), value?.to_owned())));
        let set = Settings(set.collect());
        let asked: Vec<_> = settings(&config).collect();
        assert!(set.0.keys().all(|path| asked.contains(path)), "{asked:?}");
        let mut found = Findings::default();
        found.direct(&config, &BTreeMap::new(), &set);
        assert_eq!(found.warnings.len(), told, "{all:?} {eth0:?} {eth1:?}: {found:?}");
    }
}
