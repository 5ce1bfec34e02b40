//! Interfaces and their drivers: whether native XDP would be refused, and what for.
//!
//! A driver tells why only when a program is attached, some only in the kernel's log. So what is known of the drivers from
//! the kernel's sources stands here, each with the function that refuses; `gather` finds out how the interface is set.

mod gather;

use super::finding::Findings;
use crate::config::Attach;

pub(super) use gather::gather;

/// An interface of the config as it is set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) name: String,
    /// Bytes.
    pub(super) mtu: u32,
    pub(super) kind: Kind,
    /// The module's name; `None` for what has no hardware, or where it is not known.
    pub(super) driver: Option<String>,
    /// What it is a member of: the interface's name if it is known, and what that is.
    pub(super) member_of: Option<(String, Group)>,
    /// `rx-lro`: received segments are put together by the device or driver; `None` if that is not known.
    pub(super) lro: Option<bool>,
    /// `rx-gro-hw`.
    pub(super) gro_hw: Option<bool>,
    /// `rx-gro`.
    pub(super) gro: Option<bool>,
    pub(super) channels: Option<Channels>,
    /// What a virtio device and its driver have agreed upon, a bit a feature.
    pub(super) virtio: Option<u64>,
    /// Names of the VLAN interfaces that it carries, and whether it takes the tag out of what it receives.
    pub(super) vlans: Vec<String>,
    pub(super) takes_tags: Option<bool>,
    /// Virtual functions that are on.
    pub(super) virtual_functions: u32,
    pub(super) processors: u32,
    /// Major and minor of the running kernel.
    pub(super) kernel: (u32, u32),
}

/// What an interface is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Kind {
    /// Hardware, or not known.
    #[default]
    Device,
    Veth,
    /// `lo`.
    Loopback,
    /// Whether its mode, and its transmit hash policy, are of those that take XDP programs; and its mode by name.
    Bond {
        takes_xdp: bool,
        mode: String,
    },
    /// One that never has native XDP: `bridge`, `vlan`, `macvlan` ...
    Stacked(&'static str),
}

/// The kind of a VLAN interface.
pub(super) const VLAN: &str = "VLAN interface";

/// What has members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    Bond,
    Bridge,
    Team,
    Other,
}

/// Queues with interrupts of their own, as `ethtool -l` has them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Channels {
    /// For both directions: how many there are, and how many there may be.
    pub(super) combined: (u32, u32),
    pub(super) rx: (u32, u32),
    pub(super) tx: (u32, u32),
}

/// Why native XDP is refused, or slower than it could be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Obstacle {
    pub(super) why: String,
    pub(super) remedy: String,
    /// It works, but slower.
    pub(super) only_slow: bool,
}

/// Of `drivers/net` in the kernel: hardware that is met with and has no `ndo_bpf`.
const WITHOUT_XDP: &[&str] = &[
    "8139cp", "8139too", "be2net", "bnx2x", "e100", "e1000", "e1000e", "enic", "igbvf", "pcnet32", "r8169",
    "sky2", "tg3",
];

/// `ENA_XDP_MAX_MTU` in amazon/ena/ena_xdp.h: a page less Ethernet and VLAN headers, FCS, headroom and skb_shared_info.
const ENA_MTU: u32 = 3498;
/// `gve_verify_xdp_configuration` in google/gve/gve_main.c: a buffer of 2 KiB less Ethernet header and, in one of its queue
/// formats, 2 bytes more (`GVE_RX_PAD`).
const GVE_MTU: u32 = 2048 - 14 - 2;
/// `ixgbe_xdp_setup` in intel/ixgbe/ixgbe_main.c: a buffer of 3 KiB less Ethernet and VLAN headers and FCS.
const IXGBE_MTU: u32 = 3072 - 22;
/// `i40e_xdp_setup` and `ice_max_xdp_frame_size`: the same, less two VLAN headers, where a frame has to fit in one buffer.
const I40E_MTU: u32 = 3072 - 26;
/// `virtnet_xdp_set` in virtio_net.c: a page less headroom, headers and skb_shared_info, where a frame has to fit in it.
const VIRTIO_MTU: u32 = 3506;

