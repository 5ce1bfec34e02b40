use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    ops::Range,
    time::{Duration, Instant},
};

use dtr_lb_common::{
    abi::{Mode, ReplicaId},
    address::Be16,
};
use proptest::prelude::*;

use super::{Identity, Ids, LIMIT, Missing, REST};
use crate::datapath::service_key;

fn identity(number: u32) -> Identity {
    let vip = IpAddr::from([10, 0, 0, 10]);
    let address = IpAddr::V4(Ipv4Addr::from_bits(0x0a01_0000 + number));
    (service_key(vip, 443), address.into(), Be16::new(443), Mode::NAT)
}

fn identities(numbers: Range<u32>) -> BTreeSet<Identity> {
    numbers.map(identity).collect()
}

fn apply(ids: &mut Ids, wanted: &BTreeSet<Identity>, at: Instant) -> Result<Vec<ReplicaId>, Missing> {
    let reused = ids.assign(wanted)?;
    ids.name(wanted, at);
    Ok(reused)
}

/// All ids were given, and those from 100 on are of replicas that no service names since the returned time.
fn used_up() -> (Ids, Instant) {
    let mut ids = Ids::default();
    let start = Instant::now();
    let all = identities(0..LIMIT as u32);
    assert_eq!(apply(&mut ids, &all, start), Ok(Vec::new()));
    let since = start + Duration::from_secs(1);
    assert_eq!(apply(&mut ids, &identities(0..100), since), Ok(Vec::new()));
    (ids, since)
}

/// The ids of replicas that no service names in [`used_up`], the lowest first.
fn leaving(ids: &Ids) -> Vec<ReplicaId> {
    let mut leaving: Vec<_> = (100..LIMIT as u32).filter_map(|number| ids.get(&identity(number))).collect();
    leaving.sort_unstable();
    leaving
}

/// One replica more than the hundred.
fn one_more() -> BTreeSet<Identity> {
    let mut wanted = identities(0..100);
    wanted.insert(identity(10_000));
    wanted
}

#[test]
fn a_replica_that_comes_back_has_its_old_id() {
    let mut ids = Ids::default();
    let start = Instant::now();
    let both = identities(0..2);
    apply(&mut ids, &both, start).expect("room for two");
    let before = both.iter().map(|identity| ids.get(identity)).collect::<Vec<_>>();
    apply(&mut ids, &identities(0..1), start).expect("room for one");
    apply(&mut ids, &both, start + 10 * REST).expect("room for two");
    assert_eq!(both.iter().map(|identity| ids.get(identity)).collect::<Vec<_>>(), before);
}

#[test]
fn ids_that_nobody_had_come_first() {
    let mut ids = Ids::default();
    let start = Instant::now();
    apply(&mut ids, &identities(0..10), start).expect("room");
    apply(&mut ids, &BTreeSet::new(), start).expect("room");
    ids.take_census(start + REST, BTreeSet::new());
    assert_eq!(apply(&mut ids, &identities(10..11), start + REST), Ok(Vec::new()));
    assert_eq!(ids.get(&identity(10)), Some(11));
}

#[test]
fn an_id_is_given_again_only_when_nothing_can_name_it() {
    let leaving = leaving(&used_up().0);
    let (first, last) = (leaving[0], leaving[leaving.len() - 1]);
    let soon = REST - Duration::from_secs(1);
    let all = BTreeSet::from_iter(leaving);
    let mut all_but_last = all.clone();
    all_but_last.remove(&last);
    let cases = [
        ("no census", None, None),
        ("handshakes may be under way", Some((soon, BTreeSet::new())), None),
        ("all have entries", Some((REST, all)), None),
        ("all but one have entries", Some((REST, all_but_last)), Some(last)),
        ("none has entries", Some((REST, BTreeSet::new())), Some(first)),
    ];
    for (name, census, expected) in cases {
        let (mut ids, since) = used_up();
        if let Some((after, held)) = census {
            ids.take_census(since + after, held);
        }
        let missing = Missing { replicas: 1, leaving: LIMIT - 100 };
        assert_eq!(ids.assign(&one_more()), expected.map(|id| vec![id]).ok_or(missing), "{name}");
        assert_eq!(ids.get(&identity(10_000)), expected, "{name}");
    }
}

#[test]
fn a_replica_that_comes_back_does_not_lose_its_id_to_a_new_one() {
    let (mut ids, since) = used_up();
    ids.take_census(since + REST, BTreeSet::new());
    let leaving = leaving(&ids);
    let back = (100..LIMIT as u32).map(identity).find(|identity| ids.get(identity) == Some(leaving[0]));
    let back = back.expect("the owner of the id that would be next");
    let mut wanted = one_more();
    wanted.insert(back);
    assert_eq!(ids.assign(&wanted), Ok(vec![leaving[1]]));
    assert_eq!(ids.get(&back), Some(leaving[0]));
}

#[test]
fn adopted_ids_count_from_the_first_application_on() {
    let mut ids = Ids::default();
    for id in 1..=LIMIT as ReplicaId {
        ids.adopt(id, identity(u32::from(id)));
    }
    let start = Instant::now();
    ids.take_census(start + 2 * REST, BTreeSet::new());
    let wanted = identities(10_000..10_001);
    assert_eq!(ids.assign(&wanted), Err(Missing { replicas: 1, leaving: LIMIT }));
    apply(&mut ids, &BTreeSet::new(), start + 2 * REST).expect("room for none");
    assert!(ids.assign(&wanted).is_err(), "the census is older than the application");
    ids.take_census(start + 3 * REST, BTreeSet::new());
    assert_eq!(ids.assign(&wanted), Ok(vec![1]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever comes and goes: two replicas never share an id, and one that stays keeps its own.
    #[test]
    fn ids_are_unique_and_stay(wishes in prop::collection::vec((0u32..3000, 0u32..2500, any::<bool>()), 1..12)) {
        let mut ids = Ids::default();
        let mut at = Instant::now();
        let mut before: BTreeMap<Identity, ReplicaId> = BTreeMap::new();
        for (first, count, swept) in wishes {
            let wanted = identities(first..first + count);
            at += REST;
            if swept {
                ids.take_census(at, BTreeSet::new());
            }
            if apply(&mut ids, &wanted, at).is_err() {
                continue;
            }
            let now: BTreeMap<_, _> =
                wanted.iter().map(|identity| (*identity, ids.get(identity).expect("an id"))).collect();
            let distinct: BTreeSet<_> = now.values().copied().collect();
            prop_assert_eq!(distinct.len(), now.len());
            prop_assert!(distinct.iter().all(|id| (1..=LIMIT).contains(&usize::from(*id))));
            for (identity, id) in &now {
                prop_assert!(before.get(identity).is_none_or(|earlier| earlier == id));
            }
            before = now;
        }
    }
}
