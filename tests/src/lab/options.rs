//! What a lab is to be like.

use std::{any::Any, fmt};

use super::{
    namespace::Namespace,
    replica::ReplicaOptions,
    topology::{Families, Router, Topology},
};

/// 16 MiB: at a few MiB a second a download of some seconds.
const BIG_BYTES: u64 = 16 << 20;
/// That of Ethernet, in bytes.
const MTU: u32 = 1500;

/// What a lab is to be like.
#[derive(Debug)]
pub struct LabOptions {
    /// How the balancer is connected.
    pub topology: Topology,
    /// Which families the addresses are of.
    pub families: Families,
    /// The number of VIPs of each family.
    pub vips: usize,
    /// A router between the clients and the balancer's segment.
    pub router: Option<Router>,
    /// A router between the balancer's segment and the replicas.
    pub replica_router: Option<Router>,
    /// Replicas answer clients directly: they hold the VIPs and say so to nobody, and have a way to the clients.
    pub direct: bool,
    /// Whoever sends to the balancer leaves the checksum to a device, and large packets to be cut by it, and so they reach the
    /// balancer; its own device does neither. Not for XDP, which no device hands such packets to.
    pub sums_by_device: bool,
    /// The MTU of every link, in bytes.
    pub mtu: u32,
    /// The queues of each interface, as a network card has one for each processor: a veth has one, of 256 frames under XDP, and is
    /// emptied by one processor then.
    pub queues: usize,
    /// The number of clients, each with an address of its own.
    pub clients: usize,
    /// One entry for each replica.
    pub replicas: Vec<ReplicaOptions>,
    /// The size of the file at `/big`, in bytes.
    pub big_bytes: u64,
    /// Attaches the XDP program that the far ends of the balancer's cables need; see [`PassStub`]. `None` does for
    /// a balancer that sends nothing from XDP.
    pub pass_stub: Option<PassStub>,
}

impl LabOptions {
    /// One client, one VIP and this many replicas with a registry, on the usual ports; IPv4, no router, no stub.
    pub fn new(topology: Topology, replicas: usize) -> Self {
        Self {
            topology,
            families: Families::default(),
            vips: 1,
            router: None,
            replica_router: None,
            direct: false,
            sums_by_device: false,
            mtu: MTU,
            queues: 1,
            clients: 1,
            replicas: vec![ReplicaOptions::default(); replicas],
            big_bytes: BIG_BYTES,
            pass_stub: None,
        }
    }

    /// The same, with replicas that have no registry: for everything but pushing and pulling.
    #[must_use]
    pub fn without_registry(mut self) -> Self {
        for replica in &mut self.replicas {
            replica.registry = false;
        }
        self
    }

    /// The same, with addresses of these families.
    #[must_use]
    pub fn with_families(mut self, families: Families) -> Self {
        self.families = families;
        self
    }

    /// The same, with this stub.
    #[must_use]
    pub fn with_pass_stub(mut self, stub: PassStub) -> Self {
        self.pass_stub = Some(stub);
        self
    }
}

type Attach = dyn Fn(&Namespace, &str) -> anyhow::Result<Box<dyn Any + Send>>;

/// Attaches an XDP program that returns `XDP_PASS` to a switch's port. A veth delivers what the balancer sends by
/// `XDP_TX` or a redirect only if there is a program at the cable's other end.
///
/// The lab loads no BPF itself: whoever makes it has the objects and the means.
pub struct PassStub(Box<Attach>);

impl PassStub {
    /// `attach` is called with the switch's namespace and the port's name, once for each of the balancer's
    /// interfaces. It has to enter the namespace itself ([`Namespace::run`]). What it returns keeps the program
    /// attached; the lab drops it at its end.
    pub fn new(attach: impl Fn(&Namespace, &str) -> anyhow::Result<Box<dyn Any + Send>> + 'static) -> Self {
        Self(Box::new(attach))
    }

    /// Attaches it to any port, for as long as what it returns lives.
    pub fn attach(&self, switch: &Namespace, port: &str) -> anyhow::Result<Box<dyn Any + Send>> {
        (self.0)(switch, port)
    }
}

impl fmt::Debug for PassStub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PassStub")
    }
}