/// Bits of the features of a virtio network device (virtio 1.2 section 5.1.3).
mod virtio {
    pub(super) const CTRL_GUEST_OFFLOADS: u32 = 2;
    /// GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, GUEST_ECN, GUEST_UFO, GUEST_USO4, GUEST_USO6.
    pub(super) const GUEST_OFFLOADS: [u32; 7] = [1, 7, 8, 9, 10, 54, 55];
}

impl Device {
    /// What is in the way of native XDP, as far as it is known.
    pub(super) fn obstacles(&self) -> Vec<Obstacle> {
        let mut found = Vec::new();
        match &self.kind {
            Kind::Stacked(kind) => found.push(refused(
                format!("it is a {kind}, which has no native XDP"),
                if *kind == VLAN {
                    "let `interfaces` name the interface that carries it, or leave it to TC"
                } else {
                    "let `interfaces` name what is below it, if packets of the services come in there, or leave it to TC"
                },
            )),
            Kind::Loopback => found.push(refused(
                "it is the loopback interface, which has no native XDP".to_owned(),
                "let `interfaces` name those by which clients' packets come in, or leave it to TC",
            )),
            // `bond_xdp_check` in bonding/bond_main.c.
            Kind::Bond { takes_xdp: false, mode } => found.push(refused(
                format!("a bond in mode {mode} takes no XDP program"),
                "use balance-rr, active-backup, or balance-xor or 802.3ad with another xmit_hash_policy than vlan+srcmac",
            )),
            Kind::Bond { takes_xdp: true, .. } | Kind::Veth | Kind::Device => {}
        }
        match self.driver.as_deref() {
            Some("ena") => self.ena(&mut found),
            Some("gve") => self.gve(&mut found),
            Some("virtio_net") => self.virtio_net(&mut found),
            Some("ixgbe") => self.ixgbe(&mut found),
            // With frames in several buffers since Linux 6.4 and 6.3.
            Some("i40e") if self.kernel < (6, 4) => self.mtu_at_most(I40E_MTU, &mut found),
            Some("ice") if self.kernel < (6, 3) => self.mtu_at_most(I40E_MTU, &mut found),
            // `mlx5e_xdp_allowed` in mellanox/mlx5/core/en_main.c, `netvsc_xdp_set` in hyperv/netvsc_bpf.c.
            Some("mlx5_core" | "hv_netvsc") => self.no_lro(&mut found),
            Some(driver) if WITHOUT_XDP.contains(&driver) => found.push(refused(
                format!("its driver {driver} has no native XDP"),
                "leave it to TC, or use a card whose driver has it",
            )),
            Some(_) | None => {}
        }
        found
    }

    /// `ena_xdp_allowed` in amazon/ena/ena_xdp.h.
    fn ena(&self, found: &mut Vec<Obstacle>) {
        self.mtu_at_most(ENA_MTU, found);
        if let Some(Channels { combined: (count, max), .. }) = self.channels
            && count > max / 2
        {
            found.push(refused(
                format!(
                    "its driver ena wants a queue more for each of its {count}, and there may be {max} in all"
                ),
                format!("`ethtool -L {} combined {}`", self.name, (max / 2).max(1)),
            ));
        }
        self.no_lro(found);
    }

    /// `gve_verify_xdp_configuration` in google/gve/gve_main.c.
    fn gve(&self, found: &mut Vec<Obstacle>) {
        self.mtu_at_most(GVE_MTU, found);
        if let Some(Channels { rx, tx, .. }) = self.channels
            && (rx.0 != tx.0 || tx.0 > tx.1 / 2)
        {
            let half = (tx.1 / 2).max(1);
            found.push(refused(
                format!(
                    "its driver gve wants as many queues to receive ({}) as to send ({}), and at most half of the {} that \
                     there may be",
                    rx.0, tx.0, tx.1
                ),
                format!("`ethtool -L {} rx {half} tx {half}`", self.name),
            ));
        }
        self.no_lro(found);
    }

