//! `[agent]`: where the agent itself is reached, and where it pins what outlives it.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::field::{self, Field, Table};
use super::not_yet;
use super::problems::Problems;
use super::raw::{RawAgent, RawConfig};

/// Where the agent is reached, and where it keeps the datapath's pins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// The Unix socket of the commands.
    pub socket: PathBuf,
    /// The directory in a BPF file system for links and maps.
    pub bpffs: PathBuf,
    /// Where metrics and the dashboard are served. Always `None` in this version, which does not have them.
    pub http: Option<SocketAddr>,
    /// The file with the token that lets HTTP change things. Always `None` in this version.
    pub admin_token_file: Option<PathBuf>,
}

/// Where the agent's socket is unless the config says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/dtr-lb/dtr-lb.sock";
/// Where the datapath is pinned unless the config says otherwise.
pub const DEFAULT_BPFFS: &str = "/sys/fs/bpf/dtr-lb";

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
    let http = table.field("http", &raw.http).map_or(Some(None), |field| listen(&field, problems));
    let token = table
        .field("admin_token_file", &raw.admin_token_file)
        .map_or(Some(None), |field| token_file(&field, problems));
    Some(Agent { socket: socket?, bpffs: bpffs?, http: http?, admin_token_file: token? })
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
    problems.gate(field, not_yet::http(field.value));
    Some(Some(address))
}

fn token_file(field: &Field<'_, String>, problems: &mut Problems<'_>) -> Option<Option<PathBuf>> {
    if field.value.is_empty() {
        return Some(None);
    }
    let path = field::absolute_path(field, problems)?;
    problems.gate(field, not_yet::admin_token_file(field.value));
    Some(Some(path))
}
