//! The agent itself: its start, its end, and what it refuses.

use std::{process::Output, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use dtr_lb_agent::datapath::Hook;
use dtr_lb_tests::{
    balancer::{binary, write_config},
    lab::{Lab, LabOptions, until},
    stub::pass_stub,
};
use nix::sys::signal::Signal;

use crate::{BOTH_HOOKS, CROSSWISE, EVERYWHERE, Place, Scenario, Stage};

mod check;
mod descriptors;
mod detach;
mod events;
mod flow_log;
mod interfaces;
mod killed;
mod reload;
mod repair;
mod replicas;
mod service_manager;
mod start;

pub(crate) use reload::Traffic;

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("the_datapath_forwards_without_the_agent", EVERYWHERE, without_agent),
    ("detach_ends_the_agent_and_leaves_nothing", CROSSWISE, detach::under_an_agent),
    ("detach_needs_neither_an_agent_nor_a_good_config", CROSSWISE, detach::alone),
    ("check_says_what_it_finds", CROSSWISE, check::check),
    ("check_as_json_asks_each_replica_and_names_what_is_missing", &[Place::XDP_ONE_ARM], check::json),
    ("without_file_descriptors_no_replica_is_to_blame", &[Place::XDP_ONE_ARM], descriptors::exhausted),
    ("an_interface_that_goes_is_told_and_served_when_it_is_back", CROSSWISE, interfaces::back_again),
    ("a_start_that_fails_changes_nothing_that_it_took_over", CROSSWISE, start::fails_over_adopted),
    ("an_agent_that_may_not_load_programs_changes_nothing", &[Place::TC_ONE_ARM], start::refused_program),
    ("what_others_change_is_repaired", BOTH_HOOKS, repair::repaired),
    ("silent_replicas_keep_neither_the_start_nor_the_end_waiting", CROSSWISE, start::silent_replicas),
    ("a_reload_under_load_is_not_noticed", CROSSWISE, reload::under_load),
    ("a_reload_to_other_replicas_waits_for_their_probes", BOTH_HOOKS, reload::all_replicas_at_once),
    ("a_bad_reload_changes_nothing", BOTH_HOOKS, reload::bad),
    ("the_flow_log_moves_with_the_config", BOTH_HOOKS, flow_log::moves),
    ("who_follows_the_flow_log_keeps_no_agent_from_ending", &[Place::XDP_ONE_ARM], flow_log::followers),
    ("a_reload_moves_the_datapath", CROSSWISE, reload::hook_and_interfaces),
    ("other_nat_ports_leave_connections_alone", BOTH_HOOKS, reload::nat_ports),
    ("drained_replicas_finish_and_those_in_maintenance_are_left", CROSSWISE, replicas::drain_and_maint),
    ("what_an_operator_orders_outlives_the_agent", CROSSWISE, replicas::kept),
    ("what_is_saved_is_in_the_file", BOTH_HOOKS, replicas::saved),
    ("a_drain_waits_for_its_connections_and_is_taken_back", CROSSWISE, replicas::waited_for),
    ("what_was_ordered_is_taken_back_unless_it_was_changed_since", BOTH_HOOKS, replicas::taken_back),
    ("a_killed_agent_is_not_noticed", CROSSWISE, replicas::killed),
    ("events_outlive_the_agent", CROSSWISE, events::outlive_the_agent),
    ("a_second_agent_says_so_and_leaves", &[Place::XDP_ONE_ARM], second_agent),
    ("the_service_manager_is_told", CROSSWISE, service_manager::told),
    ("what_cannot_start_leaves_nothing", CROSSWISE, refused),
    ("killed_while_it_starts_the_next_agent_makes_it_whole", BOTH_HOOKS, killed::while_it_starts),
    ("killed_while_it_takes_over_nothing_is_noticed", &[Place::TC_ONE_ARM], killed::while_it_takes_over),
    ("killed_while_it_writes_the_next_agent_goes_on", &[Place::TC_ONE_ARM], killed::while_it_writes),
    ("killed_while_it_reloads_the_next_agent_goes_on", &[Place::XDP_ONE_ARM], killed::while_it_reloads),
    ("killed_while_it_ends_the_next_agent_makes_it_whole", &[Place::XDP_ONE_ARM], killed::while_it_ends),
];

/// SIGTERM is clean: requests and a download go on without the agent, and the next one takes over what it finds.
fn without_agent(place: Place) -> Result<()> {
    let mut stage = place.stage()?;
    let whole = std::fs::read(stage.lab.big_file())?;
    let client = stage.lab.client().clone();
    let url = stage.url("https", "slow/big?rate=3m");
    let download = thread::spawn(move || client.curl(&url, &["--max-time", "60"]));
    let load =
        stage.lab.client().background_load(stage.http(), Duration::from_millis(2), Duration::from_secs(3))?;
    stage.balancer.process().signal(Signal::SIGTERM)?;
    let ended =
        stage.balancer.process().wait(Duration::from_secs(5))?.context("SIGTERM does not end the agent")?;
    ensure!(ended.success(), "the agent ended with {ended}: {}", stage.balancer.process().log_tail(10));
    let shares = stage.shares(300)?;
    ensure!(shares.iter().all(|share| *share > 0), "without the agent: {shares:?}");
    let status = stage.balancer.command(&stage.lab, &["status"])?;
    ensure!(status.status.code() == Some(3), "status without an agent: {status:?}");

    let Stage { lab, balancer } = &mut stage;
    balancer.start_again(lab)?;
    ensure!(balancer.status(lab)?.datapath.adopted, "the new agent has not taken over the datapath");
    stage.shares(100)?;
    let outcome = download.join().map_err(|_| anyhow::anyhow!("the download's thread panicked"))??;
    ensure!(
        outcome.is_ok() && outcome.body == whole,
        "the download failed: {} {}",
        outcome.exit,
        outcome.stderr
    );
    let failed: Vec<_> = load.stop().into_iter().filter(|request| request.outcome.is_err()).collect();
    ensure!(failed.is_empty(), "{} requests failed, the first: {:?}", failed.len(), failed[0]);
    Ok(())
}

