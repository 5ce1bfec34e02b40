//! The commands' end of the socket.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::{Method, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use tokio::{
    net::UnixStream,
    time::{Instant, sleep},
};

use super::Detached;
use crate::{healthz::Healthz, status::Status};

/// How long the command line waits for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// The same for a check that is made every few seconds.
const HEALTHZ_LIMIT: Duration = Duration::from_secs(2);
/// Maps are large, and the kernel takes its time to free them.
const DETACH_LIMIT: Duration = Duration::from_secs(60);
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
    let response = send(socket, Method::GET, url, HEALTHZ_LIMIT).await?;
    match response.status() {
        // The answer that it is not is an answer.
        StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE => read(socket, response).await,
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

async fn ask<T: DeserializeOwned>(
    socket: &Path,
    method: Method,
    what: &str,
    limit: Duration,
) -> Result<T, ClientError> {
    let response = send(socket, method, url(what), limit).await?;
    if !response.status().is_success() {
        return Err(refusal(socket, response).await);
    }
    read(socket, response).await
}

/// The host in it is for the HTTP client's peace: the socket is where it goes.
fn url(what: &str) -> Url {
    let mut url = Url::parse("http://agent/").unwrap_or_else(|_| unreachable!("it is a URL"));
    url.set_path(what);
    url
}

async fn send(socket: &Path, method: Method, url: Url, limit: Duration) -> Result<Response, ClientError> {
    // Connecting by hand first tells apart what the HTTP client calls by one name.
    connect(socket).await?;
    // The HTTP client wants to know its cryptography even where there is none. An error says that it is known already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().unix_socket(socket).timeout(limit).build();
    let answer = async { client?.request(method, url).send().await };
    answer.await.map_err(broken(socket))
}

async fn read<T: DeserializeOwned>(socket: &Path, response: Response) -> Result<T, ClientError> {
    response.json().await.map_err(broken(socket))
}

/// What the agent says to a request that it does not fulfil.
async fn refusal(socket: &Path, response: Response) -> ClientError {
    let status = response.status();
    let text = response.text().await.unwrap_or_default();
    let answer = if text.is_empty() { format!("status {status}") } else { text };
    ClientError::Refused { path: socket.into(), answer }
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
