//! The memory of the flow table and of the next hops: plain words, as one processor sees them.

use std::cell::Cell;

use dtr_lb_common::{
    abi::{Flow, Place},
    flow_table::{self, BUCKET_BYTES, ENTRY_WORDS, WAYS, next_hops::NEXT_HOP_BYTES},
};

const BUCKET_WORDS: usize = BUCKET_BYTES / 4;
const NEXT_HOP_WORDS: usize = NEXT_HOP_BYTES / 4;

#[derive(Clone, Copy, Debug)]
pub struct Line<'a>(&'a [Cell<u32>]);

impl flow_table::Line for Line<'_> {
    fn load(self, word: usize) -> u32 {
        self.0[word].get()
    }

    fn store(self, word: usize, value: u32) {
        self.0[word].set(value);
    }

    fn exchange(self, word: usize, old: u32, new: u32) -> bool {
        let same = self.0[word].get() == old;
        if same {
            self.0[word].set(new);
        }
        same
    }
}

/// Words of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words(Vec<Cell<u32>>);

impl Words {
    pub fn of_buckets(count: u32) -> Self {
        Self(vec![Cell::new(0); count as usize * BUCKET_WORDS])
    }

    pub fn of_hops(count: usize) -> Self {
        Self(vec![Cell::new(0); count * NEXT_HOP_WORDS])
    }

    pub fn take_over(&self, from: &Self) {
        self.0.iter().zip(&from.0).for_each(|(to, from)| to.set(from.get()));
    }

    pub fn hops(&self) -> usize {
        self.0.len() / NEXT_HOP_WORDS
    }

    /// Several indices are one place where there are fewer places than indices.
    pub fn hop(&self, index: u16) -> Option<Line<'_>> {
        let at = usize::from(index) % self.hops() * NEXT_HOP_WORDS;
        self.0.get(at..at + NEXT_HOP_WORDS).map(Line)
    }

    /// All entries of the flow table.
    pub fn entries(&self) -> Vec<Flow> {
        let places = 0..(self.0.len() / ENTRY_WORDS) as u32;
        let read = |place| {
            let mut flow: Flow = bytemuck::Zeroable::zeroed();
            flow_table::read(&self, Place(place), &mut flow).then_some(flow)
        };
        places.filter_map(read).collect()
    }
}

/// Without locks: for who looks, or has the table for himself.
impl<'a> flow_table::Memory for &'a Words {
    type Line = Line<'a>;
    type Bucket = usize;

    fn bucket(&self, number: u32) -> Option<usize> {
        let at = number as usize * BUCKET_WORDS;
        (at + BUCKET_WORDS <= self.0.len()).then_some(at)
    }

    fn way(&self, bucket: usize, way: u32) -> Line<'a> {
        Line(&self.0[bucket + (way % WAYS) as usize * ENTRY_WORDS..][..ENTRY_WORDS])
    }

    fn pair_of(&self, bucket: usize, way: u32) -> Line<'a> {
        Line(&self.0[bucket + (way % WAYS / 2 * 2) as usize * ENTRY_WORDS..][..2 * ENTRY_WORDS])
    }

    fn lock(&self, _: u32) -> bool {
        true
    }

    fn unlock(&self, _: u32) {}
}
