//! ICMP errors at random: each that is sent on is what an independent library builds, with the checksums of whole messages;
//! and of damaged ones none changes a flow, none grows, and none that is not sent on is touched.

use std::net::IpAddr;

use dtr_lb_common::verdict::{Action, Verdict};
use dtr_lb_tests::fixtures::{
    Engine as _, Host, Play,
    cases::icmp::{
        across, errors,
        world::{End, Families, Flow},
    },
    icmp::{Message, Network, Packet},
};
use proptest::{collection::vec, prelude::*, sample::Index};

/// A host with an open connection, or a handshake.
fn host(families: Families, established: bool) -> (Host, Flow) {
    let mut host = Host::default();
    let world = families.desired();
    host.apply(&world.desired);
    let mut play = Play::new("icmp", world.plan, &mut host, Some(world));
    let flow =
        if established { Flow::establishes(&mut play, families) } else { Flow::opens(&mut play, families) };
    (host, flow)
}

/// What varies from one error to the next.
#[derive(Clone, Debug)]
struct Variety {
    families: Families,
    established: bool,
    end: End,
    kind: Index,
    router: [u8; 16],
    hops: u8,
    quoted_hops: u8,
    tos: [u8; 2],
    identification: [u16; 2],
    payload: Vec<u8>,
    quoted: usize,
}

impl Variety {
    fn any() -> impl Strategy<Value = Self> {
        let how = (prop::sample::select(&Families::ALL[..]), any::<bool>(), any::<bool>(), any::<Index>());
        let headers = (any::<[u8; 16]>(), 2_u8.., any::<u8>(), any::<[u8; 2]>(), any::<[u16; 2]>());
        // Where a quote ends in the middle of a checksum, the half stays as it was: that has a case of its own.
        let quoted = (8..700usize).prop_filter("half a checksum", |quoted| *quoted != 17);
        (how, headers, vec(any::<u8>(), 0..800), quoted).prop_map(
            |((families, established, client, kind), headers, payload, quoted)| {
                let (router, hops, quoted_hops, tos, identification) = headers;
                let end = if client { End::Client } else { End::Replica };
                Self {
                    families,
                    established,
                    end,
                    kind,
                    router,
                    hops,
                    quoted_hops,
                    tos,
                    identification,
                    payload,
                    quoted,
                }
            },
        )
    }

    fn network(&self, network: Network) -> Network {
        let [identification, _] = self.identification;
        Network { hops: self.hops, tos: self.tos[0], identification, ..network }
    }

    fn quote(&self, packet: &Packet, translated: bool) -> Vec<u8> {
        let [_, identification] = self.identification;
        let network = Network {
            hops: self.quoted_hops,
            tos: self.tos[1],
            identification: if translated { 0 } else { identification },
            ..packet.network.clone()
        };
        Packet { network, payload: self.payload.clone(), ..packet.clone() }.quote(self.quoted)
    }

    /// A router that no end is at.
    fn router(&self, v6: bool) -> IpAddr {
        let [a, b, c, d, ..] = self.router;
        if v6 {
            [&[0xfd][..], &self.router[1..]].concat()[..].try_into().map(|at: [u8; 16]| at.into())
        } else {
            Ok([a, b, c, d | 0x80].into())
        }
        .expect("it has 16 bytes")
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_error_becomes_what_its_end_understands(variety in Variety::any()) {
        let Variety { families, established, end, .. } = variety;
        let (mut host, flow) = host(families, established);
        let translated = families.client_v6 != families.replica_v6;
        let (sent, known) = (flow.sent(end), flow.known(end));
        let v6 = sent.network.source.is_ipv6();
        let (kind, becomes) = if translated {
            *variety.kind.get(across::kinds(&flow, end))
        } else {
            let kind = *variety.kind.get(&errors::kinds(v6));
            (kind, Some(kind))
        };
        // What a router says that knows no MTU depends on the packet: that has cases of its own.
        prop_assume!(!(translated && !v6 && kind == (3, 4, [0; 4])));
        let router = variety.router(v6);
        let error = flow.error(end, router, kind, 0);
        let message =
            Message { network: variety.network(error.network.clone()), body: variety.quote(&sent, false), ..error };
        let frame = message.frame(Flow::macs(end));
        let output = host.run(&frame);
        let Some(becomes) = becomes else {
            prop_assert_eq!(output.verdict, Verdict::DroppedUntranslatable);
            return Ok(());
        };
        prop_assert_eq!(output.verdict, Verdict::ForwardedIcmp);
        let from = if translated { known.network.destination } else { router };
        let wanted = flow.becomes(end, from, becomes, 0);
        let network = Network { hops: variety.hops - 1, ..variety.network(wanted.network.clone()) };
        let network = Network { identification: if translated { 0 } else { network.identification }, ..network };
        let wanted = Message { network, body: variety.quote(&known, translated), ..wanted };
        prop_assert_eq!(output.frame, wanted.frame(Flow::macs_out(end)));
    }

    #[test]
    fn a_damaged_error_harms_nobody(
        variety in Variety::any(),
        damage in vec((any::<Index>(), any::<u8>()), 1..6usize),
        cut in proptest::option::of(any::<Index>()),
    ) {
        let Variety { families, established, end, .. } = variety;
        let (mut host, flow) = host(families, established);
        let before = host.model.entries();
        let sent = flow.sent(end);
        let kinds = errors::kinds(sent.network.source.is_ipv6());
        let error = flow.error(end, flow.router(end), *variety.kind.get(&kinds), 0);
        let mut frame = Message { body: variety.quote(&sent, false), ..error }.frame(Flow::macs(end));
        for (at, byte) in damage {
            // Where the headers are.
            let at = at.index(frame.len().min(150));
            frame[at] = byte;
        }
        if let Some(cut) = cut {
            frame.truncate(cut.index(frame.len()));
        }
        let output = host.run(&frame);
        prop_assert!(output.frame.len() <= frame.len() + 40);
        if matches!(output.verdict.action(), Action::Pass | Action::Drop)
            && output.verdict != Verdict::DroppedRewrite
        {
            prop_assert_eq!(output.frame, frame);
        }
        // Damage may make it TCP of the flow, which then may be touched.
        if output.verdict == Verdict::ForwardedIcmp {
            prop_assert_eq!(host.model.entries(), before);
        }
    }
}
