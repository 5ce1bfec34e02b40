//! A trace under way: from the datapath's records to lines, until time, count, the reader or the agent end it.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use dtr_lb_common::{
    abi::{Replica, ReplicaId, ServiceKey, TraceFilter, Tuple},
    address::Address,
    verdict::Action,
    wire::{PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, TcpFlags},
};
use jiff::{SignedDuration, Timestamp};
use nix::{
    net::if_::if_indextoname,
    time::{ClockId, clock_gettime},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout_at},
};

use super::{Begin, Ends, Finish, Line, Order, PacketLine, Ways};
use crate::{
    datapath::{Reader, TraceError, TraceReader, TracedPacket},
    directory::Directory,
};

/// Lines that may wait for the reader. The rest waits in the datapath's ring, which counts what it has no room for.
const WAITING: usize = 1024;
/// How long the last line may take to be read.
const LAST_LINE: Duration = Duration::from_secs(2);

/// A trace that the agent has begun.
pub struct Tracing {
    pub reader: TraceReader,
    /// `xdp` or `tc`.
    pub hook: &'static str,
    pub interfaces: Vec<String>,
    /// Dropped, it ends the trace: the agent puts the plain programs back.
    pub hold: oneshot::Sender<()>,
    /// Tells, or is dropped, when the agent has ended it.
    pub ended: oneshot::Receiver<()>,
}

impl std::fmt::Debug for Tracing {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { hook, interfaces, .. } = self;
        out.debug_struct("Tracing")
            .field("hook", hook)
            .field("interfaces", interfaces)
            .finish_non_exhaustive()
    }
}

/// What the agent is asked for, and who waits for it.
#[derive(Debug)]
pub struct TraceRequest {
    pub filter: TraceFilter,
    pub limit: Duration,
    pub answer: oneshot::Sender<Result<Tracing, TraceError>>,
}

/// Who is who in the datapath's records.
pub struct Names {
    directory: Directory,
    reader: Arc<Reader>,
    replicas: BTreeMap<ReplicaId, Replica>,
    interfaces: BTreeMap<u32, String>,
    /// From the kernel's monotonic clock to the time of day.
    offset: SignedDuration,
}

impl Names {
    pub fn new(directory: Directory, reader: Arc<Reader>) -> Self {
        let monotonic = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
        let since_boot = SignedDuration::try_from(monotonic).unwrap_or_default();
        let offset = Timestamp::now().as_duration() - since_boot;
        Self { directory, reader, replicas: BTreeMap::new(), interfaces: BTreeMap::new(), offset }
    }

    fn replica(&mut self, id: ReplicaId) -> Option<String> {
        if id == 0 {
            return None;
        }
        if !self.replicas.contains_key(&id) {
            // Seldom: at the beginning, and when a replica was added since. Without it, the id is all that is known.
            self.replicas = self.reader.replicas().unwrap_or_default();
        }
        let name = self.replicas.get(&id).map(|replica| self.directory.name(replica));
        Some(name.unwrap_or_else(|| format!("id {id}")))
    }

    fn interface(&mut self, index: u32) -> String {
        let name = || {
            let name = if_indextoname(index);
            name.map_or_else(|_| format!("interface {index}"), |name| name.to_string_lossy().into_owned())
        };
        self.interfaces.entry(index).or_insert_with(name).clone()
    }

    fn time(&self, nanoseconds: u64) -> Timestamp {
        let since_boot = SignedDuration::from_nanos(nanoseconds.cast_signed());
        Timestamp::from_duration(self.offset + since_boot).unwrap_or_default()
    }

    /// What is told of a packet.
    fn line(&mut self, traced: &TracedPacket, frames: bool) -> PacketLine {
        let TracedPacket { verdict, packet, frame, left } = traced;
        let frame_of = |bytes: &[u8]| frames.then(|| BASE64_STANDARD.encode(bytes));
        let tcp = packet.protocol == PROTOCOL_TCP;
        let of_service = ServiceKey::new(packet.client.destination, packet.client.destination_port);
        let service = self.directory.service(&of_service).map(str::to_owned);
        let out = (packet.left_by != 0).then(|| Ways {
            interface: self.interface(packet.left_by),
            ends: (verdict.action() == Action::Forward).then(|| ends(&packet.to, tcp)).flatten(),
            length: packet.left_length,
            frame: frame_of(left),
        });
        PacketLine {
            time: self.time(packet.time),
            came: Ways {
                interface: self.interface(packet.interface),
                ends: ends(&packet.tuple, tcp),
                length: packet.length,
                frame: frame_of(frame),
            },
            protocol: protocol(packet.protocol).map(str::to_owned),
            flags: tcp.then(|| flags(packet.flags)),
            verdict: verdict.name().to_owned(),
            reason: verdict.meaning().to_owned(),
            client: service
                .as_ref()
                .and_then(|_| ends(&packet.client, packet.client.source_port.get() != 0))
                .map(|ends| ends.source),
            service,
            replica: self.replica(packet.replica),
            left: out,
        }
    }
}

