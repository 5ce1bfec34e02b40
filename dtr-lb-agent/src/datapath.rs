//! The datapath: the only module that touches BPF.
//!
//! [`Datapath::open`] loads it, or takes over what an earlier agent left pinned; [`Datapath::attach`] lets packets in;
//! [`Datapath::apply`] writes what is desired. Without pins (tests, benchmarks) everything ends with the process.

mod access;
mod attach;
mod clock;
mod counters;
mod desired;
mod error;
mod events;
mod flow_events;
mod hook;
mod ids;
mod link;
mod mapped;
pub mod memory;
mod meter;
mod notices;
mod object;
mod own_macs;
mod packet_log;
mod pins;
mod probing;
mod reader;
mod repair;
pub mod requirements;
mod room;
mod sweep;
#[cfg(any(test, feature = "test-run"))]
mod test_run;
mod trace;
mod writer;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use aya::{Ebpf, programs::links::FdLink};
use dtr_lb_common::abi::{FLOW_KEYS, ReplicaId, Settings, Ticks, map};

pub use attach::{Attached, Wanted};
pub use counters::Handshakes;
pub use desired::{
    Challenge, Desired, DesiredReplica, DesiredService, DesiredSettings, Limits, SourceRule, processors,
    service_key,
};
pub use error::DatapathError;
use error::causes;
pub use events::{Dropped, Events};
pub use flow_events::{FlowEvents, FlowNews};
pub use hook::{Hook, Interface};
pub use mapped::Mapped;
pub use meter::Meter;
pub use notices::Asked;
pub use packet_log::PacketLog;
pub use pins::{check_layout, check_place, xdp_link_is_pinned};
pub use probing::{Steered, Steering};
pub use reader::Reader;
pub use repair::{Repaired, Round};
pub use sweep::{Census, NatRange};
#[cfg(any(test, feature = "test-run"))]
pub use test_run::Ran;
pub use trace::{TraceError, TraceLoader, TraceReader, TraceTotals, TraceVariant, TracedPacket};
pub use writer::Applied;

/// For how long an entry without packets lives, by the state of its connection. Linux keeps TIME_WAIT for a minute and
/// gives up on a handshake after about as long; a closed connection is kept to carry what is still on its way, as long as
/// conntrack keeps one that its client closed first.
const TIME_WAIT: Duration = Duration::from_secs(60);
const CLOSED: Duration = Duration::from_secs(120);
/// For how long the port of a connection rests that left no socket at its replica.
const PORT_REST: Duration = Duration::from_secs(10);
const HALF_OPEN: Duration = Duration::from_secs(30);
/// A connection with one direction closed may stay silent for so long, or for as long as an open one if that is less.
const HALF_CLOSED: Duration = Duration::from_secs(300);

/// How the datapath is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// Connections that the flow table holds.
    pub max_flows: u32,
    /// The directory in a BPF file system where maps and links are pinned; none to keep them in this process.
    pub pins: Option<PathBuf>,
    /// Whether each packet's verdict is logged. For development: it costs more than all the rest.
    pub log_packets: bool,
}

/// The loaded datapath.
pub struct Datapath {
    ebpf: Ebpf,
    pins: Option<pins::Pins>,
    adopted: bool,
    writer: writer::Writer,
    counters: counters::Counters,
    room: room::Room,
    own_macs: own_macs::OwnMacSets,
    settings: Option<Settings>,
    attached: Option<Attached>,
    /// Where nothing is pinned. Dropping them detaches.
    links: Vec<FdLink>,
    probing: Option<probing::Probing>,
    flow_buckets: u32,
    reader: Arc<Reader>,
    meter: Arc<Meter>,
    /// The programs that stand in the links while somebody traces.
    tracing: Option<Ebpf>,
    sweep: sweep::Sweep,
    repairs: repair::Repairs,
    notices: notices::Notices,
    /// Those whose clients are asked in the walk under way.
    asked: BTreeSet<ReplicaId>,
    /// When the sweep under way began.
    sweep_begun: Option<Instant>,
    ticks_per_second: u32,
    /// Random numbers that choose the buckets of flows: as old as the table.
    flow_keys: [u64; FLOW_KEYS],
    /// Random numbers that challenges are made of: another agent's are as good.
    challenge_keys: [u64; 2],
}

impl Datapath {
    /// Loads the datapath. With pins: takes the directory for this process alone, and takes over what is pinned there if
    /// it fits. Nothing is attached yet that was not before, and where it fails, nothing is pinned that was not before.
    pub fn open(options: &Options) -> Result<Self, DatapathError> {
        let pins = options.pins.as_deref().map(pins::Pins::hold).transpose()?;
        let adopted = pins.as_ref().map(pins::Pins::occupied).transpose()?.unwrap_or(false);
        match Self::load(options, pins.as_ref(), adopted) {
            Ok(datapath) => Ok(Self { pins, ..datapath }),
            Err(error) => {
                if let Some(pins) = pins.filter(|_| !adopted) {
                    // Nothing more can be done, and the first error is the one that matters.
                    let _ = pins.remove_own();
                }
                Err(error)
            }
        }
    }

