//! dtr-lb in the lab: the real binary, run in the balancer's namespace with a config of the test's making.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, Output},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use dtr_lb_agent::{
    datapath::Hook,
    status::{ReplicaStatus, Status},
};

use crate::lab::{Lab, Process, until};

/// What a test may want otherwise.
#[derive(Clone, Debug)]
pub struct BalancerOptions {
    pub hook: Hook,
    /// One `[[replica]]` of this host name, in place of one for each replica's address.
    pub host_name: Option<String>,
    /// Weights of the replicas in order; 100 where there is none.
    pub weights: Vec<u16>,
    /// `[[service]]` tables; without any the two default services.
    pub services: String,
    /// Probe settings are those of [`FAST_PROBES`] unless `services` has its own.
    pub sets: Vec<String>,
}

impl BalancerOptions {
    pub fn new(hook: Hook) -> Self {
        Self { hook, host_name: None, weights: Vec::new(), services: default_services(), sets: Vec::new() }
    }
}

/// Probes quick enough for a test: a dead replica is out after `fall` of them, [`DOWN_WITHIN`] at the latest.
pub const FAST_PROBES: &str = r#"
interval = "200ms"
fast_interval = "100ms"
timeout = "300ms"
rise = 2
fall = 3
"#;

/// By the config above a replica that fails is out after one interval (with its jitter, 220 ms) until the first bad probe
/// begins, and three probes that each take their time-out of 300 ms at most: 1.12 s. The rest is for a busy machine.
pub const DOWN_WITHIN: Duration = Duration::from_millis(2000);
/// One interval until the first good probe, one fast interval to the second: 330 ms.
pub const UP_WITHIN: Duration = Duration::from_millis(2000);

/// The two default services, with quick probes.
fn default_services() -> String {
    [service("http", 80, 80), service("https", 443, 443)].concat()
}

/// A service whose name is the scheme of its probe.
pub fn service(scheme: &str, port: u16, replica_port: u16) -> String {
    service_with(scheme, scheme, port, replica_port, "")
}

/// A service with more keys of its own, as lines of TOML.
pub fn service_with(name: &str, scheme: &str, port: u16, replica_port: u16, keys: &str) -> String {
    format!(
        "[[service]]\nname = \"{name}\"\nport = {port}\nreplica_port = {replica_port}\n{keys}\n[service.probe]\nscheme \
         = \"{scheme}\"\n{FAST_PROBES}\n"
    )
}

/// The two default services, each with these keys.
pub fn services_with(keys: &str) -> String {
    [service_with("http", "http", 80, 80, keys), service_with("https", "https", 443, 443, keys)].concat()
}

/// A running agent.
#[derive(Debug)]
pub struct Balancer {
    process: Process,
    config: PathBuf,
    /// What is put on top of the config for every command.
    sets: Vec<String>,
}

/// The `dtr-lb` that was built with this test or tool.
pub fn binary() -> Result<PathBuf> {
    let own = std::env::current_exe().context("finding this program's own path")?;
    let directory = own.parent().context("this program is in no directory")?;
    let beside =
        if directory.ends_with("deps") { directory.parent().unwrap_or(directory) } else { directory };
    let path = beside.join("dtr-lb");
    ensure!(path.exists(), "`{}` is missing: build it by `cargo build -p dtr-lb-agent`", path.display());
    Ok(path)
}

impl Balancer {
    /// Writes the config, starts the agent and waits until it forwards and every replica has been probed.
    pub fn start(lab: &Lab, options: &BalancerOptions) -> Result<Self> {
        let config = write_config(lab, options)?;
        let balancer = Self { process: Self::spawn(lab, &config, &options.sets)?, config, sets: Vec::new() };
        balancer.wait_until_serving(lab)?;
        Ok(balancer)
    }