fn ends(tuple: &Tuple, ports: bool) -> Option<Ends> {
    let end = |address: Address, port: dtr_lb_common::address::Be16| {
        let address = IpAddr::from(address);
        if ports { SocketAddr::new(address, port.get()).to_string() } else { address.to_string() }
    };
    let known = tuple.source != Address::NONE || tuple.destination != Address::NONE;
    known.then(|| Ends {
        source: end(tuple.source, tuple.source_port),
        destination: end(tuple.destination, tuple.destination_port),
    })
}

fn protocol(number: u8) -> Option<&'static str> {
    match number {
        PROTOCOL_TCP => Some("tcp"),
        PROTOCOL_ICMP => Some("icmp"),
        PROTOCOL_ICMPV6 => Some("icmpv6"),
        _ => None,
    }
}

/// Names of the bits of a TCP header (RFC 9293 section 3.1), as they are said.
const FLAGS: [(u8, &str); 8] = [
    (0x02, "SYN"),
    (0x01, "FIN"),
    (0x04, "RST"),
    (0x08, "PSH"),
    (0x10, "ACK"),
    (0x20, "URG"),
    (0x40, "ECE"),
    (0x80, "CWR"),
];

fn flags(flags: TcpFlags) -> String {
    let set = FLAGS.iter().filter(|(bit, _)| flags.0 & bit != 0).map(|(_, name)| *name);
    set.collect::<Vec<_>>().join(" ")
}

/// Why a trace ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Time,
    Count,
    Reader,
    Agent,
}

impl Why {
    const fn word(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Count => "count",
            Self::Reader => "reader",
            Self::Agent => "agent",
        }
    }
}

/// Reads a trace in the background; its lines come out, and when these are dropped it ends.
pub fn stream(tracing: Tracing, order: Order, names: Names) -> mpsc::Receiver<Line> {
    let (lines, out) = mpsc::channel(WAITING);
    tokio::spawn(Session { tracing, order, names, lines, shown: 0, unread: Vec::new() }.run());
    out
}

struct Session {
    tracing: Tracing,
    order: Order,
    names: Names,
    lines: mpsc::Sender<Line>,
    shown: u64,
    /// Taken out of the ring when the time was over, and not shown.
    unread: Vec<TracedPacket>,
}

impl Session {
    async fn run(mut self) {
        let deadline = Instant::now() + self.order.limit;
        let begin = Begin {
            hook: self.tracing.hook.to_owned(),
            interfaces: self.tracing.interfaces.clone(),
            seconds: self.order.limit.as_secs(),
            count: self.order.count,
            services_only: self.order.leaves_out(),
        };
        let why = match self.lines.send(Line::Begin(begin)).await {
            Ok(()) => self.read(deadline).await,
            Err(_) => Why::Reader,
        };
        let Self { tracing: Tracing { mut reader, hold, .. }, order, mut names, lines, mut shown, .. } = self;
        // The plain programs go back first; what these have told so far is still shown.
        drop(hold);
        let mut rest = self.unread;
        if why != Why::Count {
            rest.extend(reader.rest());
        }
        rest.retain(|packet| order.takes(&packet.packet.client));
        let mut lost = reader.totals().map(|totals| totals.lost).unwrap_or_default();
        for packet in rest.iter().take(usize::try_from(order.count - shown).unwrap_or(usize::MAX)) {
            let line = Line::Packet(Box::new(names.line(packet, order.frames)));
            match lines.try_send(line) {
                Ok(()) => shown += 1,
                Err(_) => lost += 1,
            }
        }
        let end = Line::End(Finish { why: why.word().to_owned(), shown, lost });
        // Who does not read any more needs no last line.
        let _ = lines.send_timeout(end, LAST_LINE).await;
    }

    /// Shows packets until something ends it.
    async fn read(&mut self, deadline: Instant) -> Why {
        loop {
            let packets = tokio::select! {
                () = self.lines.closed() => return Why::Reader,
                () = sleep_until(deadline) => return Why::Time,
                _ = &mut self.tracing.ended => return Why::Agent,
                packets = self.tracing.reader.next() => packets,
            };
            let Ok(packets) = packets else { return Why::Agent };
            let mut packets = packets.into_iter();
            while let Some(packet) = packets.next() {
                if !self.order.takes(&packet.packet.client) {
                    continue;
                }
                let line = Line::Packet(Box::new(self.names.line(&packet, self.order.frames)));
                match timeout_at(deadline, self.lines.send(line)).await {
                    Ok(Ok(())) => self.shown += 1,
                    Ok(Err(_)) => return Why::Reader,
                    Err(_) => {
                        self.unread = std::iter::once(packet).chain(packets).collect();
                        return Why::Time;
                    }
                }
                if self.shown == self.order.count {
                    return Why::Count;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_said_as_people_say_them() {
        for (bits, expected) in [(0x12, "SYN ACK"), (0x10, "ACK"), (0x11, "FIN ACK"), (0, "")] {
            assert_eq!(flags(TcpFlags(bits)), expected);
        }
    }
}
