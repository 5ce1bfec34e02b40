//! A trial eBPF object: the only proof that a compiler, its `core` and bpf-linker fit together. Version numbers
//! do not tell: bpf-linker reads the bitcode of an LLVM no newer than its own, down to the patch level, and a
//! distribution's LLVM differs from rustup's of the same number.
//!
//! The trial takes from one second (precompiled `core`) to half a minute, so a success is remembered, together
//! with the identity of the files that took part in it.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    command::{captured, target_dir},
    toolchain::Toolchain,
};

const MANIFEST: &str = r#"[package]
name = "trial"
version = "0.0.0"
edition = "2024"

[workspace]

[profile.release]
lto = "thin"
panic = "abort"
"#;

/// As small as it gets with all that the real programs need: `core` to link with, a program section, debug
/// information to turn into BTF, and the unstable feature that aya-ebpf uses.
const SOURCE: &str = r#"#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

#[unsafe(no_mangle)]
#[unsafe(link_section = "xdp")]
pub extern "C" fn trial(context: *const u32) -> u32 {
    unsafe { core::arch::asm!("r0 = r0", out("r0") _) };
    let word = unsafe { context.read_volatile() };
    core::hint::black_box(Some(word)).map_or(1, |word| word.rotate_left(1).saturating_add(1) & 2)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
"#;

/// ELF's number for BPF.
const EM_BPF: u16 = 247;

fn directory() -> PathBuf {
    target_dir().join("setup").join("trial")
}

fn stamp() -> PathBuf {
    target_dir().join("setup").join("trial.passed")
}

/// Whether this toolchain and this bpf-linker have built a trial object, and are still the same files.
pub(crate) fn has_passed(toolchain: &Toolchain, linker: &Path) -> bool {
    fs::read_to_string(stamp()).is_ok_and(|passed| passed == identity(toolchain, linker))
}

/// Builds the trial object as aya-build builds the real one, looks at the result, and remembers a success.
pub(crate) fn build(toolchain: &Toolchain, linker: &Path) -> Result<()> {
    println!("setup: trying {} with toolchain {}", linker.display(), toolchain.name);
    let directory = directory();
    write(&directory.join("Cargo.toml"), MANIFEST)?;
    write(&directory.join("src").join("main.rs"), SOURCE)?;
    let target = if cfg!(target_endian = "big") { "bpfeb-unknown-none" } else { "bpfel-unknown-none" };
    // A result of another linker must not be taken for this one's.
    let output = directory.join("target");
    if output.exists() {
        fs::remove_dir_all(&output).with_context(|| format!("cannot remove {}", output.display()))?;
    }

    let mut cargo = Command::new("rustup");
    cargo.args(["run", &toolchain.name, "cargo", "build", "--release", "--target", target, "--target-dir"]);
    cargo.arg(&output).current_dir(&directory);
    if toolchain.is_nightly()? {
        cargo.args(["-Z", "build-std=core"]);
    }
    cargo.env_remove("CARGO_ENCODED_RUSTFLAGS").env("RUSTFLAGS", "-Cdebuginfo=2 -Clink-arg=--btf");
    cargo.env("RUSTC_BOOTSTRAP", "trial");
    for name in ["RUSTC", "RUSTC_WORKSPACE_WRAPPER", "RUSTC_WRAPPER"] {
        cargo.env_remove(name);
    }
    captured(&mut cargo)?;

    let object = output.join(target).join("release").join("trial");
    let bytes = fs::read(&object).with_context(|| format!("cannot read {}", object.display()))?;
    check(&bytes).with_context(|| format!("{} is not a usable object", object.display()))?;
    write(&stamp(), &identity(toolchain, linker))
}

fn check(object: &[u8]) -> Result<()> {
    let Some((header, _)) = object.split_first_chunk::<20>() else {
        bail!("it is only {} bytes", object.len())
    };
    let machine = u16::from_ne_bytes([header[18], header[19]]);
    if !header.starts_with(b"\x7fELF") || machine != EM_BPF {
        bail!("it is not an ELF file for BPF");
    }
    for section in ["xdp\0", ".BTF\0"] {
        if !object.windows(section.len()).any(|window| window == section.as_bytes()) {
            bail!("it has no section {}", section.trim_end_matches('\0'));
        }
    }
    Ok(())
}

/// The files that the trial's result depends on, each with what changes when it is replaced.
fn identity(toolchain: &Toolchain, linker: &Path) -> String {
    let files = [toolchain.rustc(), toolchain.cargo(), toolchain.core_sources(), linker.to_owned()];
    let core = toolchain.precompiled_core();
    let described = files.iter().chain(&core).map(|path| match fs::metadata(path) {
        Ok(found) => format!("{} {} {}.{}\n", path.display(), found.len(), found.mtime(), found.mtime_nsec()),
        Err(_) => format!("{} absent\n", path.display()),
    });
    std::iter::once(format!("{}\n", toolchain.name)).chain(described).collect()
}

fn write(path: &Path, text: &str) -> Result<()> {
    path.parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::write(path, text))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(machine: u16, rest: &str) -> Vec<u8> {
        let mut bytes = b"\x7fELF".to_vec();
        bytes.resize(18, 0);
        bytes.extend(machine.to_ne_bytes());
        bytes.extend(rest.as_bytes());
        bytes
    }

    #[test]
    fn only_a_bpf_object_with_a_program_and_btf_is_usable() {
        for (bytes, usable) in [
            (object(EM_BPF, "\0xdp\0.BTF\0"), true),
            (object(62, "\0xdp\0.BTF\0"), false),
            (object(EM_BPF, "\0xdp\0"), false),
            (object(EM_BPF, "\0.BTF\0"), false),
            (b"\x7fELF".to_vec(), false),
            (Vec::new(), false),
        ] {
            assert_eq!(check(&bytes).is_ok(), usable, "{bytes:?}");
        }
    }
}
