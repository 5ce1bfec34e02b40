//! Walks through the flow table: counts the connections of each replica, and has those ended that have outlived their state.
//!
//! The datapath needs no sweep to be right: an insertion takes what has outlived its state when it needs the room. The
//! sweep keeps the counts true, tells both ends of a connection that was silent for too long, and frees next hops that no
//! connection names. It looks at memory that is mapped, in slices, so that it never holds up the agent for long, and changes
//! nothing there itself: see [`dtr_lb_common::pipeline::sweep`].

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use aya::{
    Ebpf,
    programs::{TestRun as _, TestRunOptions},
};
use bytemuck::Zeroable as _;
use dtr_lb_common::{
    abi::{
        Control, Direction, Flow, MAX_NAT_ADDRESSES, MAX_REPLICAS, Mode, Place, Replica, ReplicaId, Settings,
        State, Ticks, program,
    },
    address::{Address, Be16},
    flow_table::{self, Line, Memory as _, entry::word},
    model::Words,
    pipeline::sweep::{REQUESTS, Request, outlived},
    wire::Ethernet,
};

use super::{causes, error::DatapathError, object};

/// Buckets in a step: 4 MiB, which takes a millisecond.
const SLICE: u32 = 16_384;
/// Indexes of next hops.
const HOPS: usize = flow_table::next_hops::NEXT_HOPS;

/// What a sweep found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Connections that may still carry data, by replica.
    pub flows: BTreeMap<ReplicaId, u64>,
    /// Entries of any kind that stay, by replica.
    pub held: BTreeMap<ReplicaId, u64>,
    /// Entries of any kind that were there; a connection of IPv4 has two, one with an IPv6 address four.
    pub entries: u64,
    /// The same entries, by [`State::name`].
    pub states: BTreeMap<&'static str, u64>,
    /// NAT ports that are taken, by what has its own range of them.
    pub nat_ports: BTreeMap<NatRange, u64>,
    /// Connections that were ended.
    pub removed: u64,
}

/// What has a range of NAT ports of its own: a replica's address and port, for all services and VIPs, and a NAT address that new
/// connections to it get.
pub type NatRange = (Address, Be16, Address);

/// What one step showed.
#[derive(Debug, Default)]
pub(super) struct Slice {
    /// What the walk found, when it is over.
    pub(super) census: Option<Census>,
    /// Entries by which a client of one of the replicas that were asked about is reached.
    pub(super) waiting: Vec<Flow>,
    /// Connections that were ended although data could still be sent: both directions, the client's first.
    pub(super) idle: Vec<(Flow, Flow)>,
}

/// A sweep under way.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    bucket: u32,
    /// When the walk began.
    begun: Ticks,
    census: Census,
    /// [`Census::flows`] and [`Census::held`], by id.
    flows: Vec<u64>,
    held: Vec<u64>,
    /// [`Census::states`], by number.
    states: [u64; 16],
    /// [`Census::nat_ports`], by id; and for each range an id, and the place of the address there.
    nat: Vec<NatPorts>,
    ranges: Vec<(NatRange, ReplicaId, usize)>,
    /// The next hops that entries name, in this walk and in the last one.
    named: Vec<bool>,
    named_before: Vec<bool>,
}

/// NAT ports of a replica, by the place of the address among its own. A sum without a branch costs the walk nothing that can be measured;
/// with one for the direction and a search, a table of the default size, half full, took 100 ms in the place of 60.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(32))]
struct NatPorts {
    /// [`mark`] of each address.
    marks: [u32; MAX_NAT_ADDRESSES],
    used: [u32; MAX_NAT_ADDRESSES],
}

impl NatPorts {
    /// Counts an entry of the replica's packets to this address, if it is one.
    fn take(&mut self, mark: u32, direction: Direction) {
        let counts = u32::from(direction == Direction::ToClient);
        for (own, used) in self.marks.iter().zip(&mut self.used) {
            *used += counts & u32::from(*own == mark);
        }
    }
}

/// Stands for an address: of an IPv4 one in a narrow entry, all that is known is its word. Two addresses of one replica have the same
/// mark once in four billion.
fn mark(address: &Address) -> u32 {
    let [a, b, c, d] = address.wide();
    let high = a.wrapping_mul(0xc2b2_ae3d) ^ b.wrapping_mul(0x85eb_ca77) ^ c.wrapping_mul(0x9e37_79b1);
    d.wrapping_add(high)
}

