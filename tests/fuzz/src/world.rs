//! What the agent would have written for the datapath, and who is where: small, so that everything meets everything.

use arbitrary::Unstructured;
use dtr_lb_common::{
    abi::{
        MAX_NAT_ADDRESSES, Mode, Replica, Service, ServiceFlags, ServiceKey, Settings, Ticks, flow_wanted,
    },
    address::{Address, Be16},
    filter, flow_table, hash,
    wire::Mac,
};

use crate::{
    input::Read,
    net::{End, Ip, Tags, Way, tuple},
    random::Random,
};

/// The VLANs that clients and replicas are in.
const VLANS: [Tags; 5] = [
    Tags::NONE,
    Tags::NONE,
    Tags([Some([0x81, 0, 0, 10]), None]),
    Tags([Some([0x88, 0xa8, 0x0f, 0xff]), Some([0x81, 0, 0, 10])]),
    Tags([Some([0x88, 0xa8, 0, 10]), None]),
];
/// Ticks in a second.
pub const SECOND: Ticks = 250;
/// First NAT port. Some clients' own ports are in the range.
pub const FIRST_PORT: u16 = 20_000;
pub const MAX_SERVICES: usize = 3;
pub const MAX_REPLICAS: usize = 5;
/// Clients of each family.
pub const CLIENTS: usize = 7;
/// The promises on time, in seconds.
pub const IDLE: u32 = 3600;
pub const HALF_CLOSED: u32 = 300;
pub const TIME_WAIT: u32 = 60;
pub const CLOSED: u32 = 10;
pub const HALF_OPEN: u32 = 30;
pub const PORT_REST: u32 = 2;

/// A replica of a service.
#[derive(Clone, Debug)]
pub struct Backend {
    pub end: End,
    pub nat: Vec<Ip>,
    pub way: Way,
    pub weight: u8,
    pub mtu: u16,
    pub reset: bool,
}

/// A service.
#[derive(Clone, Debug)]
pub struct Frontend {
    pub vip: End,
    pub mode: Mode,
    pub affinity: bool,
    /// The clients of this host may not connect.
    pub denied: Option<u8>,
    /// Those are told so.
    pub resets_denied: bool,
    /// Clients have to prove their addresses.
    pub challenges: bool,
    pub there: bool,
    pub replicas: Vec<Backend>,
    /// Of which replica each slot is: the places are repeated.
    slots: Vec<u16>,
}

#[derive(Clone, Debug)]
pub struct World {
    pub ready: bool,
    pub ports: u16,
    pub seed: u64,
    pub services: Vec<Frontend>,
    /// Buckets of the flow table, next hops, and SYNs that are kept.
    pub buckets: u32,
    pub hops: usize,
    pub syns: usize,
    /// What the agent wants to hear of connections.
    pub flow_wanted: u32,
    settings: Settings,
    marks: Option<Vec<u32>>,
}

impl World {
    /// Reads a world from its record.
    pub fn read(u: &mut Unstructured<'_>) -> Self {
        let ports = u.pick(&[1, 2, 4, 16, 3000, 3000]);
        let seed = u64::from(u.byte() % 4);
        let ready = !u.one_in(64);
        let buckets = u.pick(&[16, 16, 16, 1, 1, 2, 2, 3, 4, 5, 8, 32]);
        let hops = u.pick(&[32, 32, 32, 32, 32, 8, 2, 1]);
        let syns = u.pick(&[16, 16, 16, 16, 16, 4, 2, 1]);
        let checks_macs = u.one_in(2);
        let mut random = Random::new(u.short().into());
        let count = 1 + u.below(MAX_SERVICES);
        let shares_nat = u.one_in(3);
        let services: Vec<_> = (0..count).map(|number| frontend(number, shares_nat, u)).collect();
        let settings = Settings {
            hash_seed: seed,
            flow_keys: std::array::from_fn(|_| random.number()),
            flow_buckets: buckets,
            first_port: FIRST_PORT.into(),
            port_count: ports.into(),
            second: SECOND,
            established: IDLE * SECOND,
            half_closed: HALF_CLOSED * SECOND,
            time_wait: TIME_WAIT * SECOND,
            closed: CLOSED * SECOND,
            half_open: HALF_OPEN * SECOND,
            port_rest: PORT_REST * SECOND,
            challenge_keys: std::array::from_fn(|_| random.number()),
            own_macs: u32::from(checks_macs),
            by_source: services.iter().any(|service| service.mode == Mode::DNAT).into(),
        };
        let wanted = [flow_wanted::STARTS, flow_wanted::STARTS, flow_wanted::ENDS, flow_wanted::NOTHING];
        let flow_wanted = wanted[random.number() as usize % wanted.len()];
        let mut world =
            Self { ready, ports, seed, services, buckets, hops, syns, flow_wanted, settings, marks: None };
        if !u.one_in(4) {
            world.marks = Some(world.marked_places());
        }
        world
    }