    /// `virtnet_xdp_set` in virtio_net.c.
    fn virtio_net(&self, found: &mut Vec<Obstacle>) {
        let has = |bit: u32| self.virtio.is_some_and(|features| features & (1 << bit) != 0);
        if virtio::GUEST_OFFLOADS.into_iter().any(has) && !has(virtio::CTRL_GUEST_OFFLOADS) {
            found.push(refused(
                "the host sends this machine large or unsummed packets, and lets nobody turn that off".to_owned(),
                "on the host, let the device have ctrl_guest_offloads, or take guest_csum, guest_tso4, guest_tso6, guest_ecn \
                 and guest_ufo from it (in QEMU: -device virtio-net-pci,…,guest_tso4=off,…)",
            ));
        }
        // Frames in several buffers since Linux 6.3.
        if self.kernel < (6, 3) {
            self.mtu_at_most(VIRTIO_MTU, found);
        }
        if let Some(Channels { combined: (count, max), .. }) = self.channels
            && count + self.processors > max
        {
            found.push(Obstacle {
                why: format!(
                    "it has {count} queue pairs of at most {max}, too few for one more for each of {} processors, so that \
                     they take turns to send",
                    self.processors
                ),
                remedy: format!(
                    "have the host give it {} (in QEMU: queues={0} of the netdev), or use fewer (`ethtool -L {} combined \
                     …`)",
                    count + self.processors,
                    self.name
                ),
                only_slow: true,
            });
        }
    }

    /// `ixgbe_xdp_setup` in intel/ixgbe/ixgbe_main.c.
    fn ixgbe(&self, found: &mut Vec<Obstacle>) {
        self.mtu_at_most(IXGBE_MTU, found);
        self.no_lro(found);
        if self.virtual_functions > 0 {
            found.push(refused(
                format!("its driver ixgbe has {} virtual functions on", self.virtual_functions),
                format!("`echo 0 > /sys/class/net/{}/device/sriov_numvfs`", self.name),
            ));
        }
        // IXGBE_MAX_XDP_QS.
        if self.processors > 128 {
            found.push(refused(
                format!("its driver ixgbe serves 128 processors with XDP, and there are {}", self.processors),
                "leave it to TC",
            ));
        }
    }

    fn mtu_at_most(&self, most: u32, found: &mut Vec<Obstacle>) {
        let (name, mtu) = (&self.name, self.mtu);
        if mtu > most {
            let driver = self.driver.as_deref().unwrap_or_default();
            found.push(refused(
                format!("its MTU is {mtu}, and its driver {driver} takes at most {most} with XDP"),
                format!("`ip link set {name} mtu {most}`, and the same for its neighbours"),
            ));
        }
    }

    fn no_lro(&self, found: &mut Vec<Obstacle>) {
        for (on, feature, option) in [(self.lro, "LRO", "lro"), (self.gro_hw, "GRO in hardware", "rx-gro-hw")]
        {
            if on == Some(true) {
                let (name, driver) = (&self.name, self.driver.as_deref().unwrap_or_default());
                found.push(refused(
                    format!("{feature} is on, which its driver {driver} does not do together with XDP"),
                    format!("`ethtool -K {name} {option} off`"),
                ));
            }
        }
    }
}

fn refused(why: String, remedy: impl Into<String>) -> Obstacle {
    Obstacle { why, remedy: remedy.into(), only_slow: false }
}

