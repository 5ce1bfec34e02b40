//! The flow table's memory for the model checker.
//!
//! Each access to a word of `loom`'s is a branch, and what an old value may be read of is another. So only words that two
//! processors use, and one of them writes, are `loom`'s; which ones these are is not said by hand: each word notes who uses it, and
//! [`super::explore`] starts again with more of them until no such word is left outside.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU8, AtomicU32, Ordering},
};

use loom::sync::atomic as checked;

use crate::{
    abi::Flow,
    flow_table::{self, ENTRY_WORDS, Line, Memory, Place, WAYS},
};

/// Locks of insertions: more than the keys of a scenario.
const LOCKS: usize = 64;
/// How often a lock is tried.
const TRIES: u32 = 3;
const BUCKET_WORDS: usize = WAYS as usize * ENTRY_WORDS;

enum Word {
    Plain(AtomicU32),
    /// The model checker's own, with all that acquire and release allow.
    Weak(checked::AtomicU32),
    /// The value, and a word that the model checker takes a turn at before each use of it.
    Strict(AtomicU32, checked::AtomicU32),
}

impl Word {
    fn turn(turns: &checked::AtomicU32) {
        let _ = turns.fetch_add(1, Ordering::SeqCst);
    }
}

/// Who has read and written a word: a bit a processor.
#[derive(Default)]
struct Users {
    read: AtomicU8,
    written: AtomicU8,
}

/// Buckets, and the locks behind them.
pub(super) struct Table {
    words: Vec<Word>,
    users: Vec<Users>,
    buckets: u32,
}

/// What a load may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// An old value, too, where nothing forbids it: all that acquire and release allow.
    Weak,
    /// The newest value.
    Strict,
}

impl Table {
    pub(super) fn new(buckets: u32) -> Self {
        let words = vec![0; buckets as usize * BUCKET_WORDS + LOCKS];
        Self::of(&words, &BTreeSet::new(), Order::Strict)
    }

    /// With these words, of which some are the model checker's.
    pub(super) fn of(words: &[u32], checked: &BTreeSet<usize>, order: Order) -> Self {
        let buckets = ((words.len() - LOCKS) / BUCKET_WORDS) as u32;
        let users = words.iter().map(|_| Users::default()).collect();
        let word = |(at, value): (usize, &u32)| match (checked.contains(&at), order) {
            (false, _) => Word::Plain(AtomicU32::new(*value)),
            (true, Order::Weak) => Word::Weak(checked::AtomicU32::new(*value)),
            (true, Order::Strict) => Word::Strict(AtomicU32::new(*value), checked::AtomicU32::new(0)),
        };
        Self { words: words.iter().enumerate().map(word).collect(), users, buckets }
    }

    pub(super) fn values(&self) -> Vec<u32> {
        let value = |word: &Word| match word {
            Word::Plain(word) | Word::Strict(word, _) => word.load(Ordering::SeqCst),
            Word::Weak(word) => word.load(Ordering::Acquire),
        };
        self.words.iter().map(value).collect()
    }

    /// Words that are not the model checker's but must be.
    pub(super) fn overlooked(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().zip(&self.users).enumerate().filter_map(|(at, (word, users))| {
            let written = users.written.load(Ordering::Relaxed);
            let used = users.read.load(Ordering::Relaxed) | written;
            (matches!(word, Word::Plain(_)) && written != 0 && used.count_ones() > 1).then_some(at)
        })
    }

    /// The table as this processor uses it; 0 is none, which leaves no note.
    pub(super) fn by(&self, processor: u8) -> Used<'_> {
        Used { table: self, processor }
    }

    pub(super) fn locks_are_free(&self) -> bool {
        self.values()[self.buckets as usize * BUCKET_WORDS..].iter().all(|lock| *lock == 0)
    }

    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        (0..self.buckets * WAYS).map(Place)
    }

    /// What stands in the table, whose words nobody writes now.
    pub(super) fn entries(&self) -> Vec<Flow> {
        let read = |place| {
            let mut flow: Flow = bytemuck::Zeroable::zeroed();
            flow_table::read(&self.by(0), place, &mut flow).then_some(flow)
        };
        self.places().filter_map(read).collect()
    }
}

/// The table as one processor uses it.
#[derive(Clone, Copy)]
pub(super) struct Used<'a> {
    table: &'a Table,
    processor: u8,
}

/// An entry, or a pair of them.
#[derive(Clone, Copy)]
pub(super) struct UsedLine<'a> {
    used: Used<'a>,
    at: usize,
}

impl<'a> UsedLine<'a> {
    fn word(self, number: usize, reads: bool, writes: bool) -> &'a Word {
        let Used { table, processor } = self.used;
        let at = self.at + number;
        if processor != 0 {
            let bit = 1 << processor;
            if reads {
                table.users[at].read.fetch_or(bit, Ordering::Relaxed);
            }
            if writes {
                table.users[at].written.fetch_or(bit, Ordering::Relaxed);
            }
        }
        &table.words[at]
    }
}

impl Line for UsedLine<'_> {
    fn load(self, word: usize) -> u32 {
        match self.word(word, true, false) {
            Word::Plain(word) => word.load(Ordering::SeqCst),
            Word::Weak(word) => word.load(Ordering::Acquire),
            Word::Strict(word, turns) => {
                Word::turn(turns);
                word.load(Ordering::SeqCst)
            }
        }
    }

    fn store(self, word: usize, value: u32) {
        match self.word(word, false, true) {
            Word::Plain(word) => word.store(value, Ordering::SeqCst),
            Word::Weak(word) => word.store(value, Ordering::Release),
            Word::Strict(word, turns) => {
                Word::turn(turns);
                word.store(value, Ordering::SeqCst);
            }
        }
    }

    fn exchange(self, word: usize, old: u32, new: u32) -> bool {
        match self.word(word, true, true) {
            Word::Plain(word) => word.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst).is_ok(),
            Word::Strict(word, turns) => {
                Word::turn(turns);
                word.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst).is_ok()
            }
            Word::Weak(word) => word.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst).is_ok(),
        }
    }
}

impl<'a> Memory for Used<'a> {
    type Line = UsedLine<'a>;
    type Bucket = usize;

    fn bucket(&self, number: u32) -> Option<usize> {
        (number < self.table.buckets).then_some(number as usize * BUCKET_WORDS)
    }

    fn way(&self, bucket: usize, way: u32) -> UsedLine<'a> {
        UsedLine { used: *self, at: bucket + (way % WAYS) as usize * ENTRY_WORDS }
    }

    fn pair_of(&self, bucket: usize, way: u32) -> UsedLine<'a> {
        UsedLine { used: *self, at: bucket + ((way % WAYS) & !1) as usize * ENTRY_WORDS }
    }

    fn lock(&self, hash: u32) -> bool {
        let lock = self.lock_of(hash);
        for _ in 0..TRIES {
            if lock.exchange(0, 0, 1) {
                return true;
            }
            if !matches!(lock.word(0, false, false), Word::Plain(_)) {
                loom::thread::yield_now();
            }
        }
        false
    }

    fn unlock(&self, hash: u32) {
        self.lock_of(hash).store(0, 0);
    }
}

impl<'a> Used<'a> {
    fn lock_of(self, hash: u32) -> UsedLine<'a> {
        let locks = self.table.buckets as usize * BUCKET_WORDS;
        UsedLine { used: self, at: locks + hash as usize % LOCKS }
    }
}
