//! The eBPF object, as the build script left it, and its loading: its programs, and its maps as what they are used as.

use std::path::Path;

use aya::{
    Ebpf, EbpfLoader, VerifierLogLevel,
    maps::{Map, MapError},
    programs::{ProgramError, SchedClassifier, Xdp},
};
use dtr_lb_common::abi::{KEPT_SYNS, SYNS_A_CPU, TRACING, map, program};

use super::error::DatapathError;

pub(super) static DATAPATH: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/dtr-lb-ebpf"));

/// The level of aya-log that has a line for each packet (`aya_log_common::Level::Debug`). 0 has none, and the verifier
/// removes the code.
const LOG_PACKETS: u8 = 4;

/// Creates the maps, or takes them over from `pins` where they are there, and loads the programs of one hook.
///
/// Whoever pins has looked before whether what is pinned fits: aya takes it over as it is.
pub(super) fn load(flow_buckets: u32, pins: Option<&Path>, log_packets: bool) -> Result<Ebpf, DatapathError> {
    let level = if log_packets { LOG_PACKETS } else { 0 };
    let mut ebpf = load_with(flow_buckets, pins, level, Trace::Off)?;
    tc_program(&mut ebpf, program::CLOCK)?;
    tc_program(&mut ebpf, program::SEND)?;
    tc_program(&mut ebpf, program::SWEEP)?;
    Ok(ebpf)
}

/// The same, with the trace on, and no program loaded yet.
pub(super) fn load_tracing(flow_buckets: u32, pins: Option<&Path>) -> Result<Ebpf, DatapathError> {
    load_with(flow_buckets, pins, 0, Trace::On)
}

/// Whether programs tell of each packet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trace {
    Off,
    On,
}

fn load_with(
    flow_buckets: u32,
    pins: Option<&Path>,
    log_level: u8,
    trace: Trace,
) -> Result<Ebpf, DatapathError> {
    let mut loader = EbpfLoader::new();
    loader.verifier_log_level(VerifierLogLevel::STATS);
    loader.map_max_entries(map::FLOWS, flow_buckets);
    loader.override_global(aya_log::LEVEL, &log_level, true);
    let tracing = u8::from(trace == Trace::On);
    loader.override_global(TRACING, &tracing, true);
    let syns = KEPT_SYNS as u32 / processors()?;
    loader.override_global(SYNS_A_CPU, &syns, true);
    if trace == Trace::Off {
        // The smallest that there is: a page.
        loader.map_max_entries(map::TRACE, 1);
    }
    if let Some(directory) = pins {
        for name in map::ALL {
            loader.map_pin_path(name, directory.join(name));
        }
    }
    loader.load(DATAPATH).map_err(|error| DatapathError::object(&error))
}

/// Processors that the kernel counts by.
fn processors() -> Result<u32, DatapathError> {
    let count = aya::util::nr_cpus().map_err(|(file, error)| DatapathError::Object {
        reason: format!("the number of processors cannot be read from `{file}`: {error}"),
    })?;
    Ok(count.max(1) as u32)
}

/// The XDP program, loaded.
pub(super) fn xdp_program(ebpf: &mut Ebpf) -> Result<&mut Xdp, DatapathError> {
    let name = program::XDP;
    let program = ebpf.program_mut(name).ok_or_else(|| missing(name))?;
    let program: &mut Xdp = program.try_into().map_err(|error| DatapathError::program(name, &error))?;
    loaded(name, program.load())?;
    Ok(program)
}

/// A TC program, loaded.
pub(super) fn tc_program<'a>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut SchedClassifier, DatapathError> {
    let program = ebpf.program_mut(name).ok_or_else(|| missing(name))?;
    let program: &mut SchedClassifier =
        program.try_into().map_err(|error| DatapathError::program(name, &error))?;
    loaded(name, program.load())?;
    Ok(program)
}

fn loaded(name: &'static str, result: Result<(), ProgramError>) -> Result<(), DatapathError> {
    match result {
        Ok(()) | Err(ProgramError::AlreadyLoaded) => Ok(()),
        Err(error) => Err(DatapathError::program(name, &error)),
    }
}

fn missing(name: &str) -> DatapathError {
    DatapathError::Object { reason: format!("the object has no program `{name}`") }
}

/// Takes a map out of the object as the type that it is used as.
pub(super) fn take<M: TryFrom<Map, Error = MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<M, DatapathError> {
    let map = ebpf
        .take_map(name)
        .ok_or_else(|| DatapathError::Object { reason: format!("the object has no map {name}") })?;
    M::try_from(map).map_err(DatapathError::map(name, "opening"))
}
