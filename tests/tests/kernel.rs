//! The packet pipeline in the kernel: the cases of the host, through the real programs of both hooks, frame by frame.

use dtr_lb_agent::datapath::{Datapath, Hook, Options};
use dtr_lb_common::{abi::Mode, verdict::Verdict};
use dtr_lb_tests::{
    fixtures::{
        Case, Engine, Host, Kernel, Plan, Wire,
        cases::{GROUPS, Group},
        kernel::takes,
        play, wire,
        world::World,
    },
    privilege,
};
use libtest_mimic::{Arguments, Failed, Trial};

#[path = "kernel/explain.rs"]
mod explain;
#[path = "kernel/million.rs"]
mod million;
#[path = "kernel/together.rs"]
mod together;

/// The hooks that differ in code: generic XDP runs the program of native XDP.
const HOOKS: [Hook; 2] = [Hook::NativeXdp, Hook::Tc];

/// How many instructions the verifier may have to walk through: a small part of the million that it allows, so that older verifiers,
/// which see fewer equal states, accept the programs, too.
const INSTRUCTION_BUDGET: u32 = 400_000;

fn main() {
    let mut trials = Vec::new();
    for hook in HOOKS {
        trials.push(together::trial(hook));
        let name = format!("verifier::accepts_within_budget::{}", hook.name());
        trials.push(Trial::test(name, move || accepts_within_budget(hook)));
        let name = format!("verifier::accepts_a_trace_within_budget::{}", hook.name());
        trials.push(Trial::test(name, move || accepts_a_trace_within_budget(hook)));
        let name = format!("explain::says_what_the_datapath_does::{}", hook.name());
        trials.push(Trial::test(name, move || explain::says_what_the_datapath_does(hook)));
        for group in GROUPS {
            let Group { name, plans, mode, tagged, .. } = group;
            for (case, plan) in group.cases().flat_map(|case| plans.iter().map(move |plan| (case, *plan))) {
                let name = format!("{name}::{}::{}::{}", case.name, plan.name(), hook.name());
                let on_a_wire = *tagged && hook == Hook::Tc;
                trials.push(Trial::test(name, move || {
                    if on_a_wire {
                        plays_on_a_wire(case, plan, *mode)
                    } else {
                        plays_as_on_the_host(case, plan, *mode, hook)
                    }
                }));
            }
        }
    }
    trials.push(Trial::test(
        "a_million_connections::are_swept_while_packets_go_on",
        million::is_swept_while_packets_go_on,
    ));
    let arguments = Arguments::from_args();
    let missing = privilege::missing_for_bpf();
    privilege::run(&arguments, missing, trials);
}

fn accepts_within_budget(hook: Hook) -> Result<(), Failed> {
    let mut datapath = Datapath::open(&Options { max_flows: 1024, pins: None, log_packets: false })?;
    let instructions = datapath.verified_instructions(hook)?;
    within_budget(hook.name(), instructions)
}

/// The programs with the trace on: they take the place of the others while somebody traces.
fn accepts_a_trace_within_budget(hook: Hook) -> Result<(), Failed> {
    within_budget(hook.name(), Datapath::verified_instructions_tracing(hook, 1024)?)
}

fn within_budget(what: &str, instructions: u32) -> Result<(), Failed> {
    println!("{what}: the verifier walked through {instructions} instructions");
    if !(1..=INSTRUCTION_BUDGET).contains(&instructions) {
        return Err(format!("{instructions} instructions, of {INSTRUCTION_BUDGET} that are allowed").into());
    }
    Ok(())
}

/// A case holds in the kernel, and each of its frames becomes what it becomes on the host.
fn plays_as_on_the_host(case: &Case, plan: Plan, mode: Mode, hook: Hook) -> Result<(), Failed> {
    let mut kernel =
        if wants_its_own((case.world)(plan).as_ref()) { Kernel::open(hook)? } else { Kernel::take(hook)? };
    compare(case, (plan, mode), takes(hook), &mut kernel)?;
    Ok(kernel.leave()?)
}

/// The same at a real interface.
fn plays_on_a_wire(case: &Case, plan: Plan, mode: Mode) -> Result<(), Failed> {
    let mut wire = Wire::take()?;
    compare(case, (plan, mode), wire::takes, &mut wire)?;
    Ok(wire.leave()?)
}

fn compare(
    case: &Case,
    (plan, mode): (Plan, Mode),
    takes: fn(&[u8]) -> bool,
    engine: &mut dyn Engine,
) -> Result<(), Failed> {
    let mut host = Host::taking(takes);
    let (on_host, in_kernel) = (play(case, plan, mode, &mut host), play(case, plan, mode, engine));
    // Each tells its own numbers, which are random. What became of them the case itself has looked at.
    let secret = on_host.iter().any(|record| record.verdict == Verdict::AnsweredChallenge);
    for (host, kernel) in on_host.iter().zip(&in_kernel) {
        let same = if secret {
            (&host.step, host.verdict) == (&kernel.step, kernel.verdict)
        } else {
            host == kernel
        };
        if !same {
            return Err(format!(
                "the host and the kernel differ.\nhost:   {host:02x?}\nkernel: {kernel:02x?}"
            )
            .into());
        }
    }
    if on_host.len() != in_kernel.len() {
        return Err(format!("{} frames on the host, {} in the kernel", on_host.len(), in_kernel.len()).into());
    }
    Ok(())
}

/// Whether a case is about what a datapath does not know yet.
fn wants_its_own(world: Option<&World>) -> bool {
    let replicas = |world: &World| {
        world.services.values().flat_map(|service| &service.replicas).any(|replica| replica.hop.is_none())
    };
    world.is_none_or(replicas)
}
