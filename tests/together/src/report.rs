//! What was done and found, in words.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use dtr_lb_agent::datapath::Census;
use dtr_lb_common::{
    abi::{Flow, Traffic},
    verdict::Verdict,
};
use dtr_lb_together_ebpf::{
    op::Op,
    record::{Claim, Mapping, PROCESSORS, Record},
    world::{Fault, Past, STATS, counted, stat, wrong},
};

use crate::world::Size;

/// Of one table.
#[derive(Clone, Debug)]
pub struct Report {
    pub size: Size,
    /// By processor, as in [`stat`].
    pub stats: [[u64; STATS]; PROCESSORS],
    before: BTreeMap<Verdict, Traffic>,
    pub(crate) verdicts: BTreeMap<Verdict, Traffic>,
    /// How long both processors were sending.
    pub(crate) sending: Duration,
    /// Walks of the agent's, and what they have ended.
    walks: u64,
    removed: u64,
    pub(crate) entries_seen: u64,
    /// Looks at the whole table at rest.
    rests: u64,
}

impl Report {
    pub(crate) fn new(size: Size, before: BTreeMap<Verdict, Traffic>) -> Self {
        Self {
            size,
            stats: [[0; STATS]; PROCESSORS],
            verdicts: before.clone(),
            before,
            sending: Duration::ZERO,
            walks: 0,
            removed: 0,
            entries_seen: 0,
            rests: 0,
        }
    }

    pub(crate) fn walked(&mut self, census: Option<Census>) {
        if let Some(census) = census {
            self.walks += 1;
            self.removed += census.removed;
        }
    }

    pub(crate) fn rested(&mut self) {
        self.rests += 1;
    }

    /// One of [`stat`], of both processors.
    pub(crate) fn stat(&self, number: usize) -> u64 {
        self.stats.iter().map(|stats| stats[number]).sum()
    }

    /// Connections that were seen to be established.
    pub fn established(&self) -> u64 {
        self.stat(stat::ESTABLISHED)
    }

    /// Packets that left by the one mapping that they might.
    pub fn exact(&self) -> u64 {
        self.stat(stat::EXACT)
    }

    /// Packets that were counted, under any verdict.
    pub(crate) fn counted(&self) -> u64 {
        let all = |verdicts: &BTreeMap<Verdict, Traffic>| {
            verdicts.values().map(|traffic| traffic.packets).sum::<u64>()
        };
        all(&self.verdicts) - all(&self.before)
    }

    /// How far this is, in one line.
    pub fn line(&self) -> String {
        let packets = self.stat(stat::PACKETS);
        let seconds = self.sending.as_secs_f64();
        format!(
            "{} buckets: {packets} packets in {seconds:.1} s, {:.2} million a second, {:.0} % of them while the other processor sent one",
            self.size.buckets,
            packets as f64 / seconds.max(0.001) / 1e6,
            100.0 * self.stat(stat::OVERLAPPED) as f64 / packets.max(1) as f64
        )
    }

    /// All of it.
    pub fn words(&self) -> String {
        let stats =
            (stat::LIVE..STATS).map(|number| format!("{} {}", self.stat(number), stat::NAMES[number]));
        let stats: Vec<_> = stats.collect();
        let verdicts = self.verdicts.iter().filter_map(|(verdict, traffic)| {
            let before = self.before.get(verdict).map_or(0, |traffic| traffic.packets);
            (traffic.packets > before).then(|| format!("{} {}", traffic.packets - before, verdict.name()))
        });
        let verdicts: Vec<_> = verdicts.collect();
        format!(
            "{}\n  packets: {}\n  verdicts: {}\n  {} walks of the agent's, which ended {} connections; {} entries read meanwhile; {} looks \
             at the table at rest",
            self.line(),
            stats.join(", "),
            verdicts.join(", "),
            self.walks,
            self.removed,
            self.entries_seen,
            self.rests
        )
    }
}

/// What a fault is.
pub(crate) fn fault(fault: &Fault, packets: &[(usize, Past)], table: &[Flow]) -> String {
    let Fault {
        count,
        what,
        op,
        peer,
        came_by,
        left_by,
        before,
        after,
        verdict,
        changes,
        claims,
        sent,
        left,
    } = fault;
    let mut words = format!(
        "{}: the first of {count}. Client {peer}, {}.\n",
        wrong::NAMES.get(*what as usize).unwrap_or(&"an unknown fault"),
        Op(*op).name()
    );
    let mut line = |name: &str, value: String| {
        let _ = writeln!(words, "{name:<24}{value}");
    };
    line("came by", mapping(*came_by));
    line("left by", format!("{left_by} ({})", mapping(*left_by)));
    line("known before", record(*before));
    line("known afterwards", record(*after));
    line("changes before", format!("{changes:?}"));
    for claim in claims.map(Claim) {
        line(
            "claim",
            format!("client {} at {}, other {}", claim.holder() as i64 - 1, claim.stamp(), claim.other()),
        );
    }
    let verdict = counted::VERDICTS.get(*verdict as usize);
    line("verdict", verdict.map_or("none of those that are expected", |verdict| verdict.name()).into());
    line("frame that came", hex(bytemuck::bytes_of(sent)));
    line("frame that left", hex(bytemuck::bytes_of(left)));
    words.push_str("\nThe last packets of both processors:\n");
    words.push_str(&pasts(packets));
    words.push_str("\nThe flow table a moment later:\n");
    for flow in table {
        let _ = writeln!(words, "{flow:?}");
    }
    words
}

/// The last packets of both processors, one a line.
fn pasts(pasts: &[(usize, Past)]) -> String {
    let last = pasts.last().map_or(0, |(_, past)| past.ended);
    let mut words = String::new();
    for (processor, Past { began, ended, op, peer, record: known, verdict }) in pasts {
        let verdict = counted::VERDICTS.get(*verdict as usize).map_or("another", |verdict| verdict.name());
        let _ = writeln!(
            words,
            "{:>8} {:>6} ns processor {processor}: client {peer:>2} {:<28} {verdict:<20} {}",
            *began as i64 - last as i64,
            ended - began,
            Op(*op as u32).name(),
            record(*known)
        );
    }
    words
}

fn mapping(number: u64) -> String {
    let mapping = Mapping(number);
    if mapping == Mapping::NONE {
        "nothing".into()
    } else {
        format!("replica {} port {}", mapping.replica(), mapping.port())
    }
}

fn record(number: u64) -> String {
    let record = Record(number);
    format!(
        "phase {}, life {}, {}, since {}",
        record.phase(),
        record.life(),
        mapping(record.mapping().0),
        record.stamp()
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
