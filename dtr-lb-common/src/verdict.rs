//! What becomes of a packet, and why.
//!
//! Each way out of the pipeline is one [`Verdict`]: the index of its counter, the name in `status`, in metrics and in
//! logs, and the action that follows are all derived from the one list below.

/// What the hook does with the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Rewritten, and sent to the next hop by the datapath.
    Forward,
    /// Given unchanged to the host's own network stack.
    Pass,
    /// Made over into an answer, which goes back the way it came.
    Answer,
    /// Ends here.
    Drop,
}

macro_rules! verdicts {
    ($($(#[doc = $words:literal])* $variant:ident = $name:literal, $action:ident;)*) => {
        /// What became of a packet.
        #[must_use]
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Verdict { $($(#[doc = $words])* $variant),* }

        impl Verdict {
            /// All of them, in the order of their counters.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name in outputs.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// What it says, as a sentence for people.
            pub fn words(self) -> &'static str {
                match self { $(Self::$variant => concat!($($words),*).trim()),* }
            }

            /// The verdict of a number.
            #[inline(always)]
            pub const fn from_number(number: u32) -> Option<Self> {
                match number {
                    $(_ if number == Self::$variant as u32 => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// Whether an operator has to hear of it, by an example: a packet is lost, or a limit is reached.
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
    /// Sent on, to a replica or to a client.
    Forwarded = "forwarded", Forward;
    /// A client's SYN, sent to another replica than the one that refused it or did not answer.
    Redispatched = "redispatched", Forward;

    /// An ICMP error about a flow, sent on to the end that it concerns.
    ForwardedIcmp = "forwarded_icmp", Forward;

    /// A SYN, FIN, RST or the end of a handshake whose numbers do not fit the connection: sent on for its receiver to judge. It
    /// changes nothing here.
    ForwardedUnverified = "forwarded_unverified", Forward;

    /// A packet of a flow whose replica is dead, answered by a reset.
    AnsweredReset = "answered_reset", Answer;
    /// A SYN that no replica can take, answered by a reset.
    AnsweredRefused = "answered_refused", Answer;
    /// A SYN for which the flow table has no room, answered by a reset.
    AnsweredTableFull = "answered_table_full", Answer;
    /// A SYN for which no NAT port is free, towards the replica and two others: connections hold all that were tried, or they rest; in
    /// mode DNAT, the client has its port there already. Answered by a reset.
    AnsweredNoPort = "answered_no_port", Answer;
    /// A SYN from an address that has opened as many connections in this second as it may, answered by a reset.
    AnsweredSourceLimit = "answered_source_limit", Answer;
    /// A SYN to a service whose replicas have as many connections as they may, answered by a reset.
    AnsweredReplicasFull = "answered_replicas_full", Answer;
    /// A SYN of a client that may not connect to the service, answered by a reset.
    AnsweredDenied = "answered_denied", Answer;
    /// A SYN to a service that is flooded, answered by a question that only a host at its source can answer. A client sends it again.
    AnsweredChallenge = "answered_challenge", Answer;
    /// A packet that is too large for the way to its replica, answered by an ICMP error that says what would fit.
    AnsweredTooBig = "answered_too_big", Answer;
    /// An echo request to the address of a service.
    AnsweredEcho = "answered_echo", Answer;

    /// Neither IPv4 nor IPv6: ARP and others.
    PassedNotIp = "passed_not_ip", Pass;
    /// With more than two VLAN tags.
    PassedVlan = "passed_vlan", Pass;
    /// IP, but neither TCP nor ICMP.
    PassedNotTcp = "passed_not_tcp", Pass;
    /// ICMP that concerns no flow.
    PassedIcmp = "passed_icmp", Pass;
    /// The frame ends before its headers or its packet do, or a header length is impossible.
    PassedMalformed = "passed_malformed", Pass;
    /// A fragment without ports: whose it is cannot be told.
    PassedFragment = "passed_fragment", Pass;
    /// IPv6 extension headers that are not followed: of routing, or more or longer ones than are looked at.
    PassedExtension = "passed_extension", Pass;
    /// Not to an address and port of a service, and not of a flow.
    PassedNotService = "passed_not_service", Pass;
    /// To a service, but of no flow that is known, and it does not open one. The host's own stack answers it with a reset.
    PassedNoFlow = "passed_no_flow", Pass;
    /// In a frame to many or to another host, which no host's stack takes.
    PassedOtherHost = "passed_other_host", Pass;
    /// The answer to a challenge: a reset that proves its sender's address.
    PassedProof = "passed_proof", Pass;
    /// The agent has not yet written the settings.
    PassedNotReady = "passed_not_ready", Pass;

    /// A packet that may be of a connection that another balancer has opened, to a service of which no replica has a weight.
    DroppedNoReplica = "dropped_no_replica", Drop;
    /// The replica's next hop is not known.
    DroppedNoNextHop = "dropped_no_next_hop", Drop;
    /// A SYN for which no NAT port is free, some of which handshakes hold that may be over in a moment. Its client asks again.
    DroppedNoPort = "dropped_no_port", Drop;
    /// Another processor was changing the same entries of the flow table. Its sender sends it again.
    DroppedBusy = "dropped_busy", Drop;
    /// There is no room for another next hop to a client.
    DroppedNextHopsFull = "dropped_next_hops_full", Drop;
    /// The first fragment of a packet of a service or of a flow; the rest of it cannot be followed.
    DroppedFragment = "dropped_fragment", Drop;
    /// A client that may not connect to the service.
    DroppedDenied = "dropped_denied", Drop;
    /// A SYN from an address that is no host's, or from the service's own: it was invented.
    DroppedMartian = "dropped_martian", Drop;
    /// To an end of the other family, with options, extension headers or an ICMP type that have no counterpart there.
    DroppedUntranslatable = "dropped_untranslatable", Drop;
    /// Too large for the way to its replica, where no ICMP error may be sent.
    DroppedTooBig = "dropped_too_big", Drop;
    /// The packet's TTL or hop limit does not allow another hop.
    DroppedTtlExpired = "dropped_ttl_expired", Drop;
    /// A late packet of a connection whose client has since opened another with the same address and port.
    DroppedLate = "dropped_late", Drop;
    /// The frame could not be rewritten. Never seen: the headers were read before.
    DroppedRewrite = "dropped_rewrite", Drop;
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
}