    /// The same with a config that is there already, but for what is the lab's: its hook, and where the agent's own files are.
    pub fn start_with(lab: &Lab, config: &str, hook: Hook) -> Result<Self> {
        let path = lab.directory().join("dtr-lb.toml");
        fs::write(&path, config).with_context(|| format!("writing `{}`", path.display()))?;
        let sets = [
            format!("datapath.attach={}", attach(hook)),
            "datapath.max_flows=65536".to_owned(),
            format!("agent.socket={}", lab.directory().join("dtr-lb.sock").display()),
            format!("agent.bpffs={}", lab.bpffs().join("dtr-lb").display()),
        ];
        let balancer = Self { process: Self::spawn(lab, &path, &sets)?, config: path, sets: sets.to_vec() };
        balancer.wait_until_serving(lab)?;
        Ok(balancer)
    }

    /// Starts the agent without a config file, with these arguments. Commands find it by the file that it does not read.
    pub fn start_without_file(lab: &Lab, options: &BalancerOptions, arguments: &[String]) -> Result<Self> {
        let config = write_config(lab, options)?;
        let mut command =
            lab.balancer().command(binary()?.to_str().context("the binary's path is not text")?);
        command.arg("run").args(arguments).env("RUST_LOG", "info");
        let balancer = Self { process: lab.spawn("dtr-lb", command)?, config, sets: Vec::new() };
        balancer.wait_until_serving(lab)?;
        Ok(balancer)
    }

    /// Starts the agent again, with the same config.
    pub fn start_again(&mut self, lab: &Lab) -> Result<()> {
        self.start_again_with(lab, &[])
    }

    /// The same, with keys that are put on top of the config.
    pub fn start_again_with(&mut self, lab: &Lab, sets: &[String]) -> Result<()> {
        self.process = Self::spawn(lab, &self.config, sets)?;
        self.wait_until_serving(lab)
    }

    fn spawn(lab: &Lab, config: &std::path::Path, sets: &[String]) -> Result<Process> {
        let mut command =
            lab.balancer().command(binary()?.to_str().context("the binary's path is not text")?);
        command.args(["run", "--config"]).arg(config).env("RUST_LOG", "info");
        for set in sets {
            command.args(["--set", set]);
        }
        Ok(lab.spawn("dtr-lb", command)?)
    }

    fn wait_until_serving(&self, lab: &Lab) -> Result<()> {
        let mut last = None;
        let serving = until(Duration::from_secs(10), || {
            last = Some(self.status(lab));
            let replicas_known = |status: &Status| {
                status
                    .services
                    .iter()
                    .flat_map(|service| &service.replicas)
                    .all(|replica| replica.last_probe.is_some())
            };
            matches!(&last, Some(Ok(status)) if !status.datapath.attach.is_empty() && replicas_known(status))
                || !self.process.is_running()
        });
        ensure!(
            serving && self.process.is_running(),
            "the agent does not serve: {last:?}; its log:\n{}",
            self.process.log_tail(30)
        );
        Ok(())
    }

    pub fn process(&self) -> &Process {
        &self.process
    }

    /// What the config file says.
    pub fn config_text(&self) -> Result<String> {
        fs::read_to_string(&self.config).with_context(|| format!("reading `{}`", self.config.display()))
    }

    /// Makes the config file say something else. The agent reads it when it is told to.
    pub fn write_config_text(&self, text: &str) -> Result<()> {
        fs::write(&self.config, text).with_context(|| format!("writing `{}`", self.config.display()))
    }

    /// A `dtr-lb` command in the balancer's namespace with this agent's config.
    pub fn command(&self, lab: &Lab, arguments: &[&str]) -> Result<Output> {
        let mut command = self.prepared(lab)?;
        command.args(arguments).output().context("running dtr-lb")
    }

    /// The same, and lets it run. What it says goes to its log, both streams.
    pub fn spawn_command(&self, lab: &Lab, name: &str, arguments: &[&str]) -> Result<Process> {
        let mut command = self.prepared(lab)?;
        command.args(arguments);
        Ok(lab.spawn(name, command)?)
    }

    fn prepared(&self, lab: &Lab) -> Result<Command> {
        let mut command =
            lab.balancer().command(binary()?.to_str().context("the binary's path is not text")?);
        command.arg("--config").arg(&self.config);
        for set in &self.sets {
            command.args(["--set", set]);
        }
        Ok(command)
    }

