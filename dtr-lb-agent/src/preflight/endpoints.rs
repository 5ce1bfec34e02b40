//! Where the agent is to be reached: whether these places can be had, and whether secrets are.

use std::{net::SocketAddr, path::PathBuf};

use super::{Purpose, finding::Findings};
use crate::{
    api::{ApiError, AtPath, inspect},
    config,
    web::{AdminToken, try_address},
};

/// What was found.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) socket: (PathBuf, Result<AtPath, ApiError>),
    /// Where HTTP is to be served, and whether it could be, if that was tried.
    pub(super) http: Option<(SocketAddr, Option<Result<(), String>>)>,
    /// Whether the admin token can be had from its file, if there is to be one.
    pub(super) token: Result<(), String>,
}

impl Facts {
    pub(super) fn read(agent: &config::Agent, purpose: Purpose) -> Self {
        let socket = inspect(&agent.socket);
        // An agent that listens there, or may, has the address, too.
        let agent_may_run = matches!(socket, Err(ApiError::InUse(_) | ApiError::Socket { .. }));
        let try_http = purpose == Purpose::Check && !agent_may_run;
        let tried = |address| try_http.then(|| try_address(address).map_err(|error| error.to_string()));
        let token = agent.admin_token_file.as_deref().map(AdminToken::load).transpose();
        Self {
            socket: (agent.socket.clone(), socket),
            http: agent.http.map(|address| (address, tried(address))),
            token: token.map(drop).map_err(|error| error.to_string()),
        }
    }
}

impl Findings {
    pub(super) fn endpoints(&mut self, Facts { socket: (path, at_path), http, token }: &Facts) {
        match at_path {
            Ok(AtPath::Nothing | AtPath::LeftBehind) => {
                self.fact("agent.socket", format!("socket {}: free", path.display()));
            }
            Err(error @ ApiError::InUse(_)) => self.held("agent.socket", error),
            Err(error) => self.error("agent.socket", error),
        }
        if let Some((address, tried)) = http {
            self.http(*address, tried.as_ref());
        }
        if let Err(error) = token {
            self.error("agent.admin_token_file", error);
        }
    }

    fn http(&mut self, address: SocketAddr, tried: Option<&Result<(), String>>) {
        match tried {
            Some(Ok(())) => self.fact("agent.http", format!("HTTP {address}: free")),
            Some(Err(error)) => self.error("agent.http", error),
            None => {}
        }
        if !address.ip().is_loopback() {
            self.warn(
                "agent.http",
                format!(
                    "whoever reaches {address} sees all services, replicas and flows; let a firewall keep others out, or set \
                     agent.http to an address of lo"
                ),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs, net::TcpListener, os::unix::fs::PermissionsExt as _, os::unix::net::UnixListener, path::Path,
    };

    use super::*;

    fn agent(socket: &Path) -> config::Agent {
        config::Agent {
            socket: socket.into(),
            bpffs: "/b".into(),
            http: None,
            http_names: Vec::new(),
            admin_token_file: None,
            flow_log: None,
            flow_log_sample: 1,
        }
    }

    fn judged(agent: &config::Agent, purpose: Purpose) -> Findings {
        let mut found = Findings::default();
        found.endpoints(&Facts::read(agent, purpose));
        found
    }

    #[test]
    fn a_socket_that_cannot_be_made_keeps_the_agent_from_starting() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        fs::write(at("file"), "").expect("a file");
        let long = at(&"x".repeat(120));
        for (path, words) in [
            (at("file"), "is a regular file and not a socket"),
            (at("file/dtr-lb.sock"), "file` is no directory; set agent.socket"),
            ("/proc/dtr-lb.sock".into(), "`/proc` is in a proc file system, which takes no sockets"),
            ("/sys/dtr-lb/dtr-lb.sock".into(), "`/sys` "),
            (long, "bytes long, and a socket's may have 107"),
        ] {
            let found = judged(&agent(&path), Purpose::Start);
            assert!(matches!(&found.errors[..], [error] if error.contains(words)), "{words}: {found:?}");
        }
        for path in [at("dtr-lb.sock"), at("a/b/dtr-lb.sock")] {
            let found = judged(&agent(&path), Purpose::Check);
            assert!(found.errors.is_empty() && found.facts[0].contains("free"), "{found:?}");
            assert!(!at("a").exists(), "a directory was made");
        }
    }

    #[test]
    fn an_agent_that_runs_holds_a_start_and_is_no_error_of_a_config() {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("dtr-lb.sock");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let mut found = judged(&agent(&socket), Purpose::Check);
        assert!(found.errors.is_empty() && found.held[0].contains("another process answers"), "{found:?}");
        assert!(found.refusal().is_err(), "a second one would start");
        drop(listener);
        let found = judged(&agent(&socket), Purpose::Check);
        assert!(found.held.is_empty() && found.errors.is_empty(), "it was left behind: {found:?}");
    }

    #[tokio::test]
    async fn an_address_that_is_taken_and_one_that_all_reach_are_told() {
        let socket = Path::new("/run/dtr-lb-none.sock");
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("its address");
        let with = |http| config::Agent { http: Some(http), ..agent(socket) };
        let of_http = |found: Findings| {
            let errors: Vec<_> =
                found.errors.into_iter().filter(|error| error.about == "agent.http").collect();
            (found.warnings.len(), errors)
        };
        let (warnings, errors) = of_http(judged(&with(address), Purpose::Check));
        assert!(matches!(&errors[..], [error] if error.contains("is in use")), "{errors:?}");
        assert_eq!(warnings, 0, "only this host reaches it");
        assert_eq!(of_http(judged(&with(address), Purpose::Start)).1, [], "it is tried when it is opened");
        drop(taken);
        assert_eq!(of_http(judged(&with(address), Purpose::Check)), (0, Vec::new()));
        let open = SocketAddr::new([0, 0, 0, 0].into(), address.port());
        assert_eq!(of_http(judged(&with(open), Purpose::Start)), (1, Vec::new()));
        let (_, errors) = of_http(judged(&with("192.0.2.1:8181".parse().expect("one")), Purpose::Check));
        assert!(matches!(&errors[..], [error] if error.contains("no address of this host")), "{errors:?}");
    }

    #[test]
    fn a_token_that_others_may_read_or_that_is_none_keeps_the_agent_from_starting() {
        let directory = tempfile::tempdir().expect("a directory");
        let (socket, file) = (directory.path().join("dtr-lb.sock"), directory.path().join("token"));
        let agent = config::Agent { admin_token_file: Some(file.clone()), ..agent(&socket) };
        let of_token = |text: &str, mode| {
            fs::write(&file, text).expect("a file");
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("permissions");
            judged(&agent, Purpose::Start).errors
        };
        assert!(
            judged(&agent, Purpose::Start).errors[0].contains("reading the admin token"),
            "it is not there"
        );
        for mode in [0o600, 0o400, 0o640] {
            assert_eq!(of_token("0123456789abcdef", mode), [], "{mode:o}");
        }
        for (text, mode, words) in [
            ("0123456789abcdef", 0o644, "its mode is 644"),
            ("0123456789abcdef", 0o660, "chmod 600"),
            ("short", 0o600, "is 5 characters long"),
        ] {
            let errors = of_token(text, mode);
            assert!(matches!(&errors[..], [error] if error.contains(words)), "{errors:?}");
        }
    }
}
