//! dtr-lb as a subject: its datapath, with a flow table that is filled directly.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use aya::programs::ProgramFd;
use bytemuck::Zeroable as _;
use dtr_lb_agent::datapath::{Datapath, Hook, Options};
use dtr_lb_bench_ebpf::flows::SERVICES;
use dtr_lb_common::{
    abi::{Flow, ReplicaId},
    address::Be16,
    flow_table::{Clock, Control, Direction, Place, State},
    model::fill,
    verdict::Verdict,
};
use dtr_lb_tests::fixtures::frames::tuple;

use super::{
    case::{Load, Sent},
    subject::{DEFAULT_MAX_FLOWS, Subject, max_flows},
    world::{OF_CLIENT, OF_REPLICA, desired, segment, ways},
};

/// What a connection's entries say besides its ends.
#[derive(Clone, Copy)]
struct About {
    replica: ReplicaId,
    /// Index of the next hop to the client.
    hop: u16,
}

/// The same for the connections of each service, by the service's port.
type Services = BTreeMap<Be16, About>;

/// dtr-lb.
pub(crate) struct Balancer {
    datapath: Datapath,
}

impl Balancer {
    /// A datapath whose table holds `load`. As few of the entries find both of their buckets full, some flows have none.
    pub(crate) fn filled(load: Load) -> Result<Self> {
        let mut balancer = Self::open(load, max_flows(load), false)?;
        let services = balancer.services(load)?;
        balancer.clear()?;
        balancer.fill(load, &services)?;
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

    /// What a SYN to each service shows: its replica's id, and the index of the client's next hop, which stays.
    fn services(&mut self, load: Load) -> Result<Services> {
        for flow in 0..SERVICES {
            let syn = segment(Sent::Syn, load, flow);
            self.datapath.run(Hook::NativeXdp, &syn.bytes())?;
        }
        let flows = self.datapath.flow_entries();
        let of_clients = flows.iter().filter(|flow| flow.direction().from_client());
        Ok(of_clients
            .map(|flow| (flow.key.destination_port, About { replica: flow.replica, hop: flow.hop }))
            .collect())
    }

    fn fill(&mut self, load: Load, services: &Services) -> Result<()> {
        let settings = self.datapath.reader().settings()?.context("no settings")?;
        let clock = Clock { settings: &settings, now: self.datapath.now()? };
        let table = self.datapath.map_table()?;
        let mut without = 0;
        for number in 0..load.flows {
            let [mut client, mut replica] = directions(load, number, services, &clock)?;
            let entered = if load.mode.direct() {
                fill::enter_direct(table.words(), &mut client, &clock)
            } else {
                fill::enter_both(table.words(), &mut client, &mut replica, &clock)
            };
            without += u32::from(!entered);
        }
        let limit = f64::from(load.flows) * (1.0 - self.share());
        ensure!(f64::from(without) <= limit, "{without} of {} flows have no room", load.flows);
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
        let counted = self.datapath.meter().verdicts()?;
        counted.get(&verdict).map(|traffic| traffic.packets).context("a verdict without a counter")
    }

    fn share(&self) -> f64 {
        0.98
    }

    fn clear(&mut self) -> Result<()> {
        Ok(self.datapath.forget_flows()?)
    }
}

/// The two entries of a flow, before they have their places.
fn directions(load: Load, number: u32, services: &Services, clock: &Clock<'_>) -> Result<[Flow; 2]> {
    let ways = ways(load, number);
    let client = tuple(ways.client.0, ways.client.1);
    let replica = tuple(ways.replica.0, ways.replica.1);
    let About { replica: id, hop } =
        *services.get(&client.destination_port).context("a service that no SYN was sent to")?;
    let flow = |key, to, direction, acknowledged| Flow {
        key,
        to,
        control: Control::new(State::ESTABLISHED, direction, false),
        place: Place::NONE,
        partner: Place::NONE,
        replica: id,
        hop,
        last_seen: clock.now,
        opened: clock.now,
        acknowledged,
        ..Flow::zeroed()
    };
    Ok(if load.mode.direct() {
        [flow(client, client, Direction::Direct, OF_REPLICA + 1), Flow::zeroed()]
    } else {
        [
            flow(client, replica.reversed(), Direction::ToReplica, OF_REPLICA + 1),
            flow(replica, client.reversed(), Direction::ToClient, OF_CLIENT + 1),
        ]
    })
}
