//! What an operator sees of the datapath: its connections, where one would go, and what happens to each packet.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use dtr_lb_agent::explain::Explanation;
use dtr_lb_tests::{
    balancer::service_with,
    lab::{Families, Flood, LabOptions, literal, until},
};
use serde_json::from_slice;

use crate::{BOTH_HOOKS, CROSSWISE, Place, Scenario, Stage};

pub(crate) mod trace;

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("flows_lists_what_status_counts", CROSSWISE, flows),
    ("explain_says_who_answers", CROSSWISE, explain),
    ("a_trace_shows_requests_and_refusals", CROSSWISE, trace::shows),
    ("a_trace_is_a_capture_file", BOTH_HOOKS, trace::capture),
    // The hooks share the ring and what reads it.
    ("a_trace_that_nobody_reads_ends_and_says_what_was_lost", &[Place::XDP_ONE_ARM], trace::unread),
    ("after_a_trace_the_plain_programs_are_back", CROSSWISE, trace::ends),
];

/// Connections that are held open.
const HELD: usize = 30;
/// A walk of the agent's through the flow table comes each second.
const COUNTED_WITHIN: Duration = Duration::from_secs(5);

/// Connections that clients hold open: each has a line, with the ends that it really has, and `status` counts as many.
fn flows(place: Place) -> Result<()> {
    let stage = place.stage()?;
    let empty = stage.balancer.command(&stage.lab, &["flows"])?;
    ensure!(
        String::from_utf8_lossy(&empty.stdout).contains("there are no flows"),
        "without a flow: {empty:?}"
    );
    let target = stage.http();
    let connect = || -> std::io::Result<Vec<TcpStream>> {
        (0..HELD).map(|_| TcpStream::connect_timeout(&target, Duration::from_secs(5))).collect()
    };
    let held = stage.lab.client().namespace().run(connect)?.context("connecting")?;
    let own: BTreeSet<SocketAddr> = held.iter().map(TcpStream::local_addr).collect::<Result<_, _>>()?;
    let mut counted = 0;
    let agrees = until(COUNTED_WITHIN, || {
        counted = stage.replica_statuses().map_or(0, |found| found.iter().map(|replica| replica.flows).sum());
        counted == HELD as u64
    });
    ensure!(agrees, "{HELD} connections are open, and status counts {counted}");

    let all = stage.flows(&[])?;
    ensure!((all.matched, all.carrying, all.in_all, all.left_out) == (30, 30, 30, 0), "{all:?}");
    let clients: BTreeSet<_> = all.flows.iter().map(|flow| flow.client).collect();
    ensure!(clients == own, "clients {clients:?}, not {own:?}");
    let nat: BTreeSet<_> = all.flows.iter().filter_map(|flow| flow.nat).collect();
    ensure!(nat.len() == HELD, "two connections have one NAT port: {nat:?}");
    for flow in &all.flows {
        let fits = flow.vip == target
            && flow.service.as_deref() == Some("http")
            && flow.state == "established"
            && flow.mode == "nat"
            && stage.lab.replica(&flow.replica).is_some()
            // Not longer than this scenario has taken by far.
            && (0.0..60.0).contains(&flow.idle_seconds);
        ensure!(fits, "{flow:?}");
    }
    for replica in stage.replica_statuses()? {
        let name = replica.name.as_str();
        let of_it = stage.flows(&["--replica", name])?;
        let of_all = all.flows.iter().filter(|flow| flow.replica == name).count();
        ensure!(of_it.matched == of_all as u64, "{name}: {} and {of_all}", of_it.matched);
        ensure!(of_it.flows.iter().all(|flow| flow.replica == name), "{of_it:?}");
    }
    let few = stage.flows(&["--limit", "5"])?;
    ensure!((few.flows.len(), few.matched, few.left_out) == (5, 30, 25), "{few:?}");
    let none = stage.balancer.command(&stage.lab, &["flows", "--client", "192.0.2.0/24"])?;
    let none = String::from_utf8_lossy(&none.stdout).into_owned();
    ensure!(none == "no flow matches; 30 flows in all\n", "{none}");
    let unknown = stage.balancer.command(&stage.lab, &["flows", "--service", "web"])?;
    let words = String::from_utf8_lossy(&unknown.stderr).into_owned();
    ensure!(unknown.status.code() == Some(2) && words.contains("there are: http, https"), "{words}");

    // SYNs of clients that do not exist: the replicas answer them, and nobody goes on.
    Flood::start(stage.lab.client().namespace(), target, 1000, 50, 1)?.finish()?;
    let handshakes = || stage.flows(&["--half-open", "--client", "198.18.0.0/15"]);
    ensure!(
        until(COUNTED_WITHIN, || handshakes().is_ok_and(|found| found.matched > 0)),
        "no handshake is listed"
    );
    let found = handshakes()?;
    ensure!(found.flows.iter().all(|flow| flow.half_open && flow.state.starts_with("syn_")), "{found:?}");
    ensure!(stage.flows(&["--client", "198.18.0.0/15"])?.matched == 0, "handshakes are no flows");
    Ok(())
}

