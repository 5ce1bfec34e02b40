//! The machine of one replica beside a plain model of it: whatever happens, in whatever order, both say the same.
//!
//! The model keeps what happened and no state of its own: it looks at the whole of it each time.

use proptest::prelude::*;

use super::{
    super::{
        machine::{Event, Probed, ReplicaMachine, Settled},
        passive::{Evidence, Failures},
        rules::Rules,
    },
    *,
};
use crate::{
    config::Admin,
    probe::{AgentWord, Fitness, Wants},
};

const RISE: u32 = 2;
const FALL: u32 = 3;
/// In seconds.
const FAIL_TIMEOUT: f64 = 30.0;

/// What happens to it.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Probe {
        good: bool,
    },
    /// A good probe, and whether its agent calls it fit, and whether it wants connections.
    Agent {
        fit: bool,
        wants: bool,
    },
    NotAsked,
    Eject {
        refused: bool,
    },
    FailsMore {
        refused: bool,
    },
    Readmit,
    Order(Admin),
    Weight(u16),
    /// Seconds; then it is awake.
    Wait(u8),
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening::*;
    prop_oneof![
        6 => any::<bool>().prop_map(|good| Probe { good }),
        2 => any::<(bool, bool)>().prop_map(|(fit, wants)| Agent { fit, wants }),
        1 => Just(NotAsked),
        2 => any::<bool>().prop_map(|refused| Eject { refused }),
        1 => any::<bool>().prop_map(|refused| FailsMore { refused }),
        1 => Just(Readmit),
        2 => prop::sample::select(vec![Admin::Ready, Admin::Drain, Admin::Maint]).prop_map(Order),
        1 => prop::sample::select(vec![0, 1, 256]).prop_map(Weight),
        2 => (0_u8..40).prop_map(Wait),
    ]
}

/// What happened, and when; and which of the ejections were any.
#[derive(Default)]
struct Model {
    past: Vec<(f64, Happening)>,
    ejections: Vec<usize>,
}

impl Model {
    fn admin(&self, until: usize) -> Admin {
        let order = |(_, happening): &(f64, Happening)| match happening {
            Happening::Order(admin) => Some(*admin),
            _ => None,
        };
        self.past[..until].iter().rev().find_map(order).unwrap_or_default()
    }

    fn weight(&self) -> u16 {
        let weight = |(_, happening): &(f64, Happening)| match happening {
            Happening::Weight(weight) => Some(*weight),
            _ => None,
        };
        self.past.iter().rev().find_map(weight).unwrap_or(100)
    }

    fn in_maintenance(&self, place: usize) -> bool {
        self.admin(place) == Admin::Maint
    }

    /// The probes since it last came back from maintenance.
    fn found(&self, until: usize) -> Vec<bool> {
        let begin = (0..until).rev().find(|place| self.in_maintenance(*place)).map_or(0, |place| place + 1);
        let probe = |(_, happening): &(f64, Happening)| match happening {
            Happening::Probe { good } => Some(*good),
            Happening::Agent { .. } => Some(true),
            _ => None,
        };
        // What happened before it, in maintenance, is skipped by `begin`.
        self.past[begin.min(until)..until].iter().filter_map(probe).collect()
    }

    fn health(&self, until: usize) -> ReplicaHealth {
        health::model(RISE, FALL, &self.found(until))
    }

    /// Its agent's last word that was heard.
    fn agent(&self) -> (bool, bool) {
        let heard = (0..self.past.len()).rev().filter(|place| !self.in_maintenance(*place));
        let word = |place: usize| match self.past[place].1 {
            Happening::Agent { fit, wants } => Some((fit, wants)),
            _ => None,
        };
        heard.filter_map(word).next().unwrap_or((true, true))
    }

