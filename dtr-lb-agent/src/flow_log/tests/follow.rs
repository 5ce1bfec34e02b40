//! Those who follow.

use tokio::time::timeout;

use super::*;
use crate::directory::Directory;

async fn next(subscription: &mut Subscription) -> Option<Followed> {
    timeout(LIMIT, subscription.next()).await.expect("something comes")
}

#[tokio::test]
async fn records_are_wanted_while_there_is_a_log_or_somebody_follows() {
    let log = start(NOWHERE);
    let mut wanted = log.wanted();
    assert!(!log.is_wanted() && !*wanted.borrow_and_update());
    let (first, second) = (log.subscribe(), log.subscribe());
    assert!(log.is_wanted() && wanted.has_changed().expect("the log is there"));
    wanted.mark_unchanged();
    drop(first);
    assert!(log.is_wanted() && !wanted.has_changed().expect("the log is there"));
    let directory = tempfile::tempdir().expect("a directory");
    log.apply(to_file(&directory.path().join("flows.log")));
    drop(second);
    assert!(log.is_wanted() && !wanted.has_changed().expect("the log is there"), "the log wants them");
    log.apply(NOWHERE);
    assert!(!log.is_wanted() && wanted.has_changed().expect("the log is there"));
    log.offer(vec![record(FlowEnd::Closed)]);
    log.flush().await;
    assert_eq!(log.counts(), FlowLogCounts::default(), "what nobody wants is not lost");
}

#[tokio::test]
async fn who_follows_gets_all_whatever_the_log_leaves_out() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = start(Settings { sample: 1_000_000, ..to_file(&directory.path().join("flows.log")) });
    let mut subscription = log.subscribe();
    log.offer((0..2000).map(|port| of_port(port, FlowEnd::Refused)).collect());
    log.offer((0..100).map(|port| of_port(port, FlowEnd::Closed)).collect());
    for _ in 0..2100 {
        assert!(matches!(next(&mut subscription).await, Some(Followed::Flow(_))));
    }
    drop(log);
    assert_eq!(next(&mut subscription).await, None, "the agent has ended");
}

#[tokio::test]
async fn the_end_of_the_agent_ends_those_who_follow_after_what_was_offered() {
    let log = start(NOWHERE);
    let mut subscription = log.subscribe();
    log.offer(vec![record(FlowEnd::Detached)]);
    log.finish().await;
    assert!(matches!(next(&mut subscription).await, Some(Followed::Flow(_))));
    assert_eq!(next(&mut subscription).await, None, "though others have the log still: {log:?}");
}

#[tokio::test]
async fn who_is_too_slow_is_told_how_many_are_missing() {
    let log = start(NOWHERE);
    let mut subscription = log.subscribe();
    let offered = FOLLOWING as u64 + 1000;
    log.offer((0..offered).map(|_| record(FlowEnd::Closed)).collect());
    log.flush().await;
    let Some(Followed::Lost(lost)) = next(&mut subscription).await else { panic!("nothing is missing") };
    let mut got = 0;
    while got + lost < offered {
        assert!(matches!(next(&mut subscription).await, Some(Followed::Flow(_))));
        got += 1;
    }
    assert_eq!(got, FOLLOWING as u64);
    let line = FollowFilter::default().line(&Followed::Lost(lost), Timestamp::UNIX_EPOCH).expect("a line");
    assert_eq!(line, b"{\"event\":\"lost\",\"time\":\"1970-01-01T00:00:00Z\",\"count\":1000}\n");
}

#[test]
fn a_filter_takes_what_all_of_its_parts_take() {
    let takes = |query: &FollowQuery, record: FlowRecord| {
        let directory = Directory::default();
        let filter = FollowFilter::new(query, &directory).expect("it names nothing");
        filter.line(&Followed::Flow(Arc::new(record)), Timestamp::UNIX_EPOCH).is_some()
    };
    let of = |prefix: &str| FollowQuery {
        client: Some(prefix.parse().expect("a prefix")),
        ..FollowQuery::default()
    };
    assert!(takes(&FollowQuery::default(), record(FlowEnd::Closed)));
    assert!(takes(&of("192.0.2.0/24"), record(FlowEnd::Closed)));
    assert!(!takes(&of("192.0.3.0/24"), record(FlowEnd::Closed)));
    assert!(!takes(&of("2001:db8::/32"), record(FlowEnd::Closed)));
}

#[test]
fn what_is_not_there_is_refused_with_what_is() {
    let refused = |query: FollowQuery| {
        FollowFilter::new(&query, &Directory::default()).expect_err("it is not there").to_string()
    };
    let service = refused(FollowQuery { service: Some("web".into()), ..FollowQuery::default() });
    assert!(service.contains("no service is called `web`; there are: none"), "{service}");
    let replica = refused(FollowQuery { replica: Some("r9".into()), ..FollowQuery::default() });
    assert!(replica.contains("no replica is called `r9`"), "{replica}");
}