    fn load(options: &Options, pins: Option<&pins::Pins>, adopted: bool) -> Result<Self, DatapathError> {
        let flow_buckets = options.max_flows;
        if let Some(pins) = pins {
            pins.prepare(flow_buckets)?;
        }
        let map_pins = pins.map(pins::Pins::maps);
        let mut ebpf = object::load(flow_buckets, map_pins.as_deref(), options.log_packets)?;
        // aya closes a map that was taken when it is dropped; programs refer to maps until they are loaded. So all
        // programs are loaded first.
        object::xdp_program(&mut ebpf)?;
        object::tc_program(&mut ebpf, dtr_lb_common::abi::program::TC)?;
        let reader = Arc::new(Reader::new(&ebpf)?);
        let mut writer = writer::Writer::new(&mut ebpf)?;
        let ticks_per_second = clock::ticks_per_second()?;
        let meter = Arc::new(Meter::new(&mut ebpf, ticks_per_second)?);
        if adopted {
            writer.adopt()?;
            meter.assign(writer.assigned());
        }
        Ok(Self {
            counters: counters::Counters::open(&ebpf)?,
            room: room::Room::new(&mut ebpf)?,
            own_macs: own_macs::OwnMacSets::new(&mut ebpf)?,
            ticks_per_second,
            meter,
            flow_keys: writer.flow_keys().unwrap_or_else(rand::random),
            challenge_keys: rand::random(),
            ebpf,
            pins: None,
            adopted,
            writer,
            settings: None,
            attached: None,
            links: Vec::new(),
            probing: None,
            flow_buckets,
            reader,
            tracing: None,
            sweep: sweep::Sweep::default(),
            repairs: repair::Repairs::default(),
            notices: notices::Notices::default(),
            asked: BTreeSet::new(),
            sweep_begun: None,
        })
    }

    /// Whether maps of an earlier agent were taken over.
    pub fn adopted(&self) -> bool {
        self.adopted
    }

    /// Attaches to all interfaces, or to none and says why.
    ///
    /// An adopted datapath forwards already, and its maps say by what: it is attached *before* [`Datapath::apply`]. If
    /// attaching fails, it goes on as the last agent left it; the other way round, it would have lost the services that
    /// only the last agent's config has. A new datapath may be attached before or after: as long as nothing was applied,
    /// it passes all packets to the stack.
    ///
    /// Under XDP, replicas that are reached by another interface than these have no next hop from here on.
    pub fn attach(&mut self, wanted: Wanted, interfaces: &[Interface]) -> Result<&Attached, DatapathError> {
        let links = self.pins.as_ref().map(pins::Pins::links);
        let (attached, links) = attach::attach(&mut self.ebpf, wanted, interfaces, links.as_deref())?;
        let reach = match attached.hook {
            Hook::NativeXdp | Hook::GenericXdp => Some(interfaces.iter().map(|interface| interface.index)),
            Hook::Tc => None,
        };
        self.writer.set_reach(reach.map(Iterator::collect))?;
        // The links have the plain programs from here on.
        let tracing = self.tracing.take();
        if let Some(probing) = &mut self.probing {
            probing.move_to(&mut self.ebpf, interfaces)?;
        }
        (self.attached, self.links) = (Some(attached), links);
        if let Some(tracing) = tracing {
            self.trace_again(tracing);
        }
        self.attached.as_ref().ok_or_else(|| DatapathError::Object { reason: "nothing is attached".into() })
    }

    /// Makes ready to steer probes of replicas that answer clients directly, by these interfaces and from then on by those
    /// that the datapath is attached to. Before or after [`Datapath::attach`]; again, it has no effect.
    pub fn start_probing(&mut self, interfaces: &[Interface]) -> Result<Steering, DatapathError> {
        // They may have been started for a config that did not come into force.
        if let Some(probing) = &self.probing {
            return Ok(probing.steering());
        }
        let probing = probing::Probing::start(&mut self.ebpf, interfaces)?;
        Ok(self.probing.insert(probing).steering())
    }

    /// Gives up a start that failed: what this process made is removed, what it took over stays as it is.
    pub fn abandon(self) {
        let Self { ebpf, pins, adopted, writer, counters, room, own_macs, links, probing, .. } = self;
        if let Some(pins) = pins.filter(|_| !adopted) {
            // Nothing more can be done, and the caller has the error that matters.
            let _ = pins.remove_own();
        }
        drop((ebpf, writer, counters, room, own_macs, links, probing));
    }

    pub fn attached(&self) -> Option<&Attached> {
        self.attached.as_ref()
    }

    /// Looks whether the maps can hold what is desired, and changes nothing.
    ///
    /// # Errors
    /// [`DatapathError::TooMany`] and [`DatapathError::NoFreeReplica`]
    pub fn fits(&self, desired: &Desired) -> Result<(), DatapathError> {
        self.writer.fits(desired)
    }

