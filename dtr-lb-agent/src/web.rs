//! The HTTP side: metrics, health, the JSON API and the dashboard over TCP (`agent.http`), for people, Prometheus and checks.
//!
//! It serves the API of the Unix socket without `detach`, behind a `gate` that lets everybody read, and those with the
//! admin token change things. `listen` takes connections; `places` says, as a pure function of what came when, who has a
//! place and who makes room, and `admission` tells them. `pages` has the dashboard, whose files are in `web/`.

mod access;
mod admission;
mod exchange;
mod failed_logins;
mod gate;
mod headers;
mod listen;
mod log_rate;
mod login;
mod pages;
mod places;
mod refusal;
mod refusal_counters;
mod refuse;
mod sessions;
mod source;
mod token;

use std::{io, net::SocketAddr, sync::Arc};

use axum::{Router, middleware};
use tokio::{net::TcpListener, task::JoinHandle};
use tower_http::{limit::RequestBodyLimitLayer, timeout::TimeoutLayer};

pub use access::{Access, Rules};
pub(crate) use admission::MOST_CONNECTIONS;
pub use refusal_counters::{HttpCounts, RefusalCounters};
pub use token::{AdminToken, TokenError};

use admission::Admission;
use gate::Gate;
use listen::{Limits, listen_on};
use refusal::Refusal;

/// The HTTP side, served until this is dropped.
#[derive(Debug)]
pub struct Web {
    access: Access,
    admission: Arc<Admission>,
    server: JoinHandle<()>,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(
        "{0} is in use, so the HTTP side cannot be served there; end who listens there (another agent?), or set agent.http to \
         another port, or to \"\" to do without metrics and dashboard"
    )]
    InUse(SocketAddr),
    #[error(
        "{0} is no address of this host, so the HTTP side cannot be served there; set agent.http to one that is"
    )]
    NotOurs(SocketAddr),
    #[error("listening on {address} for HTTP failed: {source}; see agent.http")]
    Listen { address: SocketAddr, source: io::Error },
}

impl Web {
    /// Listens, and serves `api` and the dashboard, within a tokio runtime. What is refused is counted in `refusals`.
    ///
    /// # Errors
    /// The address cannot be had.
    pub fn open(
        address: SocketAddr,
        rules: Rules,
        api: Router,
        refusals: RefusalCounters,
    ) -> Result<Self, WebError> {
        Self::open_with(address, rules, api, refusals, Limits::default()).map(|(web, _)| web)
    }

    /// Serves at an address that is listened on, within a tokio runtime.
    pub fn serve(bound: Bound, rules: Rules, api: Router, refusals: RefusalCounters) -> Self {
        Self::serve_with(bound, rules, api, refusals, Limits::default())
    }

    /// Also says where it listens, if that was left to the kernel.
    fn open_with(
        address: SocketAddr,
        rules: Rules,
        api: Router,
        refusals: RefusalCounters,
        limits: Limits,
    ) -> Result<(Self, SocketAddr), WebError> {
        let bound = Bound::new(address)?;
        let at = bound.at;
        Ok((Self::serve_with(bound, rules, api, refusals, limits), at))
    }

    fn serve_with(
        bound: Bound,
        rules: Rules,
        api: Router,
        refusals: RefusalCounters,
        limits: Limits,
    ) -> Self {
        let Bound { listener, at } = bound;
        let access = Access::new(rules);
        let router = router(api, access.clone(), at.port(), refusals.clone(), limits);
        let admission = Arc::new(Admission::new(limits.rooms, refusals));
        let server = tokio::spawn(listen::serve(listener, router, limits, Arc::clone(&admission)));
        Self { access, admission, server }
    }

    /// Who may do what: a reload replaces it.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// For `/metrics`.
    pub fn counts(&self) -> HttpCounts {
        self.admission.counts()
    }
}

/// An address that is listened on, where nobody is served yet.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    at: SocketAddr,
}

impl Bound {
    /// Listens, within a tokio runtime.
    ///
    /// # Errors
    /// The address cannot be had.
    pub fn new(address: SocketAddr) -> Result<Self, WebError> {
        let listener = listening(address)?;
        let at = listener.local_addr().map_err(|source| WebError::Listen { address, source })?;
        Ok(Self { listener, at })
    }
}

/// Whether the HTTP side could be served at `address`: listens there for a moment, within a tokio runtime.
///
/// # Errors
/// As [`Web::open`].
pub fn try_address(address: SocketAddr) -> Result<(), WebError> {
    listening(address).map(drop)
}

fn listening(address: SocketAddr) -> Result<TcpListener, WebError> {
    listen_on(address).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => WebError::InUse(address),
        io::ErrorKind::AddrNotAvailable => WebError::NotOurs(address),
        _ => WebError::Listen { address, source },
    })
}

impl Drop for Web {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// All of it without a network: `api` behind the gate, the dashboard, and the login.
fn router(api: Router, access: Access, port: u16, refusals: RefusalCounters, limits: Limits) -> Router {
    let gate = Arc::new(Gate::new(access, port, refusals));
    api.layer(middleware::from_fn(admission::take_place))
        .merge(pages::routes())
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
    router(api, Access::new(rules), 0, RefusalCounters::default(), Limits::default())
}

#[cfg(test)]
mod tests;
