//! The HTTP side: metrics, health, the JSON API and the dashboard over TCP (`agent.http`), for people, Prometheus and checks.
//!
//! It serves the API of the Unix socket without `detach`, behind a `gate` that lets everybody read, and those with the
//! admin token change things. `listen` bounds what a client may take, and `pages` has the dashboard, whose files are in
//! `web/`.

mod access;
mod gate;
mod headers;
mod listen;
mod login;
mod pages;
mod refusal;
mod sessions;
mod token;
mod wrong;

use std::{
    io,
    net::{SocketAddr, TcpListener as StdTcpListener},
    sync::Arc,
};

use axum::{Router, middleware};
use tokio::{net::TcpListener, task::JoinHandle};
use tower_http::{limit::RequestBodyLimitLayer, timeout::TimeoutLayer};

pub use access::{Access, Rules};
pub use token::{AdminToken, TokenError};

use gate::Gate;
use listen::Limits;
use refusal::Refusal;

/// The HTTP side, served until this is dropped.
#[derive(Debug)]
pub struct Web {
    access: Access,
    server: JoinHandle<()>,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(
        "{0} is in use, so the HTTP side cannot be served there (another agent?): set agent.http to another port, or to \"\" to \
         do without metrics and dashboard"
    )]
    InUse(SocketAddr),
    #[error(
        "{0} is no address of this host, so the HTTP side cannot be served there: set agent.http to one that is"
    )]
    NotOurs(SocketAddr),
    #[error("listening on {address} for HTTP failed: {source}; see agent.http")]
    Listen { address: SocketAddr, source: io::Error },
}

impl Web {
    /// Listens, and serves `api` and the dashboard, within a tokio runtime.
    ///
    /// # Errors
    /// The address cannot be had.
    pub fn open(address: SocketAddr, rules: Rules, api: Router) -> Result<Self, WebError> {
        Self::open_with(address, rules, api, Limits::default()).map(|(web, _)| web)
    }

    /// Also says where it listens, if that was left to the kernel.
    fn open_with(
        address: SocketAddr,
        rules: Rules,
        api: Router,
        limits: Limits,
    ) -> Result<(Self, SocketAddr), WebError> {
        let listener = listen_on(address).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => WebError::InUse(address),
            io::ErrorKind::AddrNotAvailable => WebError::NotOurs(address),
            _ => WebError::Listen { address, source },
        })?;
        let at = listener.local_addr().map_err(|source| WebError::Listen { address, source })?;
        let access = Access::new(rules);
        let router = router(api, access.clone(), at.port(), limits);
        let server = tokio::spawn(listen::serve(listener, router, limits));
        Ok((Self { access, server }, at))
    }

    /// Who may do what: a reload replaces it.
    pub fn access(&self) -> &Access {
        &self.access
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The address is free for the next agent as soon as this one is gone, whatever is left of its connections; standard
/// for servers, and what tokio's own `bind` does, which waits for nothing either.
fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = StdTcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// All of it without a network: `api` behind the gate, the dashboard, and the login.
fn router(api: Router, access: Access, port: u16, limits: Limits) -> Router {
    let gate = Arc::new(Gate::new(access, port));
    api.merge(pages::routes())
        .merge(login::routes(Arc::clone(&gate)))
        .fallback(|| async { Refusal::NothingHere })
        .method_not_allowed_fallback(|| async { Refusal::Method })
        .layer(RequestBodyLimitLayer::new(limits.body_bytes))
        .layer(TimeoutLayer::with_status_code(axum::http::StatusCode::REQUEST_TIMEOUT, limits.answer))
        .layer(middleware::from_fn_with_state(gate, gate::pass))
        .layer(middleware::from_fn(headers::add))
}

/// What the HTTP side serves, for whoever wants to try its routes without a network. No request comes from a TCP port: the
/// session's cookie is named for port 0.
pub fn router_of(api: Router, rules: Rules) -> Router {
    router(api, Access::new(rules), 0, Limits::default())
}

#[cfg(test)]
mod tests;
