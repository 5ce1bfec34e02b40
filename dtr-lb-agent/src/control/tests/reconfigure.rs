//! Another config: what is carried over, and what is told.

use proptest::prelude::*;

use super::*;
use crate::config::Admin;

fn config(overrides: &[&str]) -> Config {
    Config::clone(control(overrides).config())
}

/// The same with other replicas of the first service than the file's.
fn config_with(change: impl FnOnce(&mut Vec<Replica>)) -> Config {
    let mut config = config(&[]);
    change(&mut config.services[0].replicas);
    config
}

fn reconfigure(control: &mut Control, seconds: f64, config: Config) -> Vec<Change> {
    control.reconfigure(Arc::new(config), at(seconds))
}

fn ordered(place: usize, admin: Admin) -> Config {
    config_with(|replicas| replicas[place].admin = admin)
}

/// All up, but the second, which is down.
fn one_down() -> Control {
    let mut control = all_up(&[]);
    probed(&mut control, 1, ReplicaHealth::Up, ReplicaHealth::Down);
    control
}

#[test]
fn what_stays_keeps_its_state_and_what_is_new_starts() {
    type Case = (&'static str, fn() -> Config, &'static [&'static str], &'static [u16]);
    let cases: [Case; 9] = [
        ("the same", || config(&[]), &["up", "down", "up"], &[100, 0, 100]),
        ("weights", || config(&["replica.0.weight=7"]), &["up", "down", "up"], &[7, 0, 100]),
        ("weight 0", || config(&["replica.0.weight=0"]), &["draining", "down", "up"], &[0, 0, 100]),
        (
            "another order",
            || config_with(|replicas| replicas.reverse()),
            &["up", "down", "up"],
            &[100, 0, 100],
        ),
        ("one goes", || config_with(|replicas| drop(replicas.remove(0))), &["down", "up"], &[0, 100]),
        ("one comes", || config(&["replica.0.address=10.0.0.14"]), &["starting", "down", "up"], &[0, 0, 100]),
        (
            "another port is another replica",
            || config_with(|replicas| replicas[2].port = 8080),
            &["up", "down", "starting"],
            &[100, 0, 0],
        ),
        (
            "another name is not",
            || config_with(|replicas| replicas[2].name = "other".into()),
            &["up", "down", "up"],
            &[100, 0, 100],
        ),
        ("none is left", || config_with(Vec::clear), &[], &[]),
    ];
    for (name, config, expected, weights) in cases {
        let mut control = one_down();
        reconfigure(&mut control, 5.0, config());
        assert_eq!(
            (states(&control), shares_at(&control, at(5.0))),
            (expected.to_vec(), weights.to_vec()),
            "{name}"
        );
    }
}

#[test]
fn of_a_replica_that_stays_all_is_kept() {
    let mut control = one_down();
    let before = control.conditions(0).nth(1).expect("there are three").clone();
    assert_eq!(before.history.len(), 2);
    reconfigure(&mut control, 5.0, config_with(|replicas| drop(replicas.remove(0))));
    let after = control.conditions(0).next().expect("there are two").clone();
    assert_eq!(format!("{before:?}"), format!("{after:?}"));
    assert_eq!(control.certainty(&key(&control, 0, 0)), Certainty::Down);
    reconfigure(&mut control, 6.0, config(&[]));
    let again = control.conditions(0).next().expect("there are three");
    assert_eq!((again.state, again.history.len()), (ReplicaState::Starting, 0), "it was gone");
}

#[test]
fn a_service_may_come_go_and_be_renamed() {
    let services = |text: &str| config(&[&format!("service=[{text}]")]);
    let mut control = all_up(&[]);
    assert_eq!(control.desired(at(0.0).clock).services.len(), 2);
    reconfigure(&mut control, 1.0, services("{ name = \"web\", port = 80 }"));
    assert_eq!(states(&control), ["up"; 3], "it has the VIP and port of `http`");
    assert_eq!(control.desired(at(1.0).clock).services.len(), 1);
    let both = services("{ name = \"http\", port = 81, replica_port = 80 }, { name = \"web\", port = 80 }");
    reconfigure(&mut control, 2.0, both.clone());
    assert_eq!(states(&control), ["starting"; 3], "a new one");
    assert_eq!(control.conditions(1).filter(|condition| condition.state == ReplicaState::Up).count(), 3);
    // Names that change places do not change what they are names of: by name is stronger.
    let mut swapped = both;
    swapped.services.swap(0, 1);
    reconfigure(&mut control, 3.0, swapped);
    assert_eq!(states(&control), ["up"; 3]);
    let other_port = services("{ name = \"web\", port = 8080, replica_port = 80 }");
    reconfigure(&mut control, 4.0, other_port);
    assert_eq!(states(&control), ["up"; 3], "another port of its own is no other service");
}

#[test]
fn orders_of_an_operator_are_told_with_their_reason() {
    // What is ordered before, then; the state then, and why.
    let cases = [
        (Admin::Ready, Admin::Drain, Some(("draining", "an operator drains it"))),
        (Admin::Ready, Admin::Maint, Some(("maint", "an operator put it into maintenance"))),
        (Admin::Drain, Admin::Ready, Some(("up", "an operator made it ready"))),
        (Admin::Drain, Admin::Maint, Some(("maint", "an operator put it into maintenance"))),
        (Admin::Maint, Admin::Ready, Some(("starting", "an operator made it ready"))),
        (Admin::Maint, Admin::Drain, Some(("starting", "an operator drains it"))),
        (Admin::Drain, Admin::Drain, None),
        (Admin::Maint, Admin::Maint, None),
    ];
    for (from, to, expected) in cases {
        let mut control = all_up(&[]);
        reconfigure(&mut control, 1.0, ordered(0, from));
        let changes = reconfigure(&mut control, 2.0, ordered(0, to));
        let expected: Vec<_> = expected.map(|(state, why)| ("10.0.0.11", state, why)).into_iter().collect();
        assert_eq!(transitions(&changes), expected, "{from} to {to}");
        if let Some((_, state, why)) = expected.first() {
            let condition = control.conditions(0).next().expect("there are three");
            let last = condition.history.back().expect("it has changed");
            assert_eq!((last.to.as_str(), last.reason.as_str(), last.time), (*state, *why, at(2.0).time));
            assert_eq!((condition.since, condition.reason.as_deref()), (at(2.0).time, Some(*why)));
        }
    }
}

#[test]
fn a_drained_replica_gets_nothing_though_it_is_the_last() {
    let mut control = one_down();
    probed(&mut control, 2, ReplicaHealth::Up, ReplicaHealth::Down);
    reconfigure(&mut control, 1.0, ordered(0, Admin::Drain));
    assert_eq!(shares_at(&control, at(1.0)), [0, 50, 100], "fail-open, but not to it");
    assert!(!desired(&control, at(1.0)).replicas[0].reset, "its flows go on");
    // It goes on to be probed: one that dies is dead.
    for _ in 0..3 {
        probed(&mut control, 0, ReplicaHealth::Up, ReplicaHealth::Down);
    }
    assert_eq!(states(&control)[0], "down");
}

#[test]
fn in_maintenance_flows_are_reset_unless_they_are_to_be_left() {
    for (on_down, expected) in [("auto", true), ("reset", true), ("leave", false)] {
        let on_down = format!("datapath.on_down={on_down}");
        let mut control = all_up(&[&on_down]);
        let mut wanted = Config::clone(control.config());
        wanted.services[0].replicas[0].admin = Admin::Maint;
        let changes = reconfigure(&mut control, 1.0, wanted);
        assert_eq!(desired(&control, at(1.0)).replicas[0].reset, expected, "{on_down}");
        let [Change::Replica(change)] = &changes[..] else { panic!("{changes:?}") };
        assert_eq!((change.to, change.reset), (ReplicaState::Maint, expected), "{on_down}");
        let probed = probed_at(&mut control, at(2.0), 0, None);
        assert_eq!((probed, states(&control)[0]), (Vec::new(), "maint"), "a late report says nothing");
        let back = config(&[&on_down]);
        reconfigure(&mut control, 3.0, back);
        assert!(!desired(&control, at(3.0)).replicas[0].reset);
        assert_eq!(shares_at(&control, at(3.0)), [0, 50, 100], "not before it has been probed");
        probed_at(&mut control, at(4.0), 0, None);
        assert_eq!(shares_at(&control, at(4.0)), [100, 50, 100]);
    }
}

#[test]
fn an_agent_that_begins_with_a_replica_in_maintenance_says_so_and_waits_for_no_probe_of_it() {
    let mut control = Control::new(Arc::new(ordered(0, Admin::Maint)), Timestamp::UNIX_EPOCH);
    assert_eq!(states(&control), ["maint", "starting", "starting"]);
    assert_eq!(shares(&control), [0, 50, 100]);
    assert!(desired(&control, at(0.0)).replicas[0].reset);
    let hops = control.addresses().into_iter().map(|address| (address, Ok(next_hop("eth0", 1)))).collect();
    control.next_hops(hops);
    for (service, replica) in [(0, 1), (0, 2), (1, 0), (1, 1), (1, 2)] {
        assert!(!control.informed());
        let outcome = Outcome { status: Some(200), took: Duration::ZERO, error: None };
        let id = key(&control, service, replica);
        control.report(
            Report { id, outcome, agent: None, in_a_row: 1, opposite: false, late: Duration::ZERO },
            0,
            at(0.0),
        );
    }
    assert!(control.informed());
}

#[test]
fn what_is_new_or_was_away_begins_slowly() {
    let slow = |admin: Admin| {
        let mut config = config(&["replica.0.slow_start=20s", "replica.1.slow_start=20s"]);
        config.services[0].replicas[0].admin = admin;
        config
    };
    let mut control = all_up(&["replica.0.slow_start=20s", "replica.1.slow_start=20s"]);
    assert_eq!(shares_at(&control, at(0.0)), [100, 50, 100], "at the agent's start there is none");
    reconfigure(&mut control, 1.0, slow(Admin::Maint));
    reconfigure(&mut control, 2.0, slow(Admin::Ready));
    probed_at(&mut control, at(3.0), 0, None);
    assert_eq!(shares_at(&control, at(13.0)), [50, 50, 100], "after maintenance there is");
    let mut other = slow(Admin::Ready);
    other.services[0].replicas[1].address = address(14);
    reconfigure(&mut control, 30.0, other);
    probed_at(&mut control, at(30.0), 1, None);
    assert_eq!(shares_at(&control, at(40.0)), [100, 25, 100], "and for one that is new");
}

#[test]
fn the_last_one_that_the_passive_check_left_is_tried_again_when_the_others_go() {
    let mut control = all_up(&[]);
    let refused = |control: &mut Control, refused| {
        let place = ReplicaPlace { service: 0, replica: 0 };
        control.passive(
            &[Reading { place, new_flows: 0, refused, unanswered: 0, witnesses: Vec::new() }],
            at(1.0),
        )
    };
    refused(&mut control, 0);
    refused(&mut control, 2);
    assert_eq!(states(&control), ["down", "up", "up"]);
    let changes = reconfigure(&mut control, 2.0, config_with(|replicas| replicas.truncate(1)));
    assert_eq!(transitions(&changes), [("10.0.0.11", "up", "tried again, as no other replica is up")]);
    reconfigure(&mut control, 3.0, config(&[]));
    refused(&mut control, 4);
    assert_eq!(states(&control)[0], "up", "those that are new are not up yet");
}

#[test]
fn a_service_that_loses_its_last_replica_is_told() {
    let mut control = all_up(&[]);
    let changes = reconfigure(&mut control, 1.0, config_with(Vec::clear));
    let Some(Change::Service { up: false, consequence, .. }) = changes.first() else { panic!("{changes:?}") };
    assert!(consequence.contains("there is no replica"), "{consequence}");
}

#[test]
fn interfaces_that_the_datapath_is_no_longer_on_are_told() {
    let mut control = control(&[]);
    control.next_hops([(address(11), Ok(next_hop("eth0", 11)))].into());
    let unseen = Change::UnseenInterface { address: address(11), interface: "eth0".into() };
    let elsewhere = config(&["interfaces=[\"eth1\"]"]);
    assert_eq!(reconfigure(&mut control, 1.0, elsewhere.clone()), [unseen]);
    assert_eq!(reconfigure(&mut control, 2.0, elsewhere), [], "told once");
}

/// What may happen to replicas 10.0.0.11 to .16 of one service.
#[derive(Clone, Debug)]
enum Event {
    /// These are in the config, each with a weight and an order.
    Config(Vec<(u8, u16, u8)>),
    /// So many probes in a row of one of them, all good or all bad.
    Probes(u8, bool),
}

fn event() -> impl Strategy<Value = Event> {
    let replica = (11_u8..17, prop::sample::select(vec![0_u16, 1, 50, 256]), 0_u8..3);
    prop_oneof![
        2 => prop::collection::vec(replica, 0..6).prop_map(Event::Config),
        5 => (11_u8..17, any::<bool>()).prop_map(|(last, good)| Event::Probes(last, good)),
    ]
}

fn config_of(replicas: &[(u8, u16, u8)]) -> Config {
    config_with(|listed| {
        let template = listed[0].clone();
        listed.clear();
        for &(last, weight, order) in replicas {
            let address = address(last);
            if listed.iter().all(|other| other.address != address) {
                let admin = [Admin::Ready, Admin::Drain, Admin::Maint][usize::from(order)];
                let name = address.to_string();
                listed.push(Replica { name, address, weight, admin, ..template.clone() });
            }
        }
    })
}

/// What `fall` and `rise` probes find.
fn probe(control: &mut Control, last: u8, good: bool, seconds: f64) {
    let service = control.config().services[0].name.clone();
    let id = ReplicaKey { service, address: address(last), port: 80 };
    for _ in 0..ENOUGH {
        let error = (!good).then_some(Failure::Refused);
        let outcome = Outcome { status: None, took: Duration::ZERO, error };
        control.report(
            Report {
                id: id.clone(),
                outcome,
                agent: None,
                in_a_row: 1,
                opposite: false,
                late: Duration::ZERO,
            },
            0,
            at(seconds),
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// However it came about: what is decided follows from the config and from what was last found.
    #[test]
    fn the_way_to_a_config_leaves_no_trace(events in prop::collection::vec(event(), 0..40)) {
        let mut control = Control::new(Arc::new(config_of(&[])), Timestamp::UNIX_EPOCH);
        // What the probes that run have found, as those who run them know it.
        let mut found: BTreeMap<u8, bool> = BTreeMap::new();
        let mut last_config = config_of(&[]);
        for (step, event) in events.iter().enumerate() {
            let seconds = step as f64;
            match event {
                Event::Config(replicas) => {
                    last_config = config_of(replicas);
                    control.reconfigure(Arc::new(last_config.clone()), at(seconds));
                    let probed = |last: &u8| {
                        let mut replicas = last_config.services[0].replicas.iter();
                        replicas.any(|replica| replica.address == address(*last) && replica.admin != Admin::Maint)
                    };
                    found.retain(|last, _| probed(last));
                }
                Event::Probes(last, good) => {
                    probe(&mut control, *last, *good, seconds);
                    let mut replicas = last_config.services[0].replicas.iter();
                    if replicas.any(|replica| replica.address == address(*last) && replica.admin != Admin::Maint) {
                        found.insert(*last, *good);
                    }
                }
            }
        }
        let mut fresh = Control::new(Arc::new(last_config), Timestamp::UNIX_EPOCH);
        for (last, good) in found {
            probe(&mut fresh, last, good, 100.0);
        }
        prop_assert_eq!(control.desired(at(101.0).clock), fresh.desired(at(101.0).clock));
        prop_assert_eq!(states(&control), states(&fresh));
    }
}
