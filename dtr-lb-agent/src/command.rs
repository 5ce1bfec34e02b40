//! What the commands do. Each returns its exit status with the words for it: 1 failed, 2 bad usage or config, 3 no agent
//! running.

mod check;
mod completions;
mod events;
mod explain;
mod flows;
mod import;
mod init;
mod logging;
mod man;
mod reload;
mod replica;
mod status;
mod top;
mod trace;

use std::io::Write as _;

use anstream::{AutoStream, ColorChoice};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    agent::{self, AgentError, ConfigSource, Origin},
    api::{self, ClientError, Detached},
    changes,
    cli::{Color, Global},
    config::{CommandLine, ConfigError, Places},
    datapath::{self, DatapathError},
    events::Events,
};

pub use check::check;
pub use completions::completions;
pub use events::{Since, events, parse_since};
pub use explain::explain;
pub use flows::flows;
pub use import::{From as ImportFrom, import, parse_format};
pub use init::init;
pub use logging::priority_of_an_error;
pub use man::man;
pub use reload::reload;
pub use replica::{replica, undo};
pub use status::{healthy, status};
pub use top::top;
pub use trace::trace;

/// An exit status that is not 0, and why.
#[derive(Debug)]
pub struct Failure {
    pub status: u8,
    pub message: String,
}

impl Failure {
    fn failed(error: impl std::fmt::Display) -> Self {
        Self { status: 1, message: error.to_string() }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self { status: 2, message: error.to_string() }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let status = match error {
            ClientError::NoAgent(_) => 3,
            ClientError::BadConfig(_) | ClientError::Usage(_) => 2,
            ClientError::Permission(_)
            | ClientError::Connect { .. }
            | ClientError::Refused { .. }
            | ClientError::StillThere(_) => 1,
        };
        Self { status, message: error.to_string() }
    }
}

impl From<DatapathError> for Failure {
    fn from(error: DatapathError) -> Self {
        Self::failed(error)
    }
}

impl From<AgentError> for Failure {
    fn from(error: AgentError) -> Self {
        Self::failed(error)
    }
}

/// `dtr-lb run`
pub fn run(global: &Global, options: &CommandLine, json: bool, log_packets: bool) -> Result<(), Failure> {
    let source = config_source(global, options)?;
    let config = source.read()?;
    let events = Events::default();
    logging::start(json, log_packets, &events);
    runtime()?.block_on(async {
        let shutdown = shutdown().map_err(Failure::failed)?;
        let hang_up = signal(SignalKind::hangup()).map_err(Failure::failed)?;
        agent::run((source, config), events, log_packets, hang_up, shutdown).await.map_err(Failure::from)
    })
}

/// `dtr-lb detach`: by the agent if one runs, or else by ourselves.
pub fn detach(global: &Global) -> Result<(), Failure> {
    let Places { socket, bpffs, .. } = places(global);
    match runtime()?.block_on(api::ask_detach(&socket)) {
        Ok(Detached { bpffs, .. }) => {
            print(&format!("ended the agent, and removed the datapath at {}\n", bpffs.display()))
        }
        Err(ClientError::NoAgent(_)) => {
            let was_there = datapath::detach(&bpffs).map_err(|error| match error {
                DatapathError::Locked { .. } => Failure::failed(format!(
                    "an agent uses the datapath at `{}`, but none answers on `{}`; name its socket by --socket",
                    bpffs.display(),
                    socket.display()
                )),
                error => error.into(),
            })?;
            let kept = changes::path(&socket);
            changes::remove(&kept).map_err(|error| {
                Failure::failed(format!("{} (`{}`: {error})", changes::NOT_REMOVED, kept.display()))
            })?;
            print(&match was_there {
                true => format!("removed the datapath at {}; no agent was running\n", bpffs.display()),
                false => format!("there is no datapath at {}, and no agent is running\n", bpffs.display()),
            })
        }
        Err(error) => Err(error.into()),
    }
}

/// Where the config is: in the file, unless options of the command line say what is balanced.
fn config_source(global: &Global, options: &CommandLine) -> Result<ConfigSource, Failure> {
    let bad = |message: String| Err(Failure { status: 2, message });
    let origin = match (&global.config, options.is_config()) {
        (Some(path), true) => {
            return bad(format!(
                "--config {} and --vip or --replica: a config is either a file or these options (or DTR_LB_CONFIG, DTR_LB_VIP and \
                 DTR_LB_REPLICAS); leave out one of them, or put a single key on top of the file with --set",
                path.display()
            ));
        }
        (None, true) => Origin::CommandLine(Box::new(options.clone())),
        (_, false) => match options.beside_a_file() {
            Some(option) => {
                return bad(format!(
                    "{option} (or its variable) goes with --vip and --replica, where no config file is read; with a file, write it \
                     there, or use --set"
                ));
            }
            None => Origin::File(global.config_path().to_owned()),
        },
    };
    Ok(ConfigSource { origin, overrides: global.overrides.clone(), socket: global.socket.clone() })
}

/// Where the agent and its datapath are: as told, or as the config says, or, where it cannot say, the default places.
fn places(global: &Global) -> Places {
    let mut places = Places::read(global.config_path(), &global.overrides);
    if let Some(socket) = &global.socket {
        places.socket.clone_from(socket);
    }
    for note in &places.notes {
        complain(&format!("note: {note}"));
    }
    if !places.notes.is_empty() {
        let (socket, bpffs) = (places.socket.display(), places.bpffs.display());
        complain(&format!(
            "note: taking the agent's socket to be {socket}, and its datapath to be at {bpffs}"
        ));
    }
    places
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("starting the runtime failed: {error}")))
}

/// Ends with the first signal to end, and says which.
fn shutdown() -> std::io::Result<impl Future<Output = &'static str>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}

/// As JSON to standard output.
fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(Failure::failed)?;
    print(&format!("{text}\n"))
}

/// To standard output; that its reader has gone (`dtr-lb status | head`) is no failure.
fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::failed(error)),
        _ => Ok(()),
    }
}

/// The same, with styles where `color` says so, and where it leaves that open, on a terminal that has them.
fn print_styled(text: &str, color: Color) -> Result<(), Failure> {
    let choice = match color {
        Color::Auto => ColorChoice::Auto,
        Color::Always => ColorChoice::Always,
        Color::Never => ColorChoice::Never,
    };
    match AutoStream::new(std::io::stdout(), choice).write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::failed(error)),
        _ => Ok(()),
    }
}

/// To standard error, where it does not get into the way of what is printed.
#[expect(clippy::print_stderr, reason = "where a command's notes, warnings and errors belong")]
fn complain(text: &str) {
    eprintln!("{text}");
}
