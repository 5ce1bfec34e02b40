//! The commands' end of the socket.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use tokio::{
    net::UnixStream,
    time::{Instant, sleep},
};

use super::{Detached, Ordered, Reloaded, ReplicaOrder, routes::ErrorBody};
use crate::{healthz::Healthz, status::Status};

/// How long the command line waits for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// The same for a check that is made every few seconds.
const HEALTHZ_LIMIT: Duration = Duration::from_secs(2);
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
    #[error("not permitted to use `{}`: it is for its owner and group only", .0.display())]
    Permission(PathBuf),
    #[error("connecting to `{}` failed: {source}", .path.display())]
    Connect { path: PathBuf, source: io::Error },
    #[error("the agent at `{}` answered: {answer}", .path.display())]
    Refused { path: PathBuf, answer: String },
    #[error("{0}")]
    Usage(String),
    #[error("the config is not valid, so the agent goes on with the one that it has:\n{0}")]
    BadConfig(String),
    #[error("the agent at `{}` has removed the datapath, but still answers after {} s", .0.display(), END_LIMIT.as_secs())]
    StillThere(PathBuf),
}

/// Asks a running agent for its status.
pub async fn ask_status(socket: &Path) -> Result<Status, ClientError> {
    ask(socket, Method::GET, "v1/status", ANSWER_LIMIT).await
}

/// Asks a running agent whether it is able to serve: see [`Healthz::of`].
pub async fn ask_healthz(socket: &Path, services: &[String]) -> Result<Healthz, ClientError> {
    let mut url = url("healthz");
    for service in services {
        url.query_pairs_mut().append_pair("service", service);
    }
    let response = send(socket, Method::GET, url, HEALTHZ_LIMIT, |request| request).await?;
    match response.status() {
        // That it is not is an answer, too.
        StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE => response.json().await.map_err(broken(socket)),
        _ => Err(refusal(socket, response).await),
    }
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

/// Makes a running agent do something with a replica.
pub async fn ask_replica(socket: &Path, order: &ReplicaOrder) -> Result<Ordered, ClientError> {
    ask_with(socket, Method::POST, "v1/replica", RELOAD_LIMIT, |request| request.json(order)).await
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
    let response = send(socket, method, url(what), limit, with).await?;
    if !response.status().is_success() {
        return Err(refusal(socket, response).await);
    }
    response.json().await.map_err(broken(socket))
}

/// Of what the agent serves. Its host is for the HTTP client's peace: the socket is where it goes.
fn url(what: &str) -> Url {
    let mut url = Url::parse("http://agent/").unwrap_or_else(|_| unreachable!("it is a URL"));
    url.set_path(what);
    url
}

async fn send(
    socket: &Path,
    method: Method,
    url: Url,
    limit: Duration,
    with: impl FnOnce(RequestBuilder) -> RequestBuilder,
) -> Result<Response, ClientError> {
    // Connecting by hand first tells apart what the HTTP client calls by one name.
    connect(socket).await?;
    // The HTTP client wants to know its cryptography even where there is none. An error says that it is known already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().unix_socket(socket).timeout(limit).build();
    let answer = async { with(client?.request(method, url)).send().await };
    answer.await.map_err(broken(socket))
}

/// Why the agent did not do as it was asked.
async fn refusal(socket: &Path, response: Response) -> ClientError {
    let status = response.status();
    let text = response.text().await.unwrap_or_default();
    let error = match serde_json::from_str(&text) {
        Ok(ErrorBody { error }) => error,
        Err(_) if text.is_empty() => format!("status {status}"),
        Err(_) => text,
    };
    match status {
        StatusCode::UNPROCESSABLE_ENTITY => ClientError::BadConfig(error),
        StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::CONFLICT => ClientError::Usage(error),
        _ => ClientError::Refused { path: socket.into(), answer: error },
    }
}

fn broken(socket: &Path) -> impl FnOnce(reqwest::Error) -> ClientError {
    let path = socket.to_owned();
    |error| ClientError::Refused { path, answer: error.to_string() }
}

async fn connect(socket: &Path) -> Result<UnixStream, ClientError> {
    UnixStream::connect(socket).await.map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => ClientError::Permission(socket.into()),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NoAgent(socket.into()),
        _ => ClientError::Connect { path: socket.into(), source },
    })
}
