//! Probes against real sockets on the loopback, and the pure parts against tables and models.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use tokio::net::TcpSocket;

use crate::config::{Config, HostFacts, Pattern, Preset, Probe, Scheme, StatusSet};

use super::{Outcome, Prober, ProberError, Route, Target};

mod agent_check;
mod conversation;
mod descriptors;
mod direct;
mod expectations;
mod failure;
mod hostile;
mod http;
mod odd_answers;
mod presets;
mod schedule;
mod server;
mod setup;
mod task;
mod tcp;
mod tls;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Long enough that no test that is to pass runs into it, even on a machine that is busy.
const AMPLE: Duration = Duration::from_secs(10);

/// For probes that are to run out of time.
const SHORT: Duration = Duration::from_millis(100);

fn probe(scheme: Scheme, port: u16) -> Probe {
    Probe { scheme, timeout: AMPLE, ..Probe::default_for(Preset::Dtr, "any", port, None) }
}

fn statuses(ranges: &[&str]) -> StatusSet {
    configured(&format!("status = {ranges:?}")).status
}

fn pattern(regex: &str) -> Pattern {
    configured(&format!("body = '''{regex}'''")).body.expect("a pattern")
}

/// The probe of a config with this line in `[service.probe]`: some of its parts cannot be made in any other way.
fn configured(line: &str) -> Probe {
    let text = format!(
        "vip = '192.0.2.10'\ninterfaces = ['eth0']\n\
         [[replica]]\naddress = '192.0.2.11'\n\
         [[service]]\nname = 'http'\nport = 80\n[service.probe]\n{line}\n"
    );
    let host = HostFacts { ephemeral_ports: 32_768..=60_999 };
    let config = Config::parse(&text, "test.toml", &[], &host).expect("a valid config");
    config.services.into_iter().next().expect("a service").probe
}

/// The probe of a config with these steps over TCP, at a port that is to be set.
fn steps(steps: &str) -> Probe {
    Probe { timeout: AMPLE, ..configured(&format!("scheme = 'tcp'\nsteps = [{steps}]")) }
}

fn prober(probe: Probe) -> Result<Prober, ProberError> {
    Prober::new(&Target { address: LOOPBACK, probe, route: Route::Plain })
}

async fn ask(probe: Probe) -> Outcome {
    prober(probe).expect("a valid probe").probe().await
}

/// The error as an operator reads it, "ok" if there is none.
fn said(outcome: &Outcome) -> String {
    outcome.error.as_ref().map_or_else(|| "ok".to_owned(), ToString::to_string)
}

/// A port where nothing listens, nor will while this is kept.
struct ClosedPort(TcpSocket);

impl ClosedPort {
    fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((LOOPBACK, 0).into()).expect("bind to loopback");
        Self(socket)
    }

    fn port(&self) -> u16 {
        self.0.local_addr().expect("address of a bound socket").port()
    }
}
