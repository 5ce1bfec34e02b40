//! What can go wrong with the datapath, in words for the operator.

use std::{io, path::PathBuf};

use aya::{
    EbpfError,
    maps::MapError,
    programs::{ProgramError, links::LinkError},
};

/// Why the datapath could not be loaded, attached, written or removed.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    #[error(
        "not permitted to {operation}: dtr-lb needs the capabilities CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON; run it as \
         root or give it these"
    )]
    Permission { operation: String },
    #[error("this kernel (Linux {running}) lacks {feature}, which came with Linux {since}; {remedy}")]
    Unsupported { feature: &'static str, since: &'static str, running: String, remedy: &'static str },
    #[error(
        "another XDP program holds interface `{interface}`: {holder}; remove it (`ip link set dev {interface} xdp off` \
         if nothing manages it), or set datapath.attach = \"tc\""
    )]
    Busy { interface: String, holder: String },
    #[error(
        "an earlier link still holds our program at TC on interface `{interface}`, a second after it was given up; \
         start the agent again"
    )]
    StillThere { interface: String },
    #[error(
        "interface `{interface}` has no native XDP ({reason}); set datapath.attach to \"auto\", \"tc\" or \"xdp-generic\""
    )]
    NoNativeXdp { interface: String, reason: String },
    #[error("attaching {hook} to interface `{interface}` failed: {reason}")]
    Attach { interface: String, hook: &'static str, reason: String },
    #[error("the kernel refused program `{program}`: {reason}")]
    Refused { program: &'static str, reason: String },
    #[error("loading the datapath's object failed: {reason}")]
    Object { reason: String },
    #[error("{operation} map {map} failed: {reason}")]
    Map { map: &'static str, operation: &'static str, reason: String },
    #[error(
        "`{}` is not in a BPF file system, where the datapath is kept across restarts; mount one \
         (`mount -t bpf bpf /sys/fs/bpf`), or set agent.bpffs", .path.display()
    )]
    NoBpffs { path: PathBuf },
    #[error("{operation} `{}` failed: {source}", .path.display())]
    Pin { path: PathBuf, operation: &'static str, source: io::Error },
    #[error(
        "another dtr-lb agent uses the datapath at `{}`; end it first, or give this one another agent.bpffs",
        .path.display()
    )]
    Locked { path: PathBuf },
    #[error(
        "the datapath pinned at `{}` does not fit this version and config:\n{}\nits flows cannot be taken along; remove it by \
         `dtr-lb detach`, which ends them, or go back to what made it",
        .path.display(), .differences.join("\n")
    )]
    Layout { path: PathBuf, differences: Vec<String> },
    #[error("the config has {count} {what}, and the datapath holds {limit} at most: configure fewer")]
    TooMany { what: &'static str, count: usize, limit: usize },
    #[error(
        "no room for {missing} more replicas (counted once for each service): {configured} are configured, and {leaving} \
         that no longer are keep theirs, of {limit}, until their last flows have ended; this is tried again with the \
         next change, and `dtr-lb detach` makes room at once by ending all flows"
    )]
    NoFreeReplica { missing: usize, configured: usize, leaving: usize, limit: usize },
    #[error(
        "{cause}; putting the earlier link of interface `{interface}` back failed, too, so that packets of services that \
         come in by it are not forwarded: {reason}; start the agent with the datapath.attach of before"
    )]
    NotPutBack { cause: Box<DatapathError>, interface: String, reason: Box<DatapathError> },
    #[error("reading the kernel's clock failed: {reason}")]
    Clock { reason: String },
}

/// An error with all its causes in one line.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = cause.source();
    }
    text
}

/// The operating system's error under `error`, if there is one.
pub(super) fn os_error(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(code) = cause.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(code);
        }
        next = cause.source();
    }
    None
}

fn denied(error: &(dyn std::error::Error + 'static)) -> bool {
    matches!(os_error(error), Some(libc::EPERM | libc::EACCES))
}

impl DatapathError {
    /// A thread that could not be started.
    pub(crate) fn thread(error: &io::Error) -> Self {
        Self::Object { reason: format!("a thread to look at the maps cannot be started: {error}") }
    }

    pub(super) fn object(error: &EbpfError) -> Self {
        if denied(error) {
            return Self::Permission { operation: "create BPF maps".into() };
        }
        Self::Object { reason: causes(error) }
    }

    /// A program that did not load: with the verifier's log, whole.
    pub(super) fn program(program: &'static str, error: &ProgramError) -> Self {
        match error {
            // EACCES is the verifier's own word for a bad program; EPERM is the kernel's for a caller without rights.
            ProgramError::LoadError { io_error, .. } if io_error.raw_os_error() == Some(libc::EPERM) => {
                Self::Permission { operation: format!("load BPF program `{program}`") }
            }
            ProgramError::LoadError { io_error, verifier_log } => {
                Self::Refused { program, reason: format!("{io_error}; the verifier's log:\n{verifier_log}") }
            }
            other => Self::Refused { program, reason: causes(other) },
        }
    }

    pub(super) fn map(map: &'static str, operation: &'static str) -> impl FnOnce(MapError) -> Self {
        move |error| {
            if denied(&error) {
                return Self::Permission { operation: format!("{operation} map {map}") };
            }
            Self::Map { map, operation, reason: causes(&error) }
        }
    }

    pub(super) fn attach(
        interface: &str,
        hook: &'static str,
        error: &(dyn std::error::Error + 'static),
    ) -> Self {
        if matches!(os_error(error), Some(libc::EPERM)) {
            return Self::Permission { operation: format!("attach {hook} to `{interface}`") };
        }
        Self::Attach { interface: interface.into(), hook, reason: causes(error) }
    }

    pub(super) fn link(interface: &str, hook: &'static str) -> impl FnOnce(LinkError) -> Self {
        let interface = interface.to_owned();
        move |error| Self::attach(&interface, hook, &error)
    }
}
