//! Scenarios in the lab: real clients, real replicas and the real agent, for each hook and each topology. `bed` tries the
//! lab itself, without a balancer.

use std::{
    net::IpAddr,
    sync::{PoisonError, RwLock},
    time::Duration,
};

use anyhow::{Context as _, Result};
use dtr_lb_agent::{datapath::Hook, flows::Listing, status::ReplicaStatus};
use dtr_lb_tests::{
    balancer::{Balancer, BalancerOptions},
    lab::{CurlOutcome, Families, Lab, LabOptions, Topology, literal},
    privilege,
    stub::pass_stub,
};
use libtest_mimic::{Arguments, Trial};

mod accounts;
mod agent;
mod bed;
mod direct;
mod dnat;
mod edges;
mod endings;
mod endurance;
mod failures;
mod families;
mod first_try;
mod flood;
mod full_speed;
mod health;
mod judgment;
mod monitoring;
mod names;
mod returns;
mod room;
mod seeing;
mod services;
mod session;
mod sizes;
mod strangers;
mod switching;
mod traffic;
mod vlan;

/// Where a scenario takes place.
#[derive(Clone, Copy, Debug)]
struct Place {
    hook: Hook,
    topology: Topology,
}

impl Place {
    const XDP_ONE_ARM: Self = Self { hook: Hook::NativeXdp, topology: Topology::OneArm };
    const XDP_TWO_ARM: Self = Self { hook: Hook::NativeXdp, topology: Topology::TwoArm };
    const TC_ONE_ARM: Self = Self { hook: Hook::Tc, topology: Topology::OneArm };
    const TC_TWO_ARM: Self = Self { hook: Hook::Tc, topology: Topology::TwoArm };

    fn name(self) -> String {
        format!("{}_{}", self.hook.name(), topology_name(self.topology))
    }

    /// A lab of three replicas without registries, and these families.
    fn family_options(self, families: Families) -> LabOptions {
        self.lab_options().without_registry().with_families(families)
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

    /// The agent's.
    fn socket(&self) -> String {
        self.lab.directory().join("dtr-lb.sock").display().to_string()
    }

    fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://{}/{path}", literal(self.lab.vip()))
    }

    /// The replica that answers one request.
    fn whoami(&self, scheme: &str) -> Result<String> {
        self.whoami_at(scheme, self.lab.vip())
    }

    /// The same, at another VIP.
    fn whoami_at(&self, scheme: &str, vip: IpAddr) -> Result<String> {
        let url = format!("{scheme}://{}/whoami", literal(vip));
        let outcome = self.lab.client().curl(&url, &["--max-time", "5"])?;
        anyhow::ensure!(outcome.is_ok(), "{url} failed: {outcome:?}");
        anyhow::ensure!(
            self.lab.replica(&outcome.text()).is_some(),
            "{url} answered by `{}`",
            outcome.text()
        );
        Ok(outcome.text())
    }

    /// Downloads `/big` and compares it.
    fn download_at(&self, scheme: &str, vip: IpAddr) -> Result<()> {
        let url = format!("{scheme}://{}/big", literal(vip));
        let whole = std::fs::read(self.lab.big_file()).context("reading the file")?;
        let big = self.lab.client().curl(&url, &["--max-time", "20"])?;
        let CurlOutcome { exit, body, stderr, .. } = &big;
        anyhow::ensure!(
            big.is_ok() && *body == whole,
            "{url}: exit {exit}, {} bytes of {}: {stderr}; verdicts {:?}",
            body.len(),
            whole.len(),
            self.balancer.status(&self.lab)?.verdicts
        );
        Ok(())
    }

    /// Uploads the same bytes to `/upload/big`, and compares what arrived.
    fn upload_at(&self, scheme: &str, vip: IpAddr) -> Result<()> {
        let url = format!("{scheme}://{}/upload/big", literal(vip));
        let file = self.lab.big_file().display().to_string();
        let whole = std::fs::read(&file).context("reading the file")?;
        let put = self.lab.client().curl(&url, &["--max-time", "20", "--upload-file", &file])?;
        anyhow::ensure!(
            put.exit == 0 && [201, 204].contains(&put.http_code),
            "{url}: {put:?}; verdicts {:?}",
            self.balancer.status(&self.lab)?.verdicts
        );
        let uploads = self.lab.replicas().iter().map(|replica| replica.uploaded("big"));
        let uploads: Vec<_> = uploads.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
        anyhow::ensure!(uploads.contains(&whole), "{url}: no replica has the same bytes");
        Ok(())
    }

    /// A request, a download and an upload, over HTTP and HTTPS.
    fn carries_all_at(&self, vip: IpAddr) -> Result<()> {
        for scheme in ["http", "https"] {
            self.whoami_at(scheme, vip)?;
            self.download_at(scheme, vip)?;
            self.upload_at(scheme, vip)?;
        }
        Ok(())
    }

