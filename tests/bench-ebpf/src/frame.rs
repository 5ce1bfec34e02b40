//! The first bytes of a frame, checked once.

use bytemuck::Pod;

/// A frame of `BYTES` bytes or more.
pub(crate) struct Frame<const BYTES: usize>(*mut u8);

impl<const BYTES: usize> Frame<BYTES> {
    /// The frame between these addresses, which a context gave; nothing if it is shorter.
    #[inline(always)]
    pub(crate) fn new(start: usize, end: usize) -> Option<Self> {
        (start + BYTES <= end).then_some(Self(start as *mut u8))
    }

    #[inline(always)]
    pub(crate) fn get<T: Pod, const AT: usize>(&self) -> T {
        const { assert!(AT + size_of::<T>() <= BYTES) };
        // SAFETY: `new` found so many bytes, which the verifier proves again, and any bytes are a value. The frame was not
        // moved since: who moves it makes another one of these.
        unsafe { self.0.add(AT).cast::<T>().read_unaligned() }
    }

    #[inline(always)]
    pub(crate) fn set<T: Pod, const AT: usize>(&self, value: T) {
        const { assert!(AT + size_of::<T>() <= BYTES) };
        // SAFETY: as in `get`; no reference into the frame exists.
        unsafe { self.0.add(AT).cast::<T>().write_unaligned(value) };
    }
}
