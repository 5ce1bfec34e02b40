//! Segments that nobody sent, about a connection that is over: by them its ends notice.
//!
//! **Challenge ACK.** The flow of a dead replica is answered by a reset when its client sends something. One that waits for an
//! answer sends nothing, and would wait for as long as its own patience lasts. But a TCP answers an ACK that cannot be right with one that
//! says what would be (RFC 9293 section 3.10.7.4), and to that the datapath answers with the exact reset.
//!
//! **Reset.** Of a connection that has outlived the idle time-out both ends get one, with the number that they acknowledged
//! last. Where that is not exact any more, they answer with a challenge ACK, and to that the host's stack has the answer.

use super::{answer::HOPS, header::About, rewrite::macs, segment::Segment, vlan};
use crate::{
    abi::{Direction, Flow, Hop, SYN_OPTION_WORDS, Tuple},
    address::Be16,
    model::Frame,
    wire::TcpFlags,
};

/// An ACK for the client of an entry of the flow table, which `hop` leads to: an entry towards the client, or one of a replica
/// that answers directly. None for others, and where the hop is not known.
///
/// The numbers are at random: most are outside of the client's window, which lets it answer; where they are not, another
/// attempt has others.
pub fn challenge_ack(flow: &Flow, hop: &Hop, sequence: u32, acknowledgment: u32) -> Option<Frame> {
    let tuple = match flow.direction() {
        Direction::ToClient => flow.to,
        Direction::Direct => flow.key.reversed(),
        Direction::ToReplica => return None,
    };
    segment(&tuple, hop, sequence, acknowledgment, TcpFlags::ACK)
}

/// A reset with the addresses that packets of `towards` leave with, whose receiver acknowledged `acknowledged` last.
pub fn reset(towards: &Flow, hop: &Hop, acknowledged: u32) -> Option<Frame> {
    segment(&towards.to, hop, acknowledged, 0, TcpFlags::RST)
}

fn segment(tuple: &Tuple, hop: &Hop, sequence: u32, acknowledgment: u32, flags: TcpFlags) -> Option<Frame> {
    if hop.interface == 0 {
        return None;
    }
    let segment = Segment {
        macs: macs(hop),
        tuple,
        tos: 0,
        hops: HOPS,
        fragment: About::WHOLE,
        sequence: bytemuck::must_cast(sequence.to_be_bytes()),
        acknowledgment: bytemuck::must_cast(acknowledgment.to_be_bytes()),
        flags,
        window: Be16::new(0),
        options: &[0; SYN_OPTION_WORDS],
        options_length: 0,
    };
    let mut frame = Frame { bytes: Vec::new(), interface: hop.interface };
    segment.write(&mut frame)?;
    vlan::join(&mut frame, hop.vlans.inner(0), hop.vlans.outer(0))?;
    Some(frame)
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable as _;

    use super::*;
    use crate::{
        abi::{Control, State, Vlans},
        address::Address,
    };

    #[test]
    fn who_is_in_a_vlan_is_told_there() {
        let client = Tuple {
            source: Address::v4([1, 2]),
            destination: Address::v4([3, 4]),
            source_port: Be16::new(443),
            destination_port: Be16::new(40_000),
        };
        let control = Control::new(State::ESTABLISHED, Direction::ToClient, false);
        let flow = Flow { control, to: client, ..Flow::zeroed() };
        for (vlans, tags) in [
            (Vlans::NONE, &[][..]),
            (Vlans(10), &[0x81, 0, 0, 10]),
            (Vlans(0x14_1007), &[0x88, 0xa8, 0, 7, 0x81, 0, 0, 20]),
        ] {
            let hop = Hop { interface: 3, destination: [1; 3], source: [2; 3], vlans };
            let frames = [challenge_ack(&flow, &hop, 1, 2), reset(&flow, &hop, 1)];
            for frame in frames.map(|frame| frame.expect("its hop is known")) {
                let kind = 12 + tags.len();
                assert_eq!((&frame.bytes[12..kind], &frame.bytes[kind..kind + 2]), (tags, &[8, 0][..]));
                assert_eq!(frame.bytes.len(), kind + 2 + 40);
            }
        }
    }
}
