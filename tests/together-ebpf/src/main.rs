//! Wrappers that send a program under test packets of connections that both processors use, and look at what became of each.
//!
//! The kernel hands each run of a batch (`BPF_PROG_TEST_RUN`) the frame as the run before left it. So a wrapper first looks at
//! that (`check`), then makes the frame the next packet (`choose`), and goes on with the program under test.
//!
//! For a host target this is an empty program, so that the workspace compiles with any toolchain.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod check;
#[cfg(target_arch = "bpf")]
mod choose;
#[cfg(target_arch = "bpf")]
mod frame;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod wrapper;

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    #[expect(clippy::empty_loop, reason = "there is nothing else to do in a kernel program")]
    loop {}
}

#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