    /// The places that the agent marks.
    fn marked_places(&self) -> Vec<u32> {
        let place = |ip: &Ip, port| filter::place(&self.settings, &ip.address(), Be16::new(port));
        let vips = self.services.iter().map(|service| place(&service.vip.ip, service.vip.port));
        let nats = self.services.iter().flat_map(|service| service.replicas.iter().flat_map(|one| &one.nat));
        let dnat = self.services.iter().filter(|service| service.mode == Mode::DNAT);
        let sources = dnat.flat_map(|service| &service.replicas).map(|one| place(&one.end.ip, one.end.port));
        let mut marks: Vec<_> = vips.chain(nats.map(|nat| place(nat, FIRST_PORT))).chain(sources).collect();
        marks.sort_unstable();
        marks.dedup();
        marks
    }

    pub fn settings(&self) -> Option<&Settings> {
        self.ready.then_some(&self.settings)
    }

    /// Whether a place of the filter is marked. In some worlds all are: there the tables decide alone.
    pub fn marked(&self, place: u32) -> bool {
        self.marks.as_ref().is_none_or(|marks| marks.contains(&place))
    }

    /// The number of the service at this end.
    pub fn service_at(&self, end: End) -> Option<usize> {
        self.services.iter().position(|service| service.vip == end)
    }

    /// Whether a service that is there has this address.
    pub fn is_vip(&self, ip: &Ip) -> bool {
        self.services.iter().any(|service| service.there && service.vip.ip == *ip)
    }

    /// Whether no other host has this address, which stood in a header of IPv4, or not.
    pub fn is_invented(&self, in_v4: bool, ip: &Ip) -> bool {
        let first = ip.bytes()[0];
        let nobodys = match ip.is_v4() {
            true => first == 0 || first == 127 || (224..=239).contains(&first) || ip.bytes() == [255; 4],
            false => first == 255 || (first == 0 && !ip.0.starts_with(&[0, 0x64, 0xff, 0x9b])),
        };
        nobodys || in_v4 != ip.is_v4() || self.is_vip(ip)
    }

    pub fn abi_service(&self, key: &ServiceKey) -> Option<Service> {
        let at = self.service_at(End { ip: Ip::from(key.address), port: key.port.get() })?;
        let service = &self.services[at];
        let sources = if service.denied.is_some() { at as u32 + 1 } else { 0 };
        let flags = ServiceFlags::default()
            .with(ServiceFlags::SOURCE_AFFINITY, service.affinity)
            .with(ServiceFlags::DIRECT, service.mode.direct())
            .with(ServiceFlags::RESETS_DENIED, service.resets_denied);
        let challenge_above = if service.challenges { 0 } else { Service::NO_CHALLENGE };
        // The tables of a service are a pair.
        let table = 2 * at as u32;
        service.there.then_some(Service { table, sources, flags, challenge_above, ..Service::NONE })
    }

    /// Whether a host may connect, by the rules of a service's number of sources.
    pub fn allowed(&self, number: u32, source: &Address) -> bool {
        number == 0 || self.lets_in(number as usize - 1, &Ip::from(*source))
    }

    /// Whether a frame to this address is for this host.
    pub fn takes(&self, mac: [u8; 6]) -> bool {
        self.settings.own_macs == 0 || is_own(mac)
    }

    pub fn is_own(&self, mac: Mac) -> bool {
        is_own(bytemuck::cast(mac))
    }

    pub fn lets_in(&self, service: usize, source: &Ip) -> bool {
        self.services[service].denied != Some(source.0[15])
    }

    /// The replica in a slot of a service's table.
    pub fn slot(&self, service: u32, slot: u32) -> u16 {
        let slots = &self.services[service as usize / 2].slots;
        if slots.is_empty() { 0 } else { slots[slot as usize % slots.len()] }
    }

    /// The replica of a client's new connection; 0 if there is none. The hash is the product's contract: balancers that
    /// share a VIP agree by it.
    pub fn steered(&self, service: usize, client: End) -> u16 {
        self.slot(2 * service as u32, hash::slot(self.steering(service, client)))
    }

