//! Scenarios in the lab: real clients, real replicas and the real agent, for each hook and each topology. `bed` tries the
//! lab itself, without a balancer.

use std::time::Duration;

use anyhow::{Context as _, Result};
use dtr_lb_agent::datapath::Hook;
use dtr_lb_tests::{
    balancer::{Balancer, BalancerOptions},
    lab::{Lab, LabOptions, Topology, literal},
    privilege,
    stub::pass_stub,
};
use libtest_mimic::{Arguments, Trial};

mod agent;
mod bed;
mod edges;
mod health;
mod traffic;

/// Where a scenario takes place.
#[derive(Clone, Copy, Debug)]
struct Place {
    hook: Hook,
    topology: Topology,
}

impl Place {
    const ALL: [Self; 4] = [
        Self { hook: Hook::NativeXdp, topology: Topology::OneArm },
        Self { hook: Hook::NativeXdp, topology: Topology::TwoArm },
        Self { hook: Hook::Tc, topology: Topology::OneArm },
        Self { hook: Hook::Tc, topology: Topology::TwoArm },
    ];

    fn name(self) -> String {
        format!("{}_{}", self.hook.name(), topology_name(self.topology))
    }

    fn lab_options(self) -> LabOptions {
        LabOptions::new(self.topology, 3).with_pass_stub(pass_stub())
    }

    fn options(self) -> BalancerOptions {
        BalancerOptions::new(self.hook)
    }

    /// Three replicas without registries behind a balancer.
    fn stage(self) -> Result<Stage> {
        self.stage_with(self.lab_options().without_registry(), &self.options())
    }

    fn stage_with(self, lab: LabOptions, options: &BalancerOptions) -> Result<Stage> {
        let lab = Lab::create(lab)?;
        let balancer = Balancer::start(&lab, options)?;
        Ok(Stage { lab, balancer })
    }
}

/// A lab with a balancer in it. The balancer's field comes first in drop order by name only: the lab ends it.
struct Stage {
    lab: Lab,
    balancer: Balancer,
}

impl Stage {
    fn http(&self) -> std::net::SocketAddr {
        (self.lab.vip(), 80).into()
    }

    fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://{}/{path}", literal(self.lab.vip()))
    }

    /// The replica that answers one request.
    fn whoami(&self, scheme: &str) -> Result<String> {
        let outcome = self.lab.client().curl(&self.url(scheme, "whoami"), &["--max-time", "5"])?;
        anyhow::ensure!(outcome.is_ok(), "{scheme} request failed: {outcome:?}");
        Ok(outcome.text())
    }

    /// How many of `total` short connections each replica answered; none may fail.
    fn shares(&self, total: usize) -> Result<Vec<usize>> {
        let tally = self.lab.client().connections(self.http(), total, 8)?;
        anyhow::ensure!(tally.errors.is_empty(), "{} failed: {:?}", tally.errors.len(), tally.errors.first());
        let replicas = self.lab.replicas().iter();
        Ok(replicas.map(|replica| tally.replicas.get(replica.name()).copied().unwrap_or(0)).collect())
    }

    fn wait_for_state(&self, replica: &str, state: &str, limit: Duration) -> Result<Duration> {
        self.balancer
            .wait_for_state(&self.lab, replica, state, limit)
            .with_context(|| format!("the agent's log:\n{}", self.balancer.process().log_tail(20)))
    }
}

/// The scenario's name, where it is played, and it.
type Scenario = (&'static str, &'static [Place], fn(Place) -> Result<()>);

/// For what a hook or a topology could break.
const EVERYWHERE: &[Place] = &Place::ALL;

fn topology_name(topology: Topology) -> &'static str {
    match topology {
        Topology::OneArm => "one_arm",
        Topology::TwoArm => "two_arm",
    }
}

fn trial(name: String, test: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    Trial::test(name, move || test().map_err(|error| format!("{error:?}").into()))
}

fn main() {
    let scenarios: Vec<Scenario> =
        [traffic::SCENARIOS, health::SCENARIOS, edges::SCENARIOS, agent::SCENARIOS].concat();
    let mut trials = Vec::new();
    for (name, places, scenario) in scenarios {
        for &place in places {
            trials.push(trial(format!("{name}::{}", place.name()), move || scenario(place)));
        }
    }
    for &(name, test) in bed::TESTS {
        for topology in [Topology::OneArm, Topology::TwoArm] {
            trials.push(trial(format!("bed::{name}::{}", topology_name(topology)), move || test(topology)));
        }
    }
    let missing = privilege::missing();
    let mut arguments = Arguments::from_args();
    // Time limits of scenarios are for a machine with two processors: one lab for each.
    arguments.test_threads.get_or_insert(2);
    privilege::run(&arguments, missing, trials);
}
