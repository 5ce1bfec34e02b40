//! What the flow table costs: memory, and the time of a walk.

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _},
    time::Duration,
};

use aya::maps::Map;
use dtr_lb_common::{
    abi::{Control, Direction, Place, State, map},
    flow_table::{BUCKET_BYTES, Line as _, Memory as _, WAYS, entry::word},
};
use nix::time::{ClockId, clock_gettime};

use super::{REPLICA, as_root, desired, of_size, replica, sweep_all};
use crate::datapath::{Datapath, memory};

/// The kernel's own figure, from the map's file descriptor.
fn memlock(map: &Map) -> u64 {
    let (Map::Array(data) | Map::LruHashMap(data)) = map else { panic!("another map") };
    let descriptor = data.fd().as_fd().as_raw_fd();
    let facts =
        fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).expect("the descriptor's facts");
    let line = facts.lines().find_map(|line| line.strip_prefix("memlock:")).expect("its memory");
    line.trim().parse().expect("a number")
}

fn of(datapath: &Datapath, name: &str) -> u64 {
    memlock(datapath.ebpf.map(name).expect("the object has the map"))
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_the_estimate_of_memory_is_the_kernels_figure_within_two_percent() {
    as_root(|_| {
        for max_flows in [1024, 100_000] {
            let datapath = of_size(max_flows);
            let all = [map::FLOWS, map::FLOW_LOCKS, map::NEXT_HOPS, map::SYNS, map::CLIENTS];
            let is: u64 = all.iter().map(|name| of(&datapath, name)).sum();
            let estimate = memory::estimate(max_flows);
            assert!(
                is.abs_diff(estimate) * 50 <= is,
                "{max_flows} flows: {estimate} estimated, {is} in the kernel"
            );
            // 256 bytes a connection of IPv4, which has two entries in a table that is half full; the map's head is a page.
            let table = of(&datapath, map::FLOWS);
            assert!(table <= u64::from(max_flows) * 256 + 8192, "{max_flows} flows: {table}");
        }
        assert_eq!(BUCKET_BYTES, 256);
    });
}

/// What this thread has run so far.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("the clock").into()
}

/// As many connections as the table is for, each in a bucket of its own.
fn fill(datapath: &mut Datapath) {
    let now = datapath.now().expect("the clock");
    let mapped = datapath.map_table().expect("the table can be mapped");
    let table = mapped.words();
    for bucket in 0..table.buckets() {
        for (way, direction) in [(0, Direction::ToReplica), (1, Direction::ToClient)] {
            let line = table.line(Place(bucket * WAYS + way)).expect("the entry");
            line.store(word::REPLICA_HOP, 1);
            line.store(word::PARTNER, bucket * WAYS + (1 - way));
            line.store(word::LAST_SEEN, now);
            line.store(word::CONTROL, Control::new(State::ESTABLISHED, direction, false).0);
        }
    }
}

/// Of the release profile: `cargo test --release -p dtr-lb-agent --lib -- --ignored --nocapture a_walk_through`.
#[test]
#[ignore = "a measurement, of the release profile"]
fn a_walk_through_the_default_table_takes_less_than_60_ms_of_cpu() {
    const BUCKETS: u32 = 1_048_576;
    as_root(|_| {
        let mut datapath = of_size(BUCKETS);
        datapath.apply(&desired([(443, vec![replica(REPLICA, 1)])])).expect("it fits");
        for connections in [0, u64::from(BUCKETS)] {
            if connections > 0 {
                fill(&mut datapath);
            }
            let mut times: Vec<Duration> = (0..9)
                .map(|_| {
                    let begun = cpu_time();
                    let census = sweep_all(&mut datapath);
                    assert_eq!(census.flows.values().sum::<u64>(), connections);
                    cpu_time() - begun
                })
                .collect();
            times.sort();
            println!("{BUCKETS} buckets, {connections} connections: {times:.1?}");
            // The rest of the machine may be busy, which costs cache and memory bandwidth.
            assert!(times[0] < Duration::from_millis(60), "{times:.1?}");
        }
    });
}
