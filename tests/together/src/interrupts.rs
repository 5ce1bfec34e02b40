//! Interrupts at any moment, many more than a processor has: a program that is held up between two steps sees what the other
//! processor has done meanwhile. An event of perf's on the processor's clock is a timer that nobody has to wait for.

use std::{
    io,
    os::fd::{FromRawFd as _, OwnedFd},
};

use bytemuck::Zeroable as _;

/// Nanoseconds between two. A packet takes one to two thousand, and what an interrupt takes, one or more packets of the other
/// processor fit into.
const PERIOD: u64 = 40_000;

/// The beginning of `struct perf_event_attr` (include/uapi/linux/perf_event.h), as long as it was at first.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    rest: [u64; 5],
}

/// `PERF_TYPE_SOFTWARE`, and of that `PERF_COUNT_SW_CPU_CLOCK`.
const SOFTWARE: u32 = 1;
const CPU_CLOCK: u64 = 0;
/// `PERF_FLAG_FD_CLOEXEC`.
const CLOSE_ON_EXEC: libc::c_ulong = 1 << 3;

/// Has a processor interrupted, until this is dropped.
pub(crate) struct Interrupts {
    _event: OwnedFd,
}

impl Interrupts {
    pub(crate) fn of(processor: usize) -> io::Result<Self> {
        let attributes = Attributes {
            kind: SOFTWARE,
            size: size_of::<Attributes>() as u32,
            config: CPU_CLOCK,
            sample_period: PERIOD,
            ..Attributes::zeroed()
        };
        let (all, processor, group) = (-1, processor as libc::c_int, -1);
        // SAFETY: the kernel reads as many bytes as `size` says, which are there, and writes none.
        let event = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                &raw const attributes,
                all as libc::pid_t,
                processor,
                group as libc::c_int,
                CLOSE_ON_EXEC,
            )
        };
        if event < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has made it, and nobody else has it.
        Ok(Self { _event: unsafe { OwnedFd::from_raw_fd(event as libc::c_int) } })
    }
}
