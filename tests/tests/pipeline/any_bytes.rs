//! Frames of any bytes: nothing panics, what is not forwarded stays as it is, and what is forwarded changes only where a
//! rewrite may.

use dtr_lb_common::verdict::{Action, Verdict};
use dtr_lb_tests::fixture::{
    Engine as _, Host, Play,
    frames::{Kind, Segment},
    world::{ALICE, BOB, HTTPS, one_replica},
};
use proptest::{collection::vec, prelude::*, sample::Index};

/// A host with an open connection and a handshake, and a frame of each kind that it knows.
fn host() -> (Host, Vec<Vec<u8>>) {
    let mut host = Host::default();
    host.apply(&one_replica());
    let mut play = Play::new("any bytes", &mut host, Some(one_replica()));
    let alice = play.establishes(ALICE, HTTPS);
    let bob = play.opens("SYN", BOB, HTTPS);
    let options = |segment: Segment| Segment { ip_options: vec![1; 8], ..segment };
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

/// Where a rewrite may write in a frame that was forwarded: MACs; TTL, checksum and addresses; ports and checksum.
fn may_change(frame: &[u8], at: usize) -> bool {
    let tcp = 14 + usize::from(frame[14] & 0xf) * 4;
    let ip = [14 + 8..14 + 9, 14 + 10..14 + 20];
    let tcp = [tcp..tcp + 4, tcp + 16..tcp + 18];
    at < 12 || ip.iter().chain(&tcp).any(|range| range.contains(&at))
}

fn check(host: &mut Host, frame: &[u8]) -> Result<Verdict, TestCaseError> {
    let output = host.run(frame);
    prop_assert_eq!(output.frame.len(), frame.len());
    for (at, (old, new)) in frame.iter().zip(&output.frame).enumerate() {
        let may = output.verdict.action() == Action::Forward && may_change(frame, at);
        prop_assert!(old == new || may, "{} changed byte {at}", output.verdict.name());
    }
    Ok(output.verdict)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_at_random_are_never_forwarded(frame in vec(any::<u8>(), 0..200usize)) {
        let (mut host, _) = host();
        prop_assert_ne!(check(&mut host, &frame)?, Verdict::Forwarded);
    }

    #[test]
    fn a_damaged_frame_is_forwarded_whole_or_left_alone(
        kind in any::<Index>(),
        damage in vec((any::<Index>(), any::<u8>()), 0..6usize),
        cut in proptest::option::of(any::<Index>()),
    ) {
        let (mut host, frames) = host();
        let mut frame = kind.get(&frames).clone();
        for (at, byte) in damage {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        if let Some(cut) = cut {
            frame.truncate(cut.index(frame.len()));
        }
        let _ = check(&mut host, &frame)?;
    }
}
