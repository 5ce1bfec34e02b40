//! The prototype as a subject: the least that a packet of an established connection could cost. Under XDP, IPv4, NAT.

use std::{
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd as _, AsRawFd as _},
    ptr::{self, NonNull},
};

use anyhow::{Context as _, Result, bail, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, Map, PerCpuArray},
    programs::{ProgramFd, TestRun as _, TestRunOptions, Xdp},
};
use bytemuck::{bytes_of, cast};
use dtr_lb_agent::datapath::Hook;
use dtr_lb_bench_ebpf::{
    flows::{FIRST_NAT_PORT, NAT_PORTS, SERVICES},
    prototype::{
        self as layout, Bucket, Entry, FILTER_PLACES, MAX_REPLICAS, Replica, Settings, Traffic, Verdict,
        WAYS, hash, place, way,
    },
};
use dtr_lb_common::checksum::Delta;
use dtr_lb_tests::fixtures::{frames::Macs, world::INGRESS};

use super::{
    PROGRAMS,
    case::{Load, Sent},
    subject::{Subject, max_flows},
    world::{MTU, SEED, TO_CLIENT, TO_REPLICA, Ways, ways},
};

const PROGRAM: &str = "prototype";

/// The loaded prototype.
pub(crate) struct Prototype {
    ebpf: Ebpf,
}

impl Prototype {
    /// One whose table holds `load`. As its buckets have no second choice, some flows have no entry.
    pub(crate) fn filled(load: Load) -> Result<Self> {
        // A bucket has four places, and a flow two entries.
        let buckets = max_flows(load);
        let settings = Settings {
            seed: SEED,
            first_port: FIRST_NAT_PORT.into(),
            port_count: NAT_PORTS,
            // Never: the entries begin with the time 0, whatever time it is.
            idle: u32::MAX,
            last_bucket: buckets - 1,
        };
        let filter = filter(load, &settings);
        let mut loader = EbpfLoader::new();
        loader.map_max_entries("BUCKET", buckets);
        loader.override_global("PROTOTYPE_SETTINGS", bytes_of(&settings), true);
        loader.override_global("PROTOTYPE_FILTER", &filter[..], true);
        let mut prototype = Self { ebpf: loader.load(PROGRAMS)? };
        prototype.xdp()?.load()?;
        prototype.replicas()?;
        prototype.fill(load, &settings)?;
        Ok(prototype)
    }

    fn xdp(&mut self) -> Result<&mut Xdp> {
        let program = self.ebpf.program_mut(PROGRAM).context("no prototype")?;
        Ok(program.try_into()?)
    }

    fn replicas(&mut self) -> Result<()> {
        let map = self.ebpf.map_mut("REPLICA").context("no map of replicas")?;
        let mut map: Array<_, [u8; size_of::<Replica>()]> = map.try_into()?;
        let replica = Replica { hop: hop(TO_REPLICA), mtu: MTU, mode: 0, reset: 0 };
        for id in 1..=SERVICES {
            map.set(id, cast::<_, [u8; size_of::<Replica>()]>(replica), 0)?;
        }
        Ok(())
    }

    fn fill(&mut self, load: Load, settings: &Settings) -> Result<()> {
        let map = self.ebpf.map("BUCKET").context("no map of buckets")?;
        let mut memory = Memory::of(map, settings.last_bucket as usize + 1)?;
        let mut without = 0;
        for number in 0..load.flows {
            for entry in entries(load, number) {
                let hash = hash(settings.seed, entry.source, entry.destination, entry.ports);
                let bucket = &mut memory.buckets()[((hash >> 32) as u32 & settings.last_bucket) as usize];
                match (0..WAYS).map(|n| way(hash, n)).find(|&way| bucket.entries[way].replica == 0) {
                    Some(way) => bucket.entries[way] = entry,
                    None => without += 1,
                }
            }
        }
        let all = 2.0 * f64::from(load.flows);
        ensure!(f64::from(without) <= all * (1.0 - self.share()), "{without} of {all} entries have no room");
        Ok(())
    }
}