    /// What `dtr-lb status --json` says.
    pub fn status(&self, lab: &Lab) -> Result<Status> {
        let output = self.command(lab, &["status", "--json"])?;
        if !output.status.success() {
            bail!("dtr-lb status: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        serde_json::from_slice(&output.stdout).context("reading the status")
    }

    /// The replica of a service in the status.
    pub fn replica(&self, lab: &Lab, service: &str, replica: &str) -> Result<ReplicaStatus> {
        let status = self.status(lab)?;
        let services = status.services.into_iter().filter(|found| found.name == service);
        let mut replicas = services.flat_map(|found| found.replicas);
        replicas
            .find(|found| found.name == replica)
            .with_context(|| format!("no replica `{replica}` of service `{service}` in the status"))
    }

    /// Waits until a replica is in `state` for every service; returns how long that took.
    pub fn wait_for_state(&self, lab: &Lab, replica: &str, state: &str, limit: Duration) -> Result<Duration> {
        let begun = Instant::now();
        let mut seen = Vec::new();
        let reached = until(limit, || {
            let Ok(status) = self.status(lab) else { return false };
            let replicas = status.services.iter().flat_map(|service| &service.replicas);
            seen = replicas.filter(|found| found.name == replica).map(|found| found.state.clone()).collect();
            !seen.is_empty() && seen.iter().all(|found| found == state)
        });
        ensure!(reached, "replica {replica} is not {state} within {limit:?}: {seen:?}");
        Ok(begun.elapsed())
    }

    /// Lines of the agent's log that contain all of `words`.
    pub fn log_lines(&self, words: &[&str]) -> Result<Vec<String>> {
        let log = fs::File::open(self.process.log()).context("opening the agent's log")?;
        let lines = BufReader::new(log).lines().collect::<Result<Vec<_>, _>>().context("reading the log")?;
        Ok(lines.into_iter().filter(|line| words.iter().all(|word| line.contains(word))).collect())
    }

    /// Removes the datapath, which ends with no agent.
    pub fn detach(&self, lab: &Lab) -> Result<()> {
        let output = self.command(lab, &["detach"])?;
        ensure!(output.status.success(), "dtr-lb detach: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

/// The word of the config for a hook.
pub fn attach(hook: Hook) -> &'static str {
    match hook {
        Hook::NativeXdp => "xdp",
        Hook::GenericXdp => "xdp-generic",
        Hook::Tc => "tc",
    }
}

/// Writes the config file of a lab's balancer.
pub fn write_config(lab: &Lab, options: &BalancerOptions) -> Result<PathBuf> {
    let attach = attach(options.hook);
    let interfaces: Vec<_> = lab.balancer_interfaces().map(|(name, _)| format!("{name:?}")).collect();
    let vips: Vec<_> = lab.vips().iter().map(|vip| format!("\"{vip}\"")).collect();
    let vip = if let [vip] = vips.as_slice() { vip.clone() } else { format!("[{}]", vips.join(", ")) };
    let mut text = format!(
        "vip = {}\ninterfaces = [{}]\nhost = {:?}\n[datapath]\nattach = \"{attach}\"\nmax_flows = 65536\n[agent]\n\
         socket = {:?}\nbpffs = {:?}\n{}\n",
        vip,
        interfaces.join(", "),
        crate::lab::SERVICE_NAME,
        lab.directory().join("dtr-lb.sock"),
        lab.bpffs().join("dtr-lb"),
        options.services,
    );
    if let Some(name) = &options.host_name {
        text.push_str(&format!("[[replica]]\naddress = \"{name}\"\n"));
    }
    let replicas = if options.host_name.is_some() { &[] } else { lab.replicas() };
    for (place, replica) in replicas.iter().enumerate() {
        let weight = options.weights.get(place).copied().unwrap_or(100);
        text.push_str(&format!(
            "[[replica]]\nname = {:?}\naddress = \"{}\"\nweight = {weight}\n",
            replica.name(),
            replica.address()
        ));
    }
    let path = lab.directory().join("dtr-lb.toml");
    fs::write(&path, text).with_context(|| format!("writing `{}`", path.display()))?;
    Ok(path)
}
