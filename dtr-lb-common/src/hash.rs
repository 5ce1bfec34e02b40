//! The flow hash: one definition for the datapath's steering, for its choice of NAT ports and for whoever asks the
//! agent where a connection would go.
//!
//! Equal seed and equal tuple give an equal hash on every host, whatever its byte order, so that balancers that share
//! a VIP agree. It is a mixer of multiplications and shifts (the finalizer of SplitMix64 a word pair), cheap in BPF
//! where there is no rotate and no 128-bit product. It is not cryptographic: the seed keeps a stranger from aiming,
//! not a determined analyst.

use crate::{
    abi::{FLOW_KEYS, MAGLEV_SLOTS, MAX_WITNESSES, Tuple},
    address::{Address, Family},
};

/// Mixes one more number into `state`.
#[inline(always)]
pub const fn mix(state: u64, number: u64) -> u64 {
    let mut x = (state ^ number).wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Mixes words as they stand in memory.
#[inline(always)]
pub fn mix_words(state: u64, words: &[u16]) -> u64 {
    words
        .chunks_exact(2)
        .fold(state, |state, pair| mix(state, u64::from(pair[0].to_le()) | u64::from(pair[1].to_le()) << 16))
}

/// The hash of a connection, by the tuple of the client's packets.
#[inline(always)]
pub fn flow(seed: u64, tuple: &Tuple) -> u64 {
    let state = mix_address(seed, &tuple.source);
    let state = mix_address(state, &tuple.destination);
    mix_words(state, &[tuple.source_port.raw(), tuple.destination_port.raw()])
}

/// The hash of a client, where all its connections to a service go to one replica.
#[inline(always)]
pub fn source(seed: u64, tuple: &Tuple) -> u64 {
    mix_address(seed, &tuple.source)
}

/// The place of a client among the witnesses of a replica's silence, from 0 to [`MAX_WITNESSES`] - 1: one for each network of /24
/// (IPv4) or /48.
#[inline(always)]
pub fn witness(seed: u64, source: &Address) -> u32 {
    let words = match source.family() {
        Family::V4 => {
            let [high, low] = source.v4_words();
            [high, low & u16::from_ne_bytes([0xff, 0]), 0, 0]
        }
        Family::V6 => {
            let [a, b, c, ..] = source.words();
            [a, b, c, 0]
        }
    };
    scale((mix_words(seed, &words) >> 32) as u32, MAX_WITNESSES as u32)
}

/// The hash of a key in the flow table, by the secret numbers of this host, so that nobody who chooses addresses and ports
/// can aim at a bucket.
///
/// Pair-multiply-shift (Thorup, "High Speed Hashing for Integers and Strings", section 3.5): two different keys meet with the
/// probability of two random numbers, whatever the keys are. It costs a multiplication for two words and no call.
#[inline(always)]
pub fn flow_table(keys: &[u64; FLOW_KEYS], tuple: &Tuple) -> u32 {
    let [a, b, c, d] = tuple.source.wide();
    let [e, f, g, h] = tuple.destination.wide();
    let ports = crate::flow_table::entry::ports(tuple);
    if tuple.source.family() == Family::V4 && tuple.destination.family() == Family::V4 {
        flow_table_v4(keys, d, h, ports)
    } else {
        flow_table_v6(keys, [a, b, c, d], [e, f, g, h], ports)
    }
}

/// The same of the words of an IPv4 key.
#[inline(always)]
pub const fn flow_table_v4(keys: &[u64; FLOW_KEYS], source: u32, destination: u32, ports: u32) -> u32 {
    let sum = pair(keys[0], keys[1], source, destination).wrapping_add(pair(keys[2], keys[3], ports, 0));
    (sum >> 32) as u32
}

/// The same of the words of an IPv6 key.
#[inline(always)]
pub const fn flow_table_v6(
    keys: &[u64; FLOW_KEYS],
    [a, b, c, d]: [u32; 4],
    [e, f, g, h]: [u32; 4],
    ports: u32,
) -> u32 {
    let sum = pair(keys[0], keys[1], a, b)
        .wrapping_add(pair(keys[2], keys[3], c, d))
        .wrapping_add(pair(keys[4], keys[5], e, f))
        .wrapping_add(pair(keys[6], keys[7], g, h))
        .wrapping_add(pair(keys[8], keys[9], ports, 0));
    (sum >> 32) as u32
}

#[inline(always)]
const fn pair(key_a: u64, key_b: u64, a: u32, b: u32) -> u64 {
    key_a.wrapping_add(b as u64).wrapping_mul(key_b.wrapping_add(a as u64))
}

/// Mixes an address: of IPv4 its own words only.
#[inline(always)]
fn mix_address(state: u64, address: &Address) -> u64 {
    match address.family() {
        Family::V4 => mix_words(state, &address.v4_words()),
        Family::V6 => mix_words(state, &address.words()),
    }
}

/// Maps 32 random bits to `0..count` without a division and without favour (the multiply-shift of Lemire's "Fast
/// random integer generation in an interval"). The verifier follows the bound through it.
#[inline(always)]
pub const fn scale(random: u32, count: u32) -> u32 {
    ((random as u64 * count as u64) >> 32) as u32
}

/// The Maglev slot of a hash.
#[inline(always)]
pub const fn slot(hash: u64) -> u32 {
    scale((hash >> 32) as u32, MAGLEV_SLOTS as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{Be16, ipv4_words};

    fn tuple(client: [u8; 4], port: u16) -> Tuple {
        Tuple {
            source: Address::v4(ipv4_words(client.into())),
            destination: Address::v4(ipv4_words([10, 0, 0, 10].into())),
            source_port: Be16::new(port),
            destination_port: Be16::new(443),
        }
    }

    #[test]
    fn is_the_same_on_every_host_and_release() {
        // Balancers of two releases may share a VIP, so a change here is a change of the product.
        // The number was worked out apart from this code, from the definition above.
        assert_eq!(flow(0, &tuple([192, 0, 2, 1], 40000)), 9_727_125_262_736_085_812);
    }

    #[test]
    fn slots_cover_the_table_and_nothing_else() {
        assert_eq!(slot(0), 0);
        assert_eq!(slot(u64::MAX), MAGLEV_SLOTS as u32 - 1);
    }

    /// Neighbouring ports of one client, the usual case, spread evenly: chi-square over 64 bins of 64,000 flows. With
    /// 63 degrees of freedom a value over 120 has a probability of about 2e-5.
    #[test]
    fn neighbouring_ports_spread_evenly() {
        for seed in [0, 1, 0xdead_beef] {
            let mut bins = [0u32; 64];
            for client in 0..2u8 {
                for port in 32768..64768u32 {
                    let hash = flow(seed, &tuple([10, 1, client, 7], port as u16));
                    bins[scale((hash >> 32) as u32, 64) as usize] += 1;
                }
            }
            let expected = 1000.0;
            let chi: f64 = bins.iter().map(|n| (f64::from(*n) - expected).powi(2) / expected).sum();
            assert!(chi < 120.0, "seed {seed}: chi-square {chi}");
        }
    }
}
