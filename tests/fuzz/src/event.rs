//! What happens in a sequence, as its record says.

use arbitrary::Unstructured;

use crate::{
    frame::{Extension, Segment},
    input::Read,
    net::{End, Ip, Way},
    reader::flag,
    world::{CLIENTS, FIRST_PORT, SECOND, World},
};

/// What an end sends, in flags.
const CLIENT_FLAGS: [u8; 10] = [
    flag::SYN,
    flag::SYN,
    flag::ACK,
    flag::ACK,
    flag::PSH | flag::ACK,
    flag::FIN | flag::ACK,
    flag::RST,
    flag::RST | flag::ACK,
    flag::SYN | 0xc0,
    flag::ACK,
];
const REPLICA_FLAGS: [u8; 8] = [
    flag::SYN | flag::ACK,
    flag::SYN | flag::ACK,
    flag::ACK,
    flag::PSH | flag::ACK,
    flag::FIN | flag::ACK,
    flag::RST | flag::ACK,
    flag::RST | flag::ACK,
    flag::RST,
];
/// What somebody sends who passes himself off as an end.
const STRANGER_FLAGS: [u8; 10] = [
    flag::RST,
    flag::RST,
    flag::RST | flag::ACK,
    flag::SYN,
    flag::SYN | flag::ACK,
    flag::ACK,
    flag::ACK,
    flag::PSH | flag::ACK,
    flag::FIN | flag::ACK,
    flag::FIN | flag::ACK,
];

/// A change to what is sent.
#[derive(Clone, Copy, Debug)]
pub struct Damage {
    /// These bytes of the frame become these.
    pub patches: [Option<(u16, u8)>; 2],
    /// The frame ends after so many bytes.
    pub cut: Option<u16>,
}

/// Which of the connections that were seen, from the last one on.
pub type Recent = usize;

#[derive(Clone, Debug)]
pub enum Event {
    Client {
        client: usize,
        service: usize,
        other_router: bool,
        sends: Sends,
    },
    Replica {
        recent: Recent,
        sends: Sends,
    },
    /// SYN, SYN-ACK and ACK, and then data both ways if so.
    Handshake {
        client: usize,
        service: usize,
        talks: bool,
    },
    /// Both ends close the connection, the replica first if so.
    Close {
        client: usize,
        service: usize,
        replica_first: bool,
    },
    /// A client closes its connection and opens another one, to another replica if the first one drains; then that one sends.
    Again {
        client: usize,
        service: usize,
        replica_first: bool,
        drains: bool,
        sends: Sends,
    },
    Wait(u32),
    /// The agent ends what has outlived its state, and frees next hops.
    Sweep,
    /// Another processor has a lock of the flow table when a frame comes to its insertion of this number.
    Busy(u8),
    Change,
    /// Somebody sends with the addresses of one end of a connection to the other.
    Spoof {
        recent: Recent,
        from_client: bool,
        /// By the way that the client's packets come.
        same_way: bool,
        sends: Sends,
    },
    /// Somebody sends from one end to another, whosever they are.
    Stranger {
        from: Pool,
        to: Pool,
        sends: Sends,
    },
    /// Bytes at random, behind a header if so.
    Noise {
        seed: u64,
        length: u16,
        header: u8,
    },
    /// An ICMP error about a packet of a connection: one that its client was sent, or its replica.
    Error {
        recent: Recent,
        to_client: bool,
        kind: u8,
        code: u8,
        quote: u8,
        wrong: bool,
        damage: Option<Damage>,
    },
    Echo {
        to: Pool,
        length: u8,
        wrong: bool,
    },
}

/// A segment as far as an end decides on it.
#[derive(Clone, Debug)]
pub struct Sends {
    pub flags: u8,
    pub knobs: [u8; 6],
    pub damage: Option<Damage>,
}

/// An address and a port out of those that mean something.
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    pub address: u8,
    pub port: u8,
    pub v4: bool,
}

