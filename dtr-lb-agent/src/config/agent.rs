//! `[agent]`: where the agent itself is reached, and where it pins what outlives it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use toml::Spanned;

use super::field::{self, Field, Table};
use super::host_name;
use super::problems::Problems;
use super::raw::{RawAgent, RawConfig};
use super::service::Service;

/// Where the agent is reached, and where it keeps the datapath's pins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// The Unix socket of the commands.
    pub socket: PathBuf,
    /// The directory in a BPF file system for links and maps.
    pub bpffs: PathBuf,
    /// Where metrics, the dashboard and the API are served over TCP; `None`: nowhere.
    pub http: Option<SocketAddr>,
    /// Names of this host by which that may be asked for; addresses and `localhost` always may.
    pub http_names: Vec<String>,
    /// The file with the token that lets HTTP change things; `None`: nothing is changed by HTTP.
    pub admin_token_file: Option<PathBuf>,
}

/// Where the agent's socket is unless the config says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/dtr-lb/dtr-lb.sock";
/// Where the datapath is pinned unless the config says otherwise.
pub const DEFAULT_BPFFS: &str = "/sys/fs/bpf/dtr-lb";

/// Where HTTP is served unless the config says otherwise: to this host only.
const DEFAULT_HTTP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8181);

/// `sun_path` of unix(7), less the NUL at its end.
const LONGEST_SOCKET_PATH: usize = 107;

pub(super) fn read(raw: &RawConfig, problems: &mut Problems<'_>) -> Option<Agent> {
    let unwritten = RawAgent::default();
    let table = Table::top().sub("agent", raw.agent.as_ref());
    let raw = raw.agent.as_ref().map_or(&unwritten, |raw| raw.get_ref());

    let socket = table
        .field("socket", &raw.socket)
        .map_or_else(|| Some(PathBuf::from(DEFAULT_SOCKET)), |field| socket_path(&field, problems));
    let bpffs = table
        .field("bpffs", &raw.bpffs)
        .map_or_else(|| Some(PathBuf::from(DEFAULT_BPFFS)), |field| field::absolute_path(&field, problems));
    let http =
        table.field("http", &raw.http).map_or(Some(Some(DEFAULT_HTTP)), |field| listen(&field, problems));
    let http_names =
        table.field("http_names", &raw.http_names).map_or(Some(Vec::new()), |field| names(&field, problems));
    let token = table
        .field("admin_token_file", &raw.admin_token_file)
        .map_or(Some(None), |field| token_file(&field, problems));
    Some(Agent {
        socket: socket?,
        bpffs: bpffs?,
        http: http?,
        http_names: http_names?,
        admin_token_file: token?,
    })
}

pub(super) fn socket_path(field: &Field<'_, String>, problems: &mut Problems<'_>) -> Option<PathBuf> {
    let path = field::absolute_path(field, problems)?;
    if field.value.len() > LONGEST_SOCKET_PATH {
        problems.refuse(field, format!("{} bytes long, too long for a socket", field.value.len()));
        return None;
    }
    Some(path)
}

fn listen(field: &Field<'_, String>, problems: &mut Problems<'_>) -> Option<Option<SocketAddr>> {
    if field.value.is_empty() {
        return Some(None);
    }
    let Ok(address) = field.value.parse::<SocketAddr>() else {
        problems.refuse(field, "not an address with a port");
        return None;
    };
    if address.port() == 0 {
        problems.refuse(field, "port 0 is none that could be connected to");
        return None;
    }
    Some(Some(address))
}

fn names(field: &Field<'_, Vec<Spanned<String>>>, problems: &mut Problems<'_>) -> Option<Vec<String>> {
    let one = |field: Field<'_, String>| {
        if host_name::is_host_name(field.value) {
            return Some(field.value.to_ascii_lowercase());
        }
        problems.refuse(&field, "not a DNS name");
        None
    };
    // All of them are looked at, so that each wrong one is told.
    field.elements().map(one).collect::<Vec<_>>().into_iter().collect()
}

/// The HTTP side is not where a service is: its packets would be forwarded.
pub(super) fn is_no_service(
    raw: &RawConfig,
    agent: &Agent,
    services: &[Service],
    problems: &mut Problems<'_>,
) {
    let Some(http) = agent.http else { return };
    let table = Table::top().sub("agent", raw.agent.as_ref());
    let field = raw.agent.as_ref().and_then(|raw| table.field("http", &raw.get_ref().http));
    let at = |service: &&Service| service.port == http.port() && service.vips.contains(&http.ip());
    if let (Some(field), Some(service)) = (field, services.iter().find(at)) {
        problems.refuse(&field, format!("service `{}` is there", service.name));
    }
}

fn token_file(field: &Field<'_, String>, problems: &mut Problems<'_>) -> Option<Option<PathBuf>> {
    if field.value.is_empty() {
        return Some(None);
    }
    field::absolute_path(field, problems).map(Some)
}
