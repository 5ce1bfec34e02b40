//! The flow table in a process's memory: its own, or a map's that is mapped into it.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    vec::Vec,
};

use crate::{
    abi::{Flow, Place},
    flow_table::{
        self, BUCKET_BYTES, ENTRY_WORDS, Line, Memory, WAYS,
        next_hops::{NEXT_HOP_BYTES, NEXT_HOPS, NextHops},
    },
};

const BUCKET_WORDS: usize = BUCKET_BYTES / 4;
const NEXT_HOP_WORDS: usize = NEXT_HOP_BYTES / 4;

/// Words that other threads, or the kernel, use as well.
#[derive(Clone, Copy, Debug)]
pub struct SharedLine<'a>(&'a [AtomicU32]);

impl Line for SharedLine<'_> {
    fn load(self, word: usize) -> u32 {
        self.0[word].load(Ordering::Acquire)
    }

    fn store(self, word: usize, value: u32) {
        self.0[word].store(value, Ordering::Release);
    }

    fn exchange(self, word: usize, old: u32, new: u32) -> bool {
        self.0[word].compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

/// Words of a table that stand somewhere: who has them sees to it that they stay.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a>(pub &'a [AtomicU32]);

impl<'a> Words<'a> {
    fn part(self, at: usize, words: usize) -> Option<SharedLine<'a>> {
        self.0.get(at..at + words).map(SharedLine)
    }

    /// One word; 0 behind the last.
    pub fn load(self, at: usize) -> u32 {
        self.0.get(at).map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// Buckets of the table.
    pub fn buckets(self) -> u32 {
        (self.0.len() / BUCKET_WORDS) as u32
    }

    /// The words of all entries of some buckets, whatever stands there.
    pub fn lines(self, buckets: std::ops::Range<u32>) -> impl Iterator<Item = (Place, SharedLine<'a>)> + 'a {
        let words = buckets.start as usize * BUCKET_WORDS..buckets.end as usize * BUCKET_WORDS;
        let lines = self.0.get(words).unwrap_or_default().chunks_exact(ENTRY_WORDS).map(SharedLine);
        (buckets.start * WAYS..).map(Place).zip(lines)
    }

    /// All entries of some buckets that stand there now. A connection that comes or goes meanwhile may be seen by half.
    pub fn entries(self, buckets: std::ops::Range<u32>) -> impl Iterator<Item = Flow> + 'a {
        let places = buckets.start * WAYS..buckets.end * WAYS;
        places.filter_map(move |place| {
            let mut flow: Flow = bytemuck::Zeroable::zeroed();
            flow_table::read(&self, Place(place), &mut flow).then_some(flow)
        })
    }
}

/// Without locks: for who looks only.
impl<'a> Memory for Words<'a> {
    type Line = SharedLine<'a>;
    type Bucket = usize;

    fn bucket(&self, number: u32) -> Option<usize> {
        let at = number as usize * BUCKET_WORDS;
        (at + BUCKET_WORDS <= self.0.len()).then_some(at)
    }

    fn way(&self, bucket: usize, way: u32) -> SharedLine<'a> {
        SharedLine(&self.0[bucket + (way % WAYS) as usize * ENTRY_WORDS..][..ENTRY_WORDS])
    }

    fn pair_of(&self, bucket: usize, way: u32) -> SharedLine<'a> {
        SharedLine(&self.0[bucket + ((way % WAYS) & !1) as usize * ENTRY_WORDS..][..2 * ENTRY_WORDS])
    }

    fn lock(&self, _: u32) -> bool {
        true
    }

    fn unlock(&self, _: u32) {}
}

impl<'a> NextHops for Words<'a> {
    type Line = SharedLine<'a>;

    fn next_hop(&self, index: u16) -> Option<SharedLine<'a>> {
        self.part(usize::from(index) * NEXT_HOP_WORDS, NEXT_HOP_WORDS)
    }
}

/// A flow table of a process's own.
#[derive(Debug)]
pub struct SharedTable {
    words: Vec<AtomicU32>,
    locks: Vec<AtomicBool>,
}

impl SharedTable {
    pub fn new(buckets: u32) -> Self {
        let words = (0..buckets as usize * BUCKET_WORDS).map(|_| AtomicU32::new(0)).collect();
        Self { words, locks: (0..64).map(|_| AtomicBool::new(false)).collect() }
    }

    pub fn words(&self) -> Words<'_> {
        Words(&self.words)
    }

    pub fn buckets(&self) -> u32 {
        self.words().buckets()
    }

    pub fn entries(&self) -> Vec<Flow> {
        self.words().entries(0..self.buckets()).collect()
    }

    fn lock_of(&self, hash: u32) -> &AtomicBool {
        &self.locks[hash as usize % self.locks.len()]
    }
}

impl<'a> Memory for &'a SharedTable {
    type Line = SharedLine<'a>;
    type Bucket = usize;

    fn bucket(&self, number: u32) -> Option<usize> {
        self.words().bucket(number)
    }

    fn way(&self, bucket: usize, way: u32) -> SharedLine<'a> {
        Words(&self.words).way(bucket, way)
    }

    fn pair_of(&self, bucket: usize, way: u32) -> SharedLine<'a> {
        Words(&self.words).pair_of(bucket, way)
    }

    fn lock(&self, hash: u32) -> bool {
        let lock = self.lock_of(hash);
        (0..1000).any(|_| lock.compare_exchange(false, true, Ordering::SeqCst, Ordering::SeqCst).is_ok())
    }

    fn unlock(&self, hash: u32) {
        self.lock_of(hash).store(false, Ordering::SeqCst);
    }
}

/// Next hops in a process's own memory.
#[derive(Debug)]
pub struct SharedNextHops(Vec<AtomicU32>);

impl SharedNextHops {
    pub fn new() -> Self {
        Self((0..NEXT_HOPS * NEXT_HOP_WORDS).map(|_| AtomicU32::new(0)).collect())
    }

    pub fn words(&self) -> Words<'_> {
        Words(&self.0)
    }
}

impl Default for SharedNextHops {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> NextHops for &'a SharedNextHops {
    type Line = SharedLine<'a>;

    fn next_hop(&self, index: u16) -> Option<SharedLine<'a>> {
        Words(&self.0).next_hop(index)
    }
}
