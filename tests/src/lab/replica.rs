//! One replica: what DTR is to a load balancer, made of real nginx and real docker-registry in a namespace of
//! its own. It answers
//!
//! - `/health`: 200 `{"Error":"","Healthy":true}`, or 503 while it is sick;
//! - `/whoami`: its name, as plain text;
//! - `/upload/<name>`: takes a file by PUT;
//! - `/big`: a large file; `/slow/big`: the same at 2 MB/s, or as `?rate=256k` says;
//! - anything else (`/v2/…`): the registry.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use super::{
    access_log::{AccessLine, Requests},
    certificate::CertificateFiles,
    error::Error,
    namespace::Namespace,
    process::{self, Process, Processes},
    server_config::{self, NginxConfig},
    wait,
};

/// How long a replica may take to accept connections. It takes a tenth of a second on an idle machine.
const READY_LIMIT: Duration = Duration::from_secs(15);
const CONNECT_LIMIT: Duration = Duration::from_secs(1);

/// What can differ between the replicas of a lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaOptions {
    /// The port for plain HTTP.
    pub http_port: u16,
    /// The port for HTTPS.
    pub https_port: u16,
    /// Whether there is a docker-registry behind nginx. Without, the lab starts faster.
    pub registry: bool,
}

impl Default for ReplicaOptions {
    fn default() -> Self {
        Self { http_port: 80, https_port: 443, registry: true }
    }
}

/// What a replica gets from its lab.
pub(super) struct Place {
    pub(super) name: String,
    /// The first is the one that the balancer uses.
    pub(super) addresses: Vec<IpAddr>,
    pub(super) namespace: Namespace,
    pub(super) switch: Namespace,
    pub(super) switch_port: String,
    /// The replica's own directory, which exists.
    pub(super) directory: PathBuf,
    /// Shared by all replicas.
    pub(super) content: PathBuf,
    /// Shared by all replicas.
    pub(super) storage: PathBuf,
    pub(super) logs: PathBuf,
    pub(super) processes: Processes,
}

/// One replica of the lab. All methods take `&self` and may be called from any thread.
pub struct Replica {
    place: Place,
    options: ReplicaOptions,
    servers: Mutex<Vec<Process>>,
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { place, options, servers } = self;
        f.debug_struct("Replica")
            .field("name", &place.name)
            .field("addresses", &place.addresses)
            .field("options", options)
            .field("servers", servers)
            .finish_non_exhaustive()
    }
}

impl Replica {
    /// Writes the servers' configurations. Nothing is started yet.
    pub(super) fn create(
        place: Place,
        options: ReplicaOptions,
        certificate: &CertificateFiles,
    ) -> Result<Self, Error> {
        let replica = Self { place, options, servers: Mutex::default() };
        let Place { name, addresses, directory, content, storage, .. } = &replica.place;
        let temporary = directory.join("tmp");
        fs::create_dir(&temporary).map_err(Error::file("create the directory", temporary))?;
        let uploads = directory.join("upload");
        fs::create_dir(&uploads).map_err(Error::file("create the directory", uploads))?;
        let nginx = NginxConfig {
            name,
            directory,
            content,
            certificate,
            http_port: replica.options.http_port,
            https_port: replica.options.https_port,
            registry: replica.options.registry,
            listen_v6: addresses.iter().any(IpAddr::is_ipv6),
            sick: &replica.sick_file(),
            access_log: &replica.access_log_file(),
        };
        write(&replica.nginx_file(), &nginx.render())?;
        write(&replica.registry_file(), &server_config::registry(storage))?;
        Ok(replica)
    }

    /// Its name: `r1`, `r2`, …
    pub fn name(&self) -> &str {
        &self.place.name
    }

    /// Its first address on the replicas' segment.
    pub fn address(&self) -> IpAddr {
        self.place.addresses[0]
    }

