//! Has the linker use loads and stores of whole words where a frame has them at any even address. Without it LLVM takes
//! each to pieces, and the floor would be none. The processors that this runs on do not mind.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|target| target == "bpf") {
        println!("cargo::rustc-link-arg-bins=--cpu-features=+allows-misaligned-mem-access");
    }
}
