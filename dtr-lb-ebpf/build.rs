//! Tells bpf-linker for which instructions to compile: compare-and-exchange of 32-bit words takes those of 32 bits,
//! which came with Linux 5.1, and is of 5.12 itself. For other targets there is nothing to tell.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("bpf") {
        println!("cargo::rustc-link-arg-bins=--cpu-features=+alu32");
    }
}
