//! The packets of a connection, in short, and what a scenario looks at.

use super::world::{Cpu, Tcp, answer, client, direct_client};
use crate::{
    abi::{Flow, Place, State, Tuple},
    address::Family,
    flow_table::{self, Memory},
    wire::TcpFlags,
};

pub(super) const PORT: u16 = 20_000;
const ACK: TcpFlags = TcpFlags::ACK;

const fn and(a: TcpFlags, b: TcpFlags) -> TcpFlags {
    TcpFlags(a.0 | b.0)
}

/// A connection to replica 1 (3 of IPv6), as its ends see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) client: Tuple,
    pub(super) replica: u8,
    /// Its NAT port: the client's own, if nobody has that one.
    pub(super) port: u16,
}

impl Peer {
    /// One of several clients of IPv4, with a port of its own.
    pub(super) fn new(number: u16) -> Self {
        let port = PORT + number;
        Self { client: client(Family::V4, usize::from(number), port), replica: 1, port }
    }

    /// Of IPv6.
    pub(super) fn wide(number: u16) -> Self {
        let port = PORT + number;
        Self { client: client(Family::V6, usize::from(number), port), replica: 3, port }
    }

    /// Of a replica that answers directly.
    pub(super) fn direct(number: u16, replica: u8) -> Self {
        let port = PORT + number;
        Self { client: direct_client(replica, usize::from(number), port), replica, port }
    }

    pub(super) fn answers(self) -> Tuple {
        answer(self.replica, self.port)
    }

    /// What a connection's numbers are more than in the shortest case: no two clients of a scenario have numbers in one window.
    fn own(self) -> u32 {
        u32::from(self.client.source_port.get() - PORT).wrapping_mul(0x4800_0000)
    }

    fn client_sends(self, cpu: &Cpu<'_>, flags: TcpFlags, sequence: u32, acknowledgment: u32) {
        let (sequence, acknowledgment) =
            (sequence.wrapping_add(self.own()), acknowledgment.wrapping_add(self.own()));
        cpu.packet(Tcp { tuple: self.client, flags, sequence, acknowledgment });
    }

    fn replica_sends(self, cpu: &Cpu<'_>, flags: TcpFlags, sequence: u32, acknowledgment: u32) {
        let (sequence, acknowledgment) =
            (sequence.wrapping_add(self.own()), acknowledgment.wrapping_add(self.own()));
        cpu.packet(Tcp { tuple: self.answers(), flags, sequence, acknowledgment });
    }

    pub(super) fn syn(self, cpu: &Cpu<'_>) {
        self.client_sends(cpu, TcpFlags::SYN, 1000, 0);
    }

    pub(super) fn syn_ack(self, cpu: &Cpu<'_>) {
        self.replica_sends(cpu, and(TcpFlags::SYN, ACK), 5000, 1001);
    }

    pub(super) fn ack(self, cpu: &Cpu<'_>) {
        self.client_sends(cpu, ACK, 1001, 5001);
    }

    pub(super) fn data(self, cpu: &Cpu<'_>) {
        self.replica_sends(cpu, ACK, 5001, 1001);
    }

    pub(super) fn fin(self, cpu: &Cpu<'_>) {
        self.client_sends(cpu, and(TcpFlags::FIN, ACK), 1001, 5001);
    }

    pub(super) fn replica_fin(self, cpu: &Cpu<'_>) {
        self.replica_sends(cpu, and(TcpFlags::FIN, ACK), 5001, 1001);
    }

    /// The replica acknowledges the client's FIN, and the client the replica's.
    pub(super) fn fin_acked(self, cpu: &Cpu<'_>) {
        self.replica_sends(cpu, ACK, 5002, 1002);
    }

    pub(super) fn replica_fin_acked(self, cpu: &Cpu<'_>) {
        self.client_sends(cpu, ACK, 1002, 5002);
    }

    /// The replica refuses.
    pub(super) fn refusal(self, cpu: &Cpu<'_>) {
        self.replica_sends(cpu, and(TcpFlags::RST, ACK), 0, 1001);
    }

    /// The client gives up its handshake.
    pub(super) fn gives_up(self, cpu: &Cpu<'_>) {
        self.client_sends(cpu, TcpFlags::RST, 1001, 0);
    }

    /// The client resets what is established.
    pub(super) fn resets(self, cpu: &Cpu<'_>) {
        self.client_sends(cpu, TcpFlags::RST, 1001, 0);
    }

    /// The replica does.
    pub(super) fn replica_resets(self, cpu: &Cpu<'_>) {
        self.replica_sends(cpu, TcpFlags::RST, 5001, 0);
    }

    pub(super) fn establish(self, cpu: &Cpu<'_>) {
        self.syn(cpu);
        self.syn_ack(cpu);
        self.ack(cpu);
    }

    /// To its end, the replica first: its socket is in TIME_WAIT.
    pub(super) fn close(self, cpu: &Cpu<'_>) {
        self.establish(cpu);
        self.replica_fin(cpu);
        self.replica_fin_acked(cpu);
        self.fin(cpu);
        self.fin_acked(cpu);
    }

    /// The client opens another with the same ports.
    pub(super) fn syn_anew(self, cpu: &Cpu<'_>) {
        self.client_sends(cpu, TcpFlags::SYN, 900_000, 0);
    }

    /// Its client's entry, as this processor sees it.
    pub(super) fn seen(self, cpu: &Cpu<'_>) -> Option<Flow> {
        let mut flow: Flow = bytemuck::Zeroable::zeroed();
        let memory = cpu.memory();
        let mut place = 0;
        while memory.line(Place(place)).is_some() {
            if flow_table::read(&memory, Place(place), &mut flow) && flow.key == self.client {
                return Some(flow);
            }
            place += 1;
        }
        None
    }

    pub(super) fn state(self, cpu: &Cpu<'_>) -> Option<State> {
        self.seen(cpu).map(|flow| flow.state())
    }

    /// Notes it if this processor sees that the connection is live: then it must be for good.
    pub(super) fn note_if_live(self, cpu: &Cpu<'_>) {
        if self.state(cpu).is_some_and(State::live) {
            cpu.live.set(true);
        }
    }
}
