//! A real Prometheus reads the agent's TCP side, with the alert rules that are in packaging.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use dtr_lb_tests::lab::{Lab, until};
use serde_json::Value;

use super::value;
use crate::{Place, Stage};

const PACKAGING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging");
/// For a Prometheus that reads and evaluates each second, on a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

pub(super) fn scrape(place: Place) -> Result<()> {
    let stage = place.stage()?;
    let prometheus = start(&stage.lab)?;
    let all = [1.0, 1.0].as_slice();
    let said = || prometheus.log_tail(20);
    wait_for(&stage.lab, "up{job=\"dtr-lb\"} or dtr_lb_build_info", all).with_context(said)?;
    stage.shares(200)?;
    // By service, what the status has; nothing opens a connection any more.
    let status = stage.balancer.status(&stage.lab)?;
    let new_flows = |service: &str| {
        let services = status.services.iter().filter(|found| found.name == service);
        services.flat_map(|found| &found.replicas).map(|replica| replica.new_flows).sum::<u64>() as f64
    };
    ensure!(new_flows("http") == 200.0, "{status:?}");
    let query = "sum by (service) (dtr_lb_replica_new_flows_total)";
    wait_for(&stage.lab, query, &[new_flows("http"), new_flows("https")])?;
    wait_for(&stage.lab, "dtr_lb_replica_up == 1", &[1.0; 6])?;
    wait_for(&stage.lab, "count(dtr_lb_packets_total)", &[status.verdicts.len() as f64])?;
    // Each handshake is in its histogram, and Prometheus makes a quantile of it.
    wait_for(&stage.lab, "sum(dtr_lb_connect_seconds_count{service=\"http\"})", &[200.0])?;
    let median = "histogram_quantile(0.5, sum by (le) (dtr_lb_connect_seconds_bucket{service=\"http\"}))";
    wait_for(&stage.lab, &format!("count({median} > 0)"), &[1.0])?;
    dashboard(&stage)?;

    let rules = ask(&stage.lab, "rules", &[])?;
    let rules = rules["groups"][0]["rules"].as_array().context("rules")?;
    ensure!(rules.len() > 10, "{rules:?}");
    ensure!(rules.iter().all(|rule| rule["health"] == "ok"), "{rules:?}");
    stage.lab.replicas()[0].kill()?;
    let pending = "ALERTS{alertname=\"DtrLbReplicaDown\",alertstate=\"pending\",replica=\"r1\"}";
    wait_for(&stage.lab, pending, &[1.0, 1.0])?;
    // What Prometheus has is what the page says.
    let (_, page) = super::page(&stage.lab)?;
    let name = "dtr_lb_replica_state{service=\"http\",replica=\"r1\",state=\"down\"}";
    ensure!(value(&page, name)? == 1.0);
    wait_for(&stage.lab, name, &[1.0])
}

fn start(lab: &Lab) -> Result<dtr_lb_tests::lab::Process> {
    let config = lab.directory().join("prometheus.yml");
    let text = format!(
        "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\nrule_files: [{:?}]\nscrape_configs:\n  - job_name: \
         dtr-lb\n    static_configs:\n      - targets: [\"127.0.0.1:8181\"]\n",
        Path::new(PACKAGING).join("prometheus/alerts.yml").display().to_string(),
    );
    fs::write(&config, text).with_context(|| format!("writing `{}`", config.display()))?;
    let mut command = lab.balancer().command("prometheus");
    command.arg("--config.file").arg(&config);
    command.arg("--storage.tsdb.path").arg(lab.directory().join("prometheus"));
    command.args(["--web.listen-address", "127.0.0.1:9090", "--log.level", "warn"]);
    Ok(lab.spawn("prometheus", command)?)
}

/// Asks Prometheus' HTTP API.
fn ask(lab: &Lab, what: &str, parameters: &[(&str, &str)]) -> Result<Value> {
    let mut curl = lab.balancer().command("curl");
    curl.args(["--silent", "--show-error", "--max-time", "5", "--get"]);
    for (key, value) in parameters {
        curl.arg("--data-urlencode").arg(format!("{key}={value}"));
    }
    let output = curl.arg(format!("http://127.0.0.1:9090/api/v1/{what}")).output().context("running curl")?;
    ensure!(output.status.success(), "Prometheus: {}", String::from_utf8_lossy(&output.stderr));
    let mut answer: Value = serde_json::from_slice(&output.stdout).context("Prometheus' answer")?;
    ensure!(answer["status"] == "success", "{what} {parameters:?}: {answer}");
    Ok(answer["data"].take())
}

/// The values of an expression, in ascending order.
fn query(lab: &Lab, expression: &str) -> Result<Vec<f64>> {
    let data = ask(lab, "query", &[("query", expression)])?;
    let result = data["result"].as_array().with_context(|| format!("{expression}: {data}"))?;
    let value = |series: &Value| series["value"][1].as_str()?.parse().ok();
    let values: Option<Vec<f64>> = result.iter().map(value).collect();
    let mut values = values.with_context(|| format!("{expression}: {data}"))?;
    values.sort_by(f64::total_cmp);
    Ok(values)
}

fn wait_for(lab: &Lab, expression: &str, want: &[f64]) -> Result<()> {
    let mut want = want.to_vec();
    want.sort_by(f64::total_cmp);
    let mut last = None;
    let came = until(LIMIT, || {
        last = Some(query(lab, expression));
        matches!(&last, Some(Ok(values)) if *values == want)
    });
    ensure!(came, "{expression} is not {want:?} within {LIMIT:?}, but {last:?}");
    Ok(())
}

/// Each query of the Grafana dashboard is one that Prometheus takes, and most have an answer by now.
fn dashboard(stage: &Stage) -> Result<()> {
    let path = Path::new(PACKAGING).join("grafana/dtr-lb.json");
    let dashboard: Value = serde_json::from_slice(&fs::read(&path)?)?;
    let panels = dashboard["panels"].as_array().context("panels")?;
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let (mut asked, mut answered) = (0, 0);
    for target in targets {
        let expression = target["expr"].as_str().context("an expression")?;
        let expression =
            expression.replace("$__rate_interval", "1m").replace("$instance", ".*").replace("$service", ".*");
        ensure!(!expression.contains('$'), "a variable that Grafana does not know: {expression}");
        asked += 1;
        answered += usize::from(!query(&stage.lab, &expression)?.is_empty());
    }
    // Nothing fails, so that the panels of failures are empty.
    ensure!(asked > 20 && answered * 4 > asked * 3, "of {asked} queries {answered} have an answer");
    Ok(())
}
