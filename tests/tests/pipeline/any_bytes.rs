//! Frames of any bytes: nothing panics, what is not forwarded stays as it is, and what is forwarded changes only where a
//! rewrite may.

use dtr_lb_common::verdict::{Action, Verdict};
use dtr_lb_tests::fixtures::{
    Engine as _, Host, Plan, Play,
    extension::Extension,
    frames::{Kind, Segment},
    world::{ALICE, BOB, HTTPS, one_replica},
};
use proptest::{collection::vec, prelude::*, sample::Index};

/// A host with an open connection and a handshake, and a frame of each kind that it knows.
fn host(plan: Plan) -> (Host, Vec<Vec<u8>>) {
    let mut host = Host::default();
    host.apply(&one_replica(plan));
    let mut play = Play::new("any bytes", plan, &mut host, Some(one_replica(plan)));
    let alice = play.establishes(ALICE, HTTPS);
    let bob = play.opens("SYN", BOB, HTTPS);
    let options = |segment: Segment| Segment {
        ip_options: vec![1; 8],
        extensions: vec![Extension::HopByHop(8), Extension::Destination(16)],
        ..segment
    };
    let frames = [
        alice.client(Kind::Data).sent,
        alice.replica(Kind::Data).sent,
        options(alice.client(Kind::Fin).sent),
        options(alice.replica(Kind::Rst).sent),
        bob.client(Kind::Syn).sent,
        bob.replica(Kind::SynAck).sent,
    ];
    (host, frames.iter().map(Segment::bytes).collect())
}

/// Where a rewrite may write in an IPv4 frame: MACs; TTL, checksum and addresses; ports and checksum.
fn may_change_v4(frame: &[u8], at: usize) -> bool {
    let tcp = 14 + usize::from(frame[14] & 0xf) * 4;
    let ip = [14 + 8..14 + 9, 14 + 10..14 + 20];
    let tcp = [tcp..tcp + 4, tcp + 16..tcp + 18];
    at < 12 || ip.iter().chain(&tcp).any(|range| range.contains(&at))
}

/// The same of IPv6: where TCP is, its extension headers say.
fn may_change_v6(frame: &[u8], at: usize) -> bool {
    let (mut next, mut tcp) = (frame[20], 54);
    while next != 6 {
        // A fragment header has no length.
        let length = if next == 44 { 0 } else { frame[tcp + 1] };
        (next, tcp) = (frame[tcp], tcp + 8 + usize::from(length) * 8);
    }
    at < 12
        || at == 21
        || (22..54).contains(&at)
        || [tcp..tcp + 4, tcp + 16..tcp + 18].iter().any(|range| range.contains(&at))
}

fn check(host: &mut Host, frame: &[u8]) -> Result<Verdict, TestCaseError> {
    let output = host.run(frame);
    let verdict = output.verdict;
    let forwarded = verdict.action() == Action::Forward;
    if forwarded && output.frame[12..14] != frame[12..14] {
        // Translated: the headers differ by 20 bytes, and behind ports and checksum nothing changes.
        let tcp = |frame: &[u8]| if frame[12] == 0x08 { 34 } else { 54 };
        let (old, new) = (&frame[tcp(frame)..], &output.frame[tcp(&output.frame)..]);
        prop_assert_eq!((&old[4..16], &old[18..]), (&new[4..16], &new[18..]));
        return Ok(verdict);
    }
    // A refusal is made over as a whole.
    if verdict == Verdict::Redispatched {
        return Ok(verdict);
    }
    prop_assert_eq!(output.frame.len(), frame.len());
    for (at, (old, new)) in frame.iter().zip(&output.frame).enumerate() {
        let may_change = if frame[12..14] == [0x08, 0x00] { may_change_v4 } else { may_change_v6 };
        let may = forwarded && may_change(frame, at);
        prop_assert!(old == new || may, "{} changed byte {at}", verdict.name());
    }
    Ok(verdict)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_at_random_are_never_forwarded(
        plan in prop::sample::select(Plan::ALL),
        kind in prop::sample::select(vec![None, Some([0x08, 0x00]), Some([0x86, 0xdd])]),
        mut frame in vec(any::<u8>(), 14..200usize),
    ) {
        if let Some(kind) = kind {
            frame[12..14].copy_from_slice(&kind);
        }
        let (mut host, _) = host(plan);
        prop_assert_ne!(check(&mut host, &frame)?, Verdict::Forwarded);
    }

    #[test]
    fn a_damaged_frame_is_forwarded_whole_or_left_alone(
        plan in prop::sample::select(Plan::ALL),
        kind in any::<Index>(),
        damage in vec((any::<Index>(), any::<u8>()), 0..6usize),
        cut in proptest::option::of(any::<Index>()),
    ) {
        let (mut host, frames) = host(plan);
        let mut frame = kind.get(&frames).clone();
        for (at, byte) in damage {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        if let Some(cut) = cut {
            frame.truncate(cut.index(frame.len()));
        }
        if frame.len() >= 14 {
            let _ = check(&mut host, &frame)?;
        } else {
            prop_assert_eq!(host.run(&frame).verdict, Verdict::PassedMalformed);
        }
    }
}
