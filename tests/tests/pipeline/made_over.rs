//! Refusals that are made over into SYNs, with headers at random: what leaves is what an independent library builds.

use dtr_lb_tests::fixture::{
    Engine as _, Host, Play,
    frames::{Kind, Segment},
    world::{Client, HTTPS, two_replicas},
};
use proptest::{collection::vec, prelude::*};

prop_compose! {
    /// What a header may say. Options come in words.
    fn segment(kind: Kind)(
        ttl in 2..=255_u8,
        words in 0..=10_usize,
        options in vec(any::<u8>(), 40),
        ip_words in 0..=10_usize,
        (may_fragment, asks_for_ecn) in any::<(bool, bool)>(),
        (tos, identification, sequence, window) in any::<(u8, u16, u32, u16)>(),
        padding in (0..=3_usize).prop_map(|pairs| 2 * pairs),
    ) -> Segment {
        let client = Client::new(1, 1);
        let tcp_options = if kind == Kind::Syn { options[..4 * words].to_vec() } else { Vec::new() };
        Segment {
            ttl,
            tcp_options,
            ip_options: vec![1; 4 * ip_words],
            may_fragment,
            asks_for_ecn,
            tos,
            identification,
            sequence,
            window,
            padding: vec![0xee; padding],
            ..Segment::new(client.macs, client.end, HTTPS, kind)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_refusal_becomes_the_clients_syn(
        (host, port) in any::<(u8, u16)>(),
        syn in segment(Kind::Syn),
        refusal in segment(Kind::Refusal),
    ) {
        let client = Client::new(host, port);
        let mut engine = Host::default();
        engine.apply(&two_replicas());
        let mut play = Play::new("made over", &mut engine, Some(two_replicas()));
        let syn = Segment { macs: client.macs, source: client.end, ..syn };
        let first = play.opens_with("SYN", client, &syn);
        let sent = first.replica(Kind::Refusal).sent;
        let refusal =
            Segment { macs: sent.macs, source: sent.source, destination: sent.destination, ..refusal };
        let second = play.replays("refusal", client, &refusal.bytes(), &syn);
        prop_assert_ne!(second.replica, first.replica);
        play.accepts(&second);
    }
}

/// A frame grows at its front, so that one of an odd length would no longer begin on an even address: it is forwarded.
#[test]
fn a_refusal_of_an_odd_length_reaches_the_client() {
    let client = Client::new(1, 40_000);
    let mut engine = Host::default();
    engine.apply(&two_replicas());
    let mut play = Play::new("odd", &mut engine, Some(two_replicas()));
    let first = play.opens("SYN", client, HTTPS);
    let refusal = Segment { padding: vec![0xee], ..first.replica(Kind::Refusal).sent };
    play.forwards("refusal", &first.to_client(refusal));
    play.forgets("after it", &first);
}
