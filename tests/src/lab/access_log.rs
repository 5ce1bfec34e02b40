//! The replicas' access log: what a request left there, and counting it.
//!
//! nginx writes a line when a request is *finished*: a download that still runs is not in it.

use std::{collections::BTreeMap, net::IpAddr, str::FromStr};

/// The path that health probes ask for.
const HEALTH: &str = "/health";

/// For nginx's `log_format`; the path is last, since it is the only field that a client chooses.
pub(super) const FORMAT: &str =
    "$status $scheme $remote_addr $remote_port $bytes_sent $request_time $request_uri";

/// One finished request.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLine {
    /// The HTTP status. 499: the client went away first.
    pub status: u16,
    /// Whether it came over TLS.
    pub tls: bool,
    /// Where it came from, as the replica saw it: with full NAT an address of the balancer.
    pub source: IpAddr,
    /// The port it came from, as the replica saw it.
    pub source_port: u16,
    /// Bytes sent, headers included.
    pub bytes_sent: u64,
    /// Seconds from its first byte to its end.
    pub seconds: f64,
    /// The path and the query, as requested.
    pub uri: String,
}

impl FromStr for AccessLine {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let mut fields = line.splitn(7, ' ');
        let mut field = |name: &'static str| fields.next().ok_or_else(|| format!("no {name}"));
        Ok(Self {
            status: parse("status", field("status")?)?,
            tls: field("scheme")? == "https",
            source: parse("source", field("source")?)?,
            source_port: parse("source port", field("source port")?)?,
            bytes_sent: parse("bytes sent", field("bytes sent")?)?,
            seconds: parse("seconds", field("seconds")?)?,
            uri: field("path")?.to_owned(),
        })
    }
}

impl AccessLine {
    fn is_probe(&self) -> bool {
        self.uri.split('?').next() == Some(HEALTH)
    }
}

/// How many requests a replica finished, by status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Those for `/health`.
    pub probes: BTreeMap<u16, u64>,
    /// All others.
    pub others: BTreeMap<u16, u64>,
}

impl Requests {
    /// The number of health probes, whatever their status.
    pub fn probe_total(&self) -> u64 {
        self.probes.values().sum()
    }

    /// The number of all other requests, whatever their status.
    pub fn other_total(&self) -> u64 {
        self.others.values().sum()
    }
}

impl<'a> FromIterator<&'a AccessLine> for Requests {
    fn from_iter<I: IntoIterator<Item = &'a AccessLine>>(lines: I) -> Self {
        let mut requests = Self::default();
        for line in lines {
            let counts = if line.is_probe() { &mut requests.probes } else { &mut requests.others };
            *counts.entry(line.status).or_default() += 1;
        }
        requests
    }
}

fn parse<T: FromStr>(name: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{name} {text:?} is not understood"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_whole() {
        let line: AccessLine = "200 https 10.77.0.2 40001 1234 0.050 /v2/a b?c=1".parse().unwrap();
        let want = AccessLine {
            status: 200,
            tls: true,
            source: "10.77.0.2".parse().unwrap(),
            source_port: 40001,
            bytes_sent: 1234,
            seconds: 0.05,
            uri: "/v2/a b?c=1".to_owned(),
        };
        assert_eq!(line, want);
    }

    #[test]
    fn a_broken_line_says_which_field() {
        for (line, field) in [
            ("", "status"),
            ("abc http 10.77.0.2 1 2 0.1 /", "status"),
            ("200 http nowhere 1 2 0.1 /", "source"),
            ("200 http 10.77.0.2 70000 2 0.1 /", "source port"),
            ("200 http 10.77.0.2 1 2 0.1", "path"),
        ] {
            let error = line.parse::<AccessLine>().unwrap_err();
            assert!(error.contains(field), "{line:?}: {error}");
        }
    }

    #[test]
    fn probes_are_counted_apart() {
        let line = |status: u16, uri: &str| {
            format!("{status} http 10.77.0.2 1 2 0.1 {uri}").parse::<AccessLine>().unwrap()
        };
        let lines = [
            line(200, "/health"),
            line(503, "/health?full=1"),
            line(200, "/healthy"),
            line(200, "/"),
            line(404, "/v2/"),
        ];
        let requests: Requests = lines.iter().collect();
        assert_eq!(requests.probes, BTreeMap::from([(200, 1), (503, 1)]));
        assert_eq!(requests.others, BTreeMap::from([(200, 2), (404, 1)]));
        assert_eq!((requests.probe_total(), requests.other_total()), (2, 3));
    }
}
