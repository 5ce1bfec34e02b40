//! `[agent]`: where the agent itself is reached, and where it pins what outlives it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::flow_log::{FLOW_LOG, FlowLogTarget};
use super::host_name::is_host_name;
use super::key::{is, table};
use super::node::Table;
use super::problems::Problems;
use super::service::Service;
use super::takes::{List, Maybe, Text, Whole};

/// Where the agent's socket is unless the config says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/dtr-lb/dtr-lb.sock";
/// Where the datapath is pinned unless the config says otherwise.
pub const DEFAULT_BPFFS: &str = "/sys/fs/bpf/dtr-lb";

/// Where HTTP is served unless the config says otherwise: to this host only.
const DEFAULT_HTTP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8181);

/// `sun_path` of unix(7), less the NUL at its end.
const LONGEST_SOCKET_PATH: usize = 107;

const SOCKET: Text<PathBuf> = Text {
    words: "an absolute path of at most 107 bytes, as in \"/run/dtr-lb/dtr-lb.sock\"",
    parse: |text| match text.len() {
        0..=LONGEST_SOCKET_PATH => absolute(text),
        length => absolute(text).and(Err(format!("{length} bytes long, too long for a socket"))),
    },
    show: |path| path.display().to_string(),
};

const BPFFS: Text<PathBuf> = Text {
    words: "an absolute path below a BPF file system, as in \"/sys/fs/bpf/dtr-lb\"",
    parse: absolute,
    show: |path| path.display().to_string(),
};

const FILE: Text<PathBuf> =
    Text { words: "an absolute path", parse: absolute, show: |path| path.display().to_string() };

const LISTEN: Text<SocketAddr> = Text {
    words: "ADDRESS:PORT in quotes, as in \"127.0.0.1:8181\"",
    parse: |text| match text.parse::<SocketAddr>() {
        Ok(address) if address.port() == 0 => Err("port 0 is none that could be connected to".to_owned()),
        Ok(address) => Ok(address),
        Err(_) => Err("not an address with a port".to_owned()),
    },
    show: SocketAddr::to_string,
};

const NAMES: List<String> = List::of(
    "a list of DNS names, as in [\"lb1.example.com\"]",
    |text| is_host_name(text).then(|| text.to_ascii_lowercase()).ok_or_else(|| "not a DNS name".to_owned()),
    String::clone,
);

table! {
    /// Where the agent is reached, and where it keeps the datapath's pins.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Agent, WrittenAgent {
        /// The Unix socket of the commands; its directory is made if missing. Owner and group may use it.
        socket: PathBuf = SOCKET, is(DEFAULT_SOCKET.into()), changed by Restart;
        /// Where the datapath is pinned, so that it outlives the agent. Its parent must exist. Two agents on a host need two.
        /// `detach` removes only dtr-lb's own directories (`v1` and the like) in it.
        bpffs: PathBuf = BPFFS, is(DEFAULT_BPFFS.into()), changed by Detach;
        /// Metrics, health, JSON API and [dashboard](dashboard.md). Whoever reaches it may read all of it: leave it on loopback, or
        /// on a network for operators. Two agents on a host need two ports.
        http: Option<SocketAddr> = Maybe::unless("\"\"", LISTEN), is(Some(DEFAULT_HTTP));
        /// Names by which `http` is asked for, beside addresses, `localhost` and the host's own name. A request for any other is
        /// [refused](dashboard.md#who-may-do-what).
        http_names: Vec<String> = NAMES, is(Vec::new());
        /// The token that lets HTTP change things, 16 to 512 printable ASCII characters without blanks in a file that others may
        /// not read. Without one, HTTP only reads.
        admin_token_file: Option<PathBuf> = Maybe::unless("\"\"", FILE), is(None);
        /// A JSON line for each connection that has ended or never began: the [flow log](flow-log.md). The systemd unit lets the agent
        /// write below `/var/log/dtr-lb`.
        flow_log: Option<FlowLogTarget> = Maybe::unless("\"\"", FLOW_LOG), is(None).example("\"/var/log/dtr-lb/flows.log\"");
        /// Log one of this many connections; those that failed are always logged.
        flow_log_sample: u32 = Whole(1..=1_000_000), is(1);
    }
}

/// Reads it. The HTTP side is not where a service is: its packets would be forwarded.
pub(super) fn read(
    table: &Table<'_>,
    services: Option<&[Service]>,
    problems: &mut Problems<'_>,
) -> Option<Agent> {
    let mut written = WrittenAgent::read(table, problems);
    let there = |service: &&Service, http: SocketAddr| {
        service.port == http.port() && service.vips.contains(&http.ip())
    };
    if let Some(http) = written.http.value.flatten()
        && let Some(service) = services.unwrap_or_default().iter().find(|service| there(service, http))
    {
        written.http.refuse(format!("service `{}` is there", service.name), problems);
    }
    if let Some(names) = &mut written.http_names.value {
        // Their order means nothing, and is no difference.
        names.sort();
    }
    written.finish()
}

/// A path that means the same wherever the process was started.
pub(super) fn absolute(text: &str) -> Result<PathBuf, String> {
    let usable = text.starts_with('/') && !text.contains('\0');
    usable.then(|| PathBuf::from(text)).ok_or_else(|| "not an absolute path".to_owned())
}
