//! Whether the kernel still holds what the agent has written, and writing it again where it does not: somebody may have
//! changed a pinned map, or taken a program off an interface.
//!
//! A round looks at one thing after the other, each a [`Datapath::compare`] of its own, so that none holds up the agent for
//! long. What is compared with is what was written last, not what is desired: a write that failed is another one's affair.

use std::collections::{BTreeMap, BTreeSet};

use aya::{
    Ebpf,
    programs::{SchedClassifier, TcAttachType},
};
use dtr_lb_common::abi::{MAX_REPLICAS, ReplicaId, map, program};

use super::{Datapath, DatapathError, Hook, Wanted};

/// What differed, and was made what it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// The map, or `links`.
    pub map: &'static str,
    /// How many entries of it.
    pub entries: u64,
    /// The first of them, in words.
    pub first: String,
}

impl Repaired {
    /// One more entry of `map`, which `what` describes if it is the first.
    pub(super) fn add(found: &mut Option<Self>, map: &'static str, what: impl FnOnce() -> String) {
        match found {
            Some(found) => found.entries += 1,
            None => *found = Some(Self { map, entries: 1, first: what() }),
        }
    }
}

/// How far a round is.
#[derive(Debug, PartialEq, Eq)]
pub struct Round {
    pub repaired: Option<Repaired>,
    /// Whether all has been looked at.
    pub done: bool,
}

/// What stands for the attached programs where maps are named.
const LINKS: &str = "links";

/// Replicas of a piece: each is a system call.
const REPLICAS: ReplicaId = 512;

/// What is looked at in one piece.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Piece {
    #[default]
    Links,
    Settings,
    Filter,
    Vips,
    /// From this id on.
    Replicas(ReplicaId),
    Sources,
    Services,
    /// The table in force of the n-th service.
    Table(usize),
}

/// The round under way, and what all rounds have found.
#[derive(Debug)]
pub(super) struct Repairs {
    next: Piece,
    /// Entries repaired, by map.
    counts: BTreeMap<&'static str, u64>,
}

impl Default for Repairs {
    fn default() -> Self {
        let compared = [
            LINKS,
            map::SETTINGS,
            map::FILTER,
            map::VIPS,
            map::REPLICAS,
            map::SOURCES,
            map::SERVICES,
            map::TABLES,
        ];
        Self { next: Piece::default(), counts: compared.map(|map| (map, 0)).into() }
    }
}

impl Datapath {
    /// Looks at the next piece of what the agent has written, and repairs it. Before anything was written there is nothing
    /// to be looked at. Where it fails, the next call goes on with the next piece.
    pub fn compare(&mut self) -> Result<Round, DatapathError> {
        if self.settings.is_none() {
            return Ok(Round { repaired: None, done: true });
        }
        let piece = self.repairs.next;
        let services = self.writer.service_count();
        let next = match piece {
            Piece::Links => Some(Piece::Settings),
            Piece::Settings => Some(Piece::Filter),
            Piece::Filter => Some(Piece::Vips),
            Piece::Vips => Some(Piece::Replicas(1)),
            Piece::Replicas(first) => match first + REPLICAS {
                next if usize::from(next) < MAX_REPLICAS => Some(Piece::Replicas(next)),
                _ => Some(Piece::Sources),
            },
            Piece::Sources => Some(Piece::Services),
            Piece::Services => (services > 0).then_some(Piece::Table(0)),
            Piece::Table(place) => (place + 1 < services).then_some(Piece::Table(place + 1)),
        };
        self.repairs.next = next.unwrap_or_default();
        let repaired = match piece {
            Piece::Links => self.compare_links(),
            Piece::Settings => self.writer.compare_settings(),
            Piece::Filter => self.writer.compare_filter(),
            Piece::Vips => self.writer.compare_vips(),
            Piece::Replicas(first) => self.writer.compare_replicas(first..first + REPLICAS),
            Piece::Sources => self.writer.compare_sources(),
            Piece::Services => self.writer.compare_services(),
            Piece::Table(place) => self.writer.compare_table(place),
        }?;
        if let Some(repaired) = &repaired {
            *self.repairs.counts.entry(repaired.map).or_default() += repaired.entries;
        }
        Ok(Round { repaired, done: next.is_none() })
    }

    /// How many entries were repaired since the agent's start, by map; the attached programs are `links`.
    pub fn repairs(&self) -> &BTreeMap<&'static str, u64> {
        &self.repairs.counts
    }

    /// Counts that a program was put back on an interface that had lost it.
    pub fn count_lost_link(&mut self) {
        *self.repairs.counts.entry(LINKS).or_default() += 1;
    }

    /// Under TC: whether the program stands where it was attached. What XDP program an interface has is in every look at the
    /// interfaces, and one that is gone or new is found there, too.
    fn compare_links(&mut self) -> Result<Option<Repaired>, DatapathError> {
        let Some(attached) = self.attached.as_ref().filter(|attached| attached.hook == Hook::Tc) else {
            return Ok(None);
        };
        let interfaces = attached.interfaces.clone();
        let own: BTreeSet<_> =
            [Some(&self.ebpf), self.tracing.as_ref()].into_iter().flatten().filter_map(tc_id).collect();
        let mut found = None;
        for interface in &interfaces {
            // That it cannot be asked means that it is gone.
            let Ok((_, programs)) = SchedClassifier::query_tcx(&interface.name, TcAttachType::Ingress) else {
                continue;
            };
            if !programs.iter().any(|program| own.contains(&program.id())) {
                Repaired::add(&mut found, LINKS, || {
                    format!("the program was not on interface `{}`", interface.name)
                });
            }
        }
        if found.is_some() {
            self.attach(Wanted::Exactly(Hook::Tc), &interfaces)?;
        }
        Ok(found)
    }
}

/// The kernel's id of the TC program, if it is loaded.
fn tc_id(ebpf: &Ebpf) -> Option<u32> {
    let program: &SchedClassifier = ebpf.program(program::TC)?.try_into().ok()?;
    Some(program.info().ok()?.id())
}