impl Subject for Prototype {
    fn name(&self) -> &'static str {
        "prototype"
    }

    fn program(&mut self, _: Hook) -> Result<ProgramFd> {
        Ok(self.xdp()?.fd()?.try_clone()?)
    }

    fn run(&mut self, _: Hook, frame: &[u8]) -> Result<Vec<u8>> {
        let mut out = vec![0; frame.len()];
        let options =
            TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::default() };
        self.xdp()?.test_run(options)?;
        Ok(out)
    }

    fn counted(&self, sent: Sent) -> Result<u64> {
        let verdict = if sent.ours() { Verdict::Forwarded } else { Verdict::NotOurs };
        let map = self.ebpf.map("VERDICT_TRAFFIC").context("no map of verdicts")?;
        let map: PerCpuArray<_, [u64; 2]> = map.try_into()?;
        const { assert!(size_of::<Traffic>() == size_of::<[u64; 2]>()) };
        Ok(map.get(&(verdict as u32), 0)?.iter().map(|[packets, _]| packets).sum())
    }

    /// By the distribution of Poisson, 2.4 % find their bucket full at this load.
    fn share(&self) -> f64 {
        0.96
    }

    fn clear(&mut self) -> Result<()> {
        bail!("the prototype knows no handshakes")
    }
}

/// What the filter marks: services, and NAT addresses.
fn filter(load: Load, settings: &Settings) -> Vec<u8> {
    let mut filter = vec![0; FILTER_PLACES];
    for number in 0..load.flows.max(SERVICES) {
        let Ways { client: (_, service), replica: (_, nat) } = ways(load, number);
        for end in [service, nat] {
            let place = place(settings.first_port, settings.port_count, word(end.ip()), end.port().into());
            filter[place as usize] = 1;
        }
    }
    filter
}

fn hop(Macs { destination, source, .. }: Macs) -> layout::Hop {
    let bytes: [u8; 12] = cast([destination, source]);
    layout::Hop { interface: INGRESS, macs: cast(bytes) }
}

/// The entries of a flow.
fn entries(load: Load, number: u32) -> [Entry; 2] {
    let Ways { client, replica } = ways(load, number);
    let entry =
        |(source, destination): (SocketAddr, SocketAddr), (to, from): (SocketAddr, SocketAddr), side| {
            let words = |end: SocketAddr| -> [u16; 2] { cast(word(end.ip())) };
            Entry {
                source: word(source.ip()),
                destination: word(destination.ip()),
                ports: ports(source, destination),
                to_source: word(from.ip()),
                to_destination: word(to.ip()),
                to_ports: ports(from, to),
                hop: if side == layout::TO_CLIENT { hop(TO_CLIENT) } else { layout::Hop::default() },
                address_delta: Delta::ZERO
                    .words(words(source), words(from))
                    .words(words(destination), words(to))
                    .fold(),
                port_delta: Delta::ZERO
                    .word(source.port().to_be(), from.port().to_be())
                    .word(destination.port().to_be(), to.port().to_be())
                    .fold(),
                replica: (number % SERVICES + 1) as u16,
                state: 3,
                side,
                last_seen: 0,
                zero: [0; 3],
            }
        };
    const { assert!(SERVICES < MAX_REPLICAS as u32) };
    [entry(client, replica, layout::TO_REPLICA), entry(replica, client, layout::TO_CLIENT)]
}

/// An IPv4 address as it stands in a frame.
fn word(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(v4) => cast(v4.octets()),
        IpAddr::V6(v6) => unreachable!("the prototype knows IPv4 only, not {v6}"),
    }
}

fn ports(source: SocketAddr, destination: SocketAddr) -> u32 {
    cast([source.port().to_be(), destination.port().to_be()])
}

/// A map's values as memory.
struct Memory {
    start: NonNull<Bucket>,
    count: usize,
}

impl Memory {
    fn of(map: &Map, count: usize) -> Result<Self> {
        let Map::Array(data) = map else { bail!("buckets are no array") };
        let info = data.info()?;
        ensure!(
            info.max_entries() as usize == count && info.value_size() as usize == size_of::<Bucket>(),
            "buckets of another size"
        );
        // SAFETY: a new mapping, where the kernel chooses, of a file that is open.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                count * size_of::<Bucket>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                data.fd().as_fd().as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error()).context("mapping the buckets");
        }
        Ok(Self { start: NonNull::new(start.cast()).context("mapped at 0")?, count })
    }

    fn buckets(&mut self) -> &mut [Bucket] {
        // SAFETY: the mapping is of so many, and page-aligned; any bytes are a bucket, and no program runs while this is
        // borrowed.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.count) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's own, and no reference into it outlives it.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.count * size_of::<Bucket>()) };
    }
}
