//! What documents, dashboard and alert rules say of metrics is what the agent exports.

use std::collections::BTreeSet;

use super::*;

const MONITORING: &str = include_str!("../../../../docs/monitoring.md");
const DASHBOARD: &str = include_str!("../../../../packaging/grafana/dtr-lb.json");
const ALERTS: &str = include_str!("../../../../packaging/prometheus/alerts.yml");

/// Names of metrics, with the labels of their series.
fn exported() -> BTreeMap<String, BTreeSet<String>> {
    let read = page_of(&everything());
    let labels = |series: &str| -> BTreeSet<String> {
        let Some((_, labels)) = series.trim_end_matches('}').split_once('{') else { return BTreeSet::new() };
        labels.split(',').filter_map(|label| Some(label.split_once('=')?.0.to_owned())).collect()
    };
    let name = |series: &str| series.split('{').next().unwrap_or_default().to_owned();
    read.values.keys().map(|series| (name(series), labels(series))).collect()
}

/// Names of metrics in an expression, each with the labels that it is asked for.
fn asked(expression: &str) -> Vec<(String, Vec<String>)> {
    let metric = regex::Regex::new(r"\b((?:dtr_lb|process)_[a-z0-9_]+)(?:\{([^}]*)\})?").expect("a pattern");
    let matcher = regex::Regex::new(r#"([a-z_]+)\s*(?:=~|!~|!=|=)\s*""#).expect("a pattern");
    let labels = |text: &str| matcher.captures_iter(text).map(|found| found[1].to_owned()).collect();
    metric
        .captures_iter(expression)
        .map(|found| (found[1].to_owned(), found.get(2).map_or_else(Vec::new, |text| labels(text.as_str()))))
        .collect()
}

#[track_caller]
fn all_exported(expression: &str) {
    let exported = exported();
    // What Prometheus itself adds.
    let added = ["instance", "job"];
    for (name, labels) in asked(expression) {
        let Some(own) = exported.get(&name) else { panic!("{name} is not exported: {expression}") };
        for label in labels {
            assert!(own.contains(&label) || added.contains(&&*label), "{name} has no {label}: {expression}");
        }
    }
}

#[test]
fn the_reader_of_expressions_sees_names_and_labels() {
    let expression =
        r#"sum by (a) (rate(dtr_lb_x_total{service=~"$s", b!="c"}[5m])) / dtr_lb_y > process_z{} "#;
    let want = [("dtr_lb_x_total", vec!["service", "b"]), ("dtr_lb_y", vec![]), ("process_z", vec![])];
    let want = want.map(|(name, labels)| (name.to_owned(), labels.into_iter().map(str::to_owned).collect()));
    assert_eq!(asked(expression), want);
}

#[test]
fn the_dashboard_asks_for_what_is_exported() {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).expect("it is JSON");
    let mut expressions = Vec::new();
    collect(&dashboard, &mut expressions);
    assert!(expressions.len() > 10, "{expressions:?}");
    for expression in &expressions {
        assert!(!asked(expression).is_empty(), "nothing is asked: {expression}");
        all_exported(expression);
    }
    // A panel without a place or with a number that another has is not shown by Grafana.
    let panels = dashboard["panels"].as_array().expect("panels");
    let numbers: BTreeSet<_> = panels.iter().filter_map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(numbers.len(), panels.len());
    for panel in panels {
        let place = &panel["gridPos"];
        let width = place["x"].as_u64().zip(place["w"].as_u64()).map(|(x, w)| x + w);
        assert!(width.is_some_and(|width| width <= 24), "{panel}");
    }
}

/// All that stands under `expr` or in the query of a variable.
fn collect(value: &serde_json::Value, expressions: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(members) => {
            for (key, value) in members {
                match value.as_str() {
                    Some(text) if ["expr", "query"].contains(&&**key) && text != "prometheus" => {
                        expressions.push(text.to_owned());
                    }
                    _ => collect(value, expressions),
                }
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect(item, expressions)),
        _ => {}
    }
}

#[test]
fn the_alerts_ask_for_what_is_exported() {
    // promtool checks the rest; a name that nobody exports is well-formed.
    all_exported(ALERTS);
    assert!(asked(ALERTS).len() > 10);
}

#[test]
fn each_metric_is_described_once() {
    let section = MONITORING.split("\n## ").find(|section| section.starts_with("Prometheus\n"));
    let section = section.expect("docs/monitoring.md has a section `Prometheus`");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let mut described: Vec<_> =
        rows.map(|(name, _)| name).filter(|name| name.starts_with("dtr_lb_")).collect();
    described.sort_unstable();
    let read = page_of(&everything());
    let of_the_agent = read.kinds.keys().filter(|name| name.starts_with("dtr_lb_"));
    let mut exported: Vec<_> = of_the_agent.map(String::as_str).collect();
    exported.sort_unstable();
    assert_eq!(described, exported);
    for (name, _) in asked(section) {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        assert!(
            read.kinds.contains_key(&name) || base.is_some_and(|base| read.kinds.contains_key(base)),
            "{name} is not exported"
        );
    }
}

#[test]
fn each_reason_and_state_of_the_http_side_is_described() {
    let section = MONITORING.split("\n## ").find(|section| section.starts_with("Prometheus\n"));
    let section = section.expect("docs/monitoring.md has a section `Prometheus`");
    let HttpCounts { connections, refused } =
        crate::web::RefusalCounters::default().counts_without_connections();
    for word in connections.keys().chain(refused.keys()) {
        assert!(section.contains(&format!("`{word}`")), "{word} is not described");
    }
}
