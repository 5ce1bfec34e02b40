//! `dtr-lb explain`: what would become of a connection, and why.
//!
//! The answer is the datapath's own: its pipeline runs here, on a SYN of that connection and on the kernel's maps as they
//! are (`view`), and changes nothing. The steps that are told beside it call the same functions that the pipeline calls.

mod steps;
mod text;
mod view;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use bytemuck::Zeroable as _;
use dtr_lb_common::{
    abi::{Flow, MAX_ATTEMPTED, Mode, ReplicaId, Settings, State, Ticks, Tuple},
    address::Be16,
    flow_table, hash,
    pipeline::{Outcome, PacketContext, Tables as _, over, run, summary::PacketSummary, synthetic_syn},
    verdict::{Action, Verdict},
};
use serde::{Deserialize, Serialize};

use crate::{
    datapath::{DatapathError, Reader},
    directory::{Directory, end},
    interface::LOCAL_CLIENT,
};

use view::{Connections, View};

/// What is asked: `SRC[:PORT] DST:PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    pub source: Source,
    /// Where the client connects to.
    pub destination: SocketAddr,
}

/// Who would connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    pub address: IpAddr,
    /// None: any port.
    pub port: Option<u16>,
}

/// As [`Question`], in the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    pub source: String,
    pub destination: String,
}

/// What cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    #[error(
        "`{0}` is no client: write an address, or an address and a port as 10.0.0.5:40000 or [2001:db8::5]:40000"
    )]
    Source(String),
    #[error(
        "`{0}` is no end of a service: write its address and port, as 10.0.0.10:443 or [2001:db8::10]:443"
    )]
    Destination(String),
    #[error("the client {0} and the service {1} are of different families: a packet has one")]
    Families(IpAddr, IpAddr),
    #[error("port 0 is nobody's")]
    PortZero,
    #[error(transparent)]
    Datapath(#[from] DatapathError),
}

impl FromStr for Source {
    type Err = ExplainError;

    fn from_str(text: &str) -> Result<Self, ExplainError> {
        let refused = || ExplainError::Source(text.to_owned());
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        let (address, port) = match bare.parse() {
            Ok(address) => (address, None),
            Err(_) => {
                let end: SocketAddr = text.parse().map_err(|_| refused())?;
                (end.ip(), Some(end.port()))
            }
        };
        if port == Some(0) {
            return Err(ExplainError::PortZero);
        }
        Ok(Self { address, port })
    }
}

impl Question {
    pub fn new(source: &str, destination: &str) -> Result<Self, ExplainError> {
        let source: Source = source.parse()?;
        let destination: SocketAddr =
            destination.parse().map_err(|_| ExplainError::Destination(destination.to_owned()))?;
        if destination.port() == 0 {
            return Err(ExplainError::PortZero);
        }
        if source.address.is_ipv4() != destination.is_ipv4() {
            return Err(ExplainError::Families(source.address, destination.ip()));
        }
        Ok(Self { source, destination })
    }

    /// The tuple of the client's packets.
    fn tuple(&self, port: u16) -> Tuple {
        Tuple {
            source: self.source.address.into(),
            destination: self.destination.ip().into(),
            source_port: Be16::new(port),
            destination_port: Be16::new(self.destination.port()),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.address, port).fmt(out),
            None => self.address.fmt(out),
        }
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    pub source: String,
    pub destination: SocketAddr,
    /// What becomes of the client's SYN; none without a source port, where that may depend on it.
    pub verdict: Option<String>,
    /// The same in words.
    pub reason: Option<String>,
    pub service: Option<String>,
    /// Where it goes.
    pub replica: Option<Place>,
    /// Where the replica sees it come from; none if it sees the client itself.
    pub nat: Option<SocketAddr>,
    /// Replicas that are asked if that one refuses or does not answer, in this order.
    pub then: Vec<Place>,
    /// For how many source ports a new connection goes where; only without a source port.
    pub shares: Vec<Share>,
    /// Why, one after the other.
    pub steps: Vec<Step>,
}

