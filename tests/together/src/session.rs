//! One table: both processors send, rest, and are looked at, round after round.

use std::{
    net::SocketAddr,
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use dtr_lb_agent::datapath::{Datapath, Options};
use dtr_lb_together_ebpf::{
    record::{LAST_STAMP, PROCESSORS},
    world::{Config, End, REPLICAS, stat},
};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use crate::{
    Order,
    interrupts::Interrupts,
    programs::Programs,
    report::{self, Report},
    sleep::Sleepers,
    steady::{self, Steady},
    walk::{Known, Model},
    world::{self, Size, client_end, replica_end},
};

/// Packets of a processor between two looks at the whole table.
const ROUND: u64 = 1_000_000;
/// Packets of one system call: some hundredths of a second. Both processors begin each at the same time: where others want them,
/// too, none is to go on for long without the other.
const BATCH: u64 = 20_000;
/// Between two steps of the agent's walk, which takes some milliseconds of a processor: less than it has to go round a table of this size,
/// and enough for the senders.
const PAUSE: Duration = Duration::from_millis(20);
/// How often it is said how far this is.
const SAY: Duration = Duration::from_secs(10);

/// All that is there about one table.
struct Session<'a> {
    datapath: Datapath,
    programs: Programs,
    size: &'a Size,
    processors: [usize; PROCESSORS],
    model: Model,
    sleepers: Sleepers,
    /// What the last packet of each processor left behind.
    frames: [Vec<u8>; PROCESSORS],
    report: Report,
}

/// Has so many packets sent over a table of its own.
pub(crate) fn run(
    order: &Order,
    size: &Size,
    packets: u64,
    processors: [usize; PROCESSORS],
    say: &impl Fn(&str),
) -> Result<Report> {
    let mut session = Session::open(order, size, processors)?;
    let interrupts = processors.map(Interrupts::of);
    if let Some(error) = interrupts.iter().find_map(|interrupts| interrupts.as_ref().err()) {
        say(&format!("without interrupts: {error}"));
    }
    let mut said = Instant::now();
    let mut left = packets.div_ceil(PROCESSORS as u64);
    while left > 0 {
        let now = left.min(ROUND);
        let went = session.round(now);
        session.count()?;
        went.with_context(|| session.report.words())?;
        left -= now;
        if left > 0 && said.elapsed() > SAY {
            said = Instant::now();
            say(&session.report.line());
        }
    }
    session.end()
}

impl<'a> Session<'a> {
    fn open(order: &Order, size: &'a Size, processors: [usize; PROCESSORS]) -> Result<Self> {
        let options = Options { max_flows: size.buckets, pins: None, log_packets: false };
        let mut datapath = Datapath::open(&options)?;
        datapath.apply(&world::desired(size))?;
        let steady = steady::open(&mut datapath, size)?;
        let mut programs = Programs::load(&mut datapath, order.hook)?;
        let clients = ends(size, &steady);
        let replicas: Vec<_> = (0..REPLICAS).map(replica_end).collect();
        programs.introduce(&clients, &replicas, &world::all_masks())?;
        let addresses = addresses(size, &steady);
        for (peer, Steady { record, mapping, .. }) in (0..).zip(&steady) {
            programs.maps().is_steady(peer, *record, *mapping)?;
        }
        for slot in 0..PROCESSORS as u32 {
            programs.maps().begin(slot, dtr_lb_common::hash::mix(order.seed, slot.into()))?;
        }
        let frame = world::frame(&clients[0].comes);
        Ok(Self {
            report: Report::new(*size, datapath.meter().verdicts()?),
            model: Model::new(&addresses, size.ports),
            sleepers: Sleepers::new(&datapath)?,
            frames: [frame.clone(), frame],
            datapath,
            programs,
            size,
            processors,
        })
    }

