use std::time::Duration;

use super::*;
use crate::status::tests::plain;

#[test]
fn an_order_in_force_is_listed_with_its_age() {
    let mut status = plain();
    let now = Timestamp::UNIX_EPOCH + Duration::from_secs(7500);
    let replica = &mut status.services[0].replicas[0];
    assert_eq!(ordered(replica, now), "");
    replica.ordered = Some(Timestamp::UNIX_EPOCH);
    assert_eq!(ordered(replica, now), "weight for 2 h 5 min");
    replica.admin = Admin::Drain;
    assert_eq!(ordered(replica, now), "drain for 2 h 5 min");
    let text = table(&rows(&status, None).expect("rows"), now);
    assert!(text.contains("drain for 2 h 5 min"), "{text}");
    // An agent of before this did not say when.
    status.services[0].replicas[0].ordered = None;
    assert_eq!(ordered(&status.services[0].replicas[0], now), "drain");
}