    /// Whether the ejection at this place in the past has ended since.
    fn over(&self, ejection: usize, now: f64) -> bool {
        let (since, Happening::Eject { mut refused }) = self.past[ejection] else { panic!("no ejection") };
        let mut good = 0;
        for place in ejection + 1..self.past.len() {
            match self.past[place].1 {
                Happening::Probe { good: true } | Happening::Agent { .. } => good += 1,
                Happening::Probe { good: false } => good = 0,
                Happening::FailsMore { refused: more } => {
                    refused |= more;
                    good = if refused { 0 } else { good };
                }
                Happening::Readmit | Happening::Order(Admin::Maint) => return true,
                _ => {}
            }
            if good >= if refused { RISE } else { 1 } || self.health(place + 1) != ReplicaHealth::Up {
                return true;
            }
        }
        now >= since + FAIL_TIMEOUT
    }

    fn ejected(&self, now: f64) -> bool {
        self.ejections.last().is_some_and(|ejection| !self.over(*ejection, now))
    }

    fn eligible(&self) -> bool {
        let (fit, wants) = self.agent();
        let place = self.past.len();
        self.health(place) == ReplicaHealth::Up
            && fit
            && wants
            && self.weight() > 0
            && self.admin(place) == Admin::Ready
    }

    fn add(&mut self, now: f64, happening: Happening) {
        if matches!(happening, Happening::Eject { .. }) && self.eligible() && !self.ejected(now) {
            self.ejections.push(self.past.len());
        }
        self.past.push((now, happening));
    }

    fn state(&self, now: f64) -> ReplicaState {
        let place = self.past.len();
        let (fit, wants) = self.agent();
        match (self.admin(place), self.health(place)) {
            (Admin::Maint, _) => ReplicaState::Maint,
            (_, ReplicaHealth::Starting) => ReplicaState::Starting,
            (_, ReplicaHealth::Down) => ReplicaState::Down,
            (_, ReplicaHealth::Up) if self.ejected(now) || !fit => ReplicaState::Down,
            (Admin::Drain, _) => ReplicaState::Draining,
            (Admin::Ready, _) if self.weight() == 0 || !wants => ReplicaState::Draining,
            (Admin::Ready, _) => ReplicaState::Up,
        }
    }
}

/// The machine, and what is around it.
struct World {
    machine: ReplicaMachine,
    rules: Arc<Rules>,
    seconds: f64,
    counted: (u64, u64),
    model: Model,
}

impl World {
    fn new() -> Self {
        let mut service = control(&[]).config().services[0].clone();
        service.probe.agent_port = Some(8700);
        let rules = Arc::new(Rules::new(&service));
        let slow_start = Duration::from_secs(20);
        let replica = Replica { slow_start, ..service.replicas[0].clone() };
        let machine = ReplicaMachine::new(replica, Arc::clone(&rules), at(0.0).time);
        Self { machine, rules, seconds: 0.0, counted: (0, 0), model: Model::default() }
    }

    fn probe(&mut self, error: Option<Failure>, agent: Option<AgentWord>) {
        let outcome = Outcome { status: None, took: Duration::ZERO, error };
        let circumstances = Circumstances::default();
        let probed = Probed { outcome, agent: agent.map(Ok), in_a_row: 1, opposite: false, circumstances };
        self.machine.on(Event::Probed(probed), at(self.seconds).clock);
    }

    fn configure(&mut self, change: impl FnOnce(&mut Replica)) {
        let mut replica = self.machine.replica().clone();
        change(&mut replica);
        let rules = Arc::clone(&self.rules);
        self.machine.on(Event::Configure { replica, rules }, at(self.seconds).clock);
    }

    fn count(&mut self, refused: bool) {
        let (all_refused, unanswered) = &mut self.counted;
        *if refused { all_refused } else { unanswered } += 1;
        let (refused, unanswered) = self.counted;
        let place = ReplicaPlace { service: 0, replica: 0 };
        let reading = Reading { place, new_flows: 0, refused, unanswered, witnesses: Vec::new() };
        self.machine.on(Event::Counted(&reading), at(self.seconds).clock);
    }

