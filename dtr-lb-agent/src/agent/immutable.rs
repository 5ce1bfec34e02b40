//! What cannot change while the agent runs, and what to do instead. Pure.

use std::path::PathBuf;

use crate::config::{Agent, Config};

/// Something that another config has otherwise, and that cannot become so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Immutable {
    #[error(
        "`agent.socket` cannot change while the agent runs: it is `{}`, and would be `{}`; restart the agent, the datapath \
         keeps its flows meanwhile",
        .before.display(), .after.display()
    )]
    Socket { before: PathBuf, after: PathBuf },
    #[error(
        "`agent.bpffs` cannot change while the agent runs: the datapath is at `{}`, and would be at `{}`; its flows cannot be \
         taken along: end the agent by `dtr-lb detach`, and start it again",
        .before.display(), .after.display()
    )]
    Bpffs { before: PathBuf, after: PathBuf },
    #[error(
        "`datapath.max_flows` cannot change while the datapath is there: its tables hold {before} flows, and would have to be \
         made anew to hold {after}, without the flows; end the agent by `dtr-lb detach`, and start it again"
    )]
    MaxFlows { before: u32, after: u32 },
}

/// All that keeps the agent from going from one config to the other without a restart.
pub(super) fn changed(before: &Config, after: &Config) -> Vec<Immutable> {
    // The HTTP side is opened anew where that has changed.
    let Agent { socket, bpffs, http: _, http_names: _, admin_token_file: _ } = &after.agent;
    let mut changed = Vec::new();
    if *bpffs != before.agent.bpffs {
        changed.push(Immutable::Bpffs { before: before.agent.bpffs.clone(), after: bpffs.clone() });
    }
    if *socket != before.agent.socket {
        changed.push(Immutable::Socket { before: before.agent.socket.clone(), after: socket.clone() });
    }
    let (before, after) = (before.datapath.max_flows, after.datapath.max_flows);
    if before != after {
        changed.push(Immutable::MaxFlows { before, after });
    }
    changed
}

/// Whether the agent can go from one config to the other without a restart.
///
/// # Errors
/// The first thing that cannot change.
pub(super) fn check(before: &Config, after: &Config) -> Result<(), Immutable> {
    changed(before, after).into_iter().next().map_or(Ok(()), Err)
}
