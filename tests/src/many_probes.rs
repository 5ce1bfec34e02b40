//! What probing many replicas costs the agent: processor time and memory, with one real nginx that answers for all.
//!
//! The replicas' addresses are all of one network namespace's, so that what is measured is the agent and not a thousand
//! servers. How many probes there really were is counted by the kernel over there, and not by the agent.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use dtr_lb_agent::{api, status::Status};

use crate::{
    balancer::binary,
    lab::{Lab, LabOptions, Namespace, Topology, until},
};

/// What is not measured: the start, and the first probes of all.
const WARM_UP: Duration = Duration::from_secs(10);
const MEASURED: Duration = Duration::from_secs(30);
/// All must be up by then.
const START_LIMIT: Duration = Duration::from_secs(30);

/// What was measured.
#[derive(Debug, Clone)]
pub struct Figures {
    /// From the start of the agent until all replicas were up and packets were forwarded.
    pub up_after: Duration,
    /// Connections a second that the other side took.
    pub probes: f64,
    /// Processor time of the agent, in percent of one processor.
    pub processor: f64,
    /// Resident memory at the end and at its largest, in KiB.
    pub memory: u64,
    pub largest_memory: u64,
    /// Threads, and open files at the end.
    pub threads: u64,
    pub open_files: usize,
}

/// Probes so many replicas by `scheme` ("http" or "https"), each every second, and measures.
///
/// # Errors
/// No lab can be made, or not all replicas come up or stay so.
pub fn measure(scheme: &str, replicas: u32) -> Result<Figures> {
    let lab = Lab::create(LabOptions::new(Topology::OneArm, 1).without_registry())?;
    let server = lab.replicas().first().context("a lab without a replica")?;
    server.namespace().ip(&["route", "add", "local", "10.78.0.0/16", "dev", "lo"])?;
    let via = server.address().to_string();
    lab.balancer().ip(&["route", "add", "10.78.0.0/16", "via", &via])?;
    let config = lab.directory().join("many.toml");
    let socket = lab.directory().join("dtr-lb.sock");
    fs::write(&config, config_text(&lab, scheme, replicas)).context("writing the config")?;

    let mut command = lab.balancer().command(binary()?.to_str().context("the binary's path is not text")?);
    command.args(["run", "--config"]).arg(&config).env("RUST_LOG", "warn");
    let begun = Instant::now();
    let agent = lab.spawn("dtr-lb", command)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let all_up = |status: &Status| {
        let mut all = status.services.iter().flat_map(|service| &service.replicas);
        !status.datapath.attach.is_empty() && all.all(|replica| replica.state == "up")
    };
    let is_up = || runtime.block_on(api::ask_status(&socket)).is_ok_and(|status| all_up(&status));
    ensure!(until(START_LIMIT, is_up), "not all are up: {}", agent.log_tail(10));
    let up_after = begun.elapsed();
    thread::sleep(WARM_UP);

    let (clock, ticks) = (Instant::now(), processor_ticks(agent.pid())?);
    let taken = connections(server.namespace())?;
    thread::sleep(MEASURED);
    let seconds = clock.elapsed().as_secs_f64();
    let ticks = processor_ticks(agent.pid())? - ticks;
    let taken = connections(server.namespace())? - taken;
    ensure!(is_up(), "not all are up any more: {}", agent.log_tail(10));
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.context("no clock ticks")?;
    Ok(Figures {
        up_after,
        probes: taken as f64 / seconds,
        processor: 100.0 * ticks as f64 / per_second as f64 / seconds,
        memory: agent.figure("VmRSS:")?,
        largest_memory: agent.figure("VmHWM:")?,
        threads: agent.figure("Threads:")?,
        open_files: fs::read_dir(format!("/proc/{}/fd", agent.pid()))?.count(),
    })
}

fn config_text(lab: &Lab, scheme: &str, replicas: u32) -> String {
    let port = if scheme == "https" { 443 } else { 80 };
    let interfaces: Vec<_> = lab.balancer_interfaces().map(|(name, _)| format!("{name:?}")).collect();
    let mut text = format!(
        "vip = \"{}\"\ninterfaces = [{}]\n[datapath]\nattach = \"tc\"\nmax_flows = 65536\n[agent]\nsocket = {:?}\nbpffs = \
         {:?}\n[[service]]\nname = \"{scheme}\"\nport = {port}\n[service.probe]\nscheme = \"{scheme}\"\ninterval = \"1s\"\n\
         timeout = \"1s\"\n",
        lab.vip(),
        interfaces.join(", "),
        lab.directory().join("dtr-lb.sock"),
        lab.bpffs().join("dtr-lb"),
    );
    for replica in 0..replicas {
        text.push_str(&format!("[[replica]]\naddress = \"10.78.{}.{}\"\n", replica / 250, replica % 250 + 1));
    }
    text
}

/// User and system time of a process (proc_pid_stat(5), fields 14 and 15), in ticks of the clock.
fn processor_ticks(pid: i32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in brackets, may hold anything.
    let (_, rest) = text.rsplit_once(')').context("no name")?;
    let fields: Vec<_> = rest.split_whitespace().collect();
    let number = |place: usize| {
        fields.get(place).context("too few fields")?.parse::<u64>().map_err(anyhow::Error::from)
    };
    Ok(number(11)? + number(12)?)
}

/// Connections that a namespace has taken since it was made.
fn connections(namespace: &Namespace) -> Result<u64> {
    let output = namespace.command("cat").arg("/proc/net/snmp").output().context("reading the counters")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (lines.next().context("no counters")?, lines.next().context("no counters")?);
    let mut pairs = names.split_whitespace().zip(values.split_whitespace());
    let (_, value) = pairs.find(|(name, _)| *name == "PassiveOpens").context("no PassiveOpens")?;
    Ok(value.parse()?)
}
