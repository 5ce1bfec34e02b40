//! What the processors of a scenario share besides the flow table, and their packets.

use std::{
    cell::{Cell, RefCell},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use super::memory::{Table, Used, UsedLine};
use crate::{
    abi::{
        Control, End, FlowEvent, Hop, KeptSyn, Mode, Place, Replica, ReplicaCounters, ReplicaId, Service,
        ServiceFlags, ServiceKey, Settings, Ticks, Tuple, Vlans, Witness, flow_event, flow_wanted, stat,
    },
    address::{Address, Be16, Family},
    checksum::Delta,
    flow_table::{
        self, Line, Memory,
        next_hops::NextHops,
        told::{News, Told},
    },
    model::Frame,
    pipeline::{
        Packet, PacketContext, Tables,
        admission::ClientMemory,
        fast, milestone, run,
        sweep::{Request, carry_out},
    },
    verdict::Verdict,
    wire::{Mac, TcpFlags},
};

pub(super) const FIRST_PORT: u16 = 10_000;
/// Ports of the services.
const PORT: u16 = 443;
const DIRECT_PORT: u16 = 80;
pub(super) const FIRST_DIRECT: u8 = 5;
const MAC: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

/// Times in ticks: ten a second.
pub(super) const SETTINGS: Settings = Settings {
    hash_seed: 7,
    flow_keys: [
        0x9e37_79b9_7f4a_7c15,
        0xbf58_476d_1ce4_e5b9,
        0x94d0_49bb_1331_11eb,
        0xd6e8_feb8_6659_fd93,
        0xa076_1d64_78bd_642f,
        0xe703_7ed1_a0b4_28db,
        0x8ebc_6af0_9c88_c6e3,
        0x5899_65cc_7537_4cc3,
        0x1d8e_4e27_c47d_124f,
        0xeb44_acca_b455_d165,
    ],
    flow_buckets: 1,
    first_port: FIRST_PORT as u32,
    port_count: 20_000,
    second: 10,
    established: 3000,
    half_closed: 600,
    time_wait: 600,
    closed: 100,
    half_open: 50,
    port_rest: 20,
    challenge_keys: [0; 2],
    own_macs: 0,
    by_source: 0,
};

/// The tables of all processors.
pub(super) struct World {
    pub(super) table: Table,
    pub(super) now: AtomicU32,
    settings: Settings,
    replicas: [Replica; 7],
    /// The one next hop that there is.
    hop: [AtomicU32; 8],
    syns: Mutex<Vec<KeptSyn>>,
    /// What was told of ends.
    events: Mutex<Vec<FlowEvent>>,
    /// Ends that were counted.
    ends: AtomicU32,
    /// Ends that there is no room to tell.
    no_room: AtomicU32,
}

impl World {
    pub(super) fn new(table: Table, buckets: u32, now: Ticks) -> Self {
        let replicas = std::array::from_fn(|id| replica(id as u8));
        let settings = Settings { flow_buckets: buckets, ..SETTINGS };
        let hop = std::array::from_fn(|_| AtomicU32::new(0));
        let (syns, events, ends, no_room) = Default::default();
        Self { table, now: now.into(), settings, replicas, hop, syns, events, ends, no_room }
    }

    /// The same with another table.
    pub(super) fn with(&self, table: Table) -> Self {
        let new = Self::new(table, self.settings.flow_buckets, self.now.load(Ordering::Relaxed));
        for (new, old) in new.hop.iter().zip(&self.hop) {
            new.store(old.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        *new.syns() = self.syns().clone();
        *new.events() = self.events().clone();
        for (new, old) in [(&new.ends, &self.ends), (&new.no_room, &self.no_room)] {
            new.store(old.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        new
    }

    fn events(&self) -> std::sync::MutexGuard<'_, Vec<FlowEvent>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was told of the ends of a client's connections.
    pub(super) fn told(&self, client: &Tuple) -> Vec<(End, Told)> {
        let events = self.events();
        let told = events.iter().filter_map(Told::of).filter(|(_, told)| told.client == *client);
        told.filter_map(|(news, told)| match news {
            News::Ended(end) => Some((end, told)),
            _ => None,
        })
        .collect()
    }

    /// How many ends were told, and counted.
    pub(super) fn ends(&self) -> (u32, u32) {
        let ends = self.events().iter().filter(|event| event.kind == flow_event::END).count() as u32;
        (ends, self.ends.load(Ordering::Relaxed))
    }

    /// The next ends find no room.
    pub(super) fn leave_no_room(&self, ends: u32) {
        self.no_room.store(ends, Ordering::Relaxed);
    }

    fn syns(&self) -> std::sync::MutexGuard<'_, Vec<KeptSyn>> {
        self.syns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn address(family: Family, net: u8, host: u8) -> Address {
    match family {
        Family::V4 => std::net::IpAddr::from([10, 0, net, host]).into(),
        Family::V6 => {
            let words = [0x2001, 0xdb8, 0, u16::from(net), 0, 0, 0, u16::from(host)];
            std::net::IpAddr::from(words).into()
        }
    }
}

/// Replicas 1 and 2 are of IPv4, 3 and 4 of IPv6. 5 and 6 answer directly, at a port of their own.
fn replica(id: u8) -> Replica {
    let family = if matches!(id, 3 | 4) { Family::V6 } else { Family::V4 };
    let direct = id >= FIRST_DIRECT;
    let port = if direct { DIRECT_PORT } else { PORT };
    let vip = ServiceKey::new(address(family, 0, 100), Be16::new(port));
    Replica {
        // By the interface it is seen to whom a packet went that nothing rewrites.
        hop: Hop {
            interface: if direct { id.into() } else { 2 },
            destination: [3; 3],
            source: [4; 3],
            vlans: Vlans::NONE,
        },
        mtu: 0,
        mode: if direct { Mode::DSR } else { Mode::NAT },
        reset: 0,
        nat_count: 1,
        address: address(family, 2, id),
        nat: [address(family, 0, 1); 4],
        vip: vip.address,
        vip_port: vip.port,
        port: Be16::new(8443),
        weight: 1,
    }
}

/// A client whose connections with this port go to replica 1 (3, of IPv6) at first. The port is its NAT port, too, if it is free.
pub(super) fn client(family: Family, number: usize, port: u16) -> Tuple {
    clients(family, port, PORT)
        .filter(|tuple| slot_of(tuple) == 0)
        .nth(number)
        .expect("half of all clients are such")
}

/// One whose connections with this port go to a replica that answers directly.
pub(super) fn direct_client(replica: u8, number: usize, port: u16) -> Tuple {
    let to_it = |tuple: &Tuple| slot_of(tuple) == u32::from(replica - FIRST_DIRECT);
    clients(Family::V4, port, DIRECT_PORT).filter(to_it).nth(number).expect("half of all clients are such")
}

fn clients(family: Family, port: u16, service: u16) -> impl Iterator<Item = Tuple> {
    (1..=250).map(move |host| Tuple {
        source: address(family, 1, host),
        destination: address(family, 0, 100),
        source_port: Be16::new(port),
        destination_port: Be16::new(service),
    })
}

/// Which of a service's two replicas a client is steered to.
fn slot_of(tuple: &Tuple) -> u32 {
    crate::hash::slot(crate::hash::flow(SETTINGS.hash_seed, tuple)) % 2
}

/// The tuple of the packets of this replica to a client with this NAT port.
pub(super) fn answer(id: u8, port: u16) -> Tuple {
    let Replica { address, nat, port: own, .. } = replica(id);
    Tuple { source: address, destination: nat[0], source_port: own, destination_port: Be16::new(port) }
}

/// A TCP packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tcp {
    pub(super) tuple: Tuple,
    pub(super) flags: TcpFlags,
    pub(super) sequence: u32,
    pub(super) acknowledgment: u32,
}

impl Tcp {
    fn frame(&self) -> Frame {
        let Tuple { source, destination, source_port, destination_port } = self.tuple;
        let mut bytes = MAC.to_vec();
        let address = |address: Address| -> [u8; 16] { bytemuck::cast(address.wide()) };
        match source.family() {
            Family::V4 => {
                bytes.extend([8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0]);
                bytes.extend(&address(source)[12..]);
                bytes.extend(&address(destination)[12..]);
            }
            Family::V6 => {
                bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, 6, 64]);
                bytes.extend(address(source));
                bytes.extend(address(destination));
            }
        }
        bytes.extend(source_port.get().to_be_bytes());
        bytes.extend(destination_port.get().to_be_bytes());
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.acknowledgment.to_be_bytes());
        bytes.extend([0x50, self.flags.0, 255, 255, 0, 0, 0, 0]);
        Frame { bytes: with_checksums(bytes, source.family()), interface: 1 }
    }
}

/// The frame with the checksums that its receiver expects: a SYN that comes again is looked at.
fn with_checksums(mut bytes: Vec<u8>, family: Family) -> Vec<u8> {
    let words = |bytes: &[u8]| -> Vec<u16> {
        bytes.chunks_exact(2).map(|pair| u16::from_ne_bytes([pair[0], pair[1]])).collect()
    };
    let put = |bytes: &mut Vec<u8>, at: usize, sum: Delta| {
        bytes[at..at + 2].copy_from_slice(&sum.checksum().to_ne_bytes());
    };
    let (addresses, tcp) = match family {
        Family::V4 => (26..34, 34),
        Family::V6 => (22..54, 54),
    };
    if family == Family::V4 {
        let header = Delta::ZERO.sum(&words(&bytes[14..34]));
        put(&mut bytes, 24, header);
    }
    // The protocol, and the length of a TCP header.
    let pseudo = Delta::ZERO.sum(&words(&bytes[addresses])).sum(&words(&[0, 6, 0, 20]));
    let segment = pseudo.sum(&words(&bytes[tcp..]));
    put(&mut bytes, tcp + 16, segment);
    bytes
}

/// What became of a packet, and the tuple that it left with.
pub(super) type Said = (Verdict, Tuple);

/// A processor.
pub(super) struct Cpu<'a> {
    pub(super) world: &'a World,
    number: u8,
    pub(super) said: RefCell<Vec<Said>>,
    /// The interfaces that they left by.
    pub(super) left_by: RefCell<Vec<u32>>,
    /// It has seen that a connection is live.
    pub(super) live: Cell<bool>,
}

impl<'a> Cpu<'a> {
    /// Number 0 leaves no notes about the words that it uses.
    pub(super) fn new(world: &'a World, number: u8) -> Self {
        let (said, left_by, live) = Default::default();
        Self { world, number, said, left_by, live }
    }

    pub(super) fn memory(&self) -> Used<'a> {
        self.world.table.by(self.number)
    }

    /// A packet comes.
    pub(super) fn packet(&self, tcp: Tcp) {
        let mut frame = tcp.frame();
        let outcome =
            fast(&mut frame, self).unwrap_or_else(|| run(&mut frame, self, &mut PacketContext::new()));
        let said = (outcome.verdict, left(&frame, tcp.tuple.source.family()));
        self.said.borrow_mut().push(said);
        self.left_by.borrow_mut().push(outcome.interface);
    }

    /// The agent's sweep asks this for each entry that it sees.
    pub(super) fn asks(&self, request: impl Fn(&flow_table::Flow) -> Request) {
        for place in self.world.table.places() {
            let (mut flow, mut other) = (bytemuck::Zeroable::zeroed(), bytemuck::Zeroable::zeroed());
            if flow_table::read(&self.memory(), place, &mut flow) {
                let _ = carry_out(&request(&flow), self, &mut flow, &mut other);
            }
        }
    }

    pub(super) fn later(&self, ticks: Ticks) {
        self.world.now.fetch_add(ticks, Ordering::Relaxed);
    }
}

