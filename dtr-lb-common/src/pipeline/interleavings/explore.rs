//! Carrying out a scenario in all its interleavings.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{
    memory::{Order, Table},
    world::{Cpu, Said, World},
};
use crate::{
    abi::{Control, Direction, Flow, Place, State},
    flow_table::{Line, Memory, entry::word},
};

/// So often a processor may lose its turn in an execution where it would not have to.
const PREEMPTIONS: usize = 2;
/// Steps of an execution at most. More is a loop without end.
const STEPS: usize = 5000;
/// Executions of a scenario at most: none comes near.
const EXECUTIONS: usize = 30_000;
/// Preemptions and executions of a look that only finds out which words are shared.
const FIRST_LOOK: (usize, usize) = (1, 200);
/// In words. The stages' frames are large without optimization.
const STACK: usize = 0x1_0000;

/// What several processors do at once.
#[derive(Clone, Copy)]
pub(super) struct Scenario {
    pub(super) buckets: u32,
    /// What has happened before.
    pub(super) before: fn(&Cpu<'_>),
    pub(super) at_once: &'static [fn(&Cpu<'_>)],
    /// What must be true afterwards, besides what is always demanded.
    pub(super) afterwards: fn(&Ended<'_>),
    /// So often a processor may lose its turn in an execution where it would not have to.
    pub(super) preemptions: usize,
    /// `Weak` is explored after `Strict`.
    pub(super) order: Order,
    /// The last processor begins. Each scenario is explored both ways: where turns are lost so seldom, the model checker reaches from one
    /// beginning what it does not from the other.
    pub(super) turned: bool,
}

impl Scenario {
    pub(super) const NONE: Self = Self {
        buckets: 1,
        before: |_| {},
        at_once: &[],
        afterwards: |_| {},
        preemptions: PREEMPTIONS,
        order: Order::Strict,
        turned: false,
    };
}

/// What a processor has seen.
#[derive(Debug)]
pub(super) struct Done {
    /// What became of its packets.
    pub(super) said: Vec<Said>,
    /// The interfaces that they left by.
    pub(super) left_by: Vec<u32>,
    /// That a connection was live.
    pub(super) live: bool,
}

/// The end of an execution.
pub(super) struct Ended<'a> {
    /// May send packets on.
    pub(super) cpu: Cpu<'a>,
    /// What each processor has seen.
    pub(super) done: &'a [Done],
}

impl Ended<'_> {
    pub(super) fn entries(&self) -> Vec<Flow> {
        self.cpu.world.table.entries()
    }
}

/// Explores a scenario, and says how much that was.
pub(super) fn explore(name: &str, scenario: Scenario) {
    for turned in [false, true] {
        explore_from(name, Scenario { turned, ..scenario });
    }
}

fn explore_from(name: &str, scenario: Scenario) {
    if scenario.order == Order::Weak {
        explore_from(name, Scenario { order: Order::Strict, preemptions: PREEMPTIONS, ..scenario });
    }
    let start = std::time::Instant::now();
    let before = Arc::new(World::new(Table::new(scenario.buckets), scenario.buckets, 1_000_000));
    (scenario.before)(&Cpu::new(&before, 0));
    whole(&before.table);
    let scenario = Arc::new(scenario);
    let mut checked = BTreeSet::new();
    let mut bounds = FIRST_LOOK;
    loop {
        let seen = explore_with(&before, &scenario, &checked, bounds);
        if seen.overlooked.is_empty() && bounds == FIRST_LOOK {
            bounds = (scenario.preemptions, EXECUTIONS);
            continue;
        }
        if seen.overlooked.is_empty() {
            println!(
                "{name}{}: {} executions, {} ends, {} words, {:?}, {} preemptions, {:.1} s",
                if scenario.turned { ", turned" } else { "" },
                seen.executions,
                seen.ends,
                checked.len(),
                scenario.order,
                scenario.preemptions,
                start.elapsed().as_secs_f32()
            );
            return;
        }
        checked.extend(seen.overlooked);
    }
}

struct PacketSummary {
    executions: usize,
    /// Different ones.
    ends: usize,
    overlooked: BTreeSet<usize>,
}

