//! What a replica says of itself by its agent: beside its probes, below the operator.

use super::*;
use crate::{
    config::Admin,
    probe::{AgentFailure, AgentWord, Fitness, Wants},
};

const PORT: &str = "service=[{ name = 'http', port = 80, probe = { agent_port = 8700 } }]";

const NOTHING: AgentWord = AgentWord { share: None, wants: None, fitness: None };

/// A probe of the first replica, with what its agent says.
fn says(control: &mut Control, to: ReplicaHealth, answer: Result<AgentWord, AgentFailure>) -> Vec<Change> {
    let error = (to == ReplicaHealth::Down).then_some(Failure::Refused);
    let outcome = Outcome { status: error.is_none().then_some(200), took: Duration::from_millis(1), error };
    let id = key(control, 0, 0);
    let report =
        Report { id, outcome, agent: Some(answer), in_a_row: ENOUGH, opposite: false, late: Duration::ZERO };
    control.report(report, 0, at(1.0))
}

fn wants(wants: Wants) -> Result<AgentWord, AgentFailure> {
    Ok(AgentWord { wants: Some(wants), ..NOTHING })
}

fn fitness(fitness: Fitness) -> Result<AgentWord, AgentFailure> {
    Ok(AgentWord { fitness: Some(fitness), ..NOTHING })
}

fn share(share: u16) -> Result<AgentWord, AgentFailure> {
    Ok(AgentWord { share: Some(share), ..NOTHING })
}

fn down(reason: Option<&str>) -> Result<AgentWord, AgentFailure> {
    fitness(Fitness::Down { word: "down", reason: reason.map(str::to_owned) })
}

fn told(control: &Control) -> Option<(String, Option<String>)> {
    control.agent_check(ReplicaPlace { service: 0, replica: 0 })
}

#[test]
fn the_share_goes_by_the_word_at_once_and_a_share_of_nothing_drains() {
    let mut control = all_up(&[PORT]);
    assert_eq!(told(&control), None, "not asked yet");
    for (percent, weight, state) in
        [(50, 50, "up"), (200, 200, "up"), (999, 256, "up"), (0, 0, "draining"), (100, 100, "up")]
    {
        let changes = says(&mut control, ReplicaHealth::Up, share(percent));
        assert!(!changes.is_empty(), "what is desired changes");
        assert_eq!(shares(&control), [weight, 50, 100], "{percent} %");
        assert_eq!(states(&control)[0], state);
    }
    assert_eq!(says(&mut control, ReplicaHealth::Up, share(100)), [], "the same again is no news");
}

#[test]
fn one_that_drains_gets_no_new_flows_until_it_says_ready() {
    for (word, said) in [(Wants::Drain, "drain"), (Wants::Maint, "maint")] {
        let mut control = all_up(&[PORT]);
        let changes = says(&mut control, ReplicaHealth::Up, wants(word));
        let reason = format!("status 200; its agent says {said}");
        assert_eq!(transitions(&changes), [("10.0.0.11", "draining", reason.as_str())]);
        assert_eq!(shares(&control), [0, 50, 100]);
        assert!(!desired(&control, at(1.0)).replicas[0].reset, "those that it has go on");
        // Neither a good probe, nor another word, nor silence takes it back.
        for answer in [Ok(NOTHING), fitness(Fitness::Up), share(100), Err(AgentFailure::Cut)] {
            says(&mut control, ReplicaHealth::Up, answer);
            assert_eq!((states(&control)[0], shares(&control)[0]), ("draining", 0));
        }
        let changes = says(&mut control, ReplicaHealth::Up, wants(Wants::Connections));
        assert_eq!(transitions(&changes), [("10.0.0.11", "up", "status 200; its agent says ready")]);
        assert_eq!(shares(&control), [100, 50, 100]);
        let condition = control.condition(&key(&control, 0, 0)).expect("it is there");
        let last = condition.history.back().expect("it changed");
        assert_eq!(last.reason, "status 200; its agent says ready");
    }
}