fn nothing_left(lab: &Lab) -> Result<()> {
    ensure!(!lab.bpffs().join("dtr-lb").exists(), "pins are left");
    for (interface, _) in lab.balancer_interfaces() {
        let link = lab.balancer().ip(&["-details", "link", "show", interface])?;
        ensure!(!link.contains("xdp"), "an XDP program is left on {interface}: {link}");
    }
    Ok(())
}

fn second_agent(place: Place) -> Result<()> {
    let stage = place.stage()?;
    let other = stage.lab.directory().join("other.sock");
    let set = format!("agent.socket={:?}", other.display());
    let second = stage.balancer.command(&stage.lab, &["run", "--set", &set])?;
    expect(&second, 1, &["another dtr-lb agent"])?;
    ensure!(stage.balancer.process().is_running(), "the first agent is gone");
    stage.shares(30)?;
    Ok(())
}

/// Each mistake has a clear message and its exit status, and nothing is attached or pinned after it.
fn refused(place: Place) -> Result<()> {
    let lab = Lab::create(LabOptions::new(place.topology, 1).without_registry().with_pass_stub(pass_stub()))?;
    let config = write_config(&lab, &place.options())?;
    let run = |sets: &[&str]| -> Result<Output> {
        let mut command = lab.balancer().command(binary()?.to_str().context("not text")?);
        command.arg("--config").arg(&config).args(["run"]);
        for set in sets {
            command.args(["--set", set]);
        }
        command.output().context("running dtr-lb")
    };
    expect(&run(&["interfaces=[\"eth7\"]"])?, 1, &["eth7", "eth0"])?;
    nothing_left(&lab)?;
    expect(&run(&["replica.0.weight=300"])?, 2, &["replica[0].weight", "256"])?;
    expect(&run(&["datapath.max_flow=5"])?, 2, &["datapath.max_flow", "max_flows"])?;
    expect(&run(&["agent.bpffs=/tmp/dtr-lb-no-bpffs"])?, 1, &["BPF file system", "mount -t bpf"])?;
    ensure!(!std::path::Path::new("/tmp/dtr-lb-no-bpffs").exists(), "a directory is left where none was");
    expect(
        &run(&["datapath.nat_addresses=[\"192.0.2.7\"]"])?,
        1,
        &["192.0.2.7", "not an address of this host"],
    )?;
    nothing_left(&lab)?;
    let precious = lab.directory().join("precious");
    std::fs::write(&precious, "precious")?;
    expect(&run(&[&format!("agent.socket={:?}", precious.display())])?, 1, &["precious", "a regular file"])?;
    ensure!(std::fs::read_to_string(&precious)? == "precious", "the file is not what it was");
    nothing_left(&lab)?;

    // Somebody else's program is on the interface.
    let foreign = foreign_xdp(&lab)?;
    if place.hook == Hook::NativeXdp {
        expect(&run(&[])?, 1, &["another XDP program", "lab_pass", "eth0"])?;
        expect(&run(&["datapath.attach=auto"])?, 1, &["another XDP program"])?;
        ensure!(!lab.bpffs().join("dtr-lb").exists(), "pins are left");
        let link = lab.balancer().ip(&["-details", "link", "show", "eth0"])?;
        ensure!(link.contains("lab_pass") || link.contains("xdp"), "the foreign program is gone: {link}");
    }
    drop(foreign);
    until(Duration::from_secs(1), || nothing_left(&lab).is_ok());

    // Without the rights.
    let mut command = lab.balancer().command("setpriv");
    command.args([
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--bounding-set=-all",
        "--inh-caps=-all",
    ]);
    command.arg(reachable_binary(&lab)?).arg("--config").arg(&config).arg("run");
    expect(
        &command.output().context("running setpriv")?,
        1,
        &["not permitted", "lacks CAP_NET_ADMIN, CAP_BPF"],
    )?;
    nothing_left(&lab)
}

/// The binary where a user without rights may run it: the build directory may be closed to them.
fn reachable_binary(lab: &Lab) -> Result<std::path::PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = lab.directory().join("dtr-lb");
    // By a process of its own: where this one holds the file open for writing, a child that another scenario has just made, and that has
    // not yet called exec, holds it as well, and it cannot be run (ETXTBSY).
    let copied = std::process::Command::new("cp").arg(binary()?).arg(&path).status()?;
    anyhow::ensure!(copied.success(), "cp: {copied}");
    for open in [lab.directory(), &path, &lab.directory().join("dtr-lb.toml")] {
        std::fs::set_permissions(open, std::fs::Permissions::from_mode(0o755))?;
    }
    Ok(path)
}

/// Attaches an XDP program that is not dtr-lb's to the balancer's eth0.
fn foreign_xdp(lab: &Lab) -> Result<Box<dyn std::any::Any + Send>> {
    pass_stub().attach(lab.balancer(), "eth0")
}

fn expect(output: &Output, code: i32, words: &[&str]) -> Result<()> {
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(code), "exit status {:?}, not {code}: {text}", output.status.code());
    for word in words {
        ensure!(text.contains(word), "`{word}` is not in the message: {text}");
    }
    Ok(())
}
