//! A client's SYN as a question: what would become of it? Whoever asks runs the pipeline on it, over tables that keep what it
//! writes to themselves.

use super::{answer::HOPS, header::About, segment::Segment};
use crate::{
    abi::{SYN_OPTION_WORDS, Tuple},
    address::Be16,
    model::Frame,
    wire::{Macs, TcpFlags},
};

/// The frame: a SYN without options, as if it came in by the interface of this index.
pub fn syn(tuple: &Tuple, interface: u32) -> Option<Frame> {
    let mut frame = Frame { bytes: Vec::new(), interface };
    let segment = Segment {
        macs: Macs { destination: [0; 3], source: [0; 3] },
        tuple,
        tos: 0,
        hops: HOPS,
        fragment: About::WHOLE,
        sequence: [0; 2],
        acknowledgment: [0; 2],
        flags: TcpFlags::SYN,
        window: Be16::new(u16::MAX),
        options: &[0; SYN_OPTION_WORDS],
        options_length: 0,
    };
    segment.write(&mut frame)?;
    Some(frame)
}