    /// Wakes up whenever it asks for that, and checks that it comes to rest.
    fn wait(&mut self, seconds: f64) {
        let until = self.seconds + seconds;
        for woken in 0.. {
            assert!(woken < 100, "it asks to be woken again and again");
            let due = self.machine.next_deadline(at(self.seconds).clock);
            let Some(due) = due.filter(|due| *due <= at(until).clock) else { break };
            self.seconds = self.seconds.max((due - at(0.0).clock).as_secs_f64());
            let now = Moment { clock: due.max(at(self.seconds).clock), ..at(self.seconds) };
            self.machine.on(Event::Tick, now.clock);
            self.machine.settle(now);
        }
        self.seconds = until;
    }

    fn play(&mut self, happening: Happening) {
        self.model.add(self.seconds, happening);
        match happening {
            Happening::Probe { good } => self.probe((!good).then_some(Failure::Refused), None),
            Happening::Agent { fit, wants } => {
                let fitness = if fit { Fitness::Up } else { Fitness::Down { word: "down", reason: None } };
                let wants = if wants { Wants::Connections } else { Wants::Drain };
                self.probe(None, Some(AgentWord { share: None, wants: Some(wants), fitness: Some(fitness) }));
            }
            Happening::NotAsked => {
                self.probe(Some(Failure::Local { reason: "Too many open files".into() }), None);
            }
            Happening::Eject { refused } => {
                let failures = Failures { refused: refused.into(), unanswered: 2 };
                let evidence = Evidence { failures, clients: Default::default() };
                self.machine.on(Event::Eject { evidence: &evidence }, at(self.seconds).clock);
            }
            Happening::FailsMore { refused } => self.count(refused),
            Happening::Readmit => {
                self.machine.on(Event::Readmit { why: "it is needed" }, at(self.seconds).clock);
            }
            Happening::Order(admin) => self.configure(|replica| replica.admin = admin),
            Happening::Weight(weight) => self.configure(|replica| replica.weight = weight),
            Happening::Wait(seconds) => self.wait(seconds.into()),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn machine_and_model_agree(happenings in prop::collection::vec(happening(), 0..60)) {
        let mut world = World::new();
        // The first reading of the counters is the one that later ones are compared with.
        world.machine.on(
            Event::Counted(&Reading {
                place: ReplicaPlace { service: 0, replica: 0 },
                new_flows: 0,
                refused: 0,
                unanswered: 0,
                witnesses: Vec::new(),
            }),
            at(0.0).clock,
        );
        let mut since = at(0.0).time;
        for happening in happenings {
            let before = world.machine.condition().clone();
            world.play(happening);
            let now = at(world.seconds);
            let settled = world.machine.settle(now);
            let condition = world.machine.condition();
            prop_assert_eq!(condition.state, world.model.state(world.seconds), "after {:?}", happening);
            if let Settled::Changed(transition) = &settled {
                prop_assert_eq!((transition.from, transition.to), (before.state, condition.state));
                prop_assert_eq!(transition.since, since);
                prop_assert_eq!(condition.reason.as_ref(), Some(&transition.reason));
                since = now.time;
            } else if matches!(happening, Happening::Wait(_)) {
                // What came of it while it waited is in its history.
                since = condition.since;
            } else {
                prop_assert_eq!(before.state, condition.state);
            }
            prop_assert_eq!(condition.since, since);
            let share = world.machine.share(now.clock);
            prop_assert!(share <= world.model.weight());
            prop_assert!((condition.state != ReplicaState::Up) || share > 0);
            prop_assert!(!world.model.ejected(world.seconds) || world.machine.next_deadline(now.clock).is_some());
        }
        world.wait(3600.0);
        prop_assert_eq!(world.machine.next_deadline(at(world.seconds).clock), None, "it comes to rest");
    }
}
