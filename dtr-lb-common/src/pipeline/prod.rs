//! A packet that makes a client speak that only waits.
//!
//! The flow of a dead replica is answered by a reset when its client sends something. One that waits for an answer sends
//! nothing, and would wait for as long as its own patience lasts. But a TCP answers an ACK that cannot be right with one that
//! says what would be (RFC 9293 section 3.10.7.4), and to that the datapath answers with the exact reset.

use super::{answer::HOPS, header::About, rewrite::macs, segment::Segment};
use crate::{
    abi::{Direction, Flow, Hop, SYN_OPTION_WORDS},
    address::Be16,
    model::Frame,
    wire::TcpFlags,
};

/// The frame, for the client of an entry of the flow table, which `hop` leads to: an entry towards the client, or one of a
/// replica that answers directly. None for others, and where the way to the client is not known.
///
/// The numbers are at random: most are outside of the client's window, which lets it answer; where they are not, another
/// attempt has others.
pub fn prod(flow: &Flow, hop: &Hop, sequence: u32, acknowledgment: u32) -> Option<Frame> {
    let tuple = match flow.direction() {
        Direction::ToClient => flow.to,
        Direction::Direct => flow.key.reversed(),
        Direction::ToReplica => return None,
    };
    if hop.interface == 0 {
        return None;
    }
    let segment = Segment {
        macs: macs(hop),
        tuple: &tuple,
        tos: 0,
        hops: HOPS,
        fragment: About::WHOLE,
        sequence: bytemuck::must_cast(sequence.to_be_bytes()),
        acknowledgment: bytemuck::must_cast(acknowledgment.to_be_bytes()),
        flags: TcpFlags::ACK,
        window: Be16::new(0),
        options: &[0; SYN_OPTION_WORDS],
        options_length: 0,
    };
    let mut frame = Frame { bytes: Vec::new(), interface: hop.interface };
    segment.write(&mut frame)?;
    Some(frame)
}
