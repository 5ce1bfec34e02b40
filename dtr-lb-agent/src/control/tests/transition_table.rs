//! The machine of one replica: what becomes of it in each situation by each event, as one literal table.

use std::collections::BTreeSet;

use super::{
    super::{
        change::FailedConnections,
        machine::{Event, Probed, ReplicaMachine, Settled, Transition},
        passive::{Evidence, Failures},
        rules::Rules,
    },
    *,
};
use crate::{
    config::Admin,
    probe::{AgentWord, Fitness, Phase, Wants},
};

/// `.`: nothing. A state: it changes to that one; `~`: with a slow start. `confirmed`: down as before, and now by its probes. The cause
/// of a change is that of the row, unless one is given.
///
/// The situations: `held` is up though its probes failed, as this host is in doubt; `ejected` is down by the passive check, as it
/// refused connections; `unfit` is down by its agent's word; `drained` is draining by an order, `weightless` by its weight.
const TABLE: &str = "
| event                   | cause         | starting   | up       | held     | down  | ejected   | unfit | drained  | weightless | maint    |
|-------------------------|---------------|------------|----------|----------|-------|-----------|-------|----------|------------|----------|
| good probe              | probe         | up         | .        | .        | .     | .         | .     | .        | .          | .        |
| rise good probes        | probe         | up         | .        | .        | up ~  | up ~      | .     | .        | .          | .        |
| bad probe               | probe         | .          | .        | .        | .     | .         | .     | .        | .          | .        |
| fall bad probes         | probe         | down       | down     | .        | .     | confirmed | .     | down     | down       | .        |
| this host cannot ask    | probe         | .          | .        | .        | .     | .         | .     | .        | .          | .        |
| connections fail        | passive_check | .          | .        | .        | .     | .         | .     | .        | .          | .        |
| ejected                 | passive_check | .          | down     | down     | .     | .         | .     | .        | .          | .        |
| fail_timeout is over    | passive_check | .          | .        | .        | .     | up ~      | .     | .        | .          | .        |
| readmitted              | passive_check | .          | .        | .        | .     | up        | .     | .        | .          | .        |
| passive check off       | passive_check | .          | .        | .        | .     | up        | .     | .        | .          | .        |
| held                    | suspicion     | .          | .        | .        | up    | .         | .     | .        | .          | .        |
| released                | probe         | .          | .        | down     | .     | .         | .     | .        | .          | .        |
| its agent: down         | agent_check   | down       | down     | down     | .     | .         | .     | down     | down       | .        |
| its agent: drain        | agent_check   | draining   | draining | draining | .     | .         | .     | .        | .          | .        |
| its agent: up, ready    | agent_check   | up (probe) | .        | .        | .     | .         | up ~  | .        | .          | .        |
| agent check off         | config        | .          | .        | .        | .     | .         | up ~  | .        | .          | .        |
| drain                   | operator      | .          | draining | draining | .     | .         | .     | .        | .          | starting |
| maint                   | operator      | maint      | maint    | maint    | maint | maint     | maint | maint    | maint      | .        |
| ready                   | operator      | .          | .        | .        | .     | .         | .     | up ~     | .          | starting |
| weight 0                | config        | .          | draining | draining | .     | .         | .     | .        | .          | .        |
| weight 100              | config        | .          | .        | .        | .     | .         | .     | .        | up ~       | .        |
| a second passes         | config        | .          | .        | .        | .     | .         | .     | .        | .          | .        |
";

/// The columns.
const SITUATIONS: [&str; 9] =
    ["starting", "up", "held", "down", "ejected", "unfit", "drained", "weightless", "maint"];
/// The rows. Each is played by [`play`], which knows no other.
const EVENTS: usize = 22;

/// A replica, and when it is.
struct Played {
    machine: ReplicaMachine,
    seconds: f64,
    /// Which kinds of events there were.
    kinds: BTreeSet<usize>,
}

fn rules() -> Arc<Rules> {
    let mut service = control(&[]).config().services[0].clone();
    service.probe.agent_port = Some(8700);
    Arc::new(Rules::new(&service))
}

fn replica() -> Replica {
    let slow_start = Duration::from_secs(20);
    Replica { slow_start, ..control(&[]).config().services[0].replicas[0].clone() }
}

fn evidence() -> Evidence {
    Evidence { failures: Failures { refused: 2, unanswered: 0 }, clients: BTreeSet::new() }
}

