//! What `import` writes is a config that the agent takes, whatever the job was.

use std::{net::IpAddr, ops::RangeInclusive, time::Duration};

use dtr_lb_import::{
    Given,
    draft::draft,
    faults,
    job::{
        Affinity, Bind, BindHost, Check, Host, Job, Mode, Rule, Said, Scheme, Server, Service, Source, Step,
        Verify,
    },
    report::{At, Ledger},
    write::write,
};
use proptest::{option::of, prelude::*, sample::select};

use crate::config::{Config, HostFacts};

fn host() -> impl Strategy<Value = Host> {
    select(vec![
        "10.0.0.1",
        "10.0.0.2",
        "10.0.0.3",
        "2001:db8::1",
        "[2001:db8::2]",
        "::ffff:10.0.0.1",
        "127.0.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "replica.example.com",
        "REPLICA.example.com.",
        "<DTR_REPLICA_1_IP>",
        "i-0123",
        "{{ x }}",
        "a\"b\\",
        "192.0.2.11",
        "",
    ])
    .prop_map(Host::read)
}

fn name() -> impl Strategy<Value = String> {
    select(vec!["dtr_443", "a", "", "a b", "ä", "dtr/x#\"'\\\n", "-", "10.0.0.1", "x".repeat(100).leak()])
        .prop_map(str::to_owned)
}

fn time() -> impl Strategy<Value = Duration> {
    select(vec![0, 1, 999, 2_000, 50_000, 600_000, 3_600_000, 86_400_000_000]).prop_map(Duration::from_millis)
}

fn port() -> impl Strategy<Value = u16> {
    select(vec![0, 1, 80, 443, 8080, 8181, 65535])
}

fn bind() -> impl Strategy<Value = Bind> {
    let at = prop_oneof![
        Just(BindHost::Any),
        Just(BindHost::AnyV4),
        Just(BindHost::AnyV6),
        host().prop_map(BindHost::One)
    ];
    (at, port(), 0u16..3)
        .prop_map(|(host, port, more)| Bind { host, ports: port..=port.saturating_add(more) })
}

fn text() -> impl Strategy<Value = String> {
    select(vec![
        "",
        "/",
        "/health",
        "a b",
        "/a b",
        "HEAD",
        "ok\r\n",
        "(",
        "ä",
        "dtr.example.com",
        "dtr.example.com:443",
        "http/1.1",
        "h2",
        "\0",
    ])
    .prop_map(str::to_owned)
}

fn check(at: At) -> impl Strategy<Value = Check> {
    let scheme = select(vec![Scheme::Http, Scheme::Https, Scheme::Tcp, Scheme::Tls]);
    let step = prop_oneof![
        text().prop_map(|text| Step::Send(text.into_bytes())),
        Just(Step::Send(vec![0xff, 0])),
        text().prop_map(Step::Expect),
        text().prop_map(Step::Reject)
    ];
    let pairs = || prop::collection::vec((text(), text()), 0..3);
    let asked = (scheme, of(port()), of(text()), of(text()), of(text()), pairs(), of(text()));
    let verify =
        select(vec![Verify::No, Verify::System, Verify::Ca("/nowhere".into()), Verify::Ca("rel".into())]);
    let ranges: Vec<RangeInclusive<u16>> = vec![200..=299, 0..=99, 100..=599, 404..=404, 590..=700];
    let wanted = (
        prop::collection::vec(select(ranges), 0..3),
        of(text()),
        of(text()),
        pairs(),
        pairs(),
        prop::collection::vec(step, 0..4),
        prop::collection::vec(text(), 0..3),
    );
    let times = (of(time()), of(time()), of(time()), of(time()));
    (asked, verify, wanted, times, of(0u32..3000), of(0u32..3000), of(port())).prop_map(
        move |(asked, verify, wanted, times, rise, fall, agent_port)| {
            let (scheme, port, method, path, host, headers, request_body) = asked;
            let (status, body, reject_body, expect_headers, reject_headers, steps, alpn) = wanted;
            let (interval, fast_interval, down_interval, timeout) = times;
            Check {
                at,
                scheme,
                port,
                method,
                path,
                host,
                headers,
                request_body,
                verify,
                alpn,
                status,
                body,
                reject_body,
                expect_headers,
                reject_headers,
                steps,
                interval,
                fast_interval,
                down_interval,
                timeout,
                rise,
                fall,
                agent_port,
            }
        },
    )
}

