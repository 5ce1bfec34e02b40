//! Whatever happens, in whatever order: what must hold all the same.

use proptest::prelude::*;

use super::*;

/// Something that happens to a replica of the first service, or to the clock.
#[derive(Clone, Debug)]
enum Event {
    Probe {
        replica: usize,
        outcome: u8,
    },
    Fails {
        replica: usize,
        refused: u64,
        unanswered: u64,
    },
    /// The datapath counts from 0 again.
    Reset {
        replica: usize,
    },
    /// Milliseconds.
    Wait(u64),
}

/// Some things in a row.
fn events() -> impl Strategy<Value = Vec<Event>> {
    let outage = |outcome| {
        let probe = move |replica| Event::Probe { replica, outcome };
        (0..3).flat_map(|_| (0..3).map(probe)).collect::<Vec<_>>()
    };
    prop_oneof![
        9 => event().prop_map(|event| vec![event]),
        1 => (0_u8..4).prop_map(outage),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        5 => (0_usize..3, 0_u8..5).prop_map(|(replica, outcome)| Event::Probe { replica, outcome }),
        3 => (0_usize..3, 0_u64..3, 0_u64..3)
            .prop_map(|(replica, refused, unanswered)| Event::Fails { replica, refused, unanswered }),
        1 => (0_usize..3).prop_map(|replica| Event::Reset { replica }),
        3 => (1_u64..40_000).prop_map(Event::Wait),
    ]
}

fn failure(outcome: u8) -> Option<Failure> {
    match outcome {
        0 | 1 => None,
        2 => Some(Failure::Refused),
        3 => Some(Failure::Status { got: 503, expected: "200-399".into() }),
        _ => Some(Failure::Local { reason: "Too many open files".into() }),
    }
}

/// Those who have said so: of two networks.
fn clients(unanswered: u64) -> Vec<Witness> {
    let of = |network| Witness { source: Ipv4Addr::new(10, 9, network, 1).into(), at: unanswered as u32 };
    [1, 2].map(of).to_vec()
}

/// The world around a control: what its probes found, and what a datapath counts.
struct World {
    control: Control,
    /// Whether they passed; those that this host could not ask left out.
    found: [Vec<bool>; 3],
    counted: [(u64, u64); 3],
    seconds: f64,
}

impl World {
    fn new(overrides: &[&str]) -> Self {
        Self { control: control(overrides), found: Default::default(), counted: [(0, 0); 3], seconds: 0.0 }
    }

    fn now(&self) -> Moment {
        at(self.seconds)
    }

    /// Does what the agent would. Returns the changes, if it told the control something.
    fn play(&mut self, event: &Event) -> Option<Vec<Change>> {
        let now = self.now();
        match *event {
            Event::Probe { replica, outcome } => {
                let error = failure(outcome);
                if !error.as_ref().is_some_and(Failure::is_local) {
                    self.found[replica].push(error.is_none());
                }
                Some(probed_at(&mut self.control, now, replica, error))
            }
            Event::Fails { replica, refused, unanswered } => {
                self.counted[replica].0 += refused;
                self.counted[replica].1 += unanswered;
                Some(self.read())
            }
            Event::Reset { replica } => {
                self.counted[replica] = (0, 0);
                Some(self.read())
            }
            Event::Wait(milliseconds) => {
                let until = self.seconds + milliseconds as f64 / 1000.0;
                self.sleep(until);
                None
            }
        }
    }

    fn read(&mut self) -> Vec<Change> {
        let reading = |(replica, (refused, unanswered))| Reading {
            place: ReplicaPlace { service: 0, replica },
            new_flows: 0,
            refused,
            unanswered,
            witnesses: clients(unanswered),
        };
        let readings: Vec<_> = self.counted.into_iter().enumerate().map(reading).collect();
        self.control.passive(&readings, self.now())
    }

    /// Wakes up whenever the control asks for it.
    fn sleep(&mut self, until: f64) {
        let mut woken = 0;
        while let Some(due) = self.control.next_due(self.now().clock).filter(|due| *due <= at(until).clock) {
            self.seconds = self.seconds.max(due.saturating_duration_since(*START).as_secs_f64());
            let now = Moment { clock: due.max(self.now().clock), ..self.now() };
            self.control.tick(now);
            woken += 1;
            assert!(woken < 200, "it asks to be woken again and again");
        }
        self.seconds = until;
    }

    /// By the plain model of rise and fall.
    fn health(&self, replica: usize) -> ReplicaHealth {
        let probe = &self.control.config().services[0].probe;
        health::model(probe.rise, probe.fall, &self.found[replica])
    }

    fn tells_each_change_once(&self, changes: &[Change]) {
        let mut told = BTreeSet::new();
        for change in changes {
            let Change::Replica(change) = change else { continue };
            assert_ne!(change.from, change.to, "{change:?}");
            assert!(told.insert(&change.replica), "told twice: {changes:?}");
            let condition = self.control.conditions(0).filter(|known| known.state == ReplicaState::Up);
            assert_eq!(change.replicas_left, condition.count(), "{change:?}");
        }
    }

    fn holds(&self) {
        let now = self.now();
        let desired = desired(&self.control, now);
        let config = &self.control.config().services[0];
        let up = |replica: usize| self.health(replica) == ReplicaHealth::Up;
        let fit: Vec<_> =
            (0..3).filter(|replica| up(*replica) && config.replicas[*replica].weight > 0).collect();
        let served: Vec<_> = (0..3).filter(|replica| desired.replicas[*replica].weight > 0).collect();
        assert!(!served.is_empty(), "fail-open, and there are weights: somebody is to be asked");
        if !fit.is_empty() {
            assert!(served.iter().all(|replica| fit.contains(replica)), "{served:?} of {fit:?}");
        }
        for (replica, wanted) in desired.replicas.iter().enumerate() {
            assert!(wanted.weight <= config.replicas[replica].weight);
            assert!(
                !wanted.reset || self.health(replica) == ReplicaHealth::Down,
                "{replica} is not down by probes"
            );
            assert!(!wanted.reset || wanted.weight == 0, "{replica} gets new connections, and resets them");
        }
        let states = states(&self.control);
        for (replica, state) in states.into_iter().enumerate() {
            assert_eq!(state == "draining", up(replica) && config.replicas[replica].weight == 0);
            assert!(
                state != "up" || desired.replicas[replica].weight > 0,
                "{replica} is up and gets nothing"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn somebody_is_served_nobody_is_reset_in_vain_and_what_changes_is_told(
        events in prop::collection::vec(events(), 0..60),
        on_down in prop::sample::select(vec!["auto", "reset", "leave"]),
        draining in any::<bool>(),
    ) {
        let on_down = format!("datapath.on_down={on_down}");
        let weight = if draining { "replica.2.weight=0" } else { "replica.2.weight=256" };
        let mut world = World::new(&[&on_down, weight, "replica.0.slow_start=20s", "replica.1.slow_start=7s"]);
        world.holds();
        for event in events.iter().flatten() {
            let before = world.control.desired(world.now().clock);
            let changes = world.play(event);
            world.holds();
            world.tells_each_change_once(changes.as_deref().unwrap_or_default());
            if changes.is_some_and(|changes| changes.is_empty()) {
                prop_assert_eq!(before, world.control.desired(world.now().clock), "{:?} was not told", event);
            }
        }
        // Left alone, it comes to rest.
        let later = world.seconds + 3600.0;
        world.sleep(later);
        prop_assert_eq!(world.control.next_due(world.now().clock), None);
        world.holds();
    }
}
