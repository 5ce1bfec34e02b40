//! The loaded wrappers, and their maps.

use anyhow::{Context as _, Result, bail, ensure};
use aya::{
    Ebpf, Pod,
    maps::{Array, ArrayOfMaps, Map, MapData, PerCpuArray, ProgramArray},
    programs::{Program, SchedClassifier, TestRun as _, TestRunOptions, Xdp, XdpMode},
};
use bytemuck::Zeroable as _;
use dtr_lb_agent::datapath::{Datapath, Hook};
use dtr_lb_common::abi::Traffic;
use dtr_lb_together_ebpf::{
    record::{Claim, Mapping, PROCESSORS, Record},
    world::{Clock, Config, End, Fault, Masks, Own, PAST, Past},
};

/// As the build script left them.
static PROGRAMS: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/together-programs"));

const XDP: &str = "xdp_together";
const TC: &str = "tc_together";

/// Bytes of a shared type, which aya takes as a map's value.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Plain<T>(T);

// SAFETY: each `T` that is used here is `bytemuck::Pod`, as the functions below demand.
unsafe impl<T: bytemuck::Pod> Pod for Plain<T> {}

/// The wrapper of one hook, in front of the program under test, and its maps.
pub(crate) struct Programs {
    sender: Sender,
    maps: Maps,
}

/// What has packets sent: threads share it.
pub(crate) struct Sender {
    ebpf: Ebpf,
    hook: Hook,
    /// The kernel empties it when nobody in userspace has it any more.
    _target: ProgramArray<MapData>,
}

/// What the wrapper and its harness share.
pub(crate) struct Maps {
    config: Array<MapData, Plain<Config>>,
    records: Array<MapData, u64>,
    aged: Array<MapData, u64>,
    claims: Array<MapData, [u64; PROCESSORS]>,
    clocks: Array<MapData, Plain<Clock>>,
    own: Array<MapData, Plain<Own>>,
    faults: Array<MapData, Plain<Fault>>,
    pasts: Array<MapData, Plain<Past>>,
}

impl Programs {
    /// Loads it, and puts the program of a datapath behind it.
    pub(crate) fn load(datapath: &mut Datapath, hook: Hook) -> Result<Self> {
        let mut ebpf = Ebpf::load(PROGRAMS)?;
        let mut counters: ArrayOfMaps<_, PerCpuArray<MapData, Traffic>> = map(&mut ebpf, "VERDICT_COUNTERS")?;
        counters.set(0, datapath.verdict_counters(), 0).context("handing over the counters of verdicts")?;
        let (name, target) = if hook == Hook::Tc { (TC, "TC_TARGET") } else { (XDP, "XDP_TARGET") };
        let failed = || format!("loading {name}");
        match ebpf.program_mut(name).with_context(|| format!("no program {name}"))? {
            Program::Xdp(program) => {
                program.load().with_context(failed)?;
                // An XDP program that is run again and again is made known to the kernel's dispatcher before, and forgotten afterwards,
                // each of which waits for other processors. One that is attached is known.
                program
                    .attach("lo", XdpMode::Skb)
                    .context("attaching the wrapper to the loopback interface")?;
            }
            Program::SchedClassifier(program) => program.load().with_context(failed)?,
            _ => bail!("{name} is of neither hook"),
        }
        let mut target: ProgramArray<_> = map(&mut ebpf, target)?;
        target.set(0, &datapath.program(hook)?, 0).context("putting the program behind the wrapper")?;
        let maps = Maps {
            config: map(&mut ebpf, "CONFIG")?,
            records: map(&mut ebpf, "RECORDS")?,
            aged: map(&mut ebpf, "AGED")?,
            claims: map(&mut ebpf, "CLAIMS")?,
            clocks: map(&mut ebpf, "CLOCKS")?,
            own: map(&mut ebpf, "OWN")?,
            faults: map(&mut ebpf, "FAULTS")?,
            pasts: map(&mut ebpf, "PASTS")?,
        };
        Ok(Self { sender: Sender { ebpf, hook, _target: target }, maps })
    }

    pub(crate) fn maps(&mut self) -> &mut Maps {
        &mut self.maps
    }

    /// Both parts.
    pub(crate) fn apart(&mut self) -> (&mut Maps, &Sender) {
        (&mut self.maps, &self.sender)
    }

