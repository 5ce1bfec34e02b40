//! The commands' end of the socket.

use std::{
    io,
    marker::PhantomData,
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    net::UnixStream,
    time::{Instant, sleep},
};

use super::{
    ask::ErrorBody,
    request::{Detached, Ordered, Reloaded, ReplicaOrder, WouldReload},
};
use crate::{
    events,
    explain::{self, Explanation},
    flow_log::{FlowLogLine, FollowQuery},
    flows::{self, Listing},
    status::Status,
    trace::{self, Line},
};

/// How long the command line waits for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// A walk through a large table takes a second or more, and there may be others before it.
const LOOK_LIMIT: Duration = Duration::from_secs(60);
/// Maps are large, and the kernel takes its time to free them.
const DETACH_LIMIT: Duration = Duration::from_secs(60);
/// A CA file, the interfaces and the addresses of the host are looked at.
const RELOAD_LIMIT: Duration = Duration::from_secs(30);
/// From the agent's answer to its end.
const END_LIMIT: Duration = Duration::from_secs(5);
const END_PAUSE: Duration = Duration::from_millis(10);

/// Why a running agent could not be asked, or did not do as it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no agent answers on `{}`; start one with `dtr-lb run`, or name its socket by --socket", .0.display())]
    NoAgent(PathBuf),
    #[error(
        "not permitted to use `{}`, which is for its owner and group only; run as root, or as a member of the group dtr-lb",
        .0.display()
    )]
    Permission(PathBuf),
    #[error("connecting to the agent at `{}` failed: {source}; see agent.socket, or --socket", .path.display())]
    Connect { path: PathBuf, source: io::Error },
    #[error("the agent at `{}` answered: {answer}", .path.display())]
    Refused { path: PathBuf, answer: String },
    #[error("{0}")]
    Usage(String),
    #[error("the config is not valid, so the agent goes on with the one that it has:\n{0}")]
    BadConfig(String),
    #[error("the agent at `{}` has removed the datapath, but still answers after {} s; see its log", .0.display(), END_LIMIT.as_secs())]
    StillThere(PathBuf),
}

/// Asks a running agent for its status.
pub async fn ask_status(socket: &Path) -> Result<Status, ClientError> {
    ask_status_within(socket, ANSWER_LIMIT).await
}

/// The same, for whoever does not want to wait as long.
pub async fn ask_status_within(socket: &Path, limit: Duration) -> Result<Status, ClientError> {
    ask(socket, Method::GET, "v1/status", limit).await
}

/// Makes a running agent remove its datapath and end. Returns when both are done.
pub async fn ask_detach(socket: &Path) -> Result<Detached, ClientError> {
    let detached = ask(socket, Method::POST, "v1/detach", DETACH_LIMIT).await?;
    let limit = Instant::now() + END_LIMIT;
    while connect(socket).await.is_ok() {
        if Instant::now() >= limit {
            return Err(ClientError::StillThere(socket.into()));
        }
        sleep(END_PAUSE).await;
    }
    Ok(detached)
}

/// Makes a running agent read its config file again. Says what has changed.
pub async fn ask_reload(socket: &Path) -> Result<Reloaded, ClientError> {
    ask(socket, Method::POST, "v1/reload", RELOAD_LIMIT).await
}

/// Asks a running agent what that would change.
pub async fn ask_would_reload(socket: &Path) -> Result<WouldReload, ClientError> {
    ask(socket, Method::GET, "v1/reload", RELOAD_LIMIT).await
}

/// Makes a running agent do something with a replica.
pub async fn ask_replica(socket: &Path, order: &ReplicaOrder) -> Result<Ordered, ClientError> {
    ask_with(socket, Method::POST, "v1/replica", RELOAD_LIMIT, |request| request.json(order)).await
}

/// Makes a running agent take back the last order that is not taken back.
pub async fn ask_undo(socket: &Path) -> Result<Ordered, ClientError> {
    ask(socket, Method::POST, "v1/undo", RELOAD_LIMIT).await
}

/// Asks a running agent for what has changed.
pub async fn ask_events(socket: &Path, query: &events::Query) -> Result<events::Listing, ClientError> {
    ask(socket, Method::GET, &with_query("v1/events", query), ANSWER_LIMIT).await
}

/// Asks a running agent for its flows.
pub async fn ask_flows(socket: &Path, query: &flows::Query) -> Result<Listing, ClientError> {
    ask(socket, Method::GET, &with_query("v1/flows", query), LOOK_LIMIT).await
}

/// Asks a running agent what would become of a connection.
pub async fn ask_explain(socket: &Path, query: &explain::Query) -> Result<Explanation, ClientError> {
    ask(socket, Method::GET, &with_query("v1/explain", query), LOOK_LIMIT).await
}

