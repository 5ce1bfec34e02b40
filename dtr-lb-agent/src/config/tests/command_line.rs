//! A config without a file: what options mean, how their errors name them, and that `init` prints the same.

use proptest::prelude::*;

use super::{host, parse_with};
use crate::config::{CommandLine, Config, ConfigError, Mode, Place, Preset, Scheme};

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

fn options(vips: &[&str], replicas: &[&str]) -> CommandLine {
    CommandLine { vips: texts(vips), replicas: texts(replicas), ..CommandLine::default() }
}

fn valid(options: &CommandLine) -> Config {
    options.parse(&[], &host()).unwrap_or_else(|error| panic!("{options:?}: {error}"))
}

fn error(options: &CommandLine) -> String {
    options.parse(&[], &host()).expect_err("it is not valid").to_string()
}

#[test]
fn a_vip_and_replicas_are_enough() {
    let config = valid(&options(&["10.0.0.10"], &["10.0.0.11", "second=10.0.0.12", "dtr.example.com"]));
    let text = "vip = \"10.0.0.10\"\n[[replica]]\naddress = \"10.0.0.11\"\n[[replica]]\nname = \"second\"\n\
                address = \"10.0.0.12\"\n[[replica]]\naddress = \"dtr.example.com\"\n";
    assert_eq!(config, super::valid(text));
    assert!(config.by_routes);
}

#[test]
fn each_option_is_its_key() {
    let all = CommandLine {
        preset: Some("harbor".into()),
        ports: texts(&["443", "8443"]),
        mode: Some("dsr".into()),
        interfaces: texts(&["eth0", "eth1"]),
        host: Some("dtr.example.com".into()),
        ..options(&["10.0.0.10", "10.0.0.9"], &["10.0.0.11"])
    };
    let config = valid(&all);
    assert_eq!(config.interfaces, ["eth0", "eth1"]);
    assert_eq!(config.host.as_deref(), Some("dtr.example.com"));
    let named: Vec<_> = config.services.iter().map(|s| (s.name.as_str(), s.port, s.mode)).collect();
    assert_eq!(named, [("https", 443, Mode::Dsr), ("port-8443", 8443, Mode::Dsr)]);
    assert_eq!(config.services[0].probe.path, "/api/v2.0/health");
    let only_mode = CommandLine { mode: Some("dsr".into()), ..options(&["10.0.0.10"], &["10.0.0.11"]) };
    let named: Vec<_> = valid(&only_mode).services.into_iter().map(|s| (s.name, s.mode)).collect();
    assert_eq!(named, [("http".to_owned(), Mode::Dsr), ("https".to_owned(), Mode::Dsr)]);
    let tcp = CommandLine {
        preset: Some("tcp".into()),
        ports: texts(&["443"]),
        ..options(&["10.0.0.10"], &["10.0.0.11"])
    };
    assert_eq!(valid(&tcp).services[0].probe.scheme, Scheme::Tcp);
    let on_top = options(&["10.0.0.10"], &["10.0.0.11"]).parse(&texts(&["datapath.attach=tc"]), &host());
    assert_eq!(on_top.expect("a valid config").datapath.attach.as_str(), "tc");
}

#[test]
fn what_is_set_to_nothing_is_not_given() {
    let empty = CommandLine {
        preset: Some(String::new()),
        ports: texts(&[""]),
        mode: Some(String::new()),
        interfaces: texts(&[""]),
        host: Some(String::new()),
        ..options(&[""], &[""])
    };
    assert!(!empty.is_config() && empty.beside_a_file().is_none());
    let same = CommandLine { vips: texts(&["10.0.0.10"]), replicas: texts(&["10.0.0.11", ""]), ..empty };
    assert_eq!(valid(&same), valid(&options(&["10.0.0.10"], &["10.0.0.11"])));
}

