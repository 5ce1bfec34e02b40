//! The lab's own eBPF programs, attached: what stands for hardware and for devices that a lab's kernel may not have.

use std::{fmt, net::Ipv6Addr};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, EbpfLoader,
    maps::HashMap,
    programs::{LinkOrder, SchedClassifier, TcAttachType, Xdp, XdpMode, tc::TcAttachOptions},
};

use crate::lab::{Lab, Namespace, PassStub, Replica};

/// The programs of dtr-lb-lab-ebpf, as the build script left them.
static PROGRAMS: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lab-programs"));

/// The XDP program at the far ends of the balancer's cables.
pub fn pass_stub() -> PassStub {
    PassStub::new(|namespace, interface| Ok(Box::new(attach(namespace, interface, "lab_pass")?)))
}

/// What takes the outer header off packets to a replica, and counts where they came from. It stands in for the
/// replica's `ipip`, `ip6tnl` or `sit` device: not every kernel that the lab runs on has them. Attached until dropped.
pub struct Decapsulation {
    ebpf: Ebpf,
}

impl fmt::Debug for Decapsulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decapsulation")
    }
}

impl Decapsulation {
    /// Attaches it to a replica's interface.
    pub fn attach(replica: &Replica) -> Result<Self> {
        Ok(Self { ebpf: attach(replica.namespace(), "eth0", "lab_decap")? })
    }

    /// Attaches it to all replicas of a lab.
    pub fn everywhere(lab: &Lab) -> Result<Vec<Self>> {
        lab.replicas().iter().map(Self::attach).collect()
    }

    /// The sources of the outer headers (an IPv4 one mapped into IPv6), and how many packets each sent.
    pub fn sources(&self) -> Result<Vec<(Ipv6Addr, u64)>> {
        let map = self.ebpf.map("OUTER_SOURCES").context("no map `OUTER_SOURCES`")?;
        let map = HashMap::<_, [u8; 16], u64>::try_from(map)?;
        map.iter()
            .map(|entry| entry.map(|(source, count)| (source.into(), count)).map_err(Into::into))
            .collect()
    }
}

/// What makes an interface of a host one in a VLAN: its packets get tags, and lose them where they come in. It stands in for a VLAN
/// interface, which not every kernel that the lab runs on has. Attached until dropped.
pub struct Tagged(#[expect(dead_code, reason = "it holds the programs")] Ebpf);

impl fmt::Debug for Tagged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tagged")
    }
}

impl Tagged {
    /// Attaches it to an interface of a namespace. `tags` are the outer and the inner one, as they stand in a frame.
    pub fn attach(namespace: &Namespace, interface: &str, tags: [Option<[u8; 4]>; 2]) -> Result<Self> {
        let [outer, inner] = tags.map(|tag| tag.map_or(0, u32::from_be_bytes));
        namespace.run(|| -> Result<_> {
            let mut ebpf = EbpfLoader::new()
                .override_global("LAB_OUTER_TAG", &outer, true)
                .override_global("LAB_INNER_TAG", &inner, true)
                .load(PROGRAMS)?;
            attach_tc(&mut ebpf, interface, "lab_tag", TcAttachType::Egress)?;
            attach_tc(&mut ebpf, interface, "lab_untag", TcAttachType::Ingress)?;
            Ok(Self(ebpf))
        })?
    }
}

/// Sends every packet that comes by an interface of this thread's namespace back, if no program before it takes it. Attached
/// until dropped.
pub fn echo(interface: &str) -> Result<Ebpf> {
    let mut ebpf = EbpfLoader::new().load(PROGRAMS)?;
    attach_tc(&mut ebpf, interface, "lab_echo", TcAttachType::Ingress)?;
    Ok(ebpf)
}

fn attach_tc(ebpf: &mut Ebpf, interface: &str, name: &str, at: TcAttachType) -> Result<()> {
    let program: &mut SchedClassifier =
        ebpf.program_mut(name).with_context(|| format!("no program `{name}`"))?.try_into()?;
    program.load()?;
    program
        .attach_with_options(interface, at, TcAttachOptions::TcxOrder(LinkOrder::last()))
        .with_context(|| format!("attaching {name} to {interface}"))?;
    Ok(())
}

fn attach(namespace: &Namespace, interface: &str, name: &str) -> Result<Ebpf> {
    namespace.run(|| -> Result<_> {
        let mut ebpf = EbpfLoader::new().load(PROGRAMS)?;
        let program: &mut Xdp =
            ebpf.program_mut(name).with_context(|| format!("no program `{name}`"))?.try_into()?;
        program.load()?;
        program
            .attach(interface, XdpMode::Driver)
            .with_context(|| format!("attaching {name} to {interface} in {}", namespace.name()))?;
        Ok(ebpf)
    })?
}