fn server(at: At) -> impl Strategy<Value = Server> {
    let parts = (
        of(name()),
        host(),
        of(port()),
        of(0u32..70_000),
        any::<bool>(),
        any::<bool>(),
        of(time()),
        of(0u32..1 << 30),
    );
    (parts, of(check(at))).prop_map(
        move |((name, host, port, weight, backup, out, slow_start, max_flows), check)| Server {
            name,
            at,
            host,
            port,
            weight,
            backup,
            out,
            slow_start,
            max_flows,
            check,
        },
    )
}

fn rule() -> impl Strategy<Value = Rule> {
    let nets = ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "::/0", "2001:db8::/32", "0.0.0.0/0"];
    let of = prop_oneof![
        Just(Source::All),
        select(nets.map(|net| net.parse().unwrap()).to_vec()).prop_map(Source::Net)
    ];
    (any::<bool>(), of).prop_map(|(allow, of)| Rule { allow, of })
}

fn service(at: At) -> impl Strategy<Value = Service> {
    let said = move |bind| Said { value: bind, at };
    let modes = select(vec![Mode::Nat, Mode::Dnat, Mode::Dsr, Mode::Ipip]);
    let limits = (of(time()), of((0u32..2000, time())), of(0u32..2_000_000), of(of(time())), of(modes));
    (
        name(),
        prop::collection::vec(bind(), 0..3),
        prop::collection::vec(server(at), 0..4),
        prop::collection::vec(rule(), 0..4),
        limits,
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(move |(name, binds, servers, rules, limits, denied_are_reset, refuses_if_all_down)| {
            let (idle, passive, flows, affinity, mode) = limits;
            Service {
                name,
                at,
                binds: binds.into_iter().map(said).collect(),
                servers,
                mode: mode.map(|value| Said { value, at }),
                affinity: affinity.map(|timeout| Said { value: Affinity { timeout }, at }),
                rules: rules.into_iter().map(|value| Said { value, at }).collect(),
                denied_are_reset,
                idle: idle.map(|value| Said { value, at }),
                passive: passive.map(|value| Said { value, at }),
                max_new_flows_per_source: flows.map(|value| Said { value, at }),
                refuses_if_all_down,
            }
        })
}

#[test]
fn as_many_services_as_the_datapath_has() {
    assert_eq!(dtr_lb_import::draft::MOST_PLACES, dtr_lb_common::abi::MAX_SERVICES);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_job_becomes_a_config_that_is_valid(
        services in {
            let mut ledger = Ledger::default();
            let file = ledger.file("a.cfg");
            prop::collection::vec(service(ledger.statement(file, (1, 1), "a")), 1..4)
        },
        vips in prop::collection::vec(host(), 0..2),
        given in prop::collection::vec(select(vec!["10.0.0.10", "2001:db8::10", "10.0.0.1"]), 0..2),
    ) {
        let mut ledger = Ledger::default();
        let file = ledger.file("a.cfg");
        let at = ledger.statement(file, (1, 1), "a");
        let vips = vips.into_iter().map(|value| Said { value, at }).collect();
        let known_hosts = vec![("i-0123".into(), IpAddr::from([10, 0, 0, 9]))];
        let job = Job { vips, services, known_hosts, ..Job::default() };
        faults::find(&job, &mut ledger);
        let given = Given { vips: given.into_iter().map(|vip| vip.parse().unwrap()).collect(), ..Given::default() };
        let draft = draft(&job, &given, &|_| false, &mut ledger);
        let config = write(&draft, &ledger);
        if !draft.services.is_empty() {
            let interfaces = ["interfaces=[\"eth0\"]".to_owned()];
            let read = Config::parse(&config, "a.toml", &interfaces, &HostFacts { ephemeral_ports: 32_768..=60_999 });
            prop_assert!(read.is_ok(), "{}\n{config}", read.unwrap_err());
        }
    }
}
