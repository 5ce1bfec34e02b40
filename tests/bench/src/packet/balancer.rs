//! dtr-lb as a subject: its datapath, with a flow table that is filled directly.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use aya::programs::ProgramFd;
use dtr_lb_agent::datapath::{Datapath, Hook, Options};
use dtr_lb_bench_ebpf::flows::SERVICES;
use dtr_lb_common::{
    abi::{Flow, Hop, ReplicaId, Side, State, Ticks, Tuple},
    address::Be16,
    checksum::Delta,
    verdict::Verdict,
};
use dtr_lb_tests::fixture::frames::tuple;

use super::{
    case::{Load, Sent},
    subject::{DEFAULT_MAX_FLOWS, Subject, max_flows},
    world::{TO_CLIENT, desired, hop, segment, ways},
};

/// The replica of each service, by the service's port.
type Ids = BTreeMap<Be16, ReplicaId>;

/// dtr-lb.
pub(crate) struct Balancer {
    datapath: Datapath,
}

impl Balancer {
    /// A datapath whose table holds `load`.
    pub(crate) fn filled(load: Load) -> Result<Self> {
        let mut balancer = Self::open(load, max_flows(load), false)?;
        let ids = balancer.ids(load)?;
        balancer.clear()?;
        balancer.fill(load, &ids)?;
        Ok(balancer)
    }

    /// One with an empty table, for handshakes.
    pub(crate) fn empty(load: Load) -> Result<Self> {
        Self::open(load, DEFAULT_MAX_FLOWS, true)
    }

    fn open(load: Load, max_flows: u32, handshakes: bool) -> Result<Self> {
        let options = Options { max_flows, pins: None, log_packets: false };
        let mut datapath = Datapath::open(&options)?;
        datapath.apply(&desired(load, handshakes))?;
        Ok(Self { datapath })
    }

    /// The ids of the replicas, seen from where the datapath sends a SYN to each service.
    fn ids(&mut self, load: Load) -> Result<Ids> {
        for flow in 0..SERVICES {
            let syn = segment(Sent::Syn, load.family(), flow);
            self.datapath.run(Hook::NativeXdp, &syn.bytes())?;
        }
        let entries = self.datapath.half_open_entries()?;
        let towards = entries.iter().filter(|(_, entry)| entry.flow.side != Side::TO_CLIENT);
        Ok(towards.map(|(key, entry)| (key.destination_port, entry.flow.replica)).collect())
    }

    fn fill(&mut self, load: Load, ids: &Ids) -> Result<()> {
        let now = self.datapath.now()?;
        for number in 0..load.flows {
            for (key, flow) in entries(load, number, ids, now)? {
                self.datapath.put_flow(&key, &flow)?;
            }
        }
        Ok(())
    }
}

impl Subject for Balancer {
    fn name(&self) -> &'static str {
        "dtr-lb"
    }

    fn program(&mut self, hook: Hook) -> Result<ProgramFd> {
        Ok(self.datapath.program(hook)?)
    }

    fn run(&mut self, hook: Hook, frame: &[u8]) -> Result<Vec<u8>> {
        Ok(self.datapath.run(hook, frame)?.frame)
    }

    fn counted(&self, sent: Sent) -> Result<u64> {
        let verdict = if sent.ours() { Verdict::Forwarded } else { Verdict::PassedNotService };
        let counted = self.datapath.verdicts()?;
        counted.get(&verdict).map(|traffic| traffic.packets).context("a verdict without a counter")
    }

    fn clear(&mut self) -> Result<()> {
        Ok(self.datapath.forget_flows()?)
    }
}

/// The entries of a flow.
fn entries(load: Load, number: u32, ids: &Ids, now: Ticks) -> Result<Vec<(Tuple, Flow)>> {
    let ways = ways(load.family(), number);
    let client = tuple(ways.client.0, ways.client.1);
    let id = *ids.get(&client.destination_port).context("a replica that no SYN was sent to")?;
    let flow = |from: &Tuple, to: Tuple, side: Side| Flow {
        to,
        hop: if side == Side::TO_REPLICA { Hop::default() } else { hop(TO_CLIENT) },
        address_delta: addresses(from, &to),
        port_delta: Delta::ZERO
            .word(from.source_port.raw(), to.source_port.raw())
            .word(from.destination_port.raw(), to.destination_port.raw())
            .fold(),
        replica: id,
        state: State::ESTABLISHED,
        side,
        last_seen: now,
        checked: now,
    };
    if load.mode.direct() {
        let there = Flow { address_delta: 0, port_delta: 0, ..flow(&client, client, Side::DIRECT) };
        return Ok(vec![(client, there)]);
    }
    let replica = tuple(ways.replica.0, ways.replica.1);
    ensure!(client != replica, "a flow without a rewrite");
    Ok(vec![
        (client, flow(&client, replica.reversed(), Side::TO_REPLICA)),
        (replica, flow(&replica, client.reversed(), Side::TO_CLIENT)),
    ])
}

fn addresses(from: &Tuple, to: &Tuple) -> u16 {
    // The mark of a mapped address is all ones, which sums to nothing.
    Delta::ZERO
        .words(from.source.words(), to.source.words())
        .words(from.destination.words(), to.destination.words())
        .fold()
}
