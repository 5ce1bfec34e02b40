//! What older kernels ask of the programs' shape, held on the object as it was built. These need no kernel and no root: the one
//! that runs here may well take what an older one refuses.

use std::collections::{BTreeMap, BTreeSet};

use aya_obj::generated::{
    BPF_ADD, BPF_ALU64, BPF_DW, BPF_EXIT, BPF_JA, BPF_JMP, BPF_JMP32, BPF_JNE, BPF_K, BPF_LDX, BPF_MEM,
    BPF_MOV, BPF_ST, BPF_STX, BPF_X, bpf_insn,
};

use super::instructions::{After, Callee, Program, after, instruction, programs};

/// `MAX_BPF_STACK` (include/linux/filter.h).
const STACK: usize = 512;
/// A frame takes a multiple of this, and never nothing (`check_max_stack_depth` in kernel/bpf/verifier.c). Newer kernels round to 16
/// where they compile programs, so that they take what older ones refuse.
const ROUNDED_TO: usize = 32;

/// The frame pointer.
const FRAME: u8 = 10;

/// Functions that are under way together, and what stack each takes.
type Chain = Vec<(String, usize)>;

fn depth(chain: &Chain) -> usize {
    chain.iter().map(|(_, bytes)| bytes).sum()
}

/// The chain of calls from the function at `start` on that takes the most stack.
fn deepest(program: &Program, start: usize) -> Chain {
    let range = program.function(start);
    let callees: BTreeSet<usize> = range
        .clone()
        .filter_map(|at| match after(&program.instructions, at) {
            After::Call(Callee::Function(callee)) => Some(callee),
            _ => None,
        })
        .collect();
    let below = callees.into_iter().map(|callee| deepest(program, callee)).max_by_key(depth);
    let own = frame(&program.instructions[range]).max(1).next_multiple_of(ROUNDED_TO);
    let own = (program.name(Callee::Function(start)), own);
    [own].into_iter().chain(below.unwrap_or_default()).collect()
}

/// How far below the frame pointer a function reaches, in bytes: by what it loads and stores there, and by the pointers that it
/// makes into its frame.
fn frame(function: &[bpf_insn]) -> usize {
    let mut lowest = 0;
    // Where registers point to, from the end of the frame.
    let mut pointers = BTreeMap::from([(FRAME, 0)]);
    for instruction in function {
        let code = u32::from(instruction.code);
        let (to, from) = (instruction.dst_reg(), instruction.src_reg());
        let mut reach = |base: Option<&i32>, by: i32| {
            let at = base.map(|base| base + by);
            lowest = lowest.min(at.unwrap_or(0));
            at
        };
        match code & 0x07 {
            BPF_STX | BPF_ST => drop(reach(pointers.get(&to), instruction.off.into())),
            // What jumps here may have other pointers.
            BPF_JMP | BPF_JMP32 => pointers.retain(|register, _| *register == FRAME),
            class => {
                let now = if class == BPF_LDX {
                    reach(pointers.get(&from), instruction.off.into());
                    None
                } else if code == BPF_ALU64 | BPF_MOV | BPF_X {
                    pointers.get(&from).copied()
                } else if code == BPF_ALU64 | BPF_ADD | BPF_K {
                    reach(pointers.get(&to), instruction.imm)
                } else {
                    None
                };
                match now {
                    Some(at) => drop(pointers.insert(to, at)),
                    None => drop(pointers.remove(&to)),
                }
            }
        }
    }
    lowest.unsigned_abs() as usize
}

/// The first instruction that is no jump and runs into the start of a loop that it is part of, and that start.
///
/// A walk like that of `check_cfg` in Linux 6.1: depth first, and at a branch the next instruction first. What it meets that is still
/// under way closes a loop. A jump may do so; of any other instruction older kernels take it for a loop without an end, up to the
/// change "bpf: fix control-flow graph checking in privileged mode" (10e14e9652bf).
fn runs_into_a_loop(instructions: &[bpf_insn]) -> Option<(usize, usize)> {
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        Not,
        UnderWay,
        Done,
    }
    // What may come next, and whether that may close a loop.
    let edges = |at: usize| match after(instructions, at) {
        After::Exit => vec![],
        After::On | After::Call(Callee::Helper(_) | Callee::Kernel(_)) => vec![(at + 1, false)],
        After::Call(Callee::Function(start)) => vec![(at + 1, false), (start, false)],
        After::Jump(to) => vec![(to, true)],
        After::Branch(to) => vec![(at + 1, true), (to, true)],
    };
    let mut seen = vec![Seen::Not; instructions.len()];
    seen[0] = Seen::UnderWay;
    let mut under_way = vec![(0, edges(0).into_iter())];
    while let Some((at, left)) = under_way.last_mut() {
        match left.next().map(|(to, may_close)| (to, may_close, seen[to])) {
            Some((to, _, Seen::Not)) => {
                seen[to] = Seen::UnderWay;
                under_way.push((to, edges(to).into_iter()));
            }
            Some((to, false, Seen::UnderWay)) => return Some((*at, to)),
            Some(_) => {}
            None => {
                seen[*at] = Seen::Done;
                under_way.pop();
            }
        }
    }
    None
}

#[test]
fn the_frames_of_all_functions_under_way_fit_the_stack_of_older_kernels() {
    for (name, program) in programs(&BTreeMap::new()) {
        let chain = deepest(&program, 0);
        assert!(
            depth(&chain) <= STACK,
            "{name} takes {} bytes of stack, of {STACK}: {chain:?}",
            depth(&chain)
        );
    }
}

#[test]
fn no_instruction_runs_into_the_start_of_its_loop() {
    for (name, program) in programs(&BTreeMap::new()) {
        let refused = runs_into_a_loop(&program.instructions).map(|(at, start)| {
            let function = program.starts().range(..=at).next_back().copied().unwrap_or_default();
            format!("{at} runs into {start}, in {}", program.name(Callee::Function(function)))
        });
        assert_eq!(refused, None, "{name}");
    }
}

/// What both tests above go by, on programs of a few instructions.
#[test]
fn frames_and_loops_are_seen() {
    let load_1 = instruction(BPF_ALU64 | BPF_MOV | BPF_K, 1, 0, 0, 1);
    let exit = instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
    let store = |to, at| instruction(BPF_STX | BPF_MEM | BPF_DW, to, 1, at, 0);
    let pointer = [
        instruction(BPF_ALU64 | BPF_MOV | BPF_X, 2, FRAME, 0, 0),
        instruction(BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, -40),
    ];
    assert_eq!(frame(&[load_1, exit]), 0);
    assert_eq!(frame(&[store(FRAME, -24), exit]), 24);
    assert_eq!(frame(&[pointer[0], pointer[1], store(FRAME, -24), exit]), 40);
    assert_eq!(frame(&[pointer[0], pointer[1], store(2, -8), exit]), 48);
    assert_eq!(frame(&[pointer[0], load_1, store(1, -64), exit]), 0);

    let again = |by| instruction(BPF_JMP | BPF_JNE | BPF_K, 1, 0, by, 0);
    let into = instruction(BPF_JMP | BPF_JA, 0, 0, 1, 0);
    assert_eq!(runs_into_a_loop(&[load_1, again(-2), exit]), None);
    assert_eq!(runs_into_a_loop(&[into, load_1, again(-2), exit]), Some((1, 2)));
}