    fn steering(&self, service: usize, client: End) -> u64 {
        let Frontend { vip, affinity, .. } = self.services[service];
        let tuple = tuple(client, vip);
        if affinity { hash::source(self.seed, &tuple) } else { hash::flow(self.seed, &tuple) }
    }

    /// The replica that is asked after these have failed: the first that is found in 16 more slots.
    pub fn steered_again(&self, service: usize, client: End, failed: &[u16]) -> Option<u16> {
        let mut hash = self.steering(service, client);
        let mut slots = (1..=16).map(|attempt| {
            hash = hash::mix(hash, attempt);
            self.slot(2 * service as u32, hash::slot(hash))
        });
        let reachable = |id| self.replica(id).is_some_and(|(_, replica)| replica.way.interface != 0);
        slots.find(|id| *id != 0 && reachable(*id) && !failed.contains(id))
    }

    /// The buckets that an entry of a tuple may stand in.
    pub fn buckets_of(&self, from: End, to: End) -> [u32; 2] {
        let hash = hash::flow_table(&self.settings.flow_keys, &tuple(from, to));
        let buckets = flow_table::buckets(hash, self.buckets);
        [buckets.first, buckets.second]
    }

    pub fn replica(&self, id: u16) -> Option<(&Frontend, &Backend)> {
        let (service, replica) = place(id)?;
        let service = self.services.get(service)?;
        Some((service, service.replicas.get(replica)?))
    }

    pub fn abi_replica(&self, id: u16) -> Option<Replica> {
        let (service, replica) = self.replica(id)?;
        let mut nat = [Address::NONE; MAX_NAT_ADDRESSES];
        for (place, ip) in nat.iter_mut().zip(&replica.nat) {
            *place = ip.address();
        }
        Some(Replica {
            address: replica.end.ip.address(),
            nat,
            hop: replica.way.hop(),
            vip: service.vip.ip.address(),
            vip_port: Be16::new(service.vip.port),
            port: Be16::new(replica.end.port),
            nat_count: replica.nat.len() as u16,
            mtu: replica.mtu,
            mode: service.mode,
            reset: replica.reset.into(),
            weight: replica.weight.into(),
        })
    }

    /// Gives a replica no new connections.
    pub fn drain(&mut self, id: u16) {
        let Some((service, replica)) = place(id) else { return };
        self.services[service].replicas[replica].weight = 0;
        self.services[service].fill(service);
    }

    /// Changes something, as the agent would.
    pub fn change(&mut self, u: &mut Unstructured<'_>) {
        let number = u.below(self.services.len());
        let service = &mut self.services[number];
        let (what, which) = (u.byte() % 16, u.byte());
        let count = service.replicas.len();
        let replica = service.replicas.get_mut(usize::from(which) % count.max(1));
        match (what, replica) {
            (0, _) => service.there = !service.there,
            (1, _) => service.affinity = !service.affinity,
            (2 | 3, _) => service.denied = u.pick(&[None, Some(1), Some(2), Some(3), Some(11)]),
            (13, _) => service.challenges = !service.challenges,
            (4, _) => service.replicas.iter_mut().for_each(|replica| replica.weight = 0),
            (5, _) => service.replicas.iter_mut().for_each(|replica| replica.weight = 1),
            (_, None) => {}
            (6..=8, Some(replica)) => replica.weight = u.byte() % 3,
            (9 | 10, Some(replica)) => replica.reset = !replica.reset,
            (11, Some(replica)) => replica.way.interface = u.pick(&[0, 2, 3]),
            (12, Some(replica)) => {
                replica.way.destination[4] = which;
                replica.way.vlans = VLANS[usize::from(which) % VLANS.len()];
            }
            (_, Some(replica)) => replica.mtu = mtu(u),
        }
        service.fill(number);
    }

    /// A client, by its number.
    pub fn client(number: usize, v4: bool, by_other_router: bool) -> (End, Way) {
        // Two ports of each host: one in the NAT range, one outside. The last one is a replica's host.
        let (host, port) =
            [(1, 20_001), (1, 40_000), (2, 20_001), (2, 40_000), (3, 20_002), (3, 50_000), (0, 40_000)]
                [number % CLIENTS];
        let ip = match (host, v4) {
            (0, true) => replica_ip(0, true),
            (0, false) => replica_ip(0, false),
            (_, true) => Ip::v4([192, 0, 2, host]),
            (_, false) => Ip::v6(1, host),
        };
        let router = u8::from(by_other_router);
        let way = Way {
            interface: 1 + u32::from(router),
            destination: [2, 0, 0, 0, 0, 1],
            source: [2, 0xc1, 0, 0, router, host],
            // Behind the other router there are others in the VLANs.
            vlans: VLANS[usize::from(host + router) % VLANS.len()],
        };
        (End { ip, port }, way)
    }
}

