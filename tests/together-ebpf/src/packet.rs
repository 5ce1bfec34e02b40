//! A packet as it is sent.

use crate::{
    op::Op,
    record::Record,
    world::{End, FIRST_PORT, Head, TCP_V4, TCP_V6, WORDS},
};

/// Writes the first bytes of a client's packet, or of a replica's, in the life and by the mapping that a record says. `end` is who
/// sends it.
#[inline(always)]
pub fn write(head: &mut Head, end: &End, op: Op, peer: u64, known: Record) {
    let numbers = op.numbers(peer, known.life());
    let port = FIRST_PORT + known.mapping().port() as u16;
    *head = end.comes;
    if end.v6 == 0 {
        put::<u16, 16>(head, (20 + 20 + op.payload() as u16).to_be());
        tcp::<TCP_V4>(head, op, port, numbers);
    } else {
        put::<u16, 18>(head, (20 + op.payload() as u16).to_be());
        tcp::<TCP_V6>(head, op, port, numbers);
    }
}

/// What is told in the TCP header.
#[inline(always)]
fn tcp<const AT: usize>(head: &mut Head, op: Op, port: u16, (sequence, acknowledgment): (u32, u32)) {
    const { assert!(AT == TCP_V4 || AT == TCP_V6) };
    if op.from_replica() {
        put_at::<u16, AT, 2>(head, port.to_be());
    }
    put_at::<u32, AT, 4>(head, sequence.to_be());
    put_at::<u32, AT, 8>(head, acknowledgment.to_be());
    put_at::<u8, AT, 13>(head, op.flags());
}

/// Overwrites what stands at a byte of the head.
#[inline(always)]
fn put<T: bytemuck::Pod, const AT: usize>(head: &mut Head, value: T) {
    put_at::<T, AT, 0>(head, value);
}

/// The same at `OFFSET` behind a byte.
#[inline(always)]
fn put_at<T: bytemuck::Pod, const AT: usize, const OFFSET: usize>(head: &mut Head, value: T) {
    const { assert!(AT + OFFSET + size_of::<T>() <= 8 * WORDS) };
    // SAFETY: the head has as many bytes, any of which are a value.
    unsafe { head.as_mut_ptr().cast::<u8>().add(AT + OFFSET).cast::<T>().write_unaligned(value) };
}
