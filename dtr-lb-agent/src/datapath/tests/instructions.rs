//! The programs' instructions as the build left them, for the tests of their shape.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    mem,
    ops::Range,
};

use aya_obj::{
    Object,
    btf::BtfKind,
    generated::{BPF_CALL, BPF_EXIT, BPF_JA, BPF_JMP, BPF_JMP32, BPF_PSEUDO_CALL, bpf_insn},
};

use crate::datapath::object::DATAPATH;

/// A program and behind it all functions that it may call, as the kernel is given them.
pub(super) struct Program {
    pub(super) instructions: Vec<bpf_insn>,
    /// Names of functions by where they begin. The program itself begins at 0.
    names: BTreeMap<usize, String>,
}

/// What may come after an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// The next one.
    On,
    Exit,
    /// That one.
    Jump(usize),
    /// The next one or that one.
    Branch(usize),
    /// The next one, after the call.
    Call(Callee),
}

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Callee {
    /// One of the kernel's helpers.
    Helper(i32),
    /// The function that begins there.
    Function(usize),
    /// One of the kernel's own functions, by its type.
    Kernel(i32),
}

/// All programs of the object, by their names. `maps` are file descriptors by the maps' names, for who will load them.
pub(super) fn programs(maps: &BTreeMap<String, i32>) -> BTreeMap<String, Program> {
    let mut object = Object::parse(DATAPATH).expect("the object is whole");
    let sections: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
    let described = object.maps.clone();
    let fds = described.iter().map(|(name, map)| (name.as_str(), maps.get(name).copied().unwrap_or(-1), map));
    object.relocate_maps(fds, &sections).expect("maps are where the programs name them");
    let types: BTreeMap<u32, String> = {
        let btf = object.btf.as_ref().expect("the object describes its types");
        let id = |name: &str| btf.id_by_type_name_kind(name, BtfKind::Func).ok();
        let names = object.functions.values().map(|function| function.name.clone());
        names.filter_map(|name| Some((id(&name)?, name))).collect()
    };
    object.relocate_calls(&sections).expect("functions are where the programs call them");
    let program = |program: &aya_obj::Program| {
        let function = &object.functions[&program.function_key()];
        let infos = function.func_info.func_info.iter();
        let name = |id| types.get(&id).cloned().unwrap_or_else(|| "?".into());
        Program {
            instructions: function.instructions.clone(),
            names: infos.map(|info| (info.insn_off as usize, name(info.type_id))).collect(),
        }
    };
    object.programs.iter().map(|(name, described)| (name.clone(), program(described))).collect()
}

impl Program {
    /// Where the program begins and each function that it may call.
    pub(super) fn starts(&self) -> BTreeSet<usize> {
        let called = (0..self.instructions.len()).filter_map(|at| match after(&self.instructions, at) {
            After::Call(Callee::Function(start)) => Some(start),
            _ => None,
        });
        called.chain([0]).collect()
    }

    /// Where the instructions of the function stand that begins there.
    pub(super) fn function(&self, start: usize) -> Range<usize> {
        start..self.starts().range(start + 1..).next().copied().unwrap_or(self.instructions.len())
    }

    pub(super) fn name(&self, callee: Callee) -> String {
        match callee {
            Callee::Helper(id) => format!("helper {id} of enum bpf_func_id"),
            Callee::Function(start) => {
                self.names.get(&start).cloned().unwrap_or_else(|| format!("instruction {start}"))
            }
            Callee::Kernel(id) => format!("the kernel's function of type {id}"),
        }
    }
}

/// What may come after the instruction that stands there. The second half of a 64-bit load reads as one that does nothing.
pub(super) fn after(instructions: &[bpf_insn], at: usize) -> After {
    let instruction = &instructions[at];
    let code = u32::from(instruction.code);
    let (class, operation) = (code & 0x07, code & 0xf0);
    if class != BPF_JMP && class != BPF_JMP32 {
        return After::On;
    }
    let to = |by: i32| at.checked_add_signed(by as isize + 1).expect("a jump inside the program");
    match operation {
        BPF_EXIT => After::Exit,
        BPF_CALL => After::Call(match u32::from(instruction.src_reg()) {
            0 => Callee::Helper(instruction.imm),
            BPF_PSEUDO_CALL => Callee::Function(to(instruction.imm)),
            _ => Callee::Kernel(instruction.imm),
        }),
        BPF_JA if class == BPF_JMP32 => After::Jump(to(instruction.imm)),
        BPF_JA => After::Jump(to(instruction.off.into())),
        _ => After::Branch(to(instruction.off.into())),
    }
}

pub(super) fn instruction(code: u32, to: u8, from: u8, off: i16, imm: i32) -> bpf_insn {
    // SAFETY: all zeros is a value of this plain structure.
    let mut instruction: bpf_insn = unsafe { mem::zeroed() };
    instruction.code = code as u8;
    instruction.set_dst_reg(to);
    instruction.set_src_reg(from);
    instruction.off = off;
    instruction.imm = imm;
    instruction
}
