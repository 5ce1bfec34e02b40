//! The bytes of a frame that a program may touch directly.

use core::arch::asm;

use bytemuck::Pod;
use dtr_lb_common::pipeline::Head;

/// From the Ethernet header to the end of what is in one piece. Read from the context once; a helper that moves the frame
/// makes it void.
pub(crate) struct Window {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Window {
    #[inline(always)]
    fn at<T>(&self, offset: usize) -> Option<*mut T> {
        let place = self.start + offset;
        (place + size_of::<T>() <= self.end).then_some(place as *mut T)
    }

    #[inline(always)]
    pub(crate) fn read<T: Pod>(&self, offset: usize) -> Option<T> {
        const { assert!(align_of::<T>() <= 2) };
        // SAFETY: `at` checked the bounds, which the verifier proves again. Frames start on an even address, offsets are
        // even, and T is no more than 2-aligned.
        self.at::<T>(offset).map(|place| unsafe { place.read() })
    }

    #[inline(always)]
    pub(crate) fn write<T: Pod>(&mut self, offset: usize, value: T) -> Option<()> {
        const { assert!(align_of::<T>() <= 2) };
        // SAFETY: as in `read`; no reference into the frame exists.
        self.at::<T>(offset).map(|place| unsafe { place.write(value) })
    }

    /// The first bytes, if they are there.
    #[inline(always)]
    pub(crate) fn head(&self, bytes: usize) -> Option<FrameHead> {
        (self.start + bytes <= self.end).then_some(FrameHead(self.start))
    }
}

/// The first bytes of a frame, by whole words. A word need not be aligned, which the language does not allow a pointer, and the
/// compiler would make bytes of it; the processors that run this load and store such words at once, and where one does not, the
/// verifier refuses the program. Hence the assembly.
#[derive(Clone, Copy)]
pub(crate) struct FrameHead(usize);

impl Head for FrameHead {
    #[inline(always)]
    fn get8(self, at: usize) -> u8 {
        // SAFETY: `Window::head` looked that the byte is there.
        unsafe { ((self.0 + at) as *const u8).read() }
    }

    #[inline(always)]
    fn get16(self, at: usize) -> u16 {
        // SAFETY: as in `get8`. Frames start on an even address, and offsets are even.
        unsafe { ((self.0 + at) as *const u16).read() }
    }

    #[inline(always)]
    fn get32(self, at: usize) -> u32 {
        let word: u64;
        // SAFETY: as in `get8`; the instruction loads the word and does nothing else.
        unsafe {
            asm!("{word} = *(u32 *)({at} + 0)", word = out(reg) word, at = in(reg) self.0 + at,
                options(readonly, nostack));
        }
        word as u32
    }

    #[inline(always)]
    fn put8(self, at: usize, value: u8) {
        // SAFETY: as in `get8`; no reference into the frame exists.
        unsafe { ((self.0 + at) as *mut u8).write(value) }
    }

    #[inline(always)]
    fn put16(self, at: usize, value: u16) {
        // SAFETY: as in `get16` and `put8`.
        unsafe { ((self.0 + at) as *mut u16).write(value) }
    }

    #[inline(always)]
    fn put32(self, at: usize, value: u32) {
        // SAFETY: as in `get32` and `put8`; the instruction stores the word and does nothing else.
        unsafe {
            asm!("*(u32 *)({at} + 0) = {word}", word = in(reg) u64::from(value), at = in(reg) self.0 + at,
                options(nostack));
        }
    }

    #[inline(always)]
    fn settled(self, mut sum: u64) -> u64 {
        // SAFETY: a register is copied to itself.
        unsafe { asm!("{sum} = {sum}", sum = inout(reg) sum, options(nomem, nostack)) };
        sum
    }
}