    /// Says who there is, and what must be of each frame.
    pub(crate) fn introduce(&mut self, clients: &[End], replicas: &[End], masks: &[Masks]) -> Result<()> {
        fill(&mut self.sender.ebpf, "CLIENT_ENDS", clients)?;
        fill(&mut self.sender.ebpf, "REPLICA_ENDS", replicas)?;
        fill(&mut self.sender.ebpf, "MASK", masks)
    }
}

impl Sender {
    /// Has this processor send so many packets, after a look at what became of the one that left `frame` behind. Leaves there what
    /// the last one left.
    pub(crate) fn send(&self, packets: u32, frame: &mut Vec<u8>) -> Result<()> {
        let mut out = vec![0; 512];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            repeat: packets,
            ..TestRunOptions::default()
        };
        let result = if self.hook == Hook::Tc {
            let program: &SchedClassifier = self.ebpf.program(TC).context(TC)?.try_into()?;
            program.test_run(options)
        } else {
            let program: &Xdp = self.ebpf.program(XDP).context(XDP)?.try_into()?;
            program.test_run(options)
        };
        let result = result.context("running the wrapper")?;
        out.truncate(result.data_size_out as usize);
        *frame = out;
        Ok(())
    }
}

impl Maps {
    pub(crate) fn order(&mut self, config: Config) -> Result<()> {
        Ok(self.config.set(0, Plain(config), 0)?)
    }

    pub(crate) fn record(&self, peer: u32) -> Result<Record> {
        Ok(Record(self.records.get(&peer, 0)?))
    }

    /// A connection that stays: from now on each of its packets must be sent on.
    pub(crate) fn is_steady(&mut self, peer: u32, record: Record, mapping: Mapping) -> Result<()> {
        self.records.set(peer, record.0, 0)?;
        let claims = [Claim::new(peer.into(), 0, 0).0, 0];
        Ok(self.claims.set(mapping.index(), claims, 0)?)
    }

    /// The life in which a connection was made to look old.
    pub(crate) fn aged(&self, peer: u32) -> Result<u64> {
        Ok(self.aged.get(&peer, 0)?)
    }

    pub(crate) fn set_aged(&mut self, peer: u32, life: u64) -> Result<()> {
        Ok(self.aged.set(peer, life, 0)?)
    }

    pub(crate) fn clock(&self, slot: u32) -> Result<Clock> {
        Ok(self.clocks.get(&slot, 0)?.0)
    }

    pub(crate) fn own(&self, slot: u32) -> Result<Own> {
        Ok(self.own.get(&slot, 0)?.0)
    }

    pub(crate) fn begin(&mut self, slot: u32, random: u64) -> Result<()> {
        Ok(self.own.set(slot, Plain(Own { random: random | 1, ..Own::zeroed() }), 0)?)
    }

    /// The first fault that was found, of either processor.
    pub(crate) fn fault(&self) -> Result<Option<Fault>> {
        for slot in 0..PROCESSORS as u32 {
            let fault = self.faults.get(&slot, 0)?.0;
            if fault.count > 0 {
                return Ok(Some(fault));
            }
        }
        Ok(None)
    }
}

impl Maps {
    /// The last packets of both processors, in the order in which they began.
    pub(crate) fn pasts(&self) -> Result<Vec<(usize, Past)>> {
        let all = self.pasts.iter().enumerate();
        let all = all.map(|(at, past)| Ok((at / PAST, past?.0))).collect::<Result<Vec<_>>>();
        let mut all = all?;
        all.retain(|(_, past)| past.began != 0);
        all.sort_by_key(|(_, past)| past.began);
        Ok(all)
    }
}

fn map<M: TryFrom<Map, Error = aya::maps::MapError>>(ebpf: &mut Ebpf, name: &str) -> Result<M> {
    let map = ebpf.take_map(name).with_context(|| format!("no map {name}"))?;
    M::try_from(map).with_context(|| format!("map {name}"))
}

fn fill<T: bytemuck::Pod>(ebpf: &mut Ebpf, name: &str, values: &[T]) -> Result<()> {
    let map = ebpf.map_mut(name).with_context(|| format!("no map {name}"))?;
    let mut map: Array<_, Plain<T>> = map.try_into().with_context(|| format!("map {name}"))?;
    ensure!(values.len() <= map.len() as usize, "{} values for map {name}", values.len());
    for (index, value) in (0..).zip(values) {
        map.set(index, Plain(*value), 0)?;
    }
    Ok(())
}
