use proptest::prelude::*;

use super::*;

fn replicas(count: u16) -> Vec<Candidate> {
    (1..=count).map(|id| Candidate { id, identity: hash::mix(7, id.into()), weight: 100 }).collect()
}

fn shares(table: &MaglevTable, count: usize) -> Vec<usize> {
    let mut shares = vec![0; count + 1];
    for id in &table[..MAGLEV_SLOTS] {
        shares[usize::from(*id)] += 1;
    }
    shares
}

#[test]
fn without_candidates_every_slot_is_empty() {
    assert!(build(&[]).iter().all(|id| *id == 0));
    let idle = Candidate { id: 1, identity: 5, weight: 0 };
    assert!(build(&[idle]).iter().all(|id| *id == 0));
}

#[test]
fn equal_weights_get_shares_that_differ_by_one_slot() {
    for count in [1, 2, 3, 5, 7, 100] {
        let shares = shares(&build(&replicas(count)), count.into());
        assert_eq!(shares[0], 0, "a slot of {count} replicas is empty");
        let (least, most) = (shares[1..].iter().min().unwrap(), shares[1..].iter().max().unwrap());
        assert!(most - least <= 1, "{count} replicas: {least} to {most} slots");
    }
}

#[test]
fn weights_are_shares() {
    let mut three = replicas(3);
    for (candidate, weight) in three.iter_mut().zip([1, 2, 3]) {
        candidate.weight = weight;
    }
    let shares = shares(&build(&three), 3);
    for (share, weight) in shares[1..].iter().zip([1, 2, 3]) {
        let expected = MAGLEV_SLOTS * weight / 6;
        assert!(share.abs_diff(expected) <= 3, "weight {weight}: {share} slots, expected {expected}");
    }
}

/// When one of n leaves, its slots must move; of the others' at most 1 % do.
#[test]
fn few_slots_of_the_others_move_when_one_leaves() {
    for count in [2, 3, 5, 7, 20, 100] {
        let all = replicas(count);
        let before = build(&all);
        for leaver in [1, count / 2 + 1, count] {
            let rest: Vec<_> = all.iter().filter(|candidate| candidate.id != leaver).copied().collect();
            let after = build(&rest);
            let moved = before.iter().zip(&*after).filter(|(old, new)| **old != leaver && old != new).count();
            let others = before.iter().filter(|id| **id != leaver).count();
            let share = moved as f64 / others as f64;
            assert!(share <= 0.01, "{count} replicas, {leaver} egress: {:.2} % moved", 100.0 * share);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_slot_has_a_candidate_of_some_weight_and_order_does_not_matter(
        weights in proptest::collection::vec(0u16..=256, 1..12),
        rotate in 0usize..12,
    ) {
        let mut candidates: Vec<_> = weights
            .iter()
            .zip(1..)
            .map(|(weight, id)| Candidate { id, identity: hash::mix(3, id.into()), weight: *weight })
            .collect();
        let table = build(&candidates);
        let total: usize = weights.iter().map(|weight| usize::from(*weight)).sum();
        let shares = shares(&table, weights.len());
        for (share, weight) in shares[1..].iter().zip(&weights) {
            let expected = (MAGLEV_SLOTS * usize::from(*weight)).checked_div(total).unwrap_or(0);
            prop_assert!(share.abs_diff(expected) <= weights.len() + 1, "{} slots, expected {}", share, expected);
        }
        let length = candidates.len();
        candidates.rotate_left(rotate % length);
        prop_assert!(build(&candidates) == table);
    }
}