    /// Has each processor send so many packets, while the agent's walk goes round; then looks at all of the table.
    fn round(&mut self, packets: u64) -> Result<()> {
        self.order(0)?;
        let (over, at_work) = (AtomicBool::new(false), AtomicUsize::new(PROCESSORS));
        let begun = Instant::now();
        let Self { datapath, programs, size, processors, model, sleepers, frames, report } = self;
        let start = Barrier::new(PROCESSORS);
        let [first, second] = frames;
        let (maps, sender) = programs.apart();
        let send = |processor: usize, frame: &mut Vec<u8>| -> Result<()> {
            // Who fails goes on to meet the other one at each start.
            let mut sent = pin(processor);
            let mut left = packets;
            while left > 0 {
                start.wait();
                let now = left.min(BATCH);
                if sent.is_ok() && !over.load(Ordering::Relaxed) {
                    sent = sender.send(now as u32, frame);
                }
                left -= now;
            }
            at_work.fetch_sub(1, Ordering::Relaxed);
            sent
        };
        thread::scope(|scope| -> Result<()> {
            let (send, processors) = (&send, *processors);
            let threads = [
                scope.spawn(move || send(processors[0], first)),
                scope.spawn(move || send(processors[1], second)),
            ];
            let mut watched = Ok(());
            while at_work.load(Ordering::Relaxed) > 0 {
                watched = watched.and_then(|()| {
                    sleepers.make_old(datapath, maps, size)?;
                    report.walked(datapath.sweep()?);
                    report.entries_seen += model.each_is_whole(datapath.reader().table_words())? as u64;
                    maps.fault()?.map_or(Ok(()), |fault| {
                        bail!(report::fault(&fault, &maps.pasts()?, &datapath.flow_entries()))
                    })
                });
                over.store(watched.is_err(), Ordering::Relaxed);
                thread::sleep(PAUSE);
            }
            for thread in threads {
                thread.join().map_err(|_| anyhow!("a sender panicked"))??;
            }
            watched
        })?;
        self.report.sending += begun.elapsed();
        self.rest()
    }

    /// Has both processors look at their last packets, and looks at the table, where nothing changes now.
    fn rest(&mut self) -> Result<()> {
        self.order(1)?;
        let Self { programs, processors, frames, .. } = self;
        for (processor, frame) in processors.iter().zip(frames) {
            let (_, sender) = programs.apart();
            thread::scope(|scope| {
                let last = scope.spawn(|| {
                    pin(*processor)?;
                    sender.send(1, frame)
                });
                last.join().map_err(|_| anyhow!("a sender panicked"))?
            })?;
        }
        let maps = self.programs.maps();
        if let Some(fault) = maps.fault()? {
            bail!(report::fault(&fault, &maps.pasts()?, &self.datapath.flow_entries()));
        }
        let peers = 0..self.size.peers();
        let known =
            peers.map(|peer| Ok(Known { peer, record: maps.record(peer)? })).collect::<Result<Vec<_>>>()?;
        self.model.is_the_table(self.datapath.reader().table_words(), &known)?;
        self.report.rested();
        self.count()?;
        // Nobody else has sent a packet.
        let (counted, sent) = (self.report.counted(), self.report.stat(stat::PACKETS));
        ensure!(counted == sent, "{sent} packets were sent, and {counted} counted");
        Ok(())
    }

    /// Reads what was counted.
    fn count(&mut self) -> Result<()> {
        let maps = self.programs.maps();
        for slot in 0..PROCESSORS as u32 {
            let clock = maps.clock(slot)?;
            ensure!(
                clock.changes < LAST_STAMP / 2,
                "the counter of changes would overflow: fewer packets for one table"
            );
            self.report.stats[slot as usize] = maps.own(slot)?.stats;
        }
        self.report.verdicts = self.datapath.meter().verdicts()?;
        Ok(())
    }

    fn end(self) -> Result<Report> {
        let locks = self.datapath.locks_held()?;
        ensure!(locks == 0, "{locks} locks of insertions are left");
        Ok(self.report)
    }

    fn order(&mut self, ends: u32) -> Result<()> {
        let Self { programs, size, processors, .. } = self;
        programs.maps().order(Config {
            peers: size.peers(),
            steady: size.steady_peers(),
            ports: size.ports,
            first_processor: processors[0] as u32,
            ends,
            zero: 0,
        })
    }
}

/// The ends of all clients.
fn ends(size: &Size, steady: &[Steady]) -> Vec<End> {
    (0..).zip(addresses(size, steady)).map(|(peer, address)| client_end(peer, address)).collect()
}

/// Addresses and ports of all clients.
fn addresses(size: &Size, steady: &[Steady]) -> Vec<SocketAddr> {
    let own = (size.steady_peers()..size.peers()).map(|peer| size.port(peer));
    let ports = steady.iter().map(|steady| steady.port).chain(own);
    (0..)
        .zip(ports)
        .map(|(peer, port)| SocketAddr::new(world::client(peer, size.is_v6(peer)), port))
        .collect()
}

/// Stays on this processor.
fn pin(processor: usize) -> Result<()> {
    let mut only = CpuSet::new();
    only.set(processor)?;
    sched_setaffinity(Pid::from_raw(0), &only).with_context(|| format!("going to processor {processor}"))
}
