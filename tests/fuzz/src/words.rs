//! The memory of the flow table and of the next hops, as the model has it: here it can be copied and compared, since each frame is
//! played twice.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use dtr_lb_common::{
    abi::Flow,
    flow_table::{BUCKET_BYTES, next_hops::NEXT_HOP_BYTES},
    model::Words,
};

/// Words of a table. One thread uses them.
#[derive(Debug)]
pub struct Table(Vec<AtomicU32>);

impl Table {
    pub fn of_buckets(count: u32) -> Self {
        Self::of_bytes(count as usize * BUCKET_BYTES)
    }

    pub fn of_hops(count: usize) -> Self {
        Self::of_bytes(count * NEXT_HOP_BYTES)
    }

    fn of_bytes(bytes: usize) -> Self {
        Self((0..bytes / size_of::<AtomicU32>()).map(|_| AtomicU32::new(0)).collect())
    }

    pub fn take_over(&self, from: &Self) {
        self.0.iter().zip(&from.0).for_each(|(to, from)| to.store(from.load(Relaxed), Relaxed));
    }

    pub fn words(&self) -> Words<'_> {
        Words(&self.0)
    }

    /// Places for next hops.
    pub fn hops(&self) -> usize {
        self.0.len() * size_of::<AtomicU32>() / NEXT_HOP_BYTES
    }

    /// All entries of the flow table.
    pub fn entries(&self) -> Vec<Flow> {
        let words = self.words();
        words.entries(0..words.buckets()).collect()
    }
}

impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().map(|word| word.load(Relaxed)).eq(other.0.iter().map(|word| word.load(Relaxed)))
    }
}
