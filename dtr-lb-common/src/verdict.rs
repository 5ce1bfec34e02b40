//! What becomes of a packet, and why.
//!
//! Each way out of the pipeline is one [`Verdict`]. The catalogue below declares it once: name, action, meaning, and what an
//! operator does about it. From it come the index of its counter, the name in `status`, metrics and logs, the texts of `explain`,
//! `trace`, the API, the dashboard and the metrics' page, and the table in docs/verdicts.md.
//!
//! Texts are for people on the host: the eBPF object is built without them.

/// What the hook does with the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Rewritten, and sent to the next hop by the datapath.
    Forward,
    /// Given unchanged to the host's own network stack.
    Pass,
    /// Transformed into an answer, which goes back the way it came.
    Answer,
    /// Ends here.
    Drop,
}

impl Action {
    /// The name in outputs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Pass => "pass",
            Self::Answer => "answer",
            Self::Drop => "drop",
        }
    }
}

macro_rules! verdicts {
    ($($variant:ident = $name:literal, $action:ident, $meaning:literal, $advice:literal;)*) => {
        /// What became of a packet.
        #[must_use]
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Verdict { $(#[doc = $meaning] $variant),* }

        impl Verdict {
            /// All of them, in the order of their counters.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name in outputs.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// What it says, in one sentence for people. Keys, values and commands stand in backticks.
            #[cfg(not(target_arch = "bpf"))]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning),* }
            }

            /// What an operator does about it, in a sentence or two; empty where there is nothing to do. Documents are named by
            /// their path in the repository, `docs/NAME.md#section`.
            #[cfg(not(target_arch = "bpf"))]
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$variant => $advice),* }
            }

            /// The verdict of a number.
            #[inline(always)]
            pub const fn from_number(number: u32) -> Option<Self> {
                match number {
                    $(_ if number == Self::$variant as u32 => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// Whether the log shows an example: a packet is lost, or a limit is reached.
            #[inline(always)]
            pub const fn is_reported(self) -> bool {
                let limit = matches!(
                    self,
                    Self::AnsweredNoPort | Self::AnsweredSourceLimit | Self::AnsweredReplicasFull
                );
                limit || matches!(self.action(), Action::Drop)
            }

            /// Inlined always: three times a packet, a call costs more than the look-up of its flow.
            #[inline(always)]
            pub const fn action(self) -> Action {
                match self { $(Self::$variant => Action::$action),* }
            }
        }
    };
}

verdicts! {
    Forwarded = "forwarded", Forward,
        "Sent on, to a replica or to a client.",
        "";
    Redispatched = "redispatched", Forward,
        "A client's SYN, sent to another replica because the first one refused it or did not answer.",
        "Many: a replica fails. `refused` and `redispatched` in `dtr-lb status` name it.";
    ForwardedIcmp = "forwarded_icmp", Forward,
        "An ICMP error about a connection, translated and sent on to the replica or client that it concerns.",
        "A few are path MTU discovery. Many: `tcpdump -n icmp` on a replica shows what they report.";
    ForwardedUnverified = "forwarded_unverified", Forward,
        "A SYN, FIN, RST or end of a handshake whose numbers or checksum do not fit, sent on for its receiver to judge; the \
         connection stays as it is.",
        "A few are late or repeated packets. Many: somebody tries to end or to take over connections.";

    AnsweredReset = "answered_reset", Answer,
        "A packet of a connection whose replica is dead, answered by a RST.",
        "`dtr-lb status` says why the replica is down.";
    AnsweredRefused = "answered_refused", Answer,
        "A SYN that no replica can take, answered by a RST.",
        "Look at states and weights: all replicas are down with `all_down = \"refuse\"`, or each has weight 0, drains or is \
         in maintenance.";
    AnsweredTableFull = "answered_table_full", Answer,
        "A SYN for which the flow table has no room, answered by a RST.",
        "Raise `max_flows` or shorten `idle_timeout`: docs/sizing.md#a-full-table.";
    AnsweredNoPort = "answered_no_port", Answer,
        "A SYN for which no NAT port was found at its replica and two others, answered by a RST; in mode `dnat`, the client's \
         port is in use at all of them.",
        "Add `nat_ports`, `nat_addresses` or replicas: docs/sizing.md#nat-ports. In mode `dnat`: \
         docs/client-addresses.md#one-client-port-two-vips.";
    AnsweredSourceLimit = "answered_source_limit", Answer,
        "A SYN from an address that has opened `max_new_flows_per_source` connections in this second, answered by a RST.",
        "Find out whether it is one client or many behind one address; for many, raise the limit.";
    AnsweredReplicasFull = "answered_replicas_full", Answer,
        "A SYN to a service whose replicas all have `max_flows_per_replica` connections, answered by a RST.",
        "Add replicas or raise the limit.";
    AnsweredDenied = "answered_denied", Answer,
        "A SYN from a client that `allow` and `deny` do not let in, answered by a RST.",
        "The client sees \"connection refused\". If it should connect, see docs/networks.md#who-may-connect.";
    AnsweredChallenge = "answered_challenge", Answer,
        "A SYN to a flooded service, answered by a challenge: the sender has to prove its address before it connects.",
        "Find out where the flood comes from: docs/floods.md.";
    AnsweredTooBig = "answered_too_big", Answer,
        "A packet larger than the path to its replica carries, answered by an ICMP error that says what fits.",
        "A few: the sender has learnt it. Many: a firewall drops ICMP, see docs/networks.md#sizes-and-path-mtu.";
    AnsweredEcho = "answered_echo", Answer,
        "A ping of a VIP, answered.",
        "It proves that the balancer answers, not that a replica does.";

    PassedNotIp = "passed_not_ip", Pass,
        "Neither IPv4 nor IPv6: ARP and others.",
        "";
    PassedVlan = "passed_vlan", Pass,
        "A frame with more than two VLAN tags.",
        "If clients' packets are counted here, take tags off: two are followed, see docs/configuration.md#vlans.";
    PassedNotTcp = "passed_not_tcp", Pass,
        "Neither TCP nor ICMP.",
        "";
    PassedIcmp = "passed_icmp", Pass,
        "ICMP about no connection through the balancer: pings of other addresses, neighbour discovery, errors about the \
         host's own traffic.",
        "";
    PassedMalformed = "passed_malformed", Pass,
        "A frame that ends before its headers or its packet do, or that states an impossible length.",
        "Many: look for a broken sender or tunnel.";
    PassedFragment = "passed_fragment", Pass,
        "A later fragment, which has no ports.",
        "See `dropped_fragment`.";
    PassedExtension = "passed_extension", Pass,
        "An IPv6 packet with a routing header, or with more than 4 or longer than 128 bytes of extension headers.",
        "If clients' packets are counted here: they are not balanced.";
    PassedNotService = "passed_not_service", Pass,
        "TCP to no service and of no connection: ssh, the agent's own probes.",
        "If clients' packets are counted here, check that the VIP and port belong to a service.";
    PassedNoFlow = "passed_no_flow", Pass,
        "A packet to a service that is no SYN and belongs to no connection; if the VIP is the host's own, the host answers it \
         with a RST.",
        "A few are late packets. Many: `idle_timeout` is too short, the datapath was detached meanwhile, or a proxy on this \
         host still has them.";
    PassedOtherHost = "passed_other_host", Pass,
        "A packet to a service, or ICMP, in a frame for another host or for many; the host's stack drops it, too.",
        "Look for promiscuous mode, a mirror port, a flooding switch or a misconfigured sender. `datapath.macs = \"any\"` \
         takes such frames.";
    PassedProof = "passed_proof", Pass,
        "A RST that proves its sender's address: the answer to a challenge (`answered_challenge`).",
        "";
    PassedNotReady = "passed_not_ready", Pass,
        "A packet that came before the agent had written the settings.",
        "Normal for a moment. If it goes on, restart the agent.";

    DroppedNoReplica = "dropped_no_replica", Drop,
        "In the modes `dsr` and `ipip`: a packet that is no SYN, belongs to no known connection, and is for a service without \
         a replica with a weight.",
        "Look at the replicas' weights and states.";
    DroppedNoNextHop = "dropped_no_next_hop", Drop,
        "A packet to a replica without a known next hop: ARP or neighbour discovery is unresolved.",
        "The log says why: `no next hop`.";
    DroppedNoPort = "dropped_no_port", Drop,
        "A SYN for which no NAT port was found while handshakes hold some of them; the client repeats it a second later.",
        "Most likely a flood: docs/floods.md.";
    DroppedBusy = "dropped_busy", Drop,
        "A packet whose flow table entries another processor was changing; the sender repeats it.",
        "A few are harmless. Many: report it.";
    DroppedNextHopsFull = "dropped_next_hops_full", Drop,
        "A packet of a client for whose next hop there is no room: 65,536 are in use, counted by interface and MAC address.",
        "Put a router between the balancer and its clients, so that they have fewer MAC addresses.";
    DroppedFragment = "dropped_fragment", Drop,
        "The first fragment of a packet to a service or of a connection.",
        "Fragments are not forwarded: make the MTU equal on the path, see docs/networks.md#sizes-and-path-mtu.";
    DroppedDenied = "dropped_denied", Drop,
        "A SYN from a client that `allow` and `deny` do not let in.",
        "The client sees a timeout. If it should connect, see docs/networks.md#who-may-connect.";
    DroppedMartian = "dropped_martian", Drop,
        "A SYN from an address that no other host can have: local, multicast, broadcast, or the service's own.",
        "The source is spoofed. `dtr-lb trace --verdict dropped_martian` shows by which router it comes.";
    DroppedUntranslatable = "dropped_untranslatable", Drop,
        "A packet to a replica or client of the other IP family, with options, extension headers or an ICMP type that have no \
         counterpart there.",
        "The limits of translation: docs/networks.md#clients-of-one-family-replicas-of-the-other.";
    DroppedTooBig = "dropped_too_big", Drop,
        "A packet larger than the path to its replica carries, for which no ICMP error may be sent: it may be fragmented, is \
         itself an error, or is as small as packets can get.",
        "Raise the MTU on the path to the replica.";
    DroppedTtlExpired = "dropped_ttl_expired", Drop,
        "A packet whose TTL or hop limit allows no further hop.",
        "A few are a traceroute. Many: look for a routing loop.";
    DroppedLate = "dropped_late", Drop,
        "A late packet of a connection whose client has opened another with the same address and port.",
        "Harmless.";
    DroppedRewrite = "dropped_rewrite", Drop,
        "A frame that could not be rewritten; never seen so far.",
        "Report it.";
}

/// How many there are: the size of the counters' map.
pub const VERDICTS: usize = Verdict::ALL.len();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_the_action_and_is_its_own() {
        let mut names: Vec<_> = Verdict::ALL.iter().map(|verdict| verdict.name()).collect();
        for (index, verdict) in Verdict::ALL.iter().enumerate() {
            assert_eq!(*verdict as usize, index);
            let prefix = match verdict.action() {
                Action::Forward => "",
                Action::Answer => "answered_",
                Action::Pass => "passed_",
                Action::Drop => "dropped_",
            };
            let name = verdict.name();
            assert!(name.starts_with(prefix), "{name}");
            let says_else = ["passed_", "dropped_", "answered_"].iter().any(|word| name.starts_with(word));
            assert_eq!(says_else, verdict.action() != Action::Forward, "{name}");
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), VERDICTS);
    }

    /// They stand in a table's cell, on a terminal and in a web page.
    #[test]
    fn a_meaning_is_one_sentence_and_advice_two_at_most() {
        for verdict in Verdict::ALL {
            let (name, meaning, advice) = (verdict.name(), verdict.meaning(), verdict.advice());
            let sentences = |text: &str| text.matches(". ").count() + usize::from(text.ends_with('.'));
            assert_eq!(sentences(meaning), 1, "{name}: {meaning}");
            assert!(advice.is_empty() || advice.ends_with('.'), "{name}: {advice}");
            assert!(sentences(advice) <= 2, "{name}: {advice}");
            for text in [meaning, advice] {
                assert_eq!(text.matches('`').count() % 2, 0, "{name}: {text}");
                assert!(!text.contains(['|', '\n', '[', '<']) && !text.contains("  "), "{name}: {text}");
            }
        }
    }
}
