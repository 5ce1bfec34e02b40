use super::*;
use crate::interface::Link;

const OWN: &str = program::XDP;

fn seen(xdp: Option<u32>, up: bool) -> Seen {
    Seen {
        name: "eth0".into(),
        link: Some(Link { index: 2, mtu: 1500, up, xdp_program: xdp, carriers: Vec::new() }),
    }
}

fn judged(program: Option<&str>, attach: Attach, pinned: bool) -> Report {
    let mut report = Report::default();
    let bpffs = Path::new(if pinned { "/" } else { "/nonexistent" });
    let found = program.map(|name| Program { name: Some(name.into()), id: 7 });
    report.interface(&seen(found.as_ref().map(|found| found.id), true), found.as_ref(), attach, bpffs);
    report
}

#[test]
fn an_interface_is_judged_by_the_program_on_it_and_the_hook_that_is_wanted() {
    use Attach::{Auto, Tc, Xdp, XdpGeneric};
    let cases = [
        (None, Auto, false, "no XDP program", 0, 0),
        (None, Tc, false, "no XDP program", 0, 0),
        (Some(OWN), Auto, true, "(dtr-lb's own)", 0, 0),
        (Some(OWN), XdpGeneric, true, "(dtr-lb's own)", 0, 0),
        (Some(OWN), Auto, false, "(another dtr-lb's)", 0, 1),
        (Some("firewall"), Auto, true, "`firewall`, id 7 (not dtr-lb's)", 0, 1),
        (Some("firewall"), Xdp, true, "(not dtr-lb's)", 0, 1),
        (Some("firewall"), XdpGeneric, false, "(not dtr-lb's)", 0, 1),
        (Some("firewall"), Tc, false, "(not dtr-lb's)", 1, 0),
    ];
    for (program, attach, pinned, words, warnings, errors) in cases {
        let report = judged(program, attach, pinned);
        let [fact] = &report.facts[..] else { panic!("{report:?}") };
        assert!(fact.contains("eth0: MTU 1500") && fact.contains(words), "{program:?} {attach}: {fact}");
        assert_eq!((report.warnings.len(), report.errors.len()), (warnings, errors), "{attach}: {report:?}");
    }
}

#[test]
fn what_is_not_there_is_an_error_and_what_is_down_a_warning() {
    let mut report = Report::default();
    let gone = Seen { name: "eth7".into(), link: None };
    report.interface(&gone, None, Attach::Auto, Path::new("/nonexistent"));
    assert!(report.errors[0].contains("no interface `eth7`"), "{report:?}");
    let mut report = Report::default();
    report.interface(&seen(None, false), None, Attach::Auto, Path::new("/nonexistent"));
    assert!(report.errors.is_empty() && report.warnings[0].contains("eth0 is down"), "{report:?}");
}

#[test]
fn addresses_that_are_not_the_hosts_are_told() {
    let text = "vip = \"10.0.0.10\"\ninterfaces = [\"eth0\"]\n[datapath]\nnat_addresses = [\"10.0.0.3\", \
                \"10.0.0.4\"]\n[[replica]]\naddress = \"10.0.0.11\"\n";
    let host = crate::config::HostFacts { ephemeral_ports: 32768..=60999 };
    let config = Config::parse(text, "test", &[], &host).expect("the config is valid");
    let mut report = Report::default();
    report.addresses(&config, &BTreeSet::from([IpAddr::from([10, 0, 0, 3])]));
    assert!(report.errors.len() == 1 && report.errors[0].contains("10.0.0.4"), "{report:?}");
    assert!(report.warnings.len() == 1 && report.warnings[0].contains("10.0.0.10/32 dev eth0"), "{report:?}");
    let mut report = Report::default();
    let own = [[10, 0, 0, 3], [10, 0, 0, 4], [10, 0, 0, 10]].map(IpAddr::from);
    report.addresses(&config, &BTreeSet::from(own));
    assert!(report.warnings.is_empty() && report.errors.is_empty(), "{report:?}");
    let [fact] = &report.facts[..] else { panic!("one VIP is the host's own: {report:?}") };
    assert!(fact.contains("VIP 10.0.0.10: a client on this host is not balanced"), "{fact}");
}
