//! Finds out how interfaces are set: by netlink, by ethtool's netlink, and from /sys where that shows the same interface.

use std::{fs, path::Path, time::Duration};

use ethtool::{EthtoolAttr, EthtoolChannelAttr, EthtoolError, EthtoolFeatureAttr};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use rtnetlink::{
    Handle,
    packet_route::link::{
        BondMode, BondXmitHashPolicy, InfoBond, InfoData, InfoKind, InfoPortKind, LinkAttribute, LinkFlags,
        LinkInfo, LinkMessage,
    },
};
use tokio::time::timeout;

use super::{Channels, Device, Group, Kind, VLAN};
use crate::{datapath::requirements, interface::Seen, vlan};

/// A healthy kernel answers in microseconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// Looks at those that are there. What cannot be found out is left open.
pub(in super::super) async fn gather(handle: &Handle, seen: &[Seen]) -> Vec<Device> {
    let mut devices = Vec::new();
    let mut ethtool = Ethtool::open();
    for seen in seen {
        let Some(link) = &seen.link else { continue };
        let mut device = Device { name: seen.name.clone(), mtu: link.mtu, ..Device::default() };
        device.processors = std::thread::available_parallelism()
            .map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX));
        device.kernel = version(&requirements::running());
        if let Some(message) = link_message(handle, link.index).await {
            device.kind = kind(&message);
            device.member_of = member_of(handle, &message).await;
            device.vlans = vlans_on(handle, link.index).await;
            from_sys(&mut device, Path::new("/sys/class/net"), &message);
        }
        if let Some(ethtool) = &mut ethtool {
            ethtool.features(&mut device).await;
            device.channels = ethtool.channels(&device.name).await;
        }
        devices.push(device);
    }
    devices
}

/// Major and minor of `6.18.1-arch`.
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(['.', '-']).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

async fn link_message(handle: &Handle, index: u32) -> Option<LinkMessage> {
    let request = handle.link().get().match_index(index).execute();
    timeout(ANSWER_LIMIT, request.try_collect::<Vec<_>>()).await.ok()?.ok()?.into_iter().next()
}

/// The names of the VLAN interfaces on the interface of this index.
async fn vlans_on(handle: &Handle, index: u32) -> Vec<String> {
    let request = handle.link().get().execute();
    let Ok(Ok(all)) = timeout(ANSWER_LIMIT, request.try_collect::<Vec<_>>()).await else { return Vec::new() };
    let on = |message: &LinkMessage| vlan::below(message).is_some_and(|below| below.index == index);
    all.iter().filter(|message| on(message)).filter_map(name).collect()
}

fn name(message: &LinkMessage) -> Option<String> {
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })
}

fn kind(message: &LinkMessage) -> Kind {
    let infos = || {
        message.attributes.iter().filter_map(|attribute| match attribute {
            LinkAttribute::LinkInfo(infos) => Some(infos),
            _ => None,
        })
    };
    let kind = infos().flatten().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind),
        _ => None,
    });
    let bond = || {
        infos().flatten().find_map(|info| match info {
            LinkInfo::Data(InfoData::Bond(bond)) => Some(bond.as_slice()),
            _ => None,
        })
    };
    match kind {
        Some(InfoKind::Veth) => Kind::Veth,
        Some(InfoKind::Bond) => bond_kind(bond().unwrap_or_default()),
        Some(InfoKind::Bridge) => Kind::Stacked("bridge"),
        Some(InfoKind::Vlan) => Kind::Stacked(VLAN),
        Some(InfoKind::MacVlan) => Kind::Stacked("macvlan"),
        Some(InfoKind::IpVlan) => Kind::Stacked("ipvlan"),
        Some(InfoKind::Vxlan) => Kind::Stacked("vxlan"),
        Some(InfoKind::Team) => Kind::Stacked("team"),
        Some(InfoKind::Dummy) => Kind::Stacked("dummy"),
        Some(InfoKind::Wireguard) => Kind::Stacked("wireguard interface"),
        None if message.header.flags.contains(LinkFlags::Loopback) => Kind::Loopback,
        Some(_) | None => Kind::Device,
    }
}

fn bond_kind(bond: &[InfoBond]) -> Kind {
    let mode = bond.iter().find_map(|info| match info {
        InfoBond::Mode(mode) => Some(*mode),
        _ => None,
    });
    let by_vlan = bond.iter().any(
        |info| matches!(info, InfoBond::XmitHashPolicy(policy) if *policy == BondXmitHashPolicy::VlanSrcMac),
    );
    let takes_xdp = match mode {
        Some(BondMode::BalanceRr | BondMode::ActiveBackup) => true,
        Some(BondMode::BalanceXor | BondMode::Ieee8023Ad) => !by_vlan,
        Some(BondMode::Broadcast | BondMode::BalanceTlb | BondMode::BalanceAlb) => false,
        // Not known to refuse.
        Some(_) | None => true,
    };
    let mode = mode.map_or_else(|| "?".to_owned(), |mode| mode.to_string());
    Kind::Bond { takes_xdp, mode }
}