/// Makes a running agent trace. Returns when it has begun, or could not.
pub async fn ask_trace(socket: &Path, query: &trace::Query) -> Result<Lines<Line>, ClientError> {
    ask_lines(socket, &with_query("v1/trace", query)).await
}

/// Follows the connections that end or fail at a running agent.
pub async fn ask_follow(
    socket: &Path,
    query: &FollowQuery,
) -> Result<Lines<FlowLogLine<'static>>, ClientError> {
    ask_lines(socket, &with_query("v1/flows/follow", query)).await
}

async fn ask_lines<T>(socket: &Path, what: &str) -> Result<Lines<T>, ClientError> {
    let response = send(socket, Method::GET, what, None, |request| request).await?;
    Ok(Lines { socket: socket.into(), response, read: Vec::new(), of: PhantomData })
}

/// Lines, as they come. Dropped, they end.
#[derive(Debug)]
pub struct Lines<T> {
    socket: PathBuf,
    response: Response,
    /// Read and not yet handed out.
    read: Vec<u8>,
    of: PhantomData<T>,
}

impl<T: DeserializeOwned> Lines<T> {
    /// Waits for the next line; none after the last. May be dropped and called again.
    pub async fn next(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                let broken = |error: serde_json::Error| refused(&self.socket, error.to_string());
                return serde_json::from_slice(&line).map(Some).map_err(broken);
            }
            match self.response.chunk().await {
                Ok(Some(bytes)) => self.read.extend_from_slice(&bytes),
                Ok(None) => return Ok(None),
                Err(error) => return Err(refused(&self.socket, error.to_string())),
            }
        }
    }
}

/// The path with what is given of a query.
fn with_query(path: &str, query: &impl Serialize) -> String {
    let fields = serde_json::to_value(query).unwrap_or_default();
    let pairs = fields.as_object().into_iter().flatten().filter_map(|(key, value)| match value {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some((key.as_str(), text.clone())),
        other => Some((key.as_str(), other.to_string())),
    });
    let mut url = Url::parse("http://agent/").unwrap_or_else(|_| unreachable!("it is a URL"));
    url.query_pairs_mut().extend_pairs(pairs);
    format!("{path}?{}", url.query().unwrap_or_default())
}

fn refused(socket: &Path, answer: String) -> ClientError {
    ClientError::Refused { path: socket.into(), answer }
}

async fn ask<T: DeserializeOwned>(
    socket: &Path,
    method: Method,
    what: &str,
    limit: Duration,
) -> Result<T, ClientError> {
    ask_with(socket, method, what, limit, |request| request).await
}

/// `with` puts into the request what it is to have besides.
async fn ask_with<T: DeserializeOwned>(
    socket: &Path,
    method: Method,
    what: &str,
    limit: Duration,
    with: impl FnOnce(RequestBuilder) -> RequestBuilder,
) -> Result<T, ClientError> {
    let response = send(socket, method, what, Some(limit), with).await?;
    response.json().await.map_err(|error| refused(socket, error.to_string()))
}

/// Sends a request; without a limit, its answer may take as long as it likes.
async fn send(
    socket: &Path,
    method: Method,
    what: &str,
    limit: Option<Duration>,
    with: impl FnOnce(RequestBuilder) -> RequestBuilder,
) -> Result<Response, ClientError> {
    // Connecting by hand first tells apart what the HTTP client calls by one name.
    connect(socket).await?;
    let broken = |error: reqwest::Error| refused(socket, error.to_string());
    // The HTTP client wants to know its cryptography even where there is none. An error says that it is known already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().unix_socket(socket);
    let client = limit.into_iter().fold(client, reqwest::ClientBuilder::timeout).build().map_err(broken)?;
    let request = with(client.request(method, format!("http://agent/{what}")));
    let response = request.send().await.map_err(broken)?;
    let status = response.status();
    if !status.is_success() {
        let text = response.text().await.unwrap_or_default();
        let error = match serde_json::from_str(&text) {
            Ok(ErrorBody { error }) => error,
            Err(_) if text.is_empty() => format!("status {status}"),
            Err(_) => text,
        };
        return Err(match status {
            StatusCode::UNPROCESSABLE_ENTITY => ClientError::BadConfig(error),
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::CONFLICT => {
                ClientError::Usage(error)
            }
            _ => refused(socket, error),
        });
    }
    Ok(response)
}

async fn connect(socket: &Path) -> Result<UnixStream, ClientError> {
    UnixStream::connect(socket).await.map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => ClientError::Permission(socket.into()),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::ConnectionRefused => {
            ClientError::NoAgent(socket.into())
        }
        _ => ClientError::Connect { path: socket.into(), source },
    })
}