fn left(frame: &Frame, family: Family) -> Tuple {
    let word = |at| frame.read::<u32>(at).expect("a whole frame");
    let four = |at| Address::v4(bytemuck::cast(word(at)));
    let six = |at| Address::v6(bytemuck::cast([word(at), word(at + 4), word(at + 8), word(at + 12)]));
    let (source, destination, tcp) = match family {
        Family::V4 => (four(26), four(30), 34),
        Family::V6 => (six(22), six(38), 54),
    };
    let port = |at| Be16::of_raw(frame.read::<u16>(at).expect("a whole frame"));
    Tuple { source, destination, source_port: port(tcp), destination_port: port(tcp + 2) }
}

/// A word of the next hop's.
#[derive(Clone, Copy)]
struct HopLine<'a>(&'a [AtomicU32; 8]);

impl Line for HopLine<'_> {
    fn load(self, word: usize) -> u32 {
        self.0[word].load(Ordering::SeqCst)
    }

    fn store(self, word: usize, value: u32) {
        self.0[word].store(value, Ordering::SeqCst);
    }

    fn exchange(self, word: usize, old: u32, new: u32) -> bool {
        self.0[word].compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

#[derive(Clone, Copy)]
struct Hops<'a>(&'a World);

impl<'a> NextHops for Hops<'a> {
    type Line = HopLine<'a>;

