//! A program with traps in the place of its calls. A packet that comes to one ends there, and the result tells which it was.
//!
//! It is made of the instructions that the loaded program was made of, over the same maps. So a packet that comes through it as it
//! does through the loaded one makes no call there but those that were let be.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io, mem,
    os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd},
};

use aya::{
    maps::{MapFd, MapInfo},
    sys::BpfHelper,
};
use aya_obj::generated::{
    BPF_ALU64, BPF_EXIT, BPF_F_XDP_HAS_FRAGS, BPF_JA, BPF_JEQ, BPF_JMP, BPF_K, BPF_MOV, bpf_attach_type,
    bpf_attr, bpf_cmd, bpf_insn, bpf_prog_info, bpf_prog_type,
};
use dtr_lb_common::abi::program;

use super::instructions::{After, Callee, Program, after, instruction, programs};
use crate::datapath::{Datapath, Hook, Ran, object};

/// Helpers that the kernel makes loads of, for arrays and for the clock (`do_misc_fixups` in kernel/bpf/verifier.c). Whether it has
/// is seen in what it made of the program ([`Trapped::calls_left`]).
const LOADS: [BpfHelper; 2] = [BpfHelper::BPF_FUNC_map_lookup_elem, BpfHelper::BPF_FUNC_jiffies64];

/// What a trap returns, with its number added: no hook's action.
const TRAP: i32 = 0x7a00_0000;

/// A program that traps can be put into.
pub(super) struct Origin {
    hook: Hook,
    program: Program,
    /// Held, as the instructions have their numbers.
    _maps: Vec<MapFd>,
}

/// The same with traps, loaded.
pub(super) struct Trapped {
    fd: OwnedFd,
    /// What the traps stand for.
    traps: Vec<Callee>,
}

impl Origin {
    /// The program of `hook`, with the maps of the loaded one.
    pub(super) fn of(datapath: &mut Datapath, hook: Hook) -> Self {
        let (name, info) = match hook {
            Hook::NativeXdp | Hook::GenericXdp => {
                (program::XDP, object::xdp_program(&mut datapath.ebpf).expect("it is loaded").info())
            }
            Hook::Tc => (
                program::TC,
                object::tc_program(&mut datapath.ebpf, program::TC).expect("it is loaded").info(),
            ),
        };
        let ids = info.expect("it is loaded").map_ids().expect("its maps").expect("a kernel that tells them");
        let maps: Vec<(String, MapFd)> = ids
            .into_iter()
            .map(|id| MapInfo::from_id(id).expect("a map that is in use"))
            .map(|info| {
                (info.name_as_str().expect("a name").into(), info.fd().expect("a map that is in use"))
            })
            .collect();
        let numbers: BTreeMap<String, i32> =
            maps.iter().map(|(name, fd)| (name.clone(), fd.as_fd().as_raw_fd())).collect();
        let program = programs(&numbers).remove(name).expect("the object has the program");
        Self { hook, program, _maps: maps.into_iter().map(|(_, fd)| fd).collect() }
    }

    /// Loads it with a trap in the place of each call, to functions and to helpers, but [`LOADS`] and those that are allowed.
    pub(super) fn trapped(&self, allowed: &[BpfHelper]) -> Trapped {
        let mut instructions = self.program.instructions[self.program.function(0)].to_vec();
        let mut traps = Vec::new();
        for at in 0..instructions.len() {
            let After::Call(callee) = after(&instructions, at) else { continue };
            let is = |helper: &BpfHelper| callee == Callee::Helper(*helper as i32);
            if LOADS.iter().chain(allowed).any(is) {
                continue;
            }
            let trap = instructions.len();
            let number = TRAP + traps.len() as i32;
            traps.push(callee);
            instructions[at] = instruction(BPF_JMP | BPF_JA, 0, 0, distance(at, trap), 0);
            instructions.extend([
                instruction(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, number),
                // Never taken, as the verifier sees. But it refuses what no jump leads to, which goes for the instructions
                // behind the call.
                instruction(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, distance(trap + 1, at + 1), 0),
                instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
            ]);
        }
        Trapped { fd: load(self.hook, &instructions), traps }
    }

    pub(super) fn name(&self, callee: Callee) -> String {
        self.program.name(callee)
    }
}

impl Trapped {
    /// Runs it on a frame, as [`Datapath::run`] does. If the frame comes to a trap, says what that stands for.
    pub(super) fn run(&self, frame: &[u8]) -> Result<Ran, Callee> {
        let mut out = vec![0; frame.len() + 256];
        // SAFETY: all zeros is a value of this plain structure.
        let mut attr: bpf_attr = unsafe { mem::zeroed() };
        attr.test.prog_fd = self.fd.as_raw_fd() as u32;
        attr.test.data_in = frame.as_ptr() as u64;
        attr.test.data_size_in = frame.len() as u32;
        attr.test.data_out = out.as_mut_ptr() as u64;
        attr.test.data_size_out = out.len() as u32;
        attr.test.repeat = 1;
        // SAFETY: the buffers live through the call and have these lengths.
        unsafe { bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr) }.expect("the program runs");
        // SAFETY: the kernel has written these, and any number is a value of theirs.
        let (action, length) = unsafe { (attr.test.retval, attr.test.data_size_out) };
        let trap = action.checked_sub(TRAP as u32).and_then(|number| self.traps.get(number as usize));
        if let Some(trap) = trap {
            return Err(*trap);
        }
        out.truncate(length as usize);
        Ok(Ran { action, frame: out })
    }

    /// The traps that some packet may come to, whatever it is: what is left of them when the kernel has thrown away what it saw that
    /// nothing leads to.
    pub(super) fn traps_left(&self) -> BTreeSet<Callee> {
        let loads = BPF_ALU64 | BPF_MOV | BPF_K;
        let set = |it: &bpf_insn| {
            (u32::from(it.code) == loads && it.dst_reg() == 0).then_some(it.imm.wrapping_sub(TRAP))
        };
        let instructions = translated(&self.fd);
        let trap = |number| self.traps.get(usize::try_from(number).ok()?).copied();
        instructions.iter().filter_map(set).filter_map(trap).collect()
    }

    /// And the functions of the kernel that it calls, by the kernel's names for them.
    pub(super) fn calls_left(&self) -> BTreeSet<String> {
        let instructions = translated(&self.fd);
        let calls = (0..instructions.len()).filter_map(|at| match after(&instructions, at) {
            After::Call(Callee::Helper(by)) => Some(by),
            After::Call(other) => panic!("{other:?} is called, which is no helper"),
            _ => None,
        });
        // All that a translated call says is how far the function is from `__bpf_call_base`.
        let symbols = Symbols::read();
        calls.map(|by| symbols.at(by)).collect()
    }
}

