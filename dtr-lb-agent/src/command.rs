//! What the commands do. Each returns its exit status with the words for it: 1 failed, 2 bad usage or config, 3 no agent
//! running.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::{EnvFilter, fmt};

use crate::{
    agent::{self, AgentError},
    api::{self, ClientError},
    cli::Global,
    config::{self, Config, ConfigError},
    datapath::{self, DatapathError, memory, requirements},
    interface,
};

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
        let status = if matches!(error, ClientError::NoAgent(_)) { 3 } else { 1 };
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
pub fn run(global: &Global, json: bool, log_packets: bool) -> Result<(), Failure> {
    let mut config = Config::load(&global.config, &global.overrides)?;
    if let Some(socket) = &global.socket {
        config.agent.socket.clone_from(socket);
    }
    start_logging(json, log_packets);
    runtime()?.block_on(async {
        let shutdown = shutdown().map_err(Failure::failed)?;
        agent::run(config, log_packets, shutdown).await.map_err(Failure::from)
    })
}

/// `dtr-lb check`
pub fn check(global: &Global) -> Result<(), Failure> {
    let config = Config::load(&global.config, &global.overrides)?;
    requirements::check()?;
    let interfaces = runtime()?.block_on(interface::find(&config.interfaces))?;
    let services: Vec<_> = config
        .services
        .iter()
        .map(|service| {
            format!(
                "{} ({} replicas, probed by {})",
                service.name,
                service.replicas.len(),
                service.probe.scheme
            )
        })
        .collect();
    let interfaces: Vec<_> = interfaces
        .iter()
        .map(|interface| match interface.xdp_program {
            Some(id) => format!("{} (has XDP program {id})", interface.name),
            None => interface.name.clone(),
        })
        .collect();
    print(&format!(
        "config {}: valid\nservices: {}\nkernel {}: has what the datapath needs\ninterfaces: {}; would attach: {}\n\
         memory of the flow tables: {} MiB for {} flows\n",
        global.config.display(),
        services.join(", "),
        requirements::running(),
        interfaces.join(", "),
        config.datapath.attach,
        memory::estimate(config.datapath.max_flows).div_ceil(1 << 20),
        config.datapath.max_flows,
    ))
}

/// `dtr-lb status`
pub fn status(global: &Global, json: bool) -> Result<(), Failure> {
    let socket = socket(global)?;
    let status = runtime()?.block_on(api::ask_status(&socket))?;
    if json {
        let text = serde_json::to_string_pretty(&status).map_err(Failure::failed)?;
        return print(&format!("{text}\n"));
    }
    print(&status.text())
}

/// `dtr-lb detach`
pub fn detach(global: &Global) -> Result<(), Failure> {
    let config = Config::load(&global.config, &global.overrides)?;
    let root = &config.agent.bpffs;
    let was_there = datapath::detach(root)?;
    print(&match was_there {
        true => format!("removed the datapath at {}\n", root.display()),
        false => format!("there is no datapath at {}\n", root.display()),
    })
}

/// Where the agent's socket is: as told, or as the config says, or, where there is no config, the default place.
fn socket(global: &Global) -> Result<PathBuf, Failure> {
    if let Some(socket) = &global.socket {
        return Ok(socket.clone());
    }
    if global.config == Path::new(config::DEFAULT_PATH) && !global.config.exists() {
        return Ok(PathBuf::from(config::DEFAULT_SOCKET));
    }
    Ok(Config::load(&global.config, &global.overrides)?.agent.socket)
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
    let mut hang_up = signal(SignalKind::hangup())?;
    Ok(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => return "SIGTERM",
                _ = interrupt.recv() => return "SIGINT",
                _ = hang_up.recv() => tracing::warn!(
                    "SIGHUP: this version does not reload; restart the agent, the datapath keeps its flows meanwhile"
                ),
            }
        }
    })
}

/// `RUST_LOG` says how much; without it, what an operator wants to read.
fn start_logging(json: bool, log_packets: bool) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(if log_packets { "info,dtr_lb_ebpf=debug" } else { "info" }));
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    if json {
        builder.json().flatten_event(true).init();
    } else {
        builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init();
    }
}

/// To standard output; that its reader has gone (`dtr-lb status | head`) is no failure.
fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::failed(error)),
        _ => Ok(()),
    }
}
