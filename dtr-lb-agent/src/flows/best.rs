//! Those of many that have the highest rank, without keeping all.

use std::cmp::Reverse;

#[derive(Debug)]
pub(super) struct Best<T> {
    most: usize,
    found: Vec<(u64, T)>,
}

impl<T> Best<T> {
    pub(super) const fn new(most: usize) -> Self {
        Self { most, found: Vec::new() }
    }

    pub(super) fn offer(&mut self, rank: u64, one: T) {
        self.found.push((rank, one));
        // Half of them go at once, so that each costs the same in the end.
        if self.found.len() > 2 * self.most {
            self.shorten();
        }
    }

    /// The highest rank first.
    pub(super) fn into_sorted(mut self) -> Vec<T> {
        self.shorten();
        self.found.sort_by_key(|(rank, _)| Reverse(*rank));
        self.found.into_iter().map(|(_, one)| one).collect()
    }

    fn shorten(&mut self) {
        if self.most > 0 && self.found.len() > self.most {
            self.found.select_nth_unstable_by_key(self.most, |(rank, _)| Reverse(*rank));
        }
        self.found.truncate(self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_are_kept_in_their_order() {
        for (most, expected) in [(3, vec![99, 98, 97]), (1, vec![99]), (0, vec![])] {
            let mut best = Best::new(most);
            // 37 and 100 have no common divisor: each number once, in another order.
            for step in 0..100_u64 {
                best.offer(step * 37 % 100, step * 37 % 100);
                assert!(best.found.len() <= 2 * most);
            }
            assert_eq!(best.into_sorted(), expected);
        }
    }

    #[test]
    fn fewer_than_asked_for_are_all() {
        let mut best = Best::new(10);
        best.offer(1, "a");
        best.offer(2, "b");
        assert_eq!(best.into_sorted(), ["b", "a"]);
    }
}