/// The kernel's functions by their addresses.
struct Symbols {
    names: BTreeMap<u64, String>,
    base: u64,
}

impl Symbols {
    fn read() -> Self {
        let lines = fs::read_to_string("/proc/kallsyms").expect("the kernel's symbols");
        let symbol = |line: &str| {
            let mut words = line.split_whitespace();
            let address = u64::from_str_radix(words.next()?, 16).ok()?;
            Some((address, words.nth(1)?.to_owned()))
        };
        let names: BTreeMap<u64, String> = lines.lines().filter_map(symbol).collect();
        let base = names.iter().find(|(_, name)| *name == "__bpf_call_base").map(|(address, _)| *address);
        Self {
            names,
            base: base.expect("the kernel's symbols with their addresses (kernel.kptr_restrict is 2?)"),
        }
    }

    fn at(&self, from_base: i32) -> String {
        let address = self.base.wrapping_add_signed(from_base.into());
        self.names.get(&address).cloned().unwrap_or_else(|| format!("{address:#x}"))
    }
}

fn distance(from: usize, to: usize) -> i16 {
    i16::try_from(to as isize - from as isize - 1).expect("a distance that a jump can go")
}

fn load(hook: Hook, instructions: &[bpf_insn]) -> OwnedFd {
    let try_to = |log: &mut [u8]| {
        // SAFETY: all zeros is a value of this plain structure.
        let mut attr: bpf_attr = unsafe { mem::zeroed() };
        // SAFETY: any number is a value of the fields.
        let load = unsafe { &mut attr.__bindgen_anon_3 };
        match hook {
            Hook::NativeXdp | Hook::GenericXdp => {
                load.prog_type = bpf_prog_type::BPF_PROG_TYPE_XDP as u32;
                load.prog_flags = BPF_F_XDP_HAS_FRAGS;
                load.expected_attach_type = bpf_attach_type::BPF_XDP as u32;
            }
            Hook::Tc => load.prog_type = bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS as u32,
        }
        load.insns = instructions.as_ptr() as u64;
        load.insn_cnt = instructions.len() as u32;
        load.license = c"GPL".as_ptr() as u64;
        if !log.is_empty() {
            load.log_level = 1;
            load.log_buf = log.as_mut_ptr() as u64;
            load.log_size = log.len() as u32;
        }
        // SAFETY: what the attributes point to lives through the call and has these lengths.
        unsafe { bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr) }
    };
    let number = try_to(&mut []).unwrap_or_else(|error| {
        let mut log = vec![0; 1 << 24];
        let _ = try_to(&mut log);
        let log = String::from_utf8_lossy(&log).trim_end_matches('\0').to_owned();
        let last: Vec<&str> = log.lines().rev().take(20).collect();
        panic!(
            "the program with traps is refused: {error}\n{}",
            last.into_iter().rev().collect::<Vec<_>>().join("\n")
        );
    });
    // SAFETY: the kernel has just given it to us, and nobody else has it.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// What the kernel has made of a program.
fn translated(program: &OwnedFd) -> Vec<bpf_insn> {
    let ask = |info: &mut bpf_prog_info| {
        // SAFETY: all zeros is a value of this plain structure.
        let mut attr: bpf_attr = unsafe { mem::zeroed() };
        attr.info.bpf_fd = program.as_raw_fd() as u32;
        attr.info.info_len = size_of_val(info) as u32;
        attr.info.info = (&raw mut *info) as u64;
        // SAFETY: the structure lives through the call and has this length, and so has the buffer that it may name.
        unsafe { bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr) }.expect("the kernel tells of a program");
    };
    // SAFETY: all zeros is a value of this plain structure.
    let mut info: bpf_prog_info = unsafe { mem::zeroed() };
    ask(&mut info);
    let length = info.xlated_prog_len;
    let mut instructions = vec![instruction(0, 0, 0, 0, 0); length as usize / size_of::<bpf_insn>()];
    // SAFETY: as above.
    info = unsafe { mem::zeroed() };
    info.xlated_prog_len = length;
    info.xlated_prog_insns = instructions.as_mut_ptr() as u64;
    ask(&mut info);
    assert_ne!(info.xlated_prog_insns, 0, "the kernel shows no instructions (net.core.bpf_jit_harden is 2?)");
    instructions
}

/// The system call.
///
/// # Safety
/// What the attributes of this command point to must be there, and as long as they say.
unsafe fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i32> {
    // SAFETY: the caller's, and the attributes are as long as this says.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command as libc::c_long, &raw mut *attr, size_of_val(attr)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
