//! Frames by whole words. Stores and loads need not be aligned: the linker is told so.

use dtr_lb_together_ebpf::world::{FRAME, Head, TCP_V4, TCP_V6, WORDS};

/// Copies the first words of the frame between these addresses.
#[inline(always)]
pub(crate) fn read(start: usize, end: usize, head: &mut Head) -> Option<()> {
    if start + FRAME > end {
        return None;
    }
    let mut word = 0;
    while word < WORDS {
        // SAFETY: the frame has as many bytes, which the verifier proves again.
        head[word] = unsafe { (start as *const u64).add(word).read_unaligned() };
        word += 1;
    }
    Some(())
}

/// Writes them.
#[inline(always)]
pub(crate) fn write(start: usize, end: usize, head: &Head) -> Option<()> {
    if start + FRAME > end {
        return None;
    }
    let mut word = 0;
    while word < WORDS {
        // SAFETY: as in `read`; no reference into the frame exists.
        unsafe { (start as *mut u64).add(word).write_unaligned(head[word]) };
        word += 1;
    }
    Some(())
}

/// A byte, and a number of 16 bits in network order.
#[inline(always)]
pub(crate) const fn byte(head: &Head, at: usize) -> u64 {
    head[at / 8].to_le() >> (8 * (at % 8)) & 0xff
}

#[inline(always)]
pub(crate) const fn number(head: &Head, at: usize) -> u64 {
    byte(head, at) << 8 | byte(head, at + 1)
}

/// The last byte of the destination's address.
#[inline(always)]
pub(crate) const fn last_of_destination(head: &Head, v6: bool) -> u64 {
    if v6 { byte(head, TCP_V6 - 1) } else { byte(head, TCP_V4 - 1) }
}

#[inline(always)]
pub(crate) const fn source_port(head: &Head, v6: bool) -> u64 {
    if v6 { number(head, TCP_V6) } else { number(head, TCP_V4) }
}

/// Sequence number and flags.
#[inline(always)]
pub(crate) const fn sequence(head: &Head, v6: bool) -> u32 {
    let at = if v6 { TCP_V6 + 4 } else { TCP_V4 + 4 };
    (number(head, at) << 16 | number(head, at + 2)) as u32
}

#[inline(always)]
pub(crate) const fn flags(head: &Head, v6: bool) -> u8 {
    if v6 { byte(head, TCP_V6 + 13) as u8 } else { byte(head, TCP_V4 + 13) as u8 }
}

/// Whether the bits of a mask are the same in both.
#[inline(always)]
pub(crate) fn agree(one: &Head, other: &Head, mask: &Head) -> bool {
    let mut differ = 0;
    let mut word = 0;
    while word < WORDS {
        differ |= (one[word] ^ other[word]) & mask[word];
        word += 1;
    }
    differ == 0
}

/// The sum of the bits of a mask (RFC 1071), of the two zeros the plain one.
#[inline(always)]
pub(crate) fn sum(head: &Head, mask: &Head) -> u64 {
    let mut sum = 0_u64;
    let mut word = 0;
    while word < WORDS {
        let part = head[word] & mask[word];
        sum += (part & 0xffff_ffff) + (part >> 32);
        word += 1;
    }
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    if sum == 0xffff { 0 } else { sum }
}