/// Of each kind of event another number: a new one is to have a row.
fn kind(event: &Event<'_>) -> usize {
    match event {
        Event::Probed(_) => 0,
        Event::Counted(_) => 1,
        Event::Eject { .. } => 2,
        Event::Readmit { .. } => 3,
        Event::Hold { .. } => 4,
        Event::Release => 5,
        Event::Configure { .. } => 6,
        Event::Tick => 7,
    }
}
const KINDS: usize = 8;

impl Played {
    fn new() -> Self {
        let machine = ReplicaMachine::new(replica(), rules(), at(0.0).time);
        Self { machine, seconds: 0.0, kinds: BTreeSet::new() }
    }

    fn on(&mut self, event: Event<'_>) {
        self.kinds.insert(kind(&event));
        self.machine.on(event, at(self.seconds).clock);
    }

    fn settle(&mut self) -> Settled {
        self.machine.settle(at(self.seconds))
    }

    fn probe(&mut self, error: Option<Failure>, agent: Option<AgentWord>) {
        let outcome = Outcome { status: None, took: Duration::from_secs(1), error };
        let circumstances = Circumstances::default();
        self.on(Event::Probed(Probed {
            outcome,
            agent: agent.map(Ok),
            in_a_row: 1,
            opposite: false,
            circumstances,
        }));
    }

    fn silent(&mut self) {
        self.probe(Some(Failure::Timeout { after: Duration::from_secs(2), phase: Phase::Connecting }), None);
    }

    fn agent(&mut self, wants: Option<Wants>, fitness: Option<Fitness>) {
        self.probe(None, Some(AgentWord { share: None, wants, fitness }));
    }

    fn configure(&mut self, change: impl FnOnce(&mut Replica)) {
        let mut replica = self.machine.replica().clone();
        change(&mut replica);
        self.on(Event::Configure { replica, rules: rules() });
    }

    fn rules(&mut self, change: impl FnOnce(&mut Rules)) {
        let mut rules = Rules::clone(&rules());
        change(&mut rules);
        self.on(Event::Configure { replica: self.machine.replica().clone(), rules: Arc::new(rules) });
    }
}

/// A replica in this situation.
fn situation(name: &str) -> Played {
    let mut played = Played::new();
    if name == "starting" {
        return played;
    }
    played.probe(None, None);
    assert!(matches!(played.settle(), Settled::Changed(_)));
    match name {
        "up" => return played,
        "down" => (0..3).for_each(|_| played.silent()),
        "held" => {
            (0..3).for_each(|_| played.silent());
            played.on(Event::Hold { together: true, why: Some("all fell silent") });
        }
        "ejected" => played.on(Event::Eject { evidence: &evidence() }),
        "unfit" => played.agent(None, Some(Fitness::Down { word: "down", reason: None })),
        "drained" => played.configure(|replica| replica.admin = Admin::Drain),
        "weightless" => played.configure(|replica| replica.weight = 0),
        "maint" => played.configure(|replica| replica.admin = Admin::Maint),
        other => panic!("no such situation: {other}"),
    }
    let settled = played.settle();
    assert_eq!(matches!(settled, Settled::Changed(_)), name != "held", "{name}: {settled:?}");
    played
}

/// Plays an event. Returns what became of the state by it.
fn play(played: &mut Played, event: &str) -> Settled {
    match event {
        "good probe" => played.probe(None, None),
        "rise good probes" => (0..2).for_each(|_| played.probe(None, None)),
        "bad probe" => played.silent(),
        "fall bad probes" => (0..3).for_each(|_| played.silent()),
        "this host cannot ask" => {
            let failure = Failure::Local { reason: "Too many open files".into() };
            (0..9).for_each(|_| played.probe(Some(failure.clone()), None));
        }
        "connections fail" => {
            for refused in [0, 9] {
                let place = ReplicaPlace { service: 0, replica: 0 };
                let reading = Reading { place, new_flows: 0, refused, unanswered: 0, witnesses: Vec::new() };
                played.on(Event::Counted(&reading));
            }
        }
        "ejected" => played.on(Event::Eject { evidence: &evidence() }),
        "fail_timeout is over" => {
            played.seconds += 30.0;
            played.on(Event::Tick);
        }
        "readmitted" => played.on(Event::Readmit { why: "no other replica is up" }),
        "passive check off" => played.rules(|rules| rules.max_fails = 0),
        "held" => played.on(Event::Hold { together: true, why: Some("all fell silent") }),
        "released" => played.on(Event::Release),
        "its agent: down" => played.agent(None, Some(Fitness::Down { word: "down", reason: None })),
        "its agent: drain" => played.agent(Some(Wants::Drain), None),
        "its agent: up, ready" => played.agent(Some(Wants::Connections), Some(Fitness::Up)),
        "agent check off" => played.rules(|rules| rules.probe.agent_port = None),
        "drain" => played.configure(|replica| replica.admin = Admin::Drain),
        "maint" => played.configure(|replica| replica.admin = Admin::Maint),
        "ready" => played.configure(|replica| replica.admin = Admin::Ready),
        "weight 0" => played.configure(|replica| replica.weight = 0),
        "weight 100" => played.configure(|replica| replica.weight = 100),
        "a second passes" => {
            played.seconds += 1.0;
            played.on(Event::Tick);
        }
        other => panic!("no such event: {other}"),
    }
    played.settle()
}