fn explore_with(
    before: &Arc<World>,
    scenario: &Arc<Scenario>,
    checked: &BTreeSet<usize>,
    (preemptions, limit): (usize, usize),
) -> PacketSummary {
    let (before, scenario) = (Arc::clone(before), Arc::clone(scenario));
    let words = before.table.values();
    let executions = Arc::new(AtomicUsize::new(0));
    let ends = Arc::new(Mutex::new(HashSet::new()));
    let overlooked = Arc::new(Mutex::new(BTreeSet::new()));
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = STEPS;
    // How often the limit is looked at.
    builder.checkpoint_interval = 1;
    builder.max_permutations = Some(limit);
    let one = {
        let (executions, ends, overlooked) = (executions.clone(), ends.clone(), overlooked.clone());
        let checked = checked.clone();
        move || {
            let world = Arc::new(before.with(Table::of(&words, &checked, scenario.order)));
            let done = at_once(&world, &scenario);
            let found: Vec<_> = world.table.overlooked().collect();
            let exact = found.is_empty();
            overlooked.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
            executions.fetch_add(1, Ordering::Relaxed);
            let said = done.iter().map(|done| {
                (
                    done.live,
                    done.left_by.clone(),
                    done.said.iter().map(|(verdict, left)| (*verdict as u8, *left)).collect::<Vec<_>>(),
                )
            });
            let end = (world.table.values(), said.collect::<Vec<_>>());
            let new = ends.lock().unwrap_or_else(PoisonError::into_inner).insert(end);
            if new && exact {
                judge(world, done, scenario.clone());
            }
        }
    };
    builder.check(one);
    let ends = ends.lock().unwrap_or_else(PoisonError::into_inner).len();
    let overlooked = overlooked.lock().unwrap_or_else(PoisonError::into_inner).clone();
    PacketSummary { executions: executions.load(Ordering::Relaxed), ends, overlooked }
}

fn at_once(world: &Arc<World>, scenario: &Scenario) -> Vec<Done> {
    let mut all: Vec<_> = scenario.at_once.iter().enumerate().collect();
    if scenario.turned {
        all.reverse();
    }
    let threads: Vec<_> = all
        .into_iter()
        .map(|(number, work)| {
            let (world, work) = (Arc::clone(world), *work);
            let thread = move || {
                let cpu = Cpu::new(&world, number as u8 + 1);
                work(&cpu);
                Done { said: cpu.said.take(), left_by: cpu.left_by.take(), live: cpu.live.get() }
            };
            loom::thread::Builder::new().stack_size(STACK).spawn(thread).expect("loom has room for threads")
        })
        .collect();
    let done = threads.into_iter().map(|thread| thread.join().expect("a panic ends the execution"));
    let mut done: Vec<_> = done.collect();
    if scenario.turned {
        done.reverse();
    }
    done
}

/// Looks at the end of an execution, on a stack of its own.
fn judge(world: Arc<World>, done: Vec<Done>, scenario: Arc<Scenario>) {
    let words = world.table.values();
    let judged = std::thread::spawn(move || {
        let world = world.with(Table::of(&words, &BTreeSet::new(), Order::Strict));
        whole(&world.table);
        let ended = Ended { cpu: Cpu::new(&world, 0), done: &done };
        (scenario.afterwards)(&ended);
        whole(&world.table);
    });
    if let Err(panic) = judged.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Looks at all words of a table, as a plain walker: what must be so after whatever has happened.
fn whole(table: &Table) {
    assert!(table.locks_are_free(), "a lock is left");
    let memory = table.by(0);
    let control =
        |place: Place| Control(memory.line(place).expect("a place of the table").load(word::CONTROL));
    for place in table.places() {
        assert!(!control(place).locked(), "{place:?} is left locked: {:?}", control(place));
        if control(place).state() == State::CONTINUED {
            let before = control(Place(place.0.wrapping_sub(1)));
            assert!(place.0 % 2 == 1 && before.wide(), "{place:?} goes on from nothing: {before:?}");
        }
        if control(place).wide() {
            let behind = control(Place(place.0 + 1));
            assert!(
                place.0.is_multiple_of(2) && behind.state() == State::CONTINUED,
                "{place:?} has half: {behind:?}"
            );
        }
    }
    let entries = table.entries();
    let mut keys = HashSet::new();
    for flow in &entries {
        assert!(keys.insert(flow.key), "a key is there twice: {entries:#?}");
        if flow.direction() == Direction::Direct || flow.state() == State::TIME_WAIT_HELD {
            continue;
        }
        let other = entries.iter().find(|other| other.place == flow.partner);
        let Some(other) = other else { panic!("no partner of {flow:#?} in {entries:#?}") };
        assert_eq!(other.partner, flow.place, "another's partner: {entries:#?}");
        assert_eq!(other.key, flow.to.reversed(), "not the same connection: {entries:#?}");
        assert_eq!(flow.replica, other.replica, "not the same replica: {entries:#?}");
        assert_ne!(flow.direction(), other.direction());
        let same = flow.control.with_progress_of(other.control) == flow.control;
        assert!(same, "the entries say different things: {entries:#?}");
    }
}
