//! The replica's agent, asked over real sockets beside the probe.

use std::time::Duration;

use tokio::{sync::mpsc::channel, time::timeout};

use super::{
    AMPLE, ClosedPort, SHORT, probe, prober,
    server::{Script, Server, Turn},
};
use crate::{
    config::{Probe, Scheme},
    probe::{AgentFailure, AgentWord, Certainty, Failure, Fitness, Found, spawn},
};

async fn found(probe: Probe) -> Found {
    timeout(2 * AMPLE, prober(probe).expect("a valid probe").probe_and_ask()).await.expect("it ends")
}

/// What the agent at this port says while the replica is well.
async fn heard(port: u16, limit: Duration) -> Result<AgentWord, AgentFailure> {
    let replica = Server::plain(Script::http("200 OK", "")).await;
    let probe = probe(Scheme::Http, replica.port());
    let found = found(Probe { agent_port: Some(port), timeout: limit, ..probe }).await;
    assert!(found.outcome.ok(), "what the agent does is not the replica's: {found:?}");
    found.agent.expect("it was asked")
}

#[tokio::test]
async fn a_line_is_heard_and_no_more_than_a_line() {
    let share = |share| Ok(AgentWord { share: Some(share), ..AgentWord::default() });
    let long: &'static str =
        "75% and much more of what nobody will ever read, up to the limit; ".repeat(16).leak();
    for (script, expected) in [
        (Script::Talk(vec![Turn::Say("75%\n")]), share(75)),
        (Script::Talk(vec![Turn::Say("7"), Turn::Say("5%\r"), Turn::Say("\ndown\n")]), share(75)),
        (Script::TalkAndClose(vec![Turn::Say("75%\n")]), share(75)),
        (
            Script::Babble(b"up 3%\n".to_vec()),
            Ok(AgentWord { share: Some(3), wants: None, fitness: Some(Fitness::Up) }),
        ),
        // HAProxy ignores these, too: a part of a word may be another one.
        (Script::TalkAndClose(vec![Turn::Say("75%")]), Err(AgentFailure::Cut)),
        (Script::TalkAndClose(Vec::new()), Err(AgentFailure::Cut)),
        (Script::Talk(vec![Turn::Say(long)]), Err(AgentFailure::TooLong)),
        (Script::Talk(vec![Turn::Say("hello\n")]), Err(AgentFailure::Unknown { said: "hello".to_owned() })),
    ] {
        let agent = Server::plain(script.clone()).await;
        assert_eq!(heard(agent.port(), AMPLE).await, expected, "{script:?}");
    }
}

#[tokio::test]
async fn one_that_is_silent_or_not_there_is_told_and_no_fault_of_the_replica() {
    let silent = Server::plain(Script::Talk(Vec::new())).await;
    let limit = Duration::from_millis(500);
    assert_eq!(heard(silent.port(), limit).await, Err(AgentFailure::Silent { after: limit }));
    let closed = ClosedPort::new();
    assert_eq!(heard(closed.port(), AMPLE).await, Err(AgentFailure::Connection(Failure::Refused)));
}

#[tokio::test]
async fn a_probe_that_has_failed_does_not_wait_for_the_agent() {
    let (closed, silent) = (ClosedPort::new(), Server::plain(Script::Talk(Vec::new())).await);
    let mut probe = probe(Scheme::Http, closed.port());
    probe.agent_port = Some(silent.port());
    let found = timeout(AMPLE - SHORT, found(probe)).await.expect("it does not wait");
    assert_eq!((found.outcome.error, found.agent), (Some(Failure::Refused), None));
}

#[tokio::test]
async fn its_word_comes_with_the_report_of_each_probe() {
    let replica = Server::plain(Script::http("200 OK", "")).await;
    let agent = Server::plain(Script::Talk(vec![Turn::Say("50%\n")])).await;
    let mut probe = probe(Scheme::Http, replica.port());
    (probe.agent_port, probe.interval) = (Some(agent.port()), SHORT);
    let (sink, mut reports) = channel(1);
    let _task = spawn(1, prober(probe).expect("a valid probe"), Certainty::InDoubt, sink);
    for _ in 0..2 {
        let report = timeout(AMPLE, reports.recv()).await.expect("in time").expect("the task runs");
        assert_eq!(report.agent, Some(Ok(AgentWord { share: Some(50), ..AgentWord::default() })));
        assert!(report.outcome.ok());
    }
    assert!(agent.seen().connections >= 2, "one for each probe");
}
