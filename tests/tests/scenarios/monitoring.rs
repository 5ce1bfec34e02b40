//! What is seen of the balancer from outside: metrics, by a real Prometheus too, the answer to whether it is able to serve,
//! and `top` in a real terminal.

use std::{
    collections::BTreeMap,
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use dtr_lb_agent::{healthz::Healthz, status::Status};
use dtr_lb_tests::{
    balancer::{DOWN_WITHIN, UP_WITHIN},
    lab::Lab,
};
use nix::sys::signal::Signal;

use crate::{CROSSWISE, Place, Scenario, Stage};

mod half_sent;
mod prometheus;
mod slow;
mod terminal;

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("metrics_say_what_the_status_says_and_outlive_the_agent", CROSSWISE, metrics),
    ("healthz_says_whether_it_is_able_to_serve", CROSSWISE, healthz),
    ("half_sent_requests_do_not_hold_up_healthz", &[Place::XDP_ONE_ARM], half_sent::healthz_answers),
    ("prometheus_reads_it_and_its_alerts_see_a_dead_replica", &[Place::XDP_ONE_ARM], prometheus::scrape),
    ("a_replica_that_is_slow_to_accept_is_named", CROSSWISE, slow::is_named),
    ("top_shows_it_and_gives_the_terminal_back", &[Place::TC_ONE_ARM], terminal::top),
];

