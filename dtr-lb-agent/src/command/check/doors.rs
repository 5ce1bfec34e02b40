//! Where the agent is to be reached: whether these places are free, and whether secrets are.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use tokio::net::{TcpListener, UnixStream};

use super::finding::Report;
use crate::config::Config;

/// What is found at the socket's path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Door {
    /// Nothing, or a socket that nobody listens on.
    Free,
    /// Somebody answers.
    Agent,
    /// A file of another kind.
    Other,
    /// It cannot be told.
    Unknown(String),
}

/// A file with a secret in it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Secret {
    path: PathBuf,
    /// Permission bits; or why they are not known.
    found: Result<u32, String>,
}

impl Report {
    pub(super) async fn doors(&mut self, config: &Config, socket: Option<&Path>) {
        let socket = socket.unwrap_or(&config.agent.socket);
        let door = look(socket).await;
        // Its own agent has the address, too.
        if let (Some(http), false) = (config.agent.http, door == Door::Agent) {
            self.http(http, TcpListener::bind(http).await.map(drop));
        }
        self.socket(socket, &door);
        if let Some(path) = &config.agent.admin_token_file {
            let found = fs::metadata(path).map(|file| file.mode() & 0o777);
            self.secret(&Secret { path: path.clone(), found: found.map_err(|error| error.to_string()) });
        }
    }

    fn socket(&mut self, path: &Path, door: &Door) {
        let shown = path.display();
        match door {
            Door::Free => self.fact("agent.socket", format!("socket {shown}: free")),
            Door::Agent => self.fact(
                "agent.socket",
                format!("socket {shown}: an agent runs here, and a second one would be refused"),
            ),
            Door::Other => self.error(
                "agent.socket",
                format!("{shown} is not a socket that an agent left behind, so it is not replaced; remove it, or set agent.socket"),
            ),
            Door::Unknown(reason) => self.warn(
                "agent.socket",
                format!("whether the socket {shown} is free cannot be told: {reason}; run `dtr-lb check` as root"),
            ),
        }
    }

    fn http(&mut self, address: SocketAddr, bound: io::Result<()>) {
        match bound {
            Ok(()) => self.fact("agent.http", format!("HTTP {address}: free")),
            Err(error) => self.error(
                "agent.http",
                format!("the agent could not listen on {address}: {error}; free it, or set agent.http to another one, or to \"\""),
            ),
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

    fn secret(&mut self, Secret { path, found }: &Secret) {
        let shown = path.display();
        match found {
            // The group may be the one that the agent runs as.
            Ok(mode) if mode & 0o027 != 0 => self.warn(
                "agent.admin_token_file",
                format!(
                    "{shown} has mode {mode:03o}: whoever can read it may steer the balancer; `chmod 640 {shown}`, or less"
                ),
            ),
            Ok(_) => {}
            Err(error) => self.error(
                "agent.admin_token_file",
                format!("{shown} cannot be read: {error}; make it (`openssl rand -hex 32`), or take the key out"),
            ),
        }
    }
}

async fn look(path: &Path) -> Door {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Door::Free,
        Err(error) => return Door::Unknown(error.to_string()),
        Ok(file) if !file.file_type().is_socket() => return Door::Other,
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Ok(_) => Door::Agent,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Door::Free,
        Err(error) => Door::Unknown(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn the_socket_is_free_taken_or_no_socket() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        assert_eq!(look(&at("none")).await, Door::Free);
        fs::write(at("file"), "").expect("a file");
        assert_eq!(look(&at("file")).await, Door::Other);
        let listener = UnixListener::bind(at("socket")).expect("a socket");
        assert_eq!(look(&at("socket")).await, Door::Agent);
        drop(listener);
        assert_eq!(look(&at("socket")).await, Door::Free, "left behind");
    }

    #[test]
    fn only_what_keeps_the_agent_from_starting_is_an_error() {
        for (door, warnings, errors) in [
            (Door::Free, 0, 0),
            (Door::Agent, 0, 0),
            (Door::Other, 0, 1),
            (Door::Unknown("permission denied".into()), 1, 0),
        ] {
            let mut report = Report::default();
            report.socket(Path::new("/run/x.sock"), &door);
            assert_eq!((report.warnings.len(), report.errors.len()), (warnings, errors), "{door:?}");
        }
    }

    #[test]
    fn an_address_that_is_taken_and_one_that_all_reach_are_told() {
        let taken = || Err(io::Error::from(io::ErrorKind::AddrInUse));
        for (address, bound, warnings, errors) in [
            ("127.0.0.1:8181", Ok(()), 0, 0),
            ("127.0.0.1:8181", taken(), 0, 1),
            ("0.0.0.0:8181", Ok(()), 1, 0),
            ("[::1]:8181", Ok(()), 0, 0),
        ] {
            let mut report = Report::default();
            report.http(address.parse().expect("an address"), bound);
            assert_eq!(
                (report.warnings.len(), report.errors.len()),
                (warnings, errors),
                "{address}: {report:?}"
            );
        }
    }

    #[test]
    fn a_token_that_others_may_read_is_told() {
        for (found, warnings, errors) in [
            (Ok(0o600), 0, 0),
            (Ok(0o400), 0, 0),
            (Ok(0o640), 0, 0),
            (Ok(0o644), 1, 0),
            (Ok(0o660), 1, 0),
            (Err("no such file".into()), 0, 1),
        ] {
            let mut report = Report::default();
            report.secret(&Secret { path: "/etc/dtr-lb/token".into(), found: found.clone() });
            assert_eq!((report.warnings.len(), report.errors.len()), (warnings, errors), "{found:?}");
        }
    }
}
