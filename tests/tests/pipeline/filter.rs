//! The filter's promise to packets that are not the datapath's: no look into any table.

use dtr_lb_common::{
    abi::{Mode, Settings},
    address::Be16,
    filter,
    verdict::Verdict,
};
use dtr_lb_tests::fixtures::{
    Engine as _, Host, Plan, Play,
    frames::Kind,
    world::{ALICE, HTTPS, one_replica},
};

/// Without its mark nothing is looked up: not even an open connection is found.
#[test]
fn what_is_not_marked_is_passed_without_a_look() {
    for plan in Plan::ALL.iter().copied() {
        let mut host = Host::default();
        host.apply(&one_replica(plan));
        let world = || Some(one_replica(plan));
        let alice = Play::new("filter", plan, &mut host, world()).establishes(ALICE, HTTPS);
        let marks = std::mem::take(&mut host.model.marks);
        assert_eq!(marks.len(), 2, "of the service, and of the NAT address");
        for segment in
            [alice.client(Kind::Data).sent, alice.client(Kind::Syn).sent, alice.replica(Kind::Data).sent]
        {
            let mut play = Play::new("filter", plan, &mut host, world());
            play.refuses("without its mark", &segment, Verdict::PassedNotService);
        }
        host.model.marks = marks;
        Play::new("filter", plan, &mut host, world()).talks("with it", &alice);
    }
}

/// Sources are looked at only where a replica answers to the address of its client: without its mark, or without the setting, its
/// packets pass without a look.
#[test]
fn a_source_is_looked_at_where_a_service_says_so() {
    for plan in Plan::SAME.iter().copied() {
        let mut host = Host::default();
        let world = || one_replica(plan).by(Mode::DNAT);
        host.apply(&world());
        let alice = Play::new("filter", plan, &mut host, Some(world())).establishes(ALICE, HTTPS);
        let data = alice.replica(Kind::Data);
        let settings = host.model.settings.expect("settings were applied");
        host.model.settings = Some(Settings { by_source: 0, ..settings });
        Play::new("filter", plan, &mut host, None).refuses("unset", &data.sent, Verdict::PassedNotService);
        host.model.settings = Some(settings);
        Play::new("filter", plan, &mut host, None).forwards("set", &data);
        let place =
            filter::place(&settings, &alice.replica_at().ip().into(), Be16::new(alice.replica_at().port()));
        assert!(host.model.marks.remove(&place), "the replica's end is marked");
        assert_eq!(host.model.marks.len(), 1, "of the service: there is no NAT address");
        Play::new("filter", plan, &mut host, None).refuses("unmarked", &data.sent, Verdict::PassedNotService);
    }
    // A service by NAT does not say so, with replicas at the same ends.
    let mut host = Host::default();
    host.apply(&one_replica(Plan::V4));
    assert_eq!(host.model.settings.map(|settings| settings.by_source), Some(0));
}