impl Findings {
    /// Judges one interface for the hook that is wanted.
    pub(super) fn device(&mut self, device: &Device, attach: Attach) {
        let about = || format!("interface {}", device.name);
        let name = &device.name;
        if let Some(driver) = &device.driver {
            self.fact(about(), format!("interface {name}: driver {driver}"));
        }
        self.member(device);
        self.vlans(device, attach);
        match attach {
            Attach::Auto | Attach::Xdp => {
                let obstacles = device.obstacles();
                let refuses = obstacles.iter().any(|obstacle| !obstacle.only_slow);
                // What is refused is not slow.
                for Obstacle { why, remedy, only_slow } in
                    obstacles.into_iter().filter(|obstacle| !(refuses && obstacle.only_slow))
                {
                    match (only_slow, attach) {
                        (true, _) => self.warn(about(), format!("interface {name}: native XDP is slow: {why}; {remedy}")),
                        (false, Attach::Xdp) => {
                            self.foresee(about(), format!("interface {name} refuses native XDP: {why}; {remedy}"));
                        }
                        (false, _) => self.warn(
                            about(),
                            format!(
                                "interface {name} refuses native XDP, so that all interfaces get TC, which is slower: {why}; \
                                 {remedy}"
                            ),
                        ),
                    }
                }
                if device.kind == Kind::Veth {
                    // `veth_xdp_xmit` and `veth_xdp_set` in veth.c.
                    self.fact(
                        about(),
                        format!(
                            "interface {name} is a veth: what native XDP sends arrives only if its other end has GRO on \
                             (`ethtool -K … gro on`) or an XDP program, and has no more queues to send than this end has to \
                             receive"
                        ),
                    );
                }
            }
            Attach::Tc if device.lro == Some(true) => self.warn(
                about(),
                format!(
                    "interface {name} has LRO on, which makes packets that cannot be sent on as they came; `ethtool -K \
                     {name} lro off`"
                ),
            ),
            Attach::Tc | Attach::XdpGeneric => {}
        }
    }

    /// An interface that carries VLAN interfaces.
    fn vlans(&mut self, device: &Device, attach: Attach) {
        if device.vlans.is_empty() {
            return;
        }
        let (name, vlans) = (&device.name, device.vlans.join(", "));
        let about = format!("interface {name}");
        self.fact(
            about.clone(),
            format!("interface {name} carries {vlans}, whose packets are balanced on it as well"),
        );
        if attach == Attach::Tc {
            return;
        }
        if device.kind == Kind::Veth {
            // Its own setting says nothing: a tag comes as the other end sends it.
            self.fact(
                about,
                format!(
                    "interface {name}: XDP sees VLAN tags only if the other end of the veth puts them into the frame \
                     (`ethtool -K … tx-vlan-offload off` over there)"
                ),
            );
        } else if device.takes_tags == Some(true) {
            self.warn(
                about,
                format!(
                    "interface {name} takes the VLAN tag out of what it receives and tells no XDP program, which then \
                     answers without a tag: `ethtool -K {name} rx-vlan-offload off`, or attach = \"tc\""
                ),
            );
        }
    }

    /// An interface whose packets are meant for another one.
    fn member(&mut self, device: &Device) {
        let Some((group, kind)) = &device.member_of else { return };
        let (name, about) = (&device.name, format!("interface {}", device.name));
        match kind {
            // `dev_xdp_attach` in net/core/dev.c refuses where the bond has a program; addresses and routes are the bond's.
            Group::Bond | Group::Team => self.warn(
                about,
                format!(
                    "interface {name} is a member of {group}, which has the addresses and routes, so that packets would \
                     leave by an interface without the datapath; name {group} in `interfaces`"
                ),
            ),
            Group::Bridge => self.warn(
                about,
                format!(
                    "interface {name} is a port of the bridge {group}, and sees packets before it: those to replicas would \
                     leave by the bridge, whose answers come in by any of its ports; name {group} in `interfaces`, or all of \
                     its ports"
                ),
            ),
            Group::Other => {}
        }
    }
}

#[cfg(test)]
mod tests;
