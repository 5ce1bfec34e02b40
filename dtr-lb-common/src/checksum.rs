//! Internet checksums by difference (RFC 1624).
//!
//! A rewrite changes a few words of a header, so the new checksum follows from the old one and the difference:
//! `HC' = ~(~HC + ~m + m')` for each word `m` that becomes `m'` (equation 3; equation 2 of RFC 1141 gets -0 wrong). The
//! difference of a flow's addresses and ports is the same for each of its packets, so it is computed once and kept in
//! the flow's entry.
//!
//! The one's complement sum does not depend on byte order as long as all words are loaded alike (RFC 1071 section 2):
//! words here are as they stand in memory, never swapped.

/// A sum of differences, not yet folded. Holds at least 65536 words before it could overflow.
#[must_use]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delta(u32);

impl Delta {
    pub const ZERO: Self = Self(0);

    /// A difference that was folded before, as it stands in a flow's entry.
    #[inline(always)]
    pub const fn folded(delta: u16) -> Self {
        Self(delta as u32)
    }

    /// The word `old` becomes `new`.
    #[inline(always)]
    pub const fn word(self, old: u16, new: u16) -> Self {
        Self(self.0 + (!old) as u32 + new as u32)
    }

    /// Each word of `old` becomes the one of `new` at the same place.
    #[inline(always)]
    pub fn words<const N: usize>(self, old: [u16; N], new: [u16; N]) -> Self {
        let mut delta = self;
        let mut i = 0;
        while i < N {
            delta = delta.word(old[i], new[i]);
            i += 1;
        }
        delta
    }

    /// As [`Self::words`], for slices of one length (words without a partner are left out).
    #[inline(always)]
    pub fn slices(self, old: &[u16], new: &[u16]) -> Self {
        old.iter().zip(new).fold(self, |delta, (old, new)| delta.word(*old, *new))
    }

    /// Words where there were none: the sum that a checksum made anew is the complement of.
    #[inline(always)]
    pub fn sum(self, words: &[u16]) -> Self {
        words.iter().fold(self, |delta, word| Self(delta.0 + u32::from(*word)))
    }

    /// Words where there are none any more.
    #[inline(always)]
    pub fn less(self, words: &[u16]) -> Self {
        words.iter().fold(self, |delta, word| delta.word(*word, 0))
    }

    /// The checksum of words that were summed from [`Self::ZERO`] on.
    #[inline(always)]
    pub const fn checksum(self) -> u16 {
        !self.fold()
    }

    #[inline(always)]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The difference in 16 bits.
    #[inline(always)]
    pub const fn fold(self) -> u16 {
        let once = (self.0 & 0xffff) + (self.0 >> 16);
        let twice = (once & 0xffff) + (once >> 16);
        twice as u16
    }

    /// The checksum that `checksum` becomes.
    #[inline(always)]
    pub const fn apply(self, checksum: u16) -> u16 {
        !Self(self.fold() as u32 + (!checksum) as u32).fold()
    }
}

/// The difference that one hop makes to an IPv4 header's checksum: the TTL, first byte of its word, falls by one.
pub const TTL_DECREMENT: Delta = Delta((!u16::from_ne_bytes([1, 0])) as u32);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition of RFC 1071, over bytes: the oracle.
    fn full(bytes: &[u8]) -> u16 {
        let mut sum = 0u64;
        for pair in bytes.chunks(2) {
            sum += u64::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        }
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    fn words(bytes: &[u8]) -> Vec<u16> {
        bytes.chunks(2).map(|pair| u16::from_ne_bytes([pair[0], pair[1]])).collect()
    }

    proptest! {
        #[test]
        fn a_difference_equals_full_recomputation(
            head in proptest::collection::vec(any::<u8>(), 2..64usize),
            old in proptest::array::uniform12(any::<u8>()),
            new in proptest::array::uniform12(any::<u8>()),
        ) {
            let mut head = head;
            head.truncate(head.len() & !1);
            head[0] |= 1; // A header is never all zeros: its version and ports are not.
            let before = full(&[&head[..], &old].concat());
            let after = full(&[&head[..], &new].concat());
            let delta = Delta::ZERO.slices(&words(&old), &words(&new));
            prop_assert_eq!(delta.apply(before.to_be()).to_be(), after);
            // Folded first, as it stands in a flow's entry.
            prop_assert_eq!(Delta::folded(delta.fold()).apply(before.to_be()).to_be(), after);
            // And back again.
            let back = Delta::ZERO.slices(&words(&new), &words(&old));
            prop_assert_eq!(back.apply(after.to_be()).to_be(), before);
        }

        #[test]
        fn a_hop_costs_one_ttl(mut header in proptest::array::uniform20(any::<u8>()), ttl in 1u8..=255) {
            header[8] = ttl;
            header[0] |= 1;
            let before = full(&header);
            header[8] = ttl - 1;
            prop_assert_eq!(TTL_DECREMENT.apply(before.to_be()).to_be(), full(&header));
        }
    }
}
