use std::{collections::BTreeSet, net::Ipv4Addr};

use dtr_lb_common::abi::MAX_SERVICES;
use tokio::{runtime::Runtime, time::timeout};

use super::*;
use crate::datapath::tests::{REPLICA, as_root, desired, fresh, replica};

/// Beyond this a test has failed.
const LIMIT: Duration = Duration::from_secs(60);

/// All services that there may be, of many replicas each.
fn large(weight: u16) -> Desired {
    let addresses = (1..60).map(|number| Ipv4Addr::from_bits(0x0a01_0000 + number).into());
    let replicas: Vec<_> =
        addresses.map(|address| crate::datapath::DesiredReplica { weight, ..replica(address, 1) }).collect();
    desired((1000..).take(MAX_SERVICES).map(|port| (port, replicas.clone())))
}

fn one(port: u16) -> Desired {
    desired([(port, vec![replica(REPLICA, 1)])])
}

fn spawn() -> Applier {
    let mut datapath = fresh();
    let begun = desired([]);
    datapath.apply(&begun).expect("it is written");
    Thread::spawn()
        .expect("a thread")
        .begin(datapath, Begun { desired: begun, tables: 0, wanted: Wanted::Auto })
}

/// Waits until a wish was tried.
async fn tried(applier: &mut Applier, number: u64) -> DatapathState {
    let waiting = async {
        loop {
            let state = applier.take_state();
            if state.tried >= number {
                return state;
            }
            applier.changed().await.expect("the thread lives");
        }
    };
    timeout(LIMIT, waiting).await.expect("it is tried before long")
}

/// The ports that the services of the tables have.
fn ports(applier: &Applier) -> BTreeSet<u16> {
    let reader = applier.reader();
    let has = |port: &u16| {
        let key = crate::datapath::service_key(crate::datapath::tests::VIP, *port);
        reader.service(&key).expect("the map can be read").is_some()
    };
    (440..450).filter(has).collect()
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_who_wishes_does_not_wait_for_tables_and_reads_counters_meanwhile() {
    as_root(|_| {
        Runtime::new().expect("a runtime").block_on(async {
            let mut applier = spawn();
            let begun = Instant::now();
            let number = applier.want(large(100));
            applier.meter().verdicts().expect("the counters can be read");
            let asked = begun.elapsed();
            assert!(applier.state().tried < number, "the tables were built meanwhile");
            assert!(applier.is_up_to_date(), "it is not late yet");
            applier.wanted.1 = begun.checked_sub(2 * LATE);
            assert!(!applier.is_up_to_date(), "what was wished for long ago is not in the tables");
            let state = tried(&mut applier, number).await;
            let built = begun.elapsed();
            assert_eq!((state.behind, state.table_rewrites), (None, MAX_SERVICES as u64));
            assert!(asked < built / 4, "who wished waited for {asked:?} of {built:?}");
            assert!(applier.is_up_to_date());
            assert!(!applier.is_stuck());
        });
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_the_last_wish_is_what_the_tables_say() {
    as_root(|_| {
        Runtime::new().expect("a runtime").block_on(async {
            let mut applier = spawn();
            // While the first is written, the others come.
            applier.want(large(100));
            let numbers: Vec<_> = (440..446).map(|port| applier.want(one(port))).collect();
            assert!(numbers.is_sorted());
            let state = tried(&mut applier, numbers[5]).await;
            assert_eq!((state.tried, state.behind), (numbers[5], None));
            assert_eq!(ports(&applier), BTreeSet::from([445]));
            let datapath = timeout(LIMIT, applier.finish()).await.expect("it ends");
            assert!(datapath.is_some(), "the thread gives the datapath back");
        });
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_a_wish_that_cannot_be_met_changes_nothing_and_is_told_until_another_is() {
    as_root(|_| {
        Runtime::new().expect("a runtime").block_on(async {
            let mut applier = spawn();
            let number = applier.want(one(443));
            tried(&mut applier, number).await;
            let too_many = desired((1000..).take(MAX_SERVICES + 1).map(|port| (port, Vec::new())));
            let trial = Trial { desired: too_many.clone(), steer: false, attach: None };
            let prepared =
                timeout(LIMIT, applier.prepare(trial)).await.expect("an answer").expect("a thread");
            let refused = prepared.expect_err("it does not fit").to_string();
            let number = applier.want(too_many);
            let state = tried(&mut applier, number).await;
            assert_eq!(state.behind.as_deref(), Some(refused.as_str()));
            assert_eq!(ports(&applier), BTreeSet::from([443]), "what was there stays");
            let number = applier.want(one(444));
            assert_eq!(tried(&mut applier, number).await.behind, None);
            assert_eq!(ports(&applier), BTreeSet::from([444]));
        });
    });
}