impl Frontend {
    /// Fills the table, by the weights.
    fn fill(&mut self, number: usize) {
        self.slots.clear();
        for (at, replica) in self.replicas.iter().enumerate() {
            self.slots.extend(std::iter::repeat_n(id(number, at), replica.weight.into()));
        }
    }

    /// Whether it has a replica to steer to.
    pub fn has_slots(&self) -> bool {
        !self.slots.is_empty()
    }

    pub fn steers_to(&self, id: u16) -> bool {
        self.slots.contains(&id)
    }
}

/// The id of a replica.
pub fn id(service: usize, replica: usize) -> u16 {
    (service * MAX_REPLICAS + replica) as u16 + 1
}

/// Service and replica of an id.
fn place(id: u16) -> Option<(usize, usize)> {
    let at = usize::from(id).checked_sub(1)?;
    Some((at / MAX_REPLICAS, at % MAX_REPLICAS))
}

fn replica_ip(number: u8, v4: bool) -> Ip {
    if v4 { Ip::v4([10, 0, 0, 11 + number]) } else { Ip::v6(0, 11 + number) }
}

/// The host's interfaces are numbered.
fn is_own([a, b, c, d, e, interface]: [u8; 6]) -> bool {
    [a, b, c, d, e] == [2, 0, 0, 0, 0] && (1..=3).contains(&interface)
}

fn mtu(u: &mut Unstructured<'_>) -> u16 {
    u.pick(&[0, 0, 1500, 1280, 60, 65])
}

/// A service with its replicas. Services may share a VIP and replicas, and so NAT ports.
fn frontend(number: usize, shares_nat: bool, u: &mut Unstructured<'_>) -> Frontend {
    let v4 = u.byte().is_multiple_of(2);
    let host = u.pick(&[10, 10, 20]);
    let vip = End {
        ip: if v4 { Ip::v4([10, 0, 0, host]) } else { Ip::v6(0, host) },
        port: [443, 80, 8443][number],
    };
    let mode = u.pick(&[Mode::NAT, Mode::NAT, Mode::NAT, Mode::NAT, Mode::DSR, Mode::IPIP]);
    let (affinity, denies, challenges) = (u.one_in(4), u.one_in(4), u.one_in(4));
    let resets_denied = u.one_in(2);
    let count = u.pick(&[3, 1, 2, 3, 4, 5, 2, 0]);
    let families = u.byte();
    let mode = if mode == Mode::NAT && families & 0xc0 == 0xc0 { Mode::DNAT } else { mode };
    let replica = |at: usize| {
        let replica_v4 = match (mode, families % 4) {
            (Mode::DSR | Mode::DNAT, _) | (_, 0) => v4,
            (Mode::IPIP, _) => v4 && families >> at & 4 == 0,
            (_, 1) => !v4,
            _ => families >> at & 4 == 0,
        };
        let knobs = u.byte();
        let nats = 1 + usize::from(knobs >> 6);
        let nat = |host: usize| {
            let host = if shares_nat && host == 0 {
                vip.ip.bytes()[vip.ip.bytes().len() - 1]
            } else {
                host as u8 + 2
            };
            if replica_v4 { Ip::v4([10, 0, 0, host]) } else { Ip::v6(0, host) }
        };
        Backend {
            end: End {
                ip: replica_ip(at as u8, replica_v4),
                port: if mode.direct() || knobs & 1 == 0 { vip.port } else { 8080 },
            },
            nat: (0..nats).map(nat).collect(),
            way: Way {
                interface: if knobs & 0x1e == 0x1e { 0 } else { 3 },
                destination: [2, 0xde, 0, 0, 0, at as u8],
                source: [2, 0, 0, 0, 0, 3],
                vlans: VLANS[at % VLANS.len()],
            },
            weight: if knobs & 0x0e == 0x0c { 0 } else { 1 + (knobs & 1) },
            mtu: if knobs & 0x30 == 0x30 { mtu(u) } else { 0 },
            reset: knobs & 0x3e == 0x0a,
        }
    };
    let replicas = (0..count).map(replica).collect();
    let denied = denies.then_some(2);
    let mut service = Frontend {
        vip,
        mode,
        affinity,
        denied,
        resets_denied,
        challenges,
        there: true,
        replicas,
        slots: Vec::new(),
    };
    service.fill(number);
    service
}