fn ask(stage: &Stage, source: &str, destination: SocketAddr) -> Result<Explanation> {
    let output =
        stage.balancer.command(&stage.lab, &["explain", source, &destination.to_string(), "--json"])?;
    ensure!(output.status.success(), "explain: {}", String::from_utf8_lossy(&output.stderr));
    from_slice(&output.stdout).context("reading the explanation")
}

/// Clients of both families, one of them denied, and a replica that drains: who answers is who was named before.
fn explain(place: Place) -> Result<()> {
    let lab = LabOptions { clients: 2, ..place.family_options(Families::Dual) };
    let denied = match place.topology {
        dtr_lb_tests::lab::Topology::OneArm => ["10.77.0.101", "fd77::101"],
        dtr_lb_tests::lab::Topology::TwoArm => ["10.77.1.101", "fd77:0:1::101"],
    };
    let mut options = place.options();
    options.weights = vec![100, 100, 0];
    options.services = service_with("http", "http", 80, 80, &format!("deny = {denied:?}"));
    let stage = place.stage_with(lab, &options)?;
    let client = &stage.lab.clients()[0];
    for &vip in stage.lab.vips() {
        let source: IpAddr = denied[usize::from(vip.is_ipv6())].replace("101", "100").parse()?;
        // Other ports for the other family: to a bind, those of a connection that has ended are taken in both.
        let first = if vip.is_ipv4() { 41_000 } else { 42_000 };
        for port in first..first + 6_u16 {
            let said = ask(&stage, &SocketAddr::new(source, port).to_string(), (vip, 80).into())?;
            ensure!(said.verdict.as_deref() == Some("forwarded"), "{said:?}");
            let named = said.replica.as_ref().context("no replica")?;
            ensure!(named.name != "r3" && named.state.as_deref() == Some("up"), "{said:?}");
            let then: Vec<_> = said.then.iter().map(|place| place.name.as_str()).collect();
            ensure!(then.iter().all(|name| *name != "r3" && *name != named.name), "{then:?}");
            let local = port.to_string();
            let url = format!("http://{}/whoami", literal(vip));
            let answer = client.curl(&url, &["--max-time", "5", "--local-port", &local])?;
            ensure!(answer.is_ok() && answer.text() == named.name, "{named:?} was named: {answer:?}");
        }
        let refused = ask(&stage, denied[usize::from(vip.is_ipv6())], (vip, 80).into())?;
        ensure!(
            refused.verdict.as_deref() == Some("dropped_denied") && refused.replica.is_none(),
            "{refused:?}"
        );
        let access = refused.steps.iter().find(|step| step.about == "access");
        let prefix = denied[usize::from(vip.is_ipv6())];
        ensure!(
            access.is_some_and(|step| step.text.contains(&format!("denied by {prefix}/"))),
            "{refused:?}"
        );
        let elsewhere = ask(&stage, &source.to_string(), (vip, 22).into())?;
        ensure!(elsewhere.verdict.as_deref() == Some("passed_not_service"), "{elsewhere:?}");
    }
    let text = stage
        .balancer
        .command(&stage.lab, &["explain", &client.address().to_string(), &stage.http().to_string()])?;
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    ensure!(text.contains("r1 (") && text.contains("r2 (") && text.contains("source ports"), "{text}");
    ensure!(!text.contains("r3 ("), "r3 drains: {text}");
    Ok(())
}
