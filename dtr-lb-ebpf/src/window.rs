//! The bytes of a frame that a program may touch directly.

use bytemuck::Pod;

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
}