impl Event {
    /// Reads an event. The bytes that follow in its record are the change of the world, if it is one.
    pub fn read(u: &mut Unstructured<'_>) -> Self {
        let kind = u.byte() % 40;
        match kind {
            0..=8 => Self::Client {
                client: u.below(CLIENTS),
                service: u.below(3),
                other_router: u.one_in(8),
                sends: Sends::read(&CLIENT_FLAGS, u),
            },
            9..=15 => Self::Replica { recent: recent(u), sends: Sends::read(&REPLICA_FLAGS, u) },
            16..=19 => Self::Handshake { client: u.below(CLIENTS), service: u.below(3), talks: u.one_in(3) },
            20 => Self::Close { client: u.below(CLIENTS), service: u.below(3), replica_first: u.one_in(2) },
            21..=23 => Self::Wait(ticks(u)),
            24 => Self::Sweep,
            25 => Self::Change,
            32..=37 => Self::Spoof {
                recent: recent(u),
                from_client: u.one_in(2),
                same_way: u.one_in(2),
                sends: Sends::read(&STRANGER_FLAGS, u),
            },
            38 => Self::Busy(u.byte() % 3),
            26 | 27 => Self::Stranger {
                from: Pool::read(u),
                to: Pool::read(u),
                sends: Sends::read(&CLIENT_FLAGS, u),
            },
            28 => Self::Noise {
                seed: u64::from(u.short()) << 16 | u64::from(u.short()),
                length: u.short() % 200,
                header: u.byte() % 8,
            },
            29 | 30 => Self::Error {
                recent: recent(u),
                to_client: u.one_in(2),
                kind: u.byte(),
                code: u.byte() % 6,
                quote: u.byte(),
                wrong: u.one_in(6),
                damage: Damage::read(u),
            },
            31 => Self::Echo { to: Pool::read(u), length: u.byte(), wrong: u.one_in(6) },
            _ => Self::Again {
                client: u.below(CLIENTS),
                service: u.below(3),
                replica_first: u.one_in(2),
                drains: u.one_in(2),
                sends: Sends::read(&REPLICA_FLAGS, u),
            },
        }
    }
}

/// The last connections are what most is about.
fn recent(u: &mut Unstructured<'_>) -> Recent {
    let byte = u.byte();
    if byte < 128 { 0 } else { usize::from(byte % 8) }
}

fn ticks(u: &mut Unstructured<'_>) -> u32 {
    let seconds = u.pick(&[0, 0, 0, 0, 1, 1, 2, 9, 11, 29, 31, 59, 61, 299, 301, 3599, 3601]);
    seconds * SECOND + u.pick(&[0, 1, 74, 76, 124, 125, 126, 249])
}

impl Damage {
    fn read(u: &mut Unstructured<'_>) -> Option<Self> {
        let patch = |u: &mut Unstructured<'_>| (u16::from(u.byte() % 96), u.byte());
        match u.byte() % 24 {
            20 => Some(Self { patches: [Some(patch(u)), None], cut: None }),
            21 => Some(Self { patches: [Some(patch(u)), Some(patch(u))], cut: None }),
            22 => Some(Self { patches: [None; 2], cut: Some(u.byte().into()) }),
            _ => None,
        }
    }

    pub fn apply(&self, frame: &mut Vec<u8>) {
        for (at, byte) in self.patches.iter().flatten() {
            if let Some(place) = frame.get_mut(usize::from(*at)) {
                *place = *byte;
            }
        }
        if let Some(cut) = self.cut {
            frame.truncate(cut.into());
        }
    }
}

impl Sends {
    pub fn plain(flags: u8) -> Self {
        Self { flags, knobs: [0; 6], damage: None }
    }

    fn read(flags: &[u8], u: &mut Unstructured<'_>) -> Self {
        let flags = if u.one_in(32) { u.byte() } else { u.pick(flags) };
        let mut knobs = [0; 6];
        for knob in &mut knobs {
            *knob = u.byte();
        }
        Self { flags, knobs, damage: Damage::read(u) }
    }

    /// Which numbers it has: see [`crate::ends::Tcp::numbers`].
    pub fn numbers(&self) -> u8 {
        self.knobs[3]
    }

    /// Any number.
    pub fn random(&self) -> u32 {
        self.knobs.iter().fold(0, |number: u32, knob| (number ^ u32::from(*knob)).wrapping_mul(0x9e37_79b1))
    }