    fn next_hop(&self, _: u16) -> Option<HopLine<'a>> {
        Some(HopLine(&self.0.hop))
    }
}

/// The flow table, of whose ends the world hears.
struct Heard<'a>(&'a Cpu<'a>);

impl<'a> Memory for Heard<'a> {
    type Line = UsedLine<'a>;
    type Bucket = usize;

    fn bucket(&self, number: u32) -> Option<usize> {
        self.0.memory().bucket(number)
    }

    fn way(&self, bucket: usize, way: u32) -> UsedLine<'a> {
        self.0.memory().way(bucket, way)
    }

    fn pair_of(&self, bucket: usize, way: u32) -> UsedLine<'a> {
        self.0.memory().pair_of(bucket, way)
    }

    fn lock(&self, hash: u32) -> bool {
        self.0.memory().lock(hash)
    }

    fn unlock(&self, hash: u32) {
        self.0.memory().unlock(hash);
    }

    fn over(&self, place: Place, control: Control, end: End) -> bool {
        milestone::over(self.0, place, control, end)
    }
}

impl Tables for Cpu<'_> {
    fn now(&self) -> Ticks {
        self.world.now.load(Ordering::Relaxed)
    }

    fn settings(&self) -> Option<&Settings> {
        Some(&self.world.settings)
    }

    fn marked(&self, _: u32) -> bool {
        true
    }

    fn flows(&self) -> impl Memory {
        Heard(self)
    }

    fn flow_wanted(&self) -> u32 {
        flow_wanted::ENDS
    }

    fn tally(&self, _: ReplicaId, place: usize, _: u64) {
        if (stat::ENDS..stat::CONNECT).contains(&place) {
            self.world.ends.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn tell_flow(&self, _: bool, fill: impl FnOnce(&mut FlowEvent)) -> bool {
        let left = self.world.no_room.load(Ordering::Relaxed);
        if left != 0 {
            self.world.no_room.store(left - 1, Ordering::Relaxed);
            return false;
        }
        // Reading the words is where another processor may have its turn: nobody waits for this one meanwhile.
        let mut event = bytemuck::Zeroable::zeroed();
        fill(&mut event);
        self.world.events().push(event);
        true
    }

    fn next_hops(&self) -> impl NextHops {
        Hops(self.world)
    }

    fn keep_syn(&self, syn: &KeptSyn) -> u32 {
        let mut syns = self.world.syns();
        syns.push(*syn);
        syns.len() as u32
    }

    fn kept_syn(&self, at: u32, syn: &mut KeptSyn) -> bool {
        let Some(kept) = self.world.syns().get(at.wrapping_sub(1) as usize).copied() else { return false };
        *syn = kept;
        true
    }

    fn service(&self, key: &ServiceKey) -> Option<Service> {
        // Each has two replicas.
        let first = (1..self.world.replicas.len()).step_by(2);
        let table = (0..).zip(first).find(|(_, id)| self.world.replicas[*id].service() == *key)?.0;
        let direct = self.world.replicas[1 + 2 * table as usize].mode.direct();
        let flags = ServiceFlags::default().with(ServiceFlags::DIRECT, direct);
        Some(Service { table, flags, ..Service::NONE })
    }

    fn vip(&self, address: &Address) -> bool {
        self.world.replicas.iter().any(|replica| replica.vip == *address)
    }

    fn allowed(&self, _: u32, _: &Address) -> bool {
        true
    }

    fn slot(&self, table: u32, slot: u32) -> ReplicaId {
        (1 + 2 * table + slot % 2) as ReplicaId
    }

    fn replica(&self, id: ReplicaId) -> Option<&Replica> {
        self.world.replicas.get(usize::from(id)).filter(|_| id != 0)
    }

    fn clients(&self) -> impl ClientMemory {}

    fn is_own(&self, _: u32, _: &Mac) -> bool {
        true
    }

    fn count(&self, _: ReplicaId, _: impl FnOnce(&mut ReplicaCounters)) {}

    fn witness(&self, _: ReplicaId, _: &Witness) {}

    fn record(&self, _: Verdict, _: u32) {}

    fn report(&self, _: Verdict, _: &impl Packet, _: &Tuple) {}
}