#[test]
fn errors_name_the_option() {
    let good = || options(&["10.0.0.10"], &["10.0.0.11"]);
    let port = |port: &str| CommandLine { ports: texts(&[port]), ..good() };
    for (options, start, words) in [
        (options(&["10.0.0.300"], &["10.0.0.11"]), "--vip 10.0.0.300: ", "allowed: an IP address"),
        (options(&["10.0.0.10"], &["10.0.0.11", "a=b c"]), "--replica a=b c: ", "not an IP address"),
        (options(&["10.0.0.10"], &["10.0.0.11", "10.0.0.11"]), "--replica 10.0.0.11: ", "10.0.0.11"),
        (
            options(&["10.0.0.10"], &["10.0.0.10"]),
            "--replica 10.0.0.10: ",
            "is a VIP as well (vip[0], --vip 10.0.0.10)",
        ),
        (options(&["10.0.0.10"], &["a b=10.0.0.11"]), "--replica a b=10.0.0.11: ", "not usable as a name"),
        (port("0"), "--port 0: ", "between 1 and 65535"),
        (port("http"), "--port http: ", "wrong type"),
        (CommandLine { interfaces: texts(&["a/b"]), ..good() }, "--interface a/b: ", "no \"/\""),
        (CommandLine { host: Some("a b".into()), ..good() }, "--host a b: ", "host"),
        (CommandLine { preset: Some("tcp".into()), ..good() }, "the command line: `service`", "--port"),
        (
            options(&["10.0.0.10"], &["a\nb\"=10.0.0.11"]),
            "--replica a\\nb\"=10.0.0.11: ",
            "not usable as a name",
        ),
        (options(&[], &["10.0.0.11"]), "--vip is missing", "--vip 10.0.0.10"),
        (options(&["10.0.0.10"], &[]), "--replica is missing", "--replica 10.0.0.11"),
    ] {
        let error = error(&options);
        assert!(error.starts_with(start) && error.contains(words), "{start:?}, {words:?}: {error}");
    }
}

#[test]
fn without_options_init_has_examples() {
    let text = CommandLine::default().to_file();
    let config = parse_with(&text, &[]).expect("a valid config");
    assert_eq!(config, valid(&CommandLine::default().with_examples()));
    assert!(text.contains("192.0.2.10") && text.contains("put your own in"), "{text}");
    let tcp = CommandLine { preset: Some("tcp".into()), ..CommandLine::default() };
    parse_with(&tcp.to_file(), &[]).expect("a valid config");
}

fn any_options() -> impl Strategy<Value = CommandLine> {
    let vips =
        prop::collection::vec(prop::sample::select(vec!["10.0.0.10", "10.0.0.9", "2001:db8::10"]), 1..3);
    let replica = prop_oneof![
        (11_u8..20).prop_map(|last| format!("10.0.0.{last}")),
        (11_u8..20).prop_map(|last| format!("r{last}=10.0.0.{last}")),
        (1_u8..9).prop_map(|last| format!("2001:db8::{last}")),
        "[a-z]{1,8}\\.example\\.com",
        "\\PC{0,12}",
    ];
    let word =
        |words: Vec<&'static str>| prop::option::of(prop::sample::select(words).prop_map(str::to_owned));
    let presets = Preset::ALL.iter().map(|preset| preset.as_str()).collect();
    let ports = prop::collection::vec(
        prop_oneof![
            prop::sample::select(vec!["80", "443", "5000", "6443"]).prop_map(str::to_owned),
            any::<u16>().prop_map(|port| port.to_string()),
        ],
        0..3,
    );
    let interfaces = prop::collection::vec(prop::sample::select(vec!["eth0", "bond0.7"]), 0..2);
    (
        vips,
        prop::collection::vec(replica, 1..5),
        word(presets),
        ports,
        word(vec!["nat", "dnat"]),
        interfaces,
        word(vec!["dtr.example.com"]),
    )
        .prop_map(|(vips, replicas, preset, ports, mode, interfaces, host)| CommandLine {
            vips: texts(&vips),
            replicas,
            preset,
            ports,
            mode,
            interfaces: texts(&interfaces),
            host,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn init_prints_what_run_does(options in any_options()) {
        match options.parse(&[], &host()) {
            Ok(config) => prop_assert_eq!(super::valid(&options.to_file()), config),
            Err(ConfigError::Invalid(problems)) => {
                for problem in problems {
                    prop_assert!(matches!(&problem.place, Place::Option(option) if !option.is_empty()), "{}", problem);
                }
                // An example may be what is missing: a port under the preset tcp.
                let printed = Config::parse(&options.to_file(), "init", &[], &host()).ok();
                prop_assert_eq!(printed, options.with_examples().parse(&[], &host()).ok());
            }
            Err(ConfigError::NoOption { .. }) => {
                prop_assert!(options.replicas.iter().all(String::is_empty), "{:?}", options);
            }
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        }
    }
}