    /// The replicas of all services in the status.
    fn replica_statuses(&self) -> Result<Vec<ReplicaStatus>> {
        let status = self.balancer.status(&self.lab)?;
        Ok(status.services.into_iter().flat_map(|service| service.replicas).collect())
    }

    /// What `dtr-lb flows` with these arguments lists.
    fn flows(&self, arguments: &[&str]) -> Result<Listing> {
        let output = self.balancer.command(&self.lab, &[&["flows", "--json"], arguments].concat())?;
        anyhow::ensure!(
            output.status.success(),
            "flows {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).context("reading the flows")
    }

    /// No packet was dropped so far.
    fn nothing_dropped(&self) -> Result<()> {
        let verdicts = self.balancer.status(&self.lab)?.verdicts;
        let drops: u64 =
            verdicts.iter().filter(|(name, _)| name.starts_with("dropped")).map(|(_, count)| count).sum();
        anyhow::ensure!(drops == 0, "packets were dropped: {verdicts:?}");
        Ok(())
    }

    /// How many of `total` short connections each replica answered; none may fail.
    fn shares(&self, total: usize) -> Result<Vec<usize>> {
        let tally = self.lab.client().connections(self.http(), total, 8)?;
        anyhow::ensure!(
            tally.errors.is_empty(),
            "{} failed, the first: {:?}; verdicts {:?}",
            tally.errors.len(),
            tally.errors[0],
            self.balancer.status(&self.lab)?.verdicts
        );
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
const EVERYWHERE: &[Place] = &[Place::XDP_ONE_ARM, Place::XDP_TWO_ARM, Place::TC_ONE_ARM, Place::TC_TWO_ARM];
/// Each hook and each topology once: for what is the pipeline's own, and crosses interfaces at most. `cargo xtask test` plays what
/// goes everywhere only here, too, unless it is given `--all`.
const CROSSWISE: &[Place] = &[Place::XDP_ONE_ARM, Place::TC_TWO_ARM];
/// Both hooks with one arm: for what the topology has no part in.
const BOTH_HOOKS: &[Place] = &[Place::XDP_ONE_ARM, Place::TC_ONE_ARM];

/// As `cargo xtask setup` names it.
const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// What the programs are needed for that not every lab has, by names of scenarios.
const NEEDS: &[(&str, &str)] = &[
    ("each_connection_is_in_the_flow_log_once", "jq"),
    ("a_trace_is_a_capture_file", "tshark"),
    ("a_trace_that_nobody_reads_ends_and_says_what_was_lost", "tshark"),
    ("metrics_say_what_the_status_says_and_outlive_the_agent", "promtool"),
    ("a_replica_that_is_slow_to_accept_is_named", "tc"),
    ("prometheus_reads_it_and_its_alerts_see_a_dead_replica", "prometheus"),
    ("nginx_and_what_import_makes_of_it", NGINX_STREAM),
    ("dtr_lb_takes_over_from_nginx_under_load", NGINX_STREAM),
    ("haproxy_and_what_import_makes_of_it", "haproxy"),
    ("elb_and_what_import_makes_of_it", "haproxy"),
    ("dtr_lb_takes_over_from_haproxy_under_load", "haproxy"),
    ("replicas_follow_their_host_name", "dnsmasq"),
    ("names_outlast_dns", "dnsmasq"),
    ("killed_while_it_starts_the_next_agent_makes_it_whole", "strace"),
    ("killed_while_it_takes_over_nothing_is_noticed", "strace"),
    ("killed_while_it_writes_the_next_agent_goes_on", "strace"),
    ("killed_while_it_reloads_the_next_agent_goes_on", "strace"),
    ("killed_while_it_ends_the_next_agent_makes_it_whole", "strace"),
];

/// Set by `cargo xtask test` without `--all`.
const SHORT: &str = "DTR_LB_SHORT";

/// What takes minutes: an agent is killed at each of its system calls. `cargo xtask test` plays only one of these.
const LONG: &[&str] = &[
    "killed_while_it_starts_the_next_agent_makes_it_whole",
    "killed_while_it_takes_over_nothing_is_noticed",
    "killed_while_it_writes_the_next_agent_goes_on",
    "killed_while_it_reloads_the_next_agent_goes_on",
    // nginx leaves a server alone for half a minute after each failure, and ELB asks every 10 s.
    "nginx_and_what_import_makes_of_it",
    "elb_and_what_import_makes_of_it",
    // A minute of rest.
    "a_strangers_word_is_forgotten_after_a_minute",
];

/// What is the agent's alone, whatever the hook and the topology: `cargo xtask test` plays it at the first place.
const ONCE: &[&str] = &[
    "names_outlast_dns",
    "replicas_follow_their_host_name",
    "what_an_operator_orders_outlives_the_agent",
    "drained_replicas_finish_and_those_in_maintenance_are_left",
    "a_reload_to_other_replicas_waits_for_their_probes",
];

/// The places that `cargo xtask test` takes.
fn short(name: &str, places: &'static [Place]) -> &'static [Place] {
    match places.len() {
        _ if LONG.contains(&name) => &[],
        1.. if ONCE.contains(&name) => &places[..1],
        4.. => CROSSWISE,
        _ => places,
    }
}

fn topology_name(topology: Topology) -> &'static str {
    match topology {
        Topology::OneArm => "one_arm",
        Topology::TwoArm => "two_arm",
    }
}

/// Scenarios of what this version's datapath does not do yet: they are reported as ignored, and run with `--include-ignored`. A
/// change that brings it deletes its lines.
const NOT_YET: &[&str] = &[];

/// What a trial may run beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    Others,
    /// It takes all the machine has: others' time limits would not hold, and its own rate neither.
    Nothing,
}

fn trial(
    name: &str,
    place: &str,
    beside: Beside,
    test: impl FnOnce() -> Result<()> + Send + 'static,
) -> Trial {
    static MACHINE: RwLock<()> = RwLock::new(());
    let full_name = format!("{name}::{place}");
    let own = full_name.clone();
    let whole = Trial::test(full_name, move || {
        // A trial that panicked while it held the lock has failed, and changed nothing that others need.
        let outcome = match beside {
            Beside::Others => {
                let _shared = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
                privilege::begins(&own);
                test()
            }
            Beside::Nothing => {
                let _alone = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
                privilege::begins(&own);
                test()
            }
        };
        outcome.map_err(|error| format!("{error:?}").into())
    });
    let programs: Vec<_> =
        NEEDS.iter().filter(|(scenario, _)| *scenario == name).map(|(_, program)| *program).collect();
    privilege::needing(&programs, whole)
}

/// The trial, ignored if what it tries is not there yet.
fn not_yet(trial: Trial) -> Trial {
    let waits = NOT_YET.iter().any(|name| trial.name().split("::").next() == Some(name));
    if waits { trial.with_ignored_flag(true) } else { trial }
}

fn main() {
    let scenarios: Vec<Scenario> = [
        traffic::SCENARIOS,
        families::SCENARIOS,
        sizes::SCENARIOS,
        services::SCENARIOS,
        first_try::SCENARIOS,
        direct::SCENARIOS,
        dnat::SCENARIOS,
        health::SCENARIOS,
        judgment::SCENARIOS,
        failures::SCENARIOS,
        edges::SCENARIOS,
        accounts::SCENARIOS,
        agent::SCENARIOS,
        seeing::SCENARIOS,
        monitoring::SCENARIOS,
        names::SCENARIOS,
        endings::SCENARIOS,
        returns::SCENARIOS,
        strangers::SCENARIOS,
        vlan::SCENARIOS,
        switching::SCENARIOS,
    ]
    .concat();
    for name in NEEDS.iter().map(|(name, _)| name).chain(LONG).chain(ONCE) {
        assert!(scenarios.iter().any(|(scenario, ..)| scenario == name), "there is no scenario {name}");
    }
    let is_short = std::env::var_os(SHORT).is_some();
    let mut trials = Vec::new();
    for (name, places, scenario) in scenarios {
        for &place in if is_short { short(name, places) } else { places } {
            trials.push(trial(name, &place.name(), Beside::Others, move || scenario(place)));
        }
    }
    for (name, places, scenario) in
        [flood::SCENARIOS, full_speed::SCENARIOS, room::SCENARIOS, strangers::ALONE].concat()
    {
        for &place in places {
            trials.push(trial(name, &place.name(), Beside::Nothing, move || scenario(place)));
        }
    }
    for &(name, places, scenario) in &[endurance::SCENARIOS, accounts::MANY, full_speed::COMPARED].concat() {
        for &place in places {
            let trial = trial(name, &place.name(), Beside::Others, move || scenario(place));
            trials.push(privilege::left_out(
                trial,
                "they take as long as they are told to: CONTRIBUTING, `--ignored`",
            ));
        }
    }
    for &(name, test) in bed::TESTS {
        for topology in [Topology::OneArm, Topology::TwoArm] {
            let beside = if name == bed::FLOOD { Beside::Nothing } else { Beside::Others };
            let name = format!("bed::{name}");
            trials.push(trial(&name, topology_name(topology), beside, move || test(topology)));
        }
    }
    let trials = trials.into_iter().map(not_yet).collect();
    let missing = privilege::missing();
    let mut arguments = Arguments::from_args();
    // Most of a scenario is waiting: two labs leave two processors idle half of the time. Time limits allow for three.
    arguments.test_threads.get_or_insert(3);
    privilege::run(&arguments, missing, trials);
}
