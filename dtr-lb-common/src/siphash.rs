//! SipHash-2-4 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012): a hash that tells nobody its key, for what
//! strangers see. [`crate::hash`] is quicker, and for what they do not.

/// The hash of words of 64 bits; the message is their bytes, least significant first.
#[inline(always)]
pub fn siphash(key: &[u64; 2], words: &[u64]) -> u64 {
    let mut state = [
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ];
    let compress = |state: [u64; 4], word: u64| {
        let [a, b, c, d] = round(round([state[0], state[1], state[2], state[3] ^ word]));
        [a ^ word, b, c, d]
    };
    for word in words {
        state = compress(state, *word);
    }
    // The length of the message, in the last byte of its last word.
    let [a, b, c, d] = compress(state, (8 * words.len() as u64) << 56);
    let [a, b, c, d] = round(round(round(round([a, b, c ^ 0xff, d]))));
    a ^ b ^ c ^ d
}

#[inline(always)]
const fn round([a, b, c, d]: [u64; 4]) -> [u64; 4] {
    let a = a.wrapping_add(b);
    let b = b.rotate_left(13) ^ a;
    let a = a.rotate_left(32);
    let c = c.wrapping_add(d);
    let d = d.rotate_left(16) ^ c;
    let a = a.wrapping_add(d);
    let d = d.rotate_left(21) ^ a;
    let c = c.wrapping_add(b);
    let b = b.rotate_left(17) ^ c;
    let c = c.rotate_left(32);
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use std::hash::Hasher as _;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The standard library's, which is deprecated only as what maps are hashed by.
        #[test]
        #[expect(deprecated)]
        fn is_that_of_the_paper(key: [u64; 2], words in proptest::collection::vec(any::<u64>(), 0..7usize)) {
            let mut other = std::hash::SipHasher::new_with_keys(key[0], key[1]);
            for word in &words {
                other.write(&word.to_le_bytes());
            }
            prop_assert_eq!(siphash(&key, &words), other.finish());
        }
    }
}
