//! Builds a page in Prometheus' text format. What is counted is counted elsewhere, so that the crate's own counters and
//! registry would only hold copies; its data model and its encoder are what is used.

use prometheus::{
    TextEncoder,
    proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType},
};

/// Label names with their values.
pub(super) type Labels<'a> = &'a [(&'static str, &'a str)];

/// Metrics, in the order in which they are added.
#[derive(Default)]
pub(super) struct Page {
    families: Vec<MetricFamily>,
}

/// A metric with its series.
pub(super) struct Family {
    family: MetricFamily,
    series: Vec<Metric>,
}

impl Page {
    pub(super) fn add(&mut self, family: Family) {
        let Family { mut family, series } = family;
        // The format has no way to name a metric without series.
        if !series.is_empty() {
            family.set_metric(series);
            self.families.push(family);
        }
    }

    /// A gauge without labels.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: f64) {
        let mut family = Family::gauge(name, help);
        family.set(&[], value);
        self.add(family);
    }

    /// A counter without labels.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: f64) {
        let mut family = Family::counter(name, help);
        family.set(&[], value);
        self.add(family);
    }

    pub(super) fn text(&self) -> Result<String, String> {
        TextEncoder::new().encode_to_string(&self.families).map_err(|error| error.to_string())
    }
}

impl Family {
    pub(super) fn gauge(name: &str, help: &str) -> Self {
        Self::new(name, help, MetricType::GAUGE)
    }

    /// `name` ends in `_total`.
    pub(super) fn counter(name: &str, help: &str) -> Self {
        Self::new(name, help, MetricType::COUNTER)
    }

    pub(super) fn histogram(name: &str, help: &str) -> Self {
        Self::new(name, help, MetricType::HISTOGRAM)
    }

    fn new(name: &str, help: &str, kind: MetricType) -> Self {
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        Self { family, series: Vec::new() }
    }

    /// Adds a series to a gauge or a counter.
    pub(super) fn set(&mut self, labels: Labels<'_>, value: f64) {
        let mut series = Metric::from_label(pairs(labels));
        // The encoder reads the one that the type says.
        let mut counter = Counter::default();
        counter.set_value(value);
        series.set_counter(counter);
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        series.set_gauge(gauge);
        self.series.push(series);
    }

    /// Adds a series to a histogram. `buckets`: upper bounds, ascending, each with the count of what is not above it and
    /// above the one before; `count` and `sum` are of all.
    pub(super) fn observe(
        &mut self,
        labels: Labels<'_>,
        buckets: impl Iterator<Item = (f64, u64)>,
        count: u64,
        sum: f64,
    ) {
        let mut below = 0;
        let buckets = buckets.map(|(bound, own)| {
            below += own;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(below);
            bucket
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(count);
        histogram.set_sample_sum(sum);
        let mut series = Metric::from_label(pairs(labels));
        series.set_histogram(histogram);
        self.series.push(series);
    }
}

fn pairs(labels: Labels<'_>) -> Vec<LabelPair> {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    labels.iter().map(pair).collect()
}
