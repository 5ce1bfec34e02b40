//! The lab: a test bed of network namespaces. Clients, a switch, a place for the balancer, and replicas that are
//! real nginx in front of real docker-registry. The scenarios and `cargo xtask run` are built on it.
//!
//! - Namespaces are called `dlb-<id>-client`, `-lb`, `-sw`, `-r1`, …; many labs can exist at once.
//! - The lab starts no balancer: it gives the namespace `lb` its interfaces and the VIP, and whoever made the lab
//!   starts one there, with [`Lab::spawn`] and the private bpffs at [`Lab::bpffs`].
//! - Dropping a [`Lab`] ends every process it started and leaves nothing behind, also after a panic. What a
//!   killed owner left is removed by [`Lab::sweep_stale`].
//!
//! It needs root, and the programs that [`missing_requirements`] looks for.

mod access_log;
mod build;
mod capture;
mod certificate;
mod client;
mod command;
mod directory;
mod error;
mod flood;
mod frame;
mod image;
mod load;
mod namespace;
mod options;
pub mod packet_socket;
mod ping;
mod plan;
mod prepare;
mod process;
mod random;
mod raw;
mod replica;
mod server;
mod server_config;
mod sweep;
mod topology;
mod wait;

use std::{
    any::Any,
    fmt, fs,
    net::IpAddr,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

pub use self::{
    access_log::{AccessLine, Requests},
    capture::{Capture, Caught},
    client::{Client, CurlOutcome, PeerCertificate},
    command::{PROGRAMS, missing_program, missing_requirements},
    error::Error,
    flood::{Flood, FloodReport},
    frame::{Frame, Message, Segment},
    image::Image,
    load::{BackgroundLoad, Request, Tally, whoami},
    namespace::Namespace,
    options::{LabOptions, PassStub},
    process::Process,
    raw::RawSocket,
    replica::{Replica, ReplicaOptions},
    server::{Server, serve, serve_banner},
    topology::{Cidr, Families, Router, SERVICE_NAME, Topology, literal},
    wait::until,
};
use self::{directory::Directory, plan::Plan, process::Processes};

/// The switch: the namespace that every cable leads to.
const SWITCH: &str = "sw";
/// Lines of each log that a failed test shows.
const LOG_LINES: usize = 10;

/// A running lab. Drop it to remove it.
pub struct Lab {
    directory: Directory,
    topology: Topology,
    families: Families,
    plan: Plan,
    namespaces: Vec<(String, Namespace)>,
    clients: Vec<Client>,
    replicas: Vec<Replica>,
    processes: Processes,
    /// What keeps the XDP stubs attached.
    stubs: Vec<Box<dyn Any + Send>>,
}

impl fmt::Debug for Lab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { directory, topology, replicas, .. } = self;
        f.debug_struct("Lab")
            .field("directory", directory)
            .field("topology", topology)
            .field("replicas", replicas)
            .finish_non_exhaustive()
    }
}

impl Lab {
    /// Makes a lab, and returns when its replicas serve. On an error nothing is left behind.
    pub fn create(options: LabOptions) -> Result<Self, Error> {
        let plan = Plan::try_new(&options)?;
        let LabOptions { topology, families, replicas, big_bytes, pass_stub, sums_by_device, .. } = options;
        let directory = Directory::create()?;
        let namespaces = plan
            .hosts()
            .map(|host| host.name.as_str())
            .chain([SWITCH])
            .map(|name| (name.to_owned(), Namespace::new(name_of(directory.id(), name))))
            .collect();
        // From here on dropping it cleans up, whatever fails.
        let mut lab = Self {
            directory,
            topology,
            families,
            plan,
            namespaces,
            clients: Vec::new(),
            replicas: Vec::new(),
            processes: Processes::default(),
            stubs: Vec::new(),
        };
        lab.connect()?;
        lab.face_balancer(pass_stub.as_ref(), sums_by_device)?;
        lab.populate(replicas, big_bytes)?;
        Ok(lab)
    }

    /// Removes the labs whose owner no longer lives: after a `kill -9`, say. Returns their ids.
    pub fn sweep_stale() -> Result<Vec<String>, Error> {
        sweep::sweep_stale()
    }

    /// The part of its names that tells it from other labs.
    pub fn id(&self) -> &str {
        self.directory.id()
    }

    /// The file that every replica serves as `/big`.
    pub fn big_file(&self) -> PathBuf {
        self.path("content").join("big")
    }

    /// A client that sits where the balancer does, and so reaches replicas directly in every topology.
    pub fn balancer_client(&self) -> Client {
        self.client_in(self.balancer())
    }

    /// A client in any namespace of the lab: a replica that is a client itself, say. [`Client::address`] is not its
    /// own.
    pub fn client_in(&self, namespace: &Namespace) -> Client {
        Client { namespace: namespace.clone(), ..self.clients[0].clone() }
    }

    /// Its directory; anything put there is removed with it.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Its own bpffs. Processes in its namespaces see it at the same path.
    pub fn bpffs(&self) -> PathBuf {
        self.directory.bpffs()
    }

