//! Runs the programs on single packets (`BPF_PROG_TEST_RUN`), without a network but with the real maps, and looks at what an
//! agent has no use for: for the fixtures that host and kernel share, for benchmarks, and for this module's tests. Not in the
//! agent's binary: behind the feature `test-run`, which the packages below `tests` turn on.

use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData, PerCpuArray},
    programs::{ProgramError, ProgramFd, TestRun as _, TestRunOptions},
};
use dtr_lb_common::{
    abi::{Client, ClientKey, Flow, MAX_SERVICES, Ticks, Traffic, map, program},
    flow_table::{Control, Line as _, Memory as _, Place, State, WAYS, entry::word},
};

use super::{Datapath, DatapathError, Hook, causes, mapped::Mapped, object};

/// What a program did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// The hook's action, as a number of `enum xdp_action` or `TC_ACT_*`.
    pub action: u32,
    /// The frame afterwards.
    pub frame: Vec<u8>,
}

impl Datapath {
    /// Runs the program of `hook` on a frame, as if it came in by the loopback interface of this namespace (index 1).
    /// The kernel takes frames of 14 bytes and more.
    pub fn run(&mut self, hook: Hook, frame: &[u8]) -> Result<Ran, DatapathError> {
        let mut out = vec![0; frame.len() + 256];
        let options =
            TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::default() };
        let (name, result) = match hook {
            Hook::NativeXdp | Hook::GenericXdp => {
                (program::XDP, object::xdp_program(&mut self.ebpf)?.test_run(options))
            }
            Hook::Tc => (program::TC, object::tc_program(&mut self.ebpf, program::TC)?.test_run(options)),
        };
        let result =
            result.map_err(|error| DatapathError::Refused { program: name, reason: causes(&error) })?;
        out.truncate(result.data_size_out as usize);
        Ok(Ran { action: result.return_value, frame: out })
    }

    /// The program of `hook`, for a benchmark whose own program goes on with it.
    pub fn program(&mut self, hook: Hook) -> Result<ProgramFd, DatapathError> {
        let (name, fd) = match hook {
            Hook::NativeXdp | Hook::GenericXdp => (program::XDP, object::xdp_program(&mut self.ebpf)?.fd()),
            Hook::Tc => (program::TC, object::tc_program(&mut self.ebpf, program::TC)?.fd()),
        };
        let cloned = fd.and_then(|fd| fd.try_clone().map_err(ProgramError::IOError));
        cloned.map_err(|error| DatapathError::program(name, &error))
    }

    /// The counters of verdicts, for a test whose own program looks at them.
    pub fn verdict_counters(&self) -> &PerCpuArray<MapData, Traffic> {
        self.counters.verdict_map()
    }

    /// How many instructions the verifier walked through to accept the program of `hook`.
    pub fn verified_instructions(&mut self, hook: Hook) -> Result<u32, DatapathError> {
        verified_instructions(&mut self.ebpf, hook)
    }

    /// How many it walks through to accept the same program with the trace on, for a table of `max_flows`.
    pub fn verified_instructions_tracing(hook: Hook, max_flows: u32) -> Result<u32, DatapathError> {
        verified_instructions(&mut object::load_tracing(max_flows, None)?, hook)
    }

    /// All entries of the flow table.
    pub fn flow_entries(&self) -> Vec<Flow> {
        let table = self.reader.table_words();
        table.entries(0..table.buckets()).collect()
    }

    /// The flow table, to be written by who measures or tests.
    pub fn map_table(&self) -> Result<Mapped, DatapathError> {
        let flows = self.ebpf.map(map::FLOWS).ok_or_else(|| missing(map::FLOWS))?;
        Mapped::writable(flows, map::FLOWS)
    }

    /// Makes all entries older by so many ticks: how a test lets time pass.
    pub fn age_flows(&self, ticks: Ticks) -> Result<(), DatapathError> {
        self.each_line(|line| {
            // The second half of a wide entry has addresses there.
            if Control(line.load(word::CONTROL)).state() == State::CONTINUED {
                return;
            }
            for at in [word::LAST_SEEN, word::OPENED] {
                line.store(at, line.load(at).wrapping_sub(ticks));
            }
        })
    }

    /// How many locks of insertions are held: none while no packet is under way.
    pub fn locks_held(&self) -> Result<usize, DatapathError> {
        let locks = self.ebpf.map(map::FLOW_LOCKS).ok_or_else(|| missing(map::FLOW_LOCKS))?;
        let locks: Array<_, u64> =
            locks.try_into().map_err(DatapathError::map(map::FLOW_LOCKS, "opening"))?;
        let mut held = 0;
        for lock in locks.iter() {
            held += usize::from(lock.map_err(DatapathError::map(map::FLOW_LOCKS, "reading"))? != 0);
        }
        Ok(held)
    }

    /// Frees all entries: a test leaves the datapath to the next one.
    pub fn forget_flows(&self) -> Result<(), DatapathError> {
        self.each_line(|line| line.store(word::CONTROL, Control(line.load(word::CONTROL)).freed().0))
    }

    /// Forgets all that is remembered of clients and of floods, for the same reason.
    pub fn forget_clients(&mut self) -> Result<(), DatapathError> {
        let clients = self.ebpf.map_mut(map::CLIENTS).ok_or_else(|| missing(map::CLIENTS))?;
        let mut clients: HashMap<_, ClientKey, Client> =
            HashMap::try_from(clients).map_err(DatapathError::map(map::CLIENTS, "opening"))?;
        for key in clients
            .keys()
            .collect::<Result<Vec<_>, _>>()
            .map_err(DatapathError::map(map::CLIENTS, "reading"))?
        {
            clients.remove(&key).map_err(DatapathError::map(map::CLIENTS, "removing from"))?;
        }
        (0..MAX_SERVICES as u32).try_for_each(|number| self.counters.forget_handshakes_of(number))
    }

    /// All entries that something stands in. No packet may be under way.
    fn each_line(&self, f: impl Fn(dtr_lb_common::model::SharedLine<'_>)) -> Result<(), DatapathError> {
        let mapped = self.map_table()?;
        let table = mapped.words();
        for place in 0..table.buckets() * WAYS {
            if let Some(line) = table.line(Place(place))
                && !Control(line.load(word::CONTROL)).is_free()
            {
                f(line);
            }
        }
        Ok(())
    }
}

fn missing(name: &str) -> DatapathError {
    DatapathError::Object { reason: format!("the object has no map {name}") }
}

fn verified_instructions(ebpf: &mut Ebpf, hook: Hook) -> Result<u32, DatapathError> {
    let (name, info) = match hook {
        Hook::NativeXdp | Hook::GenericXdp => (program::XDP, object::xdp_program(ebpf)?.info()),
        Hook::Tc => (program::TC, object::tc_program(ebpf, program::TC)?.info()),
    };
    let info = info.map_err(|error| DatapathError::program(name, &error))?;
    Ok(info.verified_instruction_count().unwrap_or_default())
}