#[test]
fn one_that_calls_itself_down_is_down_at_once_until_it_says_up() {
    let mut control = all_up(&[PORT]);
    let changes = says(&mut control, ReplicaHealth::Up, down(Some("disk full")));
    let reason = "status 200; its agent says down (disk full)";
    assert_eq!(transitions(&changes), [("10.0.0.11", "down", reason)]);
    assert_eq!(shares(&control), [0, 50, 100]);
    assert!(!desired(&control, at(1.0)).replicas[0].reset, "it is not dead");
    says(&mut control, ReplicaHealth::Up, wants(Wants::Connections));
    assert_eq!(states(&control)[0], "down");
    // `up` brings it back only if its probes pass, too.
    says(&mut control, ReplicaHealth::Down, fitness(Fitness::Up));
    assert_eq!(states(&control)[0], "down");
    says(&mut control, ReplicaHealth::Down, down(None));
    probed(&mut control, 0, ReplicaHealth::Down, ReplicaHealth::Up);
    assert_eq!(states(&control)[0], "down");
    let changes = says(&mut control, ReplicaHealth::Up, fitness(Fitness::Up));
    assert_eq!(transitions(&changes), [("10.0.0.11", "up", "status 200; its agent says ready")]);

    let mut control = all_up(&[PORT, "datapath.on_down=reset"]);
    says(&mut control, ReplicaHealth::Up, down(None));
    assert!(desired(&control, at(1.0)).replicas[0].reset, "as of any that is down");
}

#[test]
fn a_replica_is_never_up_before_its_first_word_is_heard() {
    let mut control = control(&[PORT]);
    let changes = says(&mut control, ReplicaHealth::Up, wants(Wants::Drain));
    assert_eq!(transitions(&changes), [("10.0.0.11", "draining", "status 200; its agent says drain")]);
}

#[test]
fn an_operators_order_stands_whatever_the_agent_says() {
    for (admin, state) in [(Admin::Drain, "draining"), (Admin::Maint, "maint")] {
        let mut control = all_up(&[PORT]);
        let mut config = Config::clone(control.config());
        config.services[0].replicas[0].admin = admin;
        control.reconfigure(Arc::new(config), at(0.5));
        for answer in [wants(Wants::Connections), fitness(Fitness::Up), share(200)] {
            says(&mut control, ReplicaHealth::Up, answer);
            assert_eq!((states(&control)[0], shares(&control)[0]), (state, 0));
        }
    }
    let mut control = all_up(&[PORT, "replica.0.weight=0"]);
    says(&mut control, ReplicaHealth::Up, share(200));
    assert_eq!(shares(&control), [0, 50, 100], "any share of nothing is nothing");
}

#[test]
fn an_agent_that_is_silent_changes_nothing_and_is_told_once() {
    let mut control = all_up(&[PORT]);
    says(&mut control, ReplicaHealth::Up, share(50));
    let silent = || Err(AgentFailure::Silent { after: Duration::from_secs(2) });
    let changes = says(&mut control, ReplicaHealth::Up, silent());
    assert!(
        matches!(&changes[..], [Change::AgentCheckFailed { failure: Some(why), .. }] if why == "no whole line within 2s"),
        "{changes:?}"
    );
    assert_eq!(says(&mut control, ReplicaHealth::Up, silent()), []);
    assert_eq!(says(&mut control, ReplicaHealth::Up, Err(AgentFailure::Cut)), []);
    assert_eq!(shares(&control), [50, 50, 100]);
    let error = "closed before the end of the line".to_owned();
    assert_eq!(told(&control), Some(("50%".to_owned(), Some(error))));
    let changes = says(&mut control, ReplicaHealth::Up, share(50));
    assert!(matches!(&changes[..], [Change::AgentCheckFailed { failure: None, .. }]), "{changes:?}");
    assert_eq!(told(&control), Some(("50%".to_owned(), None)));
}

#[test]
fn the_word_lasts_over_a_reload_and_ends_with_the_key() {
    let mut control = all_up(&[PORT]);
    says(&mut control, ReplicaHealth::Up, wants(Wants::Drain));
    let mut config = Config::clone(control.config());
    config.services[0].probe.interval *= 2;
    control.reconfigure(Arc::new(config.clone()), at(2.0));
    assert_eq!(states(&control)[0], "draining");
    config.services[0].probe.agent_port = None;
    control.reconfigure(Arc::new(config), at(3.0));
    assert_eq!((states(&control)[0], shares(&control)[0]), ("up", 100));
    assert_eq!(told(&control), None);
}
