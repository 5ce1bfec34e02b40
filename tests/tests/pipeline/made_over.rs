//! Refusals that are made over into SYNs, with headers at random: what leaves is what an independent library builds.

use dtr_lb_tests::fixtures::{
    Engine as _, Host, Plan, Play,
    extension::Extension,
    frames::{Kind, Segment},
    world::{Client, HTTPS, three_replicas},
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
        flow_label in 0..1_u32 << 20,
        (tos, identification, sequence, window) in any::<(u8, u16, u32, u16)>(),
        padding in 0..=7_usize,
        payload in vec(any::<u8>(), 0..40),
    ) -> Segment {
        let client = Client::new(1, 1);
        let tcp_options = options[..4 * words].to_vec();
        // The data of a SYN is not kept.
        let payload = if kind == Kind::Syn { Vec::new() } else { payload };
        Segment {
            ttl,
            tcp_options,
            payload,
            ip_options: vec![1; 4 * ip_words],
            extensions: [Extension::HopByHop(8), Extension::Destination(16)][..ip_words / 5].to_vec(),
            flow_label,
            may_fragment,
            asks_for_ecn,
            tos,
            identification,
            sequence,
            window,
            padding: vec![0xee; padding],
            ..Segment::new(client.macs, client.at(Plan::V4), HTTPS.at(Plan::V4), kind)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_refusal_becomes_the_clients_syn(
        plan in prop::sample::select(Plan::ALL),
        (host, port) in any::<(u8, u16)>(),
        syn in segment(Kind::Syn),
        refusal in segment(Kind::Refusal),
    ) {
        let client = Client::new(host, port);
        let mut engine = Host::default();
        // Of two, one connection in 65,536 finds no other within the slots that are looked at.
        engine.apply(&three_replicas(plan));
        let mut play = Play::new("made over", plan, &mut engine, Some(three_replicas(plan)));
        let syn = Segment { macs: client.macs, source: client.at(plan), destination: HTTPS.at(plan), ..syn };
        // Across families, both leave what has no counterpart at home.
        let [syn, refusal] = [syn, refusal].map(|segment| match plan.translates() {
            true => Segment { ip_options: Vec::new(), extensions: Vec::new(), ..segment },
            false => segment,
        });
        let first = play.opens_with("SYN", client, &syn);
        let sent = first.replica(Kind::Refusal).sent;
        let Segment { macs, source, destination, acknowledgment, .. } = sent;
        let refusal = Segment { macs, source, destination, acknowledgment, ..refusal };
        let second = play.replays("refusal", client, &refusal.bytes(), &syn);
        prop_assert_ne!(second.replica, first.replica);
        play.accepts(&second);
    }
}