    /// Makes the maps say what is desired. An adopted datapath is attached first: see [`Datapath::attach`].
    pub fn apply(&mut self, desired: &Desired) -> Result<Applied, DatapathError> {
        let in_force = self.writer.own_macs();
        let own_macs = self.own_macs.write(desired.settings.own_macs.as_ref(), in_force)?;
        let settings = Settings { own_macs, ..self.settings_of(desired) };
        let applied = self.writer.apply(desired, settings, &mut self.counters, Instant::now());
        // What was written before it failed is written.
        self.meter.assign(self.writer.assigned());
        let applied = applied?;
        self.settings = Some(settings);
        let new = self.writer.take_new();
        self.room.limit(self.writer.limits(desired), &new)?;
        self.notices.take(&self.writer.dead());
        Ok(applied)
    }

    /// What it counts, for another thread to read.
    pub fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// Goes on with a walk through the flow table; the census is there when it has come round.
    pub fn sweep(&mut self) -> Result<Option<Census>, DatapathError> {
        let Some(settings) = self.settings else { return Ok(None) };
        let now = self.now()?;
        if self.sweep_begun.is_none() {
            self.room.census_begins()?;
            self.asked = self.notices.due();
        }
        let begun = *self.sweep_begun.get_or_insert_with(Instant::now);
        let reader = Arc::clone(&self.reader);
        let (table, hops) = (reader.table_words(), reader.next_hop_words());
        let replicas = self.writer.replicas();
        let sweep::Slice { census, waiting, idle } =
            self.sweep.step(&mut self.ebpf, (table, hops), &settings, now, &self.asked, replicas)?;
        self.notices.ask(&mut self.ebpf, &waiting, hops);
        self.notices.reset(&mut self.ebpf, &idle, hops, self.writer.replicas());
        if let Some(census) = &census {
            self.sweep_begun = None;
            self.notices.walked(&self.asked);
            self.room.take(census)?;
            self.writer.take_census(begun, census.held.keys().copied().collect());
        }
        Ok(census)
    }

    /// What was done for the clients of dead replicas since the last call, if anything was.
    pub fn take_asked(&mut self) -> Option<Asked> {
        self.notices.take_asked()
    }

    /// Whether the walk is to be quick: clients of a dead replica wait.
    pub fn hurries(&self) -> bool {
        !self.notices.due().is_empty()
    }

    /// The examples of dropped packets. Only the first call gets them; it needs a tokio runtime.
    pub fn events(&mut self) -> Result<Events, DatapathError> {
        let ring = object::take(&mut self.ebpf, map::EVENTS)?;
        Events::new(ring).map_err(|error| DatapathError::Map {
            map: map::EVENTS,
            operation: "waiting on",
            reason: error.to_string(),
        })
    }

    /// What becomes of connections. Only the first call gets that.
    pub fn flow_events(&mut self) -> Result<FlowEvents, DatapathError> {
        let (reader, meter) = (Arc::clone(&self.reader), Arc::clone(&self.meter));
        FlowEvents::new(&mut self.ebpf, reader, meter, self.ticks_per_second)
    }

    /// Starts to log packets, if the datapath was opened so, as records of the `log` crate. Needs a tokio runtime.
    pub fn start_packet_log(&mut self) -> Result<PacketLog, DatapathError> {
        PacketLog::start(&mut self.ebpf)
    }

    /// The maps, for another thread to look at.
    pub fn reader(&self) -> Arc<Reader> {
        Arc::clone(&self.reader)
    }

    /// The kernel's clock.
    pub fn now(&mut self) -> Result<Ticks, DatapathError> {
        clock::now(&mut self.ebpf)
    }

    fn settings_of(&self, desired: &Desired) -> Settings {
        let ticks = |duration| clock::ticks(duration, self.ticks_per_second);
        let DesiredSettings { hash_seed, nat_ports: ports, idle_timeout, own_macs: _ } = &desired.settings;
        Settings {
            hash_seed: *hash_seed,
            flow_keys: self.flow_keys,
            flow_buckets: self.flow_buckets,
            first_port: (*ports.start()).into(),
            port_count: u32::from(*ports.end()) - u32::from(*ports.start()) + 1,
            second: self.ticks_per_second,
            established: ticks(*idle_timeout),
            half_closed: ticks(HALF_CLOSED.min(*idle_timeout)),
            time_wait: ticks(TIME_WAIT),
            closed: ticks(CLOSED),
            half_open: ticks(HALF_OPEN),
            port_rest: ticks(PORT_REST),
            challenge_keys: self.challenge_keys,
            own_macs: 0,
            by_source: u32::from(self.writer.looks_by_source(desired)),
        }
    }
}

/// Removes a datapath that is pinned at `root`: programs, links, maps, of whatever layout, and nothing else. Says
/// whether there was one. Fails while an agent holds it.
pub fn detach(root: &Path) -> Result<bool, DatapathError> {
    if !root.exists() {
        return Ok(false);
    }
    pins::Pins::hold(root)?.remove()
}

#[cfg(test)]
pub(crate) mod tests;
