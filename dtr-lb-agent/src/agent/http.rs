//! The HTTP side of a running agent: opened at the start, and brought into line with another config.

use std::net::SocketAddr;

use axum::Router;
use tracing::info;

use super::probes::Files;
use crate::{
    config,
    status::host_name,
    web::{Bound, HttpCounts, RefusalCounters, Rules, Web, WebError, try_address},
};

/// What is served over HTTP, and where.
#[derive(Debug)]
pub(super) struct HttpSide {
    routes: Router,
    address: Option<SocketAddr>,
    web: Option<Web>,
    /// Of all addresses that were served since the start.
    refusals: RefusalCounters,
}

/// What another config makes of it; all that could fail is done.
#[derive(Debug)]
pub(super) enum Prepared {
    /// As it is.
    Same,
    /// Other names, or another token.
    Rules(Rules),
    /// Another address, already listened on, with who may do what there; or none.
    Elsewhere(Option<(SocketAddr, Bound, Rules)>),
}

impl HttpSide {
    /// Serves `routes` where the config says, if it does.
    ///
    /// # Errors
    /// The token cannot be read, or the address not be had.
    pub(super) fn open(agent: &config::Agent, routes: Router) -> Result<Self, WebError> {
        let refusals = RefusalCounters::default();
        let web = bound(agent)?.map(|bound| serve(bound, &routes, &refusals));
        Ok(Self { routes, address: agent.http, web, refusals })
    }

    /// Does what can fail; nothing has changed then. `files`: whether the token is to be read again.
    ///
    /// # Errors
    /// As `open`.
    pub(super) fn prepare(&self, agent: &config::Agent, files: Files) -> Result<Prepared, WebError> {
        if agent.http != self.address {
            return bound(agent).map(Prepared::Elsewhere);
        }
        match files {
            // Without a reload the config's `[agent]` is as it was: a token that has gone is no matter for a `drain`.
            Files::AsTheyWere => Ok(Prepared::Same),
            Files::ReadAgain => Ok(Prepared::Rules(Rules::read(agent, host_name())?)),
        }
    }

    /// Whether another config could be carried out: an address that is new is listened on for a moment.
    ///
    /// # Errors
    /// As `open`.
    pub(super) fn try_config(&self, agent: &config::Agent) -> Result<(), WebError> {
        Rules::read(agent, host_name())?;
        match agent.http.filter(|_| agent.http != self.address) {
            Some(address) => try_address(address),
            None => Ok(()),
        }
    }

    pub(super) fn carry_out(&mut self, prepared: Prepared) {
        match prepared {
            Prepared::Same => {}
            Prepared::Rules(rules) => {
                if let Some(web) = &self.web {
                    web.access().replace(rules);
                }
            }
            Prepared::Elsewhere(bound) => {
                self.address = bound.as_ref().map(|(address, _, _)| *address);
                self.web = bound.map(|bound| serve(bound, &self.routes, &self.refusals));
            }
        }
    }

    /// For `/metrics`.
    pub(super) fn counts(&self) -> HttpCounts {
        self.web.as_ref().map_or_else(|| self.refusals.counts_without_connections(), Web::counts)
    }
}

/// Listens where the config says, if it does, and reads the token.
fn bound(agent: &config::Agent) -> Result<Option<(SocketAddr, Bound, Rules)>, WebError> {
    let rules = Rules::read(agent, host_name())?;
    agent.http.map(|address| Ok((address, Bound::new(address)?, rules))).transpose()
}

fn serve(
    (address, bound, rules): (SocketAddr, Bound, Rules),
    routes: &Router,
    refusals: &RefusalCounters,
) -> Web {
    let changes = rules.let_change();
    info!(%address, changes, "the dashboard and the API are served over HTTP");
    Web::serve(bound, rules, routes.clone(), refusals.clone())
}

#[cfg(test)]
mod tests {
    use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _, path::PathBuf};

    use super::*;

    fn free_address() -> SocketAddr {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        free.expect("a free port")
    }

    fn agent(http: Option<SocketAddr>, token: Option<PathBuf>) -> config::Agent {
        config::Agent {
            socket: "/s".into(),
            bpffs: "/b".into(),
            http,
            http_names: Vec::new(),
            admin_token_file: token,
            flow_log: None,
            flow_log_sample: 1,
        }
    }

    #[tokio::test]
    async fn another_address_is_listened_on_before_the_old_one_is_left() {
        let (first, second) = (free_address(), free_address());
        let mut side = HttpSide::open(&agent(Some(first), None), Router::new()).expect("it opens");
        assert!(HttpSide::open(&agent(Some(first), None), Router::new()).is_err(), "it is taken");

        let taken = TcpListener::bind(second).expect("it is free");
        assert!(side.prepare(&agent(Some(second), None), Files::ReadAgain).is_err(), "it is taken, too");
        drop(taken);
        let prepared = side.prepare(&agent(Some(second), None), Files::ReadAgain).expect("it is free");
        side.carry_out(prepared);
        assert!(TcpListener::bind(second).is_err(), "it is served now");
        let none = side.prepare(&agent(None, None), Files::ReadAgain).expect("nothing can fail");
        side.carry_out(none);
        assert!(side.web.is_none() && side.address.is_none());
    }

    #[tokio::test]
    async fn a_token_that_is_not_secret_is_found_before_anything_changes_and_only_by_a_reload() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("token");
        fs::write(&file, "0123456789abcdef").expect("a file");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("permissions");
        let agent = agent(Some(free_address()), Some(file.clone()));
        let side = HttpSide::open(&agent, Router::new()).expect("it opens");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("permissions");
        assert!(matches!(side.prepare(&agent, Files::AsTheyWere), Ok(Prepared::Same)));
        let error = side.prepare(&agent, Files::ReadAgain).expect_err("others may read it").to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }
}