async fn member_of(handle: &Handle, message: &LinkMessage) -> Option<(String, Group)> {
    let controller = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Controller(index) => Some(*index),
        _ => None,
    })?;
    let infos = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => Some(infos),
        _ => None,
    })?;
    let group = infos.iter().find_map(|info| match info {
        LinkInfo::PortKind(InfoPortKind::Bond) => Some(Group::Bond),
        LinkInfo::PortKind(InfoPortKind::Bridge) => Some(Group::Bridge),
        LinkInfo::PortKind(InfoPortKind::Team) => Some(Group::Team),
        LinkInfo::PortKind(_) => Some(Group::Other),
        _ => None,
    })?;
    let above = link_message(handle, controller).await;
    let name = above.as_ref().and_then(name);
    Some((name.unwrap_or_else(|| format!("interface number {controller}")), group))
}

/// /sys may show another network namespace than this one, in which the same name is another interface: it counts only where
/// index and MAC address are the same, too.
fn from_sys(device: &mut Device, root: &Path, message: &LinkMessage) {
    let directory = root.join(&device.name);
    let read = |name: &str| fs::read_to_string(directory.join(name)).map(|text| text.trim().to_owned()).ok();
    let mac = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(mac) => {
            Some(mac.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":"))
        }
        _ => None,
    });
    if read("ifindex") != Some(message.header.index.to_string()) || read("address") != mac {
        return;
    }
    device.driver = fs::read_link(directory.join("device/driver"))
        .ok()
        .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    if device.driver.as_deref() == Some("virtio_net") {
        device.virtio = read("device/features").map(|bits| virtio_features(&bits));
    }
    device.virtual_functions =
        read("device/sriov_numvfs").and_then(|count| count.parse().ok()).unwrap_or_default();
}

/// From `110…`, a digit a feature, the first first.
fn virtio_features(bits: &str) -> u64 {
    let on = bits.bytes().take(64).enumerate().filter(|(_, digit)| *digit == b'1');
    on.fold(0, |features, (place, _)| features | 1 << place)
}

/// What `ethtool -k` and `ethtool -l` tell.
struct Ethtool {
    handle: ethtool::EthtoolHandle,
    connection: tokio::task::JoinHandle<()>,
}

impl Drop for Ethtool {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Ethtool {
    fn open() -> Option<Self> {
        let (connection, handle, _) = ethtool::new_connection().ok()?;
        Some(Self { handle, connection: tokio::spawn(connection) })
    }

    async fn features(&mut self, device: &mut Device) {
        let asked = self.handle.feature().get(Some(&device.name)).execute();
        let Ok(Ok(answers)) = timeout(ANSWER_LIMIT, asked).await else { return };
        for attribute in collected(answers).await.into_iter().flat_map(|answer| answer.payload.nlas) {
            let EthtoolAttr::Feature(EthtoolFeatureAttr::Active(active)) = attribute else { continue };
            let is_on = |name: &str| Some(active.iter().any(|bit| bit.name == name && bit.value));
            (device.lro, device.gro_hw, device.gro) = (is_on("rx-lro"), is_on("rx-gro-hw"), is_on("rx-gro"));
            device.takes_tags = is_on("rx-vlan-hw-parse");
        }
    }

    /// `None` for an interface that has none to set.
    async fn channels(&mut self, name: &str) -> Option<Channels> {
        let asked = self.handle.channel().get(Some(name)).execute();
        let answers = timeout(ANSWER_LIMIT, asked).await.ok()?.ok()?;
        let answers = collected(answers).await;
        let attributes: Vec<_> = answers.into_iter().flat_map(|answer| answer.payload.nlas).collect();
        if attributes.is_empty() {
            return None;
        }
        let mut channels = Channels::default();
        for attribute in attributes {
            let EthtoolAttr::Channel(attribute) = attribute else { continue };
            match attribute {
                EthtoolChannelAttr::CombinedCount(count) => channels.combined.0 = count,
                EthtoolChannelAttr::CombinedMax(most) => channels.combined.1 = most,
                EthtoolChannelAttr::RxCount(count) => channels.rx.0 = count,
                EthtoolChannelAttr::RxMax(most) => channels.rx.1 = most,
                EthtoolChannelAttr::TxCount(count) => channels.tx.0 = count,
                EthtoolChannelAttr::TxMax(most) => channels.tx.1 = most,
                _ => {}
            }
        }
        Some(channels)
    }
}

async fn collected<M>(answers: impl Stream<Item = Result<M, EthtoolError>>) -> Vec<M> {
    let all = answers.filter_map(async |answer| answer.ok()).collect::<Vec<_>>();
    timeout(ANSWER_LIMIT, all).await.unwrap_or_default()
}

#[cfg(test)]
mod tests;