/// What an HTTP request over the agent's socket gets.
fn get(lab: &Lab, path: &str) -> Result<(u16, String)> {
    let mut curl = lab.balancer().command("curl");
    curl.args([
        "--silent",
        "--show-error",
        "--max-time",
        "10",
        "--write-out",
        "\n%{http_code}",
        "--unix-socket",
    ]);
    curl.arg(lab.directory().join("dtr-lb.sock")).arg(format!("http://agent{path}"));
    let output = curl.output().context("running curl")?;
    ensure!(output.status.success(), "curl {path}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let (body, code) = text.rsplit_once('\n').context("curl writes the status last")?;
    Ok((code.parse()?, body.to_owned()))
}

/// Series by name and labels, as they stand on the page.
type Series = BTreeMap<String, f64>;

fn page(lab: &Lab) -> Result<(String, Series)> {
    let (code, page) = get(lab, "/metrics")?;
    ensure!(code == 200, "/metrics: {code} {page}");
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let series = lines.map(|line| {
        let (series, value) = line.rsplit_once(' ').with_context(|| format!("no value: {line}"))?;
        Ok((series.to_owned(), value.parse().with_context(|| format!("no number: {line}"))?))
    });
    let series = series.collect::<Result<_>>()?;
    Ok((page, series))
}

fn value(series: &Series, name: &str) -> Result<f64> {
    series.get(name).copied().with_context(|| format!("no {name} in {series:#?}"))
}

/// What counters have by the status, and by what name they are on the page.
fn counters(status: &Status) -> BTreeMap<String, u64> {
    let verdicts = status.verdicts.iter();
    let mut counters: BTreeMap<_, _> = verdicts
        .map(|(verdict, count)| (format!("dtr_lb_packets_total{{verdict=\"{verdict}\"}}"), *count))
        .collect();
    for service in &status.services {
        for replica in &service.replicas {
            let labels = format!("service=\"{}\",replica=\"{}\"", service.name, replica.name);
            let mut add = |name: &str, more: &str, count: u64| {
                *counters.entry(format!("dtr_lb_replica_{name}_total{{{labels}{more}}}")).or_default() +=
                    count;
            };
            add("new_flows", "", replica.new_flows);
            add("refused", "", replica.refused);
            add("redispatched", "", replica.redispatched);
            add("packets", ",direction=\"to_replica\"", replica.packets_to_replica);
            add("packets", ",direction=\"to_client\"", replica.packets_to_client);
            add("bytes", ",direction=\"to_replica\"", replica.bytes_to_replica);
            add("bytes", ",direction=\"to_client\"", replica.bytes_to_client);
            let mut add = |series: String, count: u64| *counters.entry(series).or_default() += count;
            add(format!("dtr_lb_syns_again_total{{{labels}}}"), replica.syns_again);
            for (end, count) in &replica.ends {
                add(format!("dtr_lb_flow_ends_total{{{labels},end=\"{end}\"}}"), *count);
            }
        }
    }
    counters
}

fn metrics(place: Place) -> Result<()> {
    let mut stage = place.stage()?;
    stage.shares(150)?;
    // Probes go on, so that packets are counted all the time: the page is between two statuses.
    let before = counters(&stage.balancer.status(&stage.lab)?);
    let (text, series) = page(&stage.lab)?;
    let after = counters(&stage.balancer.status(&stage.lab)?);
    promtool(&["check", "metrics"], &text)?;
    for (name, count) in &before {
        let seen = value(&series, name)?;
        let most = after.get(name).copied().unwrap_or_default();
        ensure!((*count as f64..=most as f64).contains(&seen), "{name} is {seen}, of {count} to {most}");
    }
    let new_flows: f64 = ["r1", "r2", "r3"]
        .map(|replica| {
            value(
                &series,
                &format!("dtr_lb_replica_new_flows_total{{service=\"http\",replica=\"{replica}\"}}"),
            )
        })
        .into_iter()
        .sum::<Result<f64>>()?;
    ensure!(new_flows == 150.0, "150 connections were made, {new_flows} are counted");
    let probe = "service=\"https\",replica=\"r2\"";
    let probes = value(&series, &format!("dtr_lb_probes_total{{{probe},result=\"ok\"}}"))?;
    ensure!(
        probes >= 1.0
            && value(&series, &format!("dtr_lb_probe_duration_seconds_count{{{probe}}}"))? == probes
    );
    ensure!(value(&series, "dtr_lb_table_rewrites_total")? >= 2.0, "one for each service at least");
    ensure!(value(&series, "dtr_lb_flow_capacity")? == 65536.0);
    let hook = format!("dtr_lb_datapath_attached{{interface=\"eth0\",hook=\"{}\"}}", place.hook.name());
    ensure!(value(&series, &hook)? == 1.0);

    // A replica that fails its connections and its probes.
    stage.lab.replicas()[2].kill()?;
    stage.wait_for_state("r3", "down", DOWN_WITHIN)?;
    let (_, series) = page(&stage.lab)?;
    let of_r3 = |name: &str, more: &str| {
        value(&series, &format!("dtr_lb_{name}{{service=\"http\",replica=\"r3\"{more}}}"))
    };
    ensure!(of_r3("replica_up", "")? == 0.0 && of_r3("replica_state", ",state=\"down\"")? == 1.0);
    ensure!(of_r3("probes_total", ",result=\"refused\"")? >= 1.0);
    ensure!(of_r3("replica_effective_weight", "")? == 0.0 && of_r3("replica_weight", "")? == 100.0);

    // The next agent goes on with what the datapath counts, and begins anew with what is its own.
    let old = counters(&stage.balancer.status(&stage.lab)?);
    stage.balancer.process().signal(Signal::SIGTERM)?;
    stage.balancer.process().wait(Duration::from_secs(5))?.context("SIGTERM does not end the agent")?;
    let Stage { lab, balancer } = &mut stage;
    balancer.start_again(lab)?;
    let (_, series) = page(lab)?;
    for (name, count) in old {
        let seen = value(&series, &name)?;
        ensure!(seen >= count as f64, "{name} was {count}, and is {seen} after a restart of the agent");
    }
    Ok(())
}

/// Gives a page or nothing to promtool, which has to have nothing to say against it.
fn promtool(arguments: &[&str], input: &str) -> Result<()> {
    let mut command = Command::new("promtool");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("running promtool")?;
    child.stdin.take().context("its standard input")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(output.status.success() && said.is_empty(), "promtool {arguments:?}: {said}");
    Ok(())
}

fn asked(stage: &Stage, query: &str) -> Result<(u16, Healthz)> {
    let (code, body) = get(&stage.lab, &format!("/healthz{query}"))?;
    Ok((code, serde_json::from_str(&body).with_context(|| format!("/healthz{query}: {body}"))?))
}

fn healthz(place: Place) -> Result<()> {
    let stage = place.stage()?;
    let healthy = |arguments: &[&str]| -> Result<(i32, String)> {
        let output = stage.balancer.command(&stage.lab, &[&["status", "--healthy"], arguments].concat())?;
        let code = output.status.code().context("a signal ended it")?;
        let said = [output.stdout, output.stderr].concat();
        Ok((code, String::from_utf8(said)?.trim().to_owned()))
    };
    let (code, healthz) = asked(&stage, "")?;
    ensure!(
        code == 200 && healthz.ok && healthz.reasons.is_empty() && healthz.services.len() == 2,
        "{healthz:?}"
    );
    ensure!(healthy(&[])? == (0, "able to serve".into()), "{:?}", healthy(&[])?);
    let (code, healthz) = asked(&stage, "?service=https&service=http")?;
    ensure!(code == 200 && healthz.ok, "{healthz:?}");
    let (code, healthz) = asked(&stage, "?service=ftp")?;
    ensure!(code == 503 && healthz.reasons[0].contains("`ftp`"), "{healthz:?}");
    ensure!(asked(&stage, "?servcie=http")?.0 == 400);
    let narrowed = stage.balancer.command(&stage.lab, &["status", "https"])?;
    let text = String::from_utf8_lossy(&narrowed.stdout);
    ensure!(text.contains("service https") && !text.contains("service http "), "{text}");

    for replica in stage.lab.replicas() {
        replica.kill()?;
    }
    for replica in stage.lab.replicas() {
        stage.wait_for_state(replica.name(), "down", DOWN_WITHIN)?;
    }
    let (code, healthz) = asked(&stage, "")?;
    ensure!(code == 503 && healthz.reasons == ["no service has a replica that is up"], "{healthz:?}");
    let (code, said) = healthy(&["https"])?;
    ensure!(
        code == 1 && said.contains("not able to serve: service `https` has no replica that is up"),
        "{said}"
    );
    stage.lab.replicas()[1].start()?;
    stage.wait_for_state("r2", "up", UP_WITHIN)?;
    ensure!(healthy(&[])?.0 == 0 && asked(&stage, "")?.0 == 200);

    stage.balancer.process().stop()?;
    let (code, said) = healthy(&[])?;
    ensure!(code == 3 && said.contains("no agent answers"), "{code} {said}");
    let Ok(_) = get(&stage.lab, "/healthz") else { return Ok(()) };
    bail!("something answers on the socket of an agent that has ended");
}
