//! The filter's promise to packets that are not the datapath's: no look into any table.

use dtr_lb_common::verdict::Verdict;
use dtr_lb_tests::fixture::{
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
