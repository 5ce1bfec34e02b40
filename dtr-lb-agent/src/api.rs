//! The agent's Unix socket: HTTP with JSON bodies, for the command line and for scripts
//! (`curl --unix-socket /run/dtr-lb/dtr-lb.sock http://agent/v1/status`).
//!
//! It decides nothing: a request is put to the agent's main loop, which answers from its own state.

use std::{
    fs, io,
    os::unix::{fs::PermissionsExt as _, net::UnixStream as StdUnixStream},
    path::{Path, PathBuf},
    time::Duration,
};

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use tokio::{
    net::UnixListener,
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use crate::status::Status;

/// What the main loop is asked.
#[derive(Debug)]
pub enum Request {
    Status(oneshot::Sender<Result<Status, String>>),
}

/// Read and write for the owner and the group: whoever may talk to the agent may steer it.
const MODE: u32 = 0o660;

/// How long the command line waits for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// The socket, served until this is dropped; then its file is gone, too.
#[derive(Debug)]
pub struct Api {
    path: PathBuf,
    server: JoinHandle<()>,
}

/// Why the socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("another process answers on `{}`; is an agent running? end it, or set agent.socket", .0.display())]
    InUse(PathBuf),
    #[error("{operation} `{}` failed: {source}; see agent.socket", .path.display())]
    Socket { operation: &'static str, path: PathBuf, source: io::Error },
}

impl Api {
    /// Opens the socket. A file that an agent left behind is replaced; one that somebody listens on is not.
    pub fn open(path: &Path, requests: mpsc::Sender<Request>) -> Result<Self, ApiError> {
        let failed =
            |operation: &'static str| move |source| ApiError::Socket { operation, path: path.into(), source };
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(failed("making the directory of"))?;
        }
        if path.exists() {
            if StdUnixStream::connect(path).is_ok() {
                return Err(ApiError::InUse(path.into()));
            }
            fs::remove_file(path).map_err(failed("replacing"))?;
        }
        let listener = UnixListener::bind(path).map_err(failed("listening on"))?;
        fs::set_permissions(path, fs::Permissions::from_mode(MODE))
            .map_err(failed("setting the permissions of"))?;
        let router = Router::new().route("/v1/status", get(status)).with_state(requests);
        let server = tokio::spawn(async move {
            // It has no end of its own: the task is aborted.
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the agent's socket is no longer served");
            }
        });
        Ok(Self { path: path.into(), server })
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.server.abort();
        let _ = fs::remove_file(&self.path);
    }
}

async fn status(State(requests): State<mpsc::Sender<Request>>) -> Result<Json<Status>, (StatusCode, String)> {
    let (answer, answered) = oneshot::channel();
    let ending = || (StatusCode::SERVICE_UNAVAILABLE, "the agent is ending".to_owned());
    requests.send(Request::Status(answer)).await.map_err(|_| ending())?;
    let status = answered.await.map_err(|_| ending())?;
    status.map(Json).map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error))
}

/// Why a running agent could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no agent answers on `{}`; start one with `dtr-lb run`, or name its socket by --socket", .0.display())]
    NoAgent(PathBuf),
    #[error("not permitted to use `{}`: it is for its owner and group only", .0.display())]
    Permission(PathBuf),
    #[error("the agent at `{}` answered: {answer}", .path.display())]
    Refused { path: PathBuf, answer: String },
}

/// Asks a running agent for its status.
pub async fn ask_status(socket: &Path) -> Result<Status, ClientError> {
    // Connecting by hand first tells apart what the HTTP client calls by one name.
    match tokio::net::UnixStream::connect(socket).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(ClientError::Permission(socket.into()));
        }
        Err(_) => return Err(ClientError::NoAgent(socket.into())),
    }
    let refused = |answer: String| ClientError::Refused { path: socket.into(), answer };
    let broken = |error: reqwest::Error| refused(error.to_string());
    // The HTTP client wants to know its cryptography even where there is none. An error says that it is known already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client =
        reqwest::Client::builder().unix_socket(socket).timeout(ANSWER_LIMIT).build().map_err(broken)?;
    let response = client.get("http://agent/v1/status").send().await.map_err(broken)?;
    if !response.status().is_success() {
        return Err(refused(response.text().await.unwrap_or_default()));
    }
    response.json().await.map_err(broken)
}