impl Sweep {
    /// Goes on by a slice of the table, and looks for the clients of `dead` replicas. `replicas` are those that the tables have.
    pub(super) fn step(
        &mut self,
        ebpf: &mut Ebpf,
        (table, hops): (Words<'_>, Words<'_>),
        settings: &Settings,
        now: Ticks,
        dead: &BTreeSet<ReplicaId>,
        replicas: &BTreeMap<ReplicaId, Replica>,
    ) -> Result<Slice, DatapathError> {
        if self.bucket == 0 {
            self.begun = now;
            self.named = vec![false; HOPS];
            (self.flows, self.held) = (vec![0; MAX_REPLICAS], vec![0; MAX_REPLICAS]);
            self.states = [0; 16];
            self.count_ports_of(replicas);
        }
        let end = self.bucket.saturating_add(SLICE).min(table.buckets());
        let mut slice = Slice::default();
        let mut over = Vec::new();
        let mut untold = Vec::new();
        for (place, line) in table.lines(self.bucket..end) {
            let control = Control(line.load(word::CONTROL));
            if control.is_free() || control.locked() || control.state() == State::CONTINUED {
                continue;
            }
            let state = control.state();
            self.states[usize::from(state.0) % self.states.len()] += 1 + u64::from(control.wide());
            // Most entries are looked at by four words only, which share a cache line: a table of the default size is 256 MiB.
            if settings.expired(state, line.load(word::LAST_SEEN), now)
                && let Some((flow, other)) = whole(table, place)
                && outlived(settings, &flow, other.map_or(flow.last_seen, |other| other.last_seen), now)
            {
                // Once for both entries; what is left of a pair stands for itself.
                if flow.direction().from_client() || other.is_none() {
                    over.push((flow, other));
                }
                continue;
            }
            // Nobody could be told of its end when it came. (Who ends it now tells it, too.)
            if state.ended() && !control.told() && control.direction().from_client() {
                untold.extend(whole(table, place));
            }
            let replica_hop = line.load(word::REPLICA_HOP);
            let replica = replica_hop as ReplicaId;
            self.stays(
                control,
                replica,
                (replica_hop >> 16) as u16,
                destination_mark(table, place, line, control),
            );
            if state.live()
                && control.direction() != Direction::ToReplica
                && dead.contains(&replica)
                && let Some((flow, _)) = whole(table, place)
            {
                slice.waiting.push(flow);
            }
        }
        let _ = carry_out(ebpf, &untold, |(flow, _)| Request::tell(flow))?;
        let ended = carry_out(ebpf, &over, |(flow, _)| Request::end(flow))?;
        for ((flow, other), ended) in over.into_iter().zip(ended) {
            match other {
                _ if !ended => {
                    for entry in [Some(flow), other].into_iter().flatten() {
                        self.stays(entry.control, entry.replica, entry.hop, mark(&entry.key.destination));
                    }
                    continue;
                }
                Some(other) if flow.state().live() => slice.idle.push((flow, other)),
                _ => {}
            }
            self.census.removed += 1;
        }
        self.bucket = end;
        if end == table.buckets() {
            self.free_hops(ebpf, hops, settings.second)?;
            self.bucket = 0;
            slice.census = Some(Census {
                flows: by_replica(&self.flows),
                held: by_replica(&self.held),
                entries: self.states.iter().sum(),
                states: State::ALL.map(|state| (state.name(), self.states[usize::from(state.0)])).into(),
                nat_ports: self.nat_ports(),
                ..mem::take(&mut self.census)
            });
        }
        Ok(slice)
    }

    /// Counts NAT ports for the addresses that new connections get by now.
    fn count_ports_of(&mut self, replicas: &BTreeMap<ReplicaId, Replica>) {
        self.nat = vec![NatPorts::default(); MAX_REPLICAS];
        self.ranges.clear();
        // In other modes the addresses are not those of connections.
        for (id, replica) in replicas.iter().filter(|(_, replica)| replica.mode == Mode::NAT) {
            let Replica { address, port, nat, nat_count, .. } = replica;
            for (place, nat) in nat.iter().take((*nat_count).into()).enumerate() {
                self.nat[usize::from(*id) % MAX_REPLICAS].marks[place] = mark(nat);
                self.ranges.push(((*address, *port, *nat), *id, place));
            }
        }
    }