    /// The segment from one end to another, with any numbers.
    pub fn segment(&self, way: Way, from: End, to: End) -> Segment {
        let [data, header, options, numbers, lengths, tos] = self.knobs;
        let mut segment = Segment::new(way, from, to, self.flags);
        segment.data = match data % 16 {
            0..=8 => u16::from(self.flags & flag::PSH) * 3,
            9 => 1,
            10 => 5,
            11 => 40,
            12 => 100,
            13 => 1200,
            14 => 1440,
            _ => 1461,
        };
        segment.ttl = [64, 64, 64, 64, 2, 1, 0, 255][usize::from(data >> 5)];
        header_knob(&mut segment, header);
        segment.options = [0, 0, 4, 12, 20, 40, 0, 8][usize::from(options % 8)];
        // Ahead and behind, by small steps and by large ones.
        segment.timestamp =
            (options & 0x10 != 0).then(|| u32::from(tos) << [0, 24][usize::from(options >> 5 & 1)]);
        segment.reserved = if options & 0x38 == 0x38 { options >> 4 } else { 0 };
        segment.urgent = if options & 0xc0 == 0xc0 { 7 } else { 0 };
        segment.sequence = self.random();
        segment.acknowledgment = !segment.sequence;
        segment.window = u16::from(numbers) << 4;
        match lengths {
            0xf0.. => segment.length_error = i16::from(lengths & 0xf) * 4 - 30,
            0xef => segment.length_error = -1500,
            0xee => segment.length_error = 3000,
            0xe0.. => segment.checksum_error = 1 + u16::from(lengths & 0xf) * 0x111,
            0xd8.. => segment.ip_checksum_error = 1 + u16::from(lengths & 0x7) * 0x333,
            0xc0.. => segment.trailer = lengths & 0xf,
            _ => {}
        }
        segment.tos = if tos >= 0xc0 { tos } else { 0 };
        segment.flow_label = if tos & 0x30 == 0x30 { 0x1234 } else { 0 };
        segment
    }
}

/// Options, extensions and fragments.
fn header_knob(segment: &mut Segment, knob: u8) {
    match knob {
        0xe0.. => segment.ip_options = 4 * (1 + knob % 10),
        0xd8.. => segment.fragment = if knob & 1 == 0 { 0x2000 } else { 0x4001 + u16::from(knob & 6) },
        0xd0.. => segment.fragment = 0,
        _ => {}
    }
    segment.extensions = match knob {
        0xfc.. => vec![Extension::Destination(knob & 0xf); 2],
        0xf8.. => vec![Extension::HopByHop; 3 + usize::from(knob & 3)],
        0xf4.. => vec![Extension::Routing],
        0xf0.. => vec![Extension::HopByHop, Extension::Destination(2), Extension::Fragment(0)],
        0xe0.. => vec![Extension::Destination(1 + knob % 4)],
        0xde.. => vec![Extension::Fragment(0)],
        0xdc.. => vec![Extension::Fragment(1)],
        0xda.. => vec![Extension::Fragment(8)],
        _ => Vec::new(),
    };
}

/// An address that no host has, or that is local to each; and some that look like that.
fn nobodys(v4: bool, which: usize) -> Ip {
    if v4 {
        return Ip::v4([[127, 0, 0, 1], [224, 0, 0, 5], [255; 4], [0; 4], [240, 0, 0, 1]][which % 5]);
    }
    if which % 4 == 3 {
        return Ip([0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1]);
    }
    let with = |first: u8, last: u8| Ip(std::array::from_fn(|at| [first, 0, last][at.min(1) + at / 15]));
    [with(0, 1), with(0, 0), with(0xff, 1)][which % 3]
}

impl Pool {
    fn read(u: &mut Unstructured<'_>) -> Self {
        Self { address: u.byte(), port: u.byte(), v4: u.one_in(2) }
    }

    pub fn end(&self, world: &World) -> End {
        let at = usize::from(self.address);
        let service = &world.services[at % world.services.len()];
        let replica = service.replicas.get(at / 4 % service.replicas.len().max(1));
        let ip = match (self.address % 5, replica) {
            (0, _) => service.vip.ip,
            (1, Some(replica)) => replica.end.ip,
            (2, Some(replica)) => replica.nat[at % replica.nat.len()],
            (3, _) => World::client(at / 8, self.v4, false).0.ip,
            _ if at % 4 == 0 => nobodys(self.v4, at / 20),
            _ if self.v4 => Ip::v4([198, 51, 100, self.address]),
            _ => Ip::v6(9, self.address),
        };
        let port = match self.port % 6 {
            0 => service.vip.port,
            1 => FIRST_PORT + u16::from(self.port / 6 % 4),
            2 => replica.map_or(8080, |replica| replica.end.port),
            3 => World::client(usize::from(self.port / 6), true, false).0.port,
            4 => 80,
            _ => u16::from(self.port) * 250,
        };
        End { ip, port }
    }
}
