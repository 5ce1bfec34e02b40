//! VLAN interfaces, as netlink tells of them.

use dtr_lb_common::{
    address::Be16,
    wire::{ETHERTYPE_PROVIDER_VLAN, ETHERTYPE_VLAN, VlanTag},
};
use rtnetlink::packet_route::link::{InfoData, InfoVlan, LinkAttribute, LinkInfo, LinkMessage, VlanProtocol};

/// What a VLAN interface stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Below {
    /// Index of the interface that its frames leave by.
    pub index: u32,
    /// The tag that they have there, without a priority.
    pub tag: VlanTag,
}

/// What the interface stands on, if it is a VLAN interface and that is in the same network namespace.
pub fn below(message: &LinkMessage) -> Option<Below> {
    let attributes = &message.attributes;
    // The index is one of another namespace then.
    if attributes.iter().any(|attribute| matches!(attribute, LinkAttribute::LinkNetNsId(_))) {
        return None;
    }
    let index = attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Link(index) => Some(*index),
        _ => None,
    })?;
    let infos = attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => Some(infos),
        _ => None,
    });
    let vlan = infos.flatten().find_map(|info| match info {
        LinkInfo::Data(InfoData::Vlan(vlan)) => Some(vlan),
        _ => None,
    })?;
    let id = vlan.iter().find_map(|info| match info {
        InfoVlan::Id(id) => Some(*id & VlanTag::ID),
        _ => None,
    })?;
    let provider = vlan.iter().any(|info| matches!(info, InfoVlan::Protocol(VlanProtocol::Ieee8021Ad)));
    let kind = if provider { ETHERTYPE_PROVIDER_VLAN } else { ETHERTYPE_VLAN };
    Some(Below { index, tag: VlanTag { kind, control: Be16::new(id) } })
}

#[cfg(test)]
mod tests {
    use rtnetlink::{
        packet_core::{NetlinkMessage, NetlinkPayload},
        packet_route::RouteNetlinkMessage,
    };

    use super::*;

    /// The attributes of a link by number and value, as RTM_NEWLINK has them (include/uapi/linux/if_link.h).
    fn message(attributes: &[(u16, Vec<u8>)]) -> LinkMessage {
        const RTM_NEWLINK: u16 = 16;
        let body = [vec![0, 0, 1, 0, 9, 0, 0, 0, 0x43, 0x10, 1, 0, 0, 0, 0, 0], nested(attributes)].concat();
        let length = 16 + body.len() as u32;
        let header = [&length.to_ne_bytes()[..], &RTM_NEWLINK.to_ne_bytes(), &[0; 10]].concat();
        let bytes = [header, body].concat();
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&bytes).expect("a netlink message");
        match message.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => link,
            other => panic!("{other:?}"),
        }
    }

    fn nested(attributes: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let attribute = |(kind, value): &(u16, Vec<u8>)| {
            let length = 4 + value.len();
            let mut bytes = [&(length as u16).to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
            bytes.resize(length.next_multiple_of(4), 0);
            bytes
        };
        attributes.iter().flat_map(attribute).collect()
    }

    const NAME: u16 = 3;
    const LINK: u16 = 5;
    const INFO: u16 = 18;
    const NAMESPACE: u16 = 37;

    /// What `ip link add NAME link LOWER type vlan protocol PROTOCOL id ID` makes.
    fn info(protocol: u16, id: u16) -> Vec<u8> {
        let flags = [1_u32.to_ne_bytes(), u32::MAX.to_ne_bytes()].concat();
        let data =
            nested(&[(5, protocol.to_be_bytes().to_vec()), (1, id.to_ne_bytes().to_vec()), (2, flags)]);
        nested(&[(1, b"vlan\0".to_vec()), (2, data)])
    }

    #[test]
    fn a_vlan_interface_says_what_it_stands_on() {
        let base =
            |info| vec![(NAME, b"eth0.10\0".to_vec()), (LINK, 2_u32.to_ne_bytes().to_vec()), (INFO, info)];
        let tag = |kind, id| VlanTag { kind, control: Be16::new(id) };
        for (protocol, kind) in [(0x8100, ETHERTYPE_VLAN), (0x88a8, ETHERTYPE_PROVIDER_VLAN)] {
            let found = below(&message(&base(info(protocol, 10))));
            assert_eq!(found, Some(Below { index: 2, tag: tag(kind, 10) }));
        }
        let elsewhere = [base(info(0x8100, 10)), vec![(NAMESPACE, 0_i32.to_ne_bytes().to_vec())]].concat();
        assert_eq!(below(&message(&elsewhere)), None, "what it stands on is in another namespace");
        let veth = vec![(LINK, 2_u32.to_ne_bytes().to_vec()), (INFO, nested(&[(1, b"veth\0".to_vec())]))];
        assert_eq!(below(&message(&veth)), None, "a veth names its peer there");
        assert_eq!(below(&message(&[])), None);
    }
}
