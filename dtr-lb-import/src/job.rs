//! What a load balancer does, whatever its configuration is written in: the readers fill it in, [`crate::draft`] makes dtr-lb's
//! of it.

use std::{net::IpAddr, ops::RangeInclusive, time::Duration};

use ipnet::IpNet;

use crate::report::At;

/// A value, and the statement that gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said<T> {
    pub value: T,
    pub at: At,
}

/// All of it, of all files.
#[derive(Debug, Default)]
pub struct Job {
    /// Addresses of the balancer that are not said where a service listens: those that VRRP moves.
    pub vips: Vec<Said<Host>>,
    pub services: Vec<Service>,
    /// Ports of the original's own pages.
    pub own_ports: Vec<Said<u16>>,
    /// Addresses of hosts that other files know by another name: instances of AWS.
    pub known_hosts: Vec<(String, IpAddr)>,
    /// Blocks of keepalived.conf, until all files are read.
    pub keepalived: crate::keepalived::Gathered,
    /// What AWS prints, until all files are read.
    pub aws: crate::elb::Gathered,
}

/// One place where clients connect, and the servers behind it.
#[derive(Clone, Debug)]
pub struct Service {
    /// As the original calls it; it may be anything.
    pub name: String,
    pub at: At,
    /// Where it listens. Several are several services, or VIPs of one.
    pub binds: Vec<Said<Bind>>,
    /// In the order of the file.
    pub servers: Vec<Server>,
    pub mode: Option<Said<Mode>>,
    pub affinity: Option<Said<Affinity>>,
    /// The first one that holds a client's address decides; who is in none is let in.
    pub rules: Vec<Said<Rule>>,
    /// Denied clients are told so (a reset) instead of hearing nothing.
    pub denied_are_reset: bool,
    /// A silent connection ends after this time.
    pub idle: Option<Said<Duration>>,
    /// Failed connections within this time keep new ones from a server: number and time.
    pub passive: Option<Said<(u32, Duration)>>,
    /// New connections a second from one address at most.
    pub max_new_flows_per_source: Option<Said<u32>>,
    /// Clients get a refusal where no server is up; else their SYNs go to any.
    pub refuses_if_all_down: bool,
}

/// Where clients connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    pub host: BindHost,
    /// One port, or a range.
    pub ports: RangeInclusive<u16>,
}

/// The address of a [`Bind`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindHost {
    /// All of this host's IPv4 addresses.
    AnyV4,
    /// All of its IPv6 addresses.
    AnyV6,
    /// Both.
    Any,
    /// This one.
    One(Host),
}

/// A host as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    Address(IpAddr),
    Name(String),
    /// What has to be filled in first: `<DTR_REPLICA_1_IP>`, a template's variable, an instance of AWS.
    Placeholder(String),
}

impl Host {
    /// Reads an address (also in brackets), a name, or a placeholder: `<...>`, `$...`, and what is neither.
    pub fn read(text: &str) -> Self {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Self::Address(address.to_canonical());
        }
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        let name = text.strip_suffix('.').unwrap_or(text);
        let digits_last =
            name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
        if name.len() <= 253 && name.split('.').all(label) && !digits_last {
            Self::Name(name.to_ascii_lowercase())
        } else {
            Self::Placeholder(text.to_owned())
        }
    }
}

/// A server behind a service.
#[derive(Clone, Debug)]
pub struct Server {
    /// As the original calls it; `None` if it does not.
    pub name: Option<String>,
    pub at: At,
    pub host: Host,
    /// `None`: the one that the client connects to.
    pub port: Option<u16>,
    /// As the original counts; only their ratios matter. `None`: the original's default, which is 1 to all others.
    pub weight: Option<u32>,
    /// It serves only while no other does.
    pub backup: bool,
    /// It is taken out in the original, and gets no connections.
    pub out: bool,
    pub slow_start: Option<Duration>,
    /// Connections at most.
    pub max_flows: Option<u32>,
    /// How it is checked; `None`: not.
    pub check: Option<Check>,
}

/// How packets reach servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Both addresses are rewritten: what a proxy looks like.
    Nat,
    /// The destination only: IPVS's NAT.
    Dnat,
    /// The MAC only: IPVS's direct routing.
    Dsr,
    /// In packets of their own: IPVS's tunnels.
    Ipip,
}

/// Connections of one address go to one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Affinity {
    /// For how long after the last one, beyond what the hash does by itself.
    pub timeout: Option<Duration>,
}

/// Whether clients of a network are let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    pub allow: bool,
    pub of: Source,
}

/// Whom a [`Rule`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    All,
    Net(IpNet),
}

/// What a check speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
    Tcp,
    Tls,
}

/// Whose certificates a check trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verify {
    No,
    /// The host's CAs.
    System,
    /// Those in a file.
    Ca(String),
}

/// A step of a check over TCP or TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Send(Vec<u8>),
    /// Until what came matches this regular expression.
    Expect(String),
    /// What came by then must not match it.
    Reject(String),
}

/// A header, and the regular expression that its value matches.
pub type HeaderMatch = (String, String);

/// How a server is checked. `None` and empty lists: the original does not say; then dtr-lb's default stands, unless the reader
/// knows that the original's is another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub at: At,
    pub scheme: Scheme,
    pub port: Option<u16>,
    pub method: Option<String>,
    /// From `/` on, with its query.
    pub path: Option<String>,
    /// Host header and TLS server name.
    pub host: Option<String>,
    pub headers: Vec<(String, String)>,
    pub request_body: Option<String>,
    pub verify: Verify,
    pub alpn: Vec<String>,
    pub status: Vec<RangeInclusive<u16>>,
    /// Regular expressions (of the crate `regex`).
    pub body: Option<String>,
    pub reject_body: Option<String>,
    pub expect_headers: Vec<HeaderMatch>,
    pub reject_headers: Vec<HeaderMatch>,
    pub steps: Vec<Step>,
    pub interval: Option<Duration>,
    pub fast_interval: Option<Duration>,
    pub down_interval: Option<Duration>,
    pub timeout: Option<Duration>,
    pub rise: Option<u32>,
    pub fall: Option<u32>,
    /// HAProxy's agent-check.
    pub agent_port: Option<u16>,
}

impl Check {
    /// One that asks no more than this.
    pub const fn new(at: At, scheme: Scheme) -> Self {
        Self {
            at,
            scheme,
            port: None,
            method: None,
            path: None,
            host: None,
            headers: Vec::new(),
            request_body: None,
            verify: Verify::No,
            alpn: Vec::new(),
            status: Vec::new(),
            body: None,
            reject_body: None,
            expect_headers: Vec::new(),
            reject_headers: Vec::new(),
            steps: Vec::new(),
            interval: None,
            fast_interval: None,
            down_interval: None,
            timeout: None,
            rise: None,
            fall: None,
            agent_port: None,
        }
    }
}

impl Service {
    /// One without anything.
    pub const fn new(name: String, at: At) -> Self {
        Self {
            name,
            at,
            binds: Vec::new(),
            servers: Vec::new(),
            mode: None,
            affinity: None,
            rules: Vec::new(),
            denied_are_reset: false,
            idle: None,
            passive: None,
            max_new_flows_per_source: None,
            refuses_if_all_down: false,
        }
    }
}
