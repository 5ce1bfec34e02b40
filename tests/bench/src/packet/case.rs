//! The cases: what is sent through which hook, against a table of what.

use std::fmt;

use dtr_lb_agent::datapath::Hook;
use dtr_lb_common::{abi::Mode, address::Family};

/// What stands in a flow table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Load {
    pub(crate) flows: u32,
    pub(crate) mode: Mode,
    pub(crate) v6: bool,
}

impl Load {
    pub(crate) const fn family(self) -> Family {
        if self.v6 { Family::V6 } else { Family::V4 }
    }
}

/// A packet, by its place in the life of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sent {
    /// Of an established connection, by the client.
    ToReplica,
    /// The same by the replica.
    ToClient,
    /// To an address that is no service's.
    Stranger,
    /// To a port of a service's address that is none.
    OtherPort,
    Syn,
    SynAck,
    /// The client's answer to it.
    FirstAck,
    ClientFin,
    ReplicaFin,
    /// The client's answer to it.
    LastAck,
}

impl Sent {
    /// A whole connection, as it passes by a balancer whose replicas answer through it.
    pub(crate) const LIFE: [Self; 6] =
        [Self::Syn, Self::SynAck, Self::FirstAck, Self::ClientFin, Self::ReplicaFin, Self::LastAck];
    /// And of replicas that answer directly.
    pub(crate) const HALF_LIFE: [Self; 3] = [Self::Syn, Self::FirstAck, Self::ClientFin];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ToReplica => "established to_replica",
            Self::ToClient => "established to_client",
            Self::Stranger => "not_ours address",
            Self::OtherPort => "not_ours port",
            Self::Syn => "new syn",
            Self::SynAck => "new syn_ack",
            Self::FirstAck => "new ack",
            Self::ClientFin => "close client_fin",
            Self::ReplicaFin => "close replica_fin",
            Self::LastAck => "close last_ack",
        }
    }

    /// Whether the replica sends it.
    pub(crate) const fn by_replica(self) -> bool {
        matches!(self, Self::ToClient | Self::SynAck | Self::ReplicaFin)
    }

    /// Whether a balancer is to send it on.
    pub(crate) const fn ours(self) -> bool {
        !matches!(self, Self::Stranger | Self::OtherPort)
    }
}

/// One figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Case {
    pub(crate) load: Load,
    pub(crate) sent: Sent,
    pub(crate) tc: bool,
}

impl Case {
    pub(crate) const fn hook(self) -> Hook {
        if self.tc { Hook::Tc } else { Hook::NativeXdp }
    }

    /// What it is, whatever the hook and the family.
    pub(crate) fn what(self) -> String {
        let Self { load: Load { flows, .. }, sent, .. } = self;
        format!("{}{} {flows}", sent.name(), self.mode())
    }

    /// Nothing where it does not matter.
    const fn mode(self) -> &'static str {
        match self.load.mode {
            _ if !self.sent.ours() => "",
            Mode::DSR => " dsr",
            Mode::IPIP => " ipip",
            Mode::DNAT => " dnat",
            _ => " nat",
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { load: Load { flows, v6, .. }, sent, tc } = *self;
        let (family, hook) = (if v6 { "ipv6" } else { "ipv4" }, if tc { "tc" } else { "xdp" });
        write!(f, "{}{} {family} {hook} {flows}", sent.name(), self.mode())
    }
}

/// How many flows.
const FLOWS: [u32; 3] = [1, 100_000, 900_000];

/// What is measured with entries that were written directly, in an order that has what is compared side by side.
pub(crate) fn established() -> Vec<Case> {
    let mut cases = Vec::new();
    for flows in FLOWS {
        for (mode, sent) in [
            (Mode::NAT, Sent::ToReplica),
            (Mode::NAT, Sent::ToClient),
            (Mode::DNAT, Sent::ToReplica),
            (Mode::DNAT, Sent::ToClient),
            (Mode::DSR, Sent::ToReplica),
            (Mode::IPIP, Sent::ToReplica),
        ] {
            for (tc, v6) in [(false, false), (false, true), (true, false), (true, true)] {
                // A second run on one skb cannot put it into a packet again: the kernel has it marked (EALREADY of
                // `bpf_skb_net_grow`), and no helper takes the mark away.
                if !(tc && mode == Mode::IPIP) {
                    cases.push(Case { load: Load { flows, mode, v6 }, sent, tc });
                }
            }
        }
    }
    for sent in [Sent::Stranger, Sent::OtherPort] {
        for (tc, v6) in [(false, false), (false, true), (true, false), (true, true)] {
            cases.push(Case { load: Load { flows: 1, mode: Mode::NAT, v6 }, sent, tc });
        }
    }
    cases
}

/// Whole connections: each list is played in its order, over so many flows that are new.
pub(crate) fn lives(flows: u32) -> Vec<Vec<Case>> {
    let mut lives = Vec::new();
    for mode in Mode::ALL {
        for (tc, v6) in [(false, false), (false, true), (true, false), (true, true)] {
            let steps: &[Sent] = if mode.direct() { &Sent::HALF_LIFE } else { &Sent::LIFE };
            if mode == Mode::NAT || !(tc || v6) {
                let load = Load { flows, mode, v6 };
                lives.push(steps.iter().map(|&sent| Case { load, sent, tc }).collect());
            }
        }
    }
    lives
}