/// As the table has it.
fn cell(played: &Played, settled: &Settled, cause: &str) -> String {
    match settled {
        Settled::Unchanged => ".".to_owned(),
        Settled::Confirmed { .. } => "confirmed".to_owned(),
        Settled::Changed(transition) => {
            let Transition { from, to, cause: own, .. } = transition;
            assert_ne!(from, to);
            assert_eq!(played.machine.condition().state, *to);
            let machine = &played.machine;
            let slow = *to == ReplicaState::Up && machine.share(at(played.seconds).clock) < machine.offered();
            let slow = if slow { " ~" } else { "" };
            let own = if own.as_str() == cause { String::new() } else { format!(" ({})", own.as_str()) };
            format!("{to}{slow}{own}")
        }
    }
}

#[test]
fn every_event_in_every_situation() {
    let mut rows = TABLE
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    assert_eq!(rows.next().expect("a header")[2..], SITUATIONS);
    let (mut events, mut kinds, mut causes) = (BTreeSet::new(), BTreeSet::<usize>::new(), BTreeSet::new());
    let mut found = String::new();
    for row in rows.skip(1) {
        let (event, cause, expected) = (row[0], row[1], &row[2..]);
        assert!(events.insert(event), "{event} is there twice");
        assert!(Cause::ALL.iter().any(|known| known.as_str() == cause), "{cause}");
        causes.insert(cause);
        let play = |name: &&str| {
            let mut played = situation(name);
            let settled = play(&mut played, event);
            kinds.extend(&played.kinds);
            assert_eq!(played.machine.settle(at(99.0)), Settled::Unchanged, "{event}, {name}: told twice");
            cell(&played, &settled, cause)
        };
        let cells: Vec<_> = SITUATIONS.iter().map(play).collect();
        if cells != expected {
            found += &format!("{event}: {cells:?} and not {expected:?}\n");
        }
    }
    assert!(found.is_empty(), "{found}");
    assert_eq!((events.len(), kinds.len(), causes.len()), (EVENTS, KINDS, Cause::ALL.len()), "all of them");
    let states: BTreeSet<_> =
        SITUATIONS.iter().map(|name| situation(name).machine.condition().state.as_str()).collect();
    assert_eq!(states.len(), ReplicaState::ALL.len(), "all states are there");
}

#[test]
fn only_ejection_and_slow_start_have_deadlines() {
    for name in SITUATIONS {
        let played = situation(name);
        let expected = (name == "ejected").then(|| at(30.0).clock);
        assert_eq!(played.machine.next_deadline(at(0.0).clock), expected, "{name}");
    }
    let mut played = situation("ejected");
    play(&mut played, "fail_timeout is over");
    assert_eq!(played.machine.next_deadline(at(30.0).clock), Some(at(31.0).clock), "the first step of 20");
}

#[test]
fn a_transition_carries_its_facts() {
    let mut played = situation("up");
    played.seconds = 7.0;
    let Settled::Changed(down) = play(&mut played, "ejected") else { panic!("it goes down") };
    let expected = Transition {
        from: ReplicaState::Up,
        to: ReplicaState::Down,
        cause: Cause::PassiveCheck,
        reason: "passive check: 2 connections refused within 30s".into(),
        since: at(0.0).time,
        evidence: Some(FailedConnections { refused: 2, unanswered: 0, clients: 0, networks: 0 }),
    };
    assert_eq!(down, expected);
    let Settled::Changed(up) = play(&mut played, "readmitted") else { panic!("it comes up") };
    assert_eq!((up.since, up.reason.as_str()), (at(7.0).time, "tried again, as no other replica is up"));
}