    fn nat_ports(&self) -> BTreeMap<NatRange, u64> {
        let mut ports = BTreeMap::new();
        for (range, id, place) in &self.ranges {
            let used = self.nat[usize::from(*id) % MAX_REPLICAS].used[*place];
            *ports.entry(*range).or_default() += u64::from(used);
        }
        ports
    }

    /// Counts an entry that stays: its replica keeps its id, its next hop is named, and it may have a NAT port.
    fn stays(&mut self, control: Control, replica: ReplicaId, hop: u16, destination: u32) {
        let at = usize::from(replica) % MAX_REPLICAS;
        self.held[at] += 1;
        self.nat[at].take(destination, control.direction());
        self.named[usize::from(hop)] = true;
        self.flows[at] += u64::from(control.state().live() && control.direction().from_client());
    }

    /// Frees next hops that no entry named in two walks, unless they were assigned since, or shortly before: a packet that was under way
    /// when the walk began has its next hop, and its entry may have stood in the table, unlocked, only when the walk was past it.
    fn free_hops(&mut self, ebpf: &mut Ebpf, hops: Words<'_>, second: Ticks) -> Result<(), DatapathError> {
        let named = mem::take(&mut self.named);
        let before = mem::replace(&mut self.named_before, named);
        if before.is_empty() {
            return Ok(());
        }
        let unused = (0..=u16::MAX).filter(|&index| {
            let at = usize::from(index);
            !before[at] && !self.named_before[at] && flow_table::next_hops::get(&hops, index).is_some()
        });
        let unused: Vec<u16> = unused.collect();
        let since = self.begun.wrapping_sub(second);
        let _ = carry_out(ebpf, &unused, |&index| Request::free_hop(index, since))?;
        Ok(())
    }
}

/// Those that are not 0.
fn by_replica(counts: &[u64]) -> BTreeMap<ReplicaId, u64> {
    (0..).zip(counts.iter().copied()).filter(|(_, count)| *count > 0).collect()
}

/// The [`mark`] of the address that an entry's packets go to.
fn destination_mark(table: Words<'_>, place: Place, line: impl Line, control: Control) -> u32 {
    if !control.wide() {
        return mark(&Address::v4(bytemuck::must_cast(line.load(word::KEY + 1))));
    }
    let words =
        table.pair(place).map(|pair| [0, 1, 2, 3].map(|word| pair.load(word::WIDE_DESTINATION + word)));
    words.map_or(0, |words| mark(&Address::v6(bytemuck::must_cast(words))))
}

/// The entry at a place, and its other direction if that is there.
fn whole(table: Words<'_>, place: Place) -> Option<(Flow, Option<Flow>)> {
    let (mut flow, mut other): (Flow, Flow) = (Flow::zeroed(), Flow::zeroed());
    if !flow_table::read(&table, place, &mut flow) {
        return None;
    }
    let alone = flow.state() == State::TIME_WAIT_HELD;
    let found = !alone && flow_table::partner(&table, &flow, &mut other);
    Some((flow, found.then_some(other)))
}

/// Has the kernel carry out a request for each of these. Says for each whether it did.
pub(super) fn carry_out<T>(
    ebpf: &mut Ebpf,
    all: &[T],
    request: impl Fn(&T) -> Request,
) -> Result<Vec<bool>, DatapathError> {
    let mut done = Vec::with_capacity(all.len());
    for part in all.chunks(REQUESTS) {
        let requests: Vec<Request> = part.iter().map(&request).collect();
        let mut frame = vec![0; size_of::<Ethernet>()];
        frame.extend_from_slice(bytemuck::cast_slice(&requests));
        // The kernel takes no frame of a protocol that it knows without that protocol's header.
        let mut out = vec![0; frame.len()];
        let options =
            TestRunOptions { data_in: Some(&frame), data_out: Some(&mut out), ..TestRunOptions::default() };
        object::tc_program(ebpf, program::SWEEP)?
            .test_run(options)
            .map_err(|error| DatapathError::Refused { program: program::SWEEP, reason: causes(&error) })?;
        let answers = out[size_of::<Ethernet>()..].chunks_exact(size_of::<Request>());
        done.extend(answers.map(|answer| {
            let answer: Request = bytemuck::pod_read_unaligned(answer);
            answer.kind == Request::CARRIED_OUT
        }));
    }
    Ok(done)
}