    /// How the balancer is connected.
    pub fn topology(&self) -> Topology {
        self.topology
    }

    /// The service's first address. The balancer's `eth0` has it.
    pub fn vip(&self) -> IpAddr {
        self.plan.vips[0]
    }

    /// All addresses of services: those of the first VIP in each family, then those of the next.
    pub fn vips(&self) -> &[IpAddr] {
        &self.plan.vips
    }

    /// Which families the addresses are of.
    pub fn families(&self) -> Families {
        self.families
    }

    /// The balancer's own addresses, those of each interface in turn: `eth0`, and `eth1` with two arms. The VIPs
    /// are among them.
    pub fn balancer_interfaces(&self) -> impl Iterator<Item = (&str, &[Cidr])> {
        self.plan.balancer.cables.iter().map(|cable| (cable.interface.as_str(), cable.addresses.as_slice()))
    }

    /// The namespace for the balancer.
    pub fn balancer(&self) -> &Namespace {
        self.namespace(&self.plan.balancer.name)
    }

    /// The first client.
    pub fn client(&self) -> &Client {
        &self.clients[0]
    }

    /// All clients.
    pub fn clients(&self) -> &[Client] {
        &self.clients
    }

    /// All replicas, `r1` first.
    pub fn replicas(&self) -> &[Replica] {
        &self.replicas
    }

    /// The replica of this name.
    pub fn replica(&self, name: &str) -> Option<&Replica> {
        self.replicas.iter().find(|replica| replica.name() == name)
    }

    /// All namespaces with their short names: `client`, `router`, `lb`, `r1`, …, `sw`.
    pub fn namespaces(&self) -> impl Iterator<Item = (&str, &Namespace)> {
        self.namespaces.iter().map(|(name, namespace)| (name.as_str(), namespace))
    }

    /// The namespace of this short name.
    ///
    /// # Panics
    /// If there is none. For a name that a person typed, look in [`namespaces`](Self::namespaces).
    pub fn namespace(&self, name: &str) -> &Namespace {
        match self.namespaces().find(|(candidate, _)| *candidate == name) {
            Some((_, namespace)) => namespace,
            None => panic!("this lab has no namespace {name:?}"),
        }
    }

    /// Cuts a host off, by its short name, as [`Replica::cut`] does: nobody hears of it, and its sockets stay.
    ///
    /// # Panics
    /// If there is no such host.
    pub fn cut(&self, name: &str) -> Result<(), Error> {
        self.ports_of(name).try_for_each(|port| self.namespace(SWITCH).link_down(port))
    }

    /// Connects it again.
    ///
    /// # Panics
    /// If there is no such host.
    pub fn join(&self, name: &str) -> Result<(), Error> {
        self.ports_of(name).try_for_each(|port| self.namespace(SWITCH).link_up(port))
    }

    /// The switch's ports that a host's cables lead to.
    fn ports_of(&self, name: &str) -> impl Iterator<Item = &str> {
        match self.plan.hosts().find(|host| host.name == name) {
            Some(host) => host.cables.iter().map(|cable| cable.switch_port.as_str()),
            None => panic!("this lab has no host {name:?}"),
        }
    }

    /// Starts a command, usually from [`Namespace::command`], that runs until it ends, is stopped, or the lab is
    /// dropped. Its output goes to `<name>.log` in the lab's directory; a name may be used again.
    ///
    /// The process begins as `ip`, which becomes the program within a millisecond or so: send no signal before
    /// the program has shown that it is there.
    pub fn spawn(&self, name: &str, command: Command) -> Result<Process, Error> {
        self.processes.spawn(name, command, &process::log_file(&self.directory.logs(), name))
    }

    /// Writes an image into the lab's directory: a layer for each of `layers`, of so many bytes.
    pub fn image(&self, name: &str, seed: u64, layers: &[u64]) -> Result<Image, Error> {
        Image::write(&self.path("images").join(name), seed, layers)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The ends of all logs, for the person who reads a failed test: the files are about to be removed.
    fn show_logs(&self) {
        let mut logs: Vec<_> = fs::read_dir(self.directory.logs())
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        logs.sort();
        for log in logs.iter().filter(|log| fs::metadata(log).is_ok_and(|file| file.len() > 0)) {
            eprintln!(
                "--- lab {}: the end of {}\n{}",
                self.id(),
                log.display(),
                process::log_tail(log, LOG_LINES)
            );
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if thread::panicking() {
            self.show_logs();
        }
        let mut errors = self.processes.end_all();
        self.stubs.clear();
        let namespaces: Vec<_> = self.namespaces.drain(..).map(|(_, namespace)| namespace).collect();
        errors.extend(sweep::remove(self.directory.id(), &namespaces));
        for error in errors {
            eprintln!("lab {}: cleaning up: {error}", self.directory.id());
        }
    }
}

/// A namespace's whole name.
fn name_of(id: &str, short: &str) -> String {
    format!("{}{id}-{short}", directory::PREFIX)
}