    /// All its addresses there; one of each family at most.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.place.addresses
    }

    /// Its ports, and whether it has a registry.
    pub fn options(&self) -> &ReplicaOptions {
        &self.options
    }

    /// Its address and HTTP port.
    pub fn http(&self) -> SocketAddr {
        (self.address(), self.options.http_port).into()
    }

    /// Its address and HTTPS port.
    pub fn https(&self) -> SocketAddr {
        (self.address(), self.options.https_port).into()
    }

    /// Its namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.place.namespace
    }

    /// Makes `/health` answer 503; everything else still works. The next request sees it.
    pub fn sicken(&self) -> Result<(), Error> {
        write(&self.sick_file(), "")
    }

    /// Makes `/health` answer 200 again.
    pub fn heal(&self) -> Result<(), Error> {
        match fs::remove_file(self.sick_file()) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(Error::File { doing: "remove", path: self.sick_file(), source })
            }
            _ => Ok(()),
        }
    }

    /// Starts its servers and waits until they accept connections. Does nothing to those that already run.
    pub fn start(&self) -> Result<(), Error> {
        self.launch()?;
        self.wait_ready()
    }

    /// Kills its servers, as a crash does (SIGKILL to nginx's master and worker, and to the registry). The host
    /// stays: it refuses connections, and the kernel resets those that were open.
    pub fn kill(&self) -> Result<(), Error> {
        let servers = std::mem::take(&mut *self.servers());
        servers.iter().try_for_each(|server| server.kill().map(drop))
    }

    /// Kills its servers and starts them again.
    pub fn restart(&self) -> Result<(), Error> {
        self.kill()?;
        self.start()
    }

    /// Stops its servers in their tracks (SIGSTOP): the host still accepts connections, and nobody answers.
    pub fn freeze(&self) -> Result<(), Error> {
        self.servers().iter().try_for_each(|server| server.signal_group(Signal::SIGSTOP))
    }

    /// Lets frozen servers go on where they were.
    pub fn thaw(&self) -> Result<(), Error> {
        self.servers().iter().try_for_each(|server| server.signal_group(Signal::SIGCONT))
    }

    /// Cuts it off: the switch's port goes down. The servers run on, and nobody gets an answer, not even a reset.
    pub fn cut(&self) -> Result<(), Error> {
        self.place.switch.link_down(&self.place.switch_port)
    }

    /// Connects it again after [`cut`](Self::cut).
    pub fn join(&self) -> Result<(), Error> {
        self.place.switch.link_up(&self.place.switch_port)
    }

    /// Whether its servers run. A frozen or a cut-off one does.
    pub fn is_running(&self) -> bool {
        let servers = self.servers();
        !servers.is_empty() && servers.iter().all(Process::is_running)
    }

    /// The requests it finished since the lab began, oldest first; those still under way are not among them.
    pub fn access_log(&self) -> Result<Vec<AccessLine>, Error> {
        let path = self.access_log_file();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(Error::File { doing: "read", path, source }),
        };
        // A line that nginx is writing at this moment has no end yet.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let what = || format!("the access log of {}", self.place.name);
        whole
            .lines()
            .map(|line| {
                line.parse().map_err(|why| Error::Unreadable { what: what(), why, text: line.to_owned() })
            })
            .collect()
    }

    /// Those requests counted by status, health probes apart from all others.
    pub fn requests(&self) -> Result<Requests, Error> {
        Ok(self.access_log()?.iter().collect())
    }

    /// What was put to `/upload/<name>`, if that request is finished.
    pub fn uploaded(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = self.place.directory.join("upload").join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::File { doing: "read", path, source }),
        }
    }

    /// Waits until its servers accept connections, asked from within its own namespace.
    pub(super) fn wait_ready(&self) -> Result<(), Error> {
        let ports = [self.options.http_port, self.options.https_port];
        let mut addresses: Vec<SocketAddr> =
            self.addresses().iter().flat_map(|&address| ports.map(|port| (address, port).into())).collect();
        if self.options.registry {
            addresses.extend(server_config::REGISTRY_ADDRESS.parse::<SocketAddr>());
        }
        let started = Instant::now();
        let mut why = "it was not asked".to_owned();
        let ready = self.place.namespace.run(|| {
            wait::until(READY_LIMIT, || {
                why = match self.obstacle(&addresses) {
                    None => return true,
                    Some(obstacle) => obstacle,
                };
                // Waiting on for a server that has ended would only hide why.
                !self.is_running()
            })
        })?;
        if ready && self.is_running() {
            return Ok(());
        }
        let log_tail = self.servers().iter().map(|server| server.log_tail(10)).collect::<Vec<_>>().join("\n");
        Err(Error::NotReady { what: self.place.name.clone(), waited: started.elapsed(), why, log_tail })
    }

    /// Starts those of its servers that do not run, without waiting for them.
    pub(super) fn launch(&self) -> Result<(), Error> {
        let mut servers = self.servers();
        servers.retain(Process::is_running);
        let runs = |servers: &[Process], name: &str| servers.iter().any(|server| server.name() == name);
        let registry = format!("{}-registry", self.place.name);
        if self.options.registry && !runs(&servers, &registry) {
            let mut command = self.place.namespace.command("docker-registry");
            command.arg("serve").arg(self.registry_file());
            servers.push(self.spawn(&registry, command)?);
        }
        let nginx = format!("{}-nginx", self.place.name);
        if !runs(&servers, &nginx) {
            let mut command = self.place.namespace.command("nginx");
            command.arg("-p").arg(&self.place.directory).args(["-e", "stderr", "-c"]).arg(self.nginx_file());
            servers.push(self.spawn(&nginx, command)?);
        }
        Ok(())
    }

    fn spawn(&self, name: &str, command: std::process::Command) -> Result<Process, Error> {
        self.place.processes.spawn(name, command, &process::log_file(&self.place.logs, name))
    }

    /// The first reason why it does not serve, if there is one.
    fn obstacle(&self, addresses: &[SocketAddr]) -> Option<String> {
        if let Some(ended) = self.servers().iter().find(|server| !server.is_running()) {
            return Some(format!("{} has ended", ended.name()));
        }
        addresses.iter().find_map(|address| {
            let refused = TcpStream::connect_timeout(address, CONNECT_LIMIT).err()?;
            Some(format!("connecting to {address}: {refused}"))
        })
    }

    fn servers(&self) -> std::sync::MutexGuard<'_, Vec<Process>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sick_file(&self) -> PathBuf {
        self.place.directory.join("sick")
    }

    fn access_log_file(&self) -> PathBuf {
        self.place.directory.join("access.log")
    }

    fn nginx_file(&self) -> PathBuf {
        self.place.directory.join("nginx.conf")
    }

    fn registry_file(&self) -> PathBuf {
        self.place.directory.join("registry.yml")
    }
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(Error::file("write", path))
}