/// A replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its address if it is configured no more.
    pub name: String,
    pub address: SocketAddr,
    /// As `status` has it; none if it is configured no more.
    pub state: Option<String>,
}

/// A part of all source ports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// None for those that no replica gets.
    pub replica: Option<Place>,
    pub verdict: String,
    pub ports: u32,
    pub percent: f64,
}

/// One step of the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub about: String,
    pub text: String,
}

/// Works out the answer at `now`, by the kernel's clock. `own` are the addresses of this host.
pub fn explain(
    question: &Question,
    reader: &Reader,
    directory: &Directory,
    own: &BTreeSet<IpAddr>,
    now: Ticks,
) -> Result<Explanation, ExplainError> {
    // The whole pipeline in one function, and tables of 131 KB by value: in a debug build that takes more than the 2 MiB of a
    // thread's stack.
    let mut answer = std::thread::scope(|scope| {
        let work = || match question.source.port {
            Some(port) => one(question, port, reader, directory, now),
            None => all_ports(question, reader, directory, now),
        };
        let thread = std::thread::Builder::new().name("explain".into()).stack_size(STACK);
        let thread = thread.spawn_scoped(scope, work).map_err(|error| DatapathError::thread(&error))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    answer.steps.splice(0..0, local_client(question.source.address, own));
    Ok(answer)
}

/// What is to be known before all else of a client that is this host: none of its packets come to the datapath.
fn local_client(source: IpAddr, own: &BTreeSet<IpAddr>) -> Option<Step> {
    own.contains(&source).then(|| Step {
        about: "client".to_owned(),
        text: format!("{source} is an address of this host, and {LOCAL_CLIENT}. What follows is for a packet from elsewhere"),
    })
}

/// Bytes of stack of the thread that explains.
const STACK: usize = 16 << 20;

/// The packet's interface: one that is not 0, as is every real one.
const INTERFACE: u32 = 1;

/// A SYN on its way.
struct Asked {
    verdict: Verdict,
    seen: PacketSummary,
}

fn ask(view: &View<'_>, tuple: &Tuple, context: &mut PacketContext) -> Option<Asked> {
    let mut frame = synthetic_syn::syn(tuple, INTERFACE)?;
    context.forget();
    let Outcome { verdict, .. } = run(&mut frame, view, context);
    Some(Asked { verdict, seen: context.summary() })
}

fn one(
    question: &Question,
    port: u16,
    reader: &Reader,
    directory: &Directory,
    now: Ticks,
) -> Result<Explanation, DatapathError> {
    let tuple = question.tuple(port);
    let view = View::new(reader, now, Connections::AsTheyAre)?;
    let mut context = Box::new(PacketContext::new());
    let mut answer = blank(question, &tuple, directory);
    let existing = existing(reader, view.settings(), &tuple, now);
    let Some(Asked { verdict, seen }) = ask(&view, &tuple, &mut context) else { return Ok(answer) };
    let goes = verdict.action() == Action::Forward;
    let replica = view.replica(seen.replica).filter(|_| goes);
    answer.steps = steps::steps(&steps::Way {
        tuple: &tuple,
        view: &view,
        reader,
        directory,
        existing,
        chosen: replica.map(|replica| (seen.replica, replica)),
        nat: &seen,
    })?;
    answer.verdict = Some(verdict.name().to_owned());
    answer.reason = Some(verdict.meaning().to_owned());
    answer.replica = replica.map(|replica| place(replica, directory));
    let nat = replica.filter(|replica| replica.mode == Mode::NAT);
    answer.nat = nat.map(|_| SocketAddr::new(seen.to.source.into(), seen.to.source_port.get()));
    if goes && existing.is_none() {
        answer.then = others(&view, &tuple, seen.replica, directory, &mut context);
    }
    view.whole()?;
    Ok(answer)
}

/// The replicas that get the connection if one after the other is silent: the client sends its SYN again, and again.
fn others(
    view: &View<'_>,
    tuple: &Tuple,
    first: ReplicaId,
    directory: &Directory,
    context: &mut PacketContext,
) -> Vec<Place> {
    let Some(second) = view.settings().map(|settings| settings.second) else { return Vec::new() };
    let mut found = Vec::new();
    let mut last = first;
    for _ in 0..MAX_ATTEMPTED {
        view.now.set(view.now.get().wrapping_add(second));
        let Some(Asked { verdict: Verdict::Redispatched, seen }) = ask(view, tuple, context) else { break };
        if seen.replica == last {
            break;
        }
        last = seen.replica;
        found.extend(view.replica(last).map(|replica| place(replica, directory)));
    }
    found
}

fn all_ports(
    question: &Question,
    reader: &Reader,
    directory: &Directory,
    now: Ticks,
) -> Result<Explanation, DatapathError> {
    let view = View::new(reader, now, Connections::None)?;
    let mut context = Box::new(PacketContext::new());
    let mut counts = BTreeMap::<(ReplicaId, Verdict), u32>::new();
    for port in 1..=u16::MAX {
        if let Some(Asked { verdict, seen }) = ask(&view, &question.tuple(port), &mut context) {
            let id = if verdict.action() == Action::Forward { seen.replica } else { 0 };
            *counts.entry((id, verdict)).or_default() += 1;
        }
        view.forget();
    }
    let tuple = question.tuple(0);
    let mut answer = blank(question, &tuple, directory);
    answer.steps = steps::steps(&steps::Way {
        tuple: &tuple,
        view: &view,
        reader,
        directory,
        existing: None,
        chosen: None,
        nat: &context.summary(),
    })?;
    if let [(id, verdict)] = counts.keys().copied().collect::<Vec<_>>()[..] {
        answer.verdict = Some(verdict.name().to_owned());
        answer.reason = Some(verdict.meaning().to_owned());
        answer.replica = view.replica(id).map(|replica| place(replica, directory));
    }
    answer.shares = counts
        .into_iter()
        .map(|((id, verdict), ports)| Share {
            replica: view.replica(id).map(|replica| place(replica, directory)),
            verdict: verdict.name().to_owned(),
            ports,
            percent: f64::from(ports) / f64::from(u16::MAX) * 100.0,
        })
        .collect();
    answer.shares.sort_by_key(|share| std::cmp::Reverse(share.ports));
    view.whole()?;
    Ok(answer)
}

fn blank(question: &Question, tuple: &Tuple, directory: &Directory) -> Explanation {
    Explanation {
        source: question.source.to_string(),
        destination: question.destination,
        verdict: None,
        reason: None,
        service: directory.service(&steps::service_key(tuple)).map(str::to_owned),
        replica: None,
        nat: None,
        then: Vec::new(),
        shares: Vec::new(),
        steps: Vec::new(),
    }
}

/// The state of a connection with this tuple that is there already, and not over.
fn existing(reader: &Reader, settings: Option<&Settings>, tuple: &Tuple, now: Ticks) -> Option<State> {
    let settings = settings?;
    let mut flow = Flow::zeroed();
    let buckets = flow_table::buckets(hash::flow_table(&settings.flow_keys, tuple), settings.flow_buckets);
    let there = flow_table::find(&reader.table_words(), tuple, buckets, &mut flow) && !over(&flow);
    // A live one goes on until the agent's sweep has ended it.
    let gone = !flow.state().live() && settings.expired(flow.state(), flow.last_seen, now);
    (there && !gone).then(|| flow.state())
}

fn place(replica: &dtr_lb_common::abi::Replica, directory: &Directory) -> Place {
    Place {
        name: directory.name(replica),
        address: end(replica),
        state: directory.replica(replica).map(|entry| entry.state.clone()),
    }
}

#[cfg(test)]
mod tests;
