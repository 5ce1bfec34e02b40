//! Which toolchain builds the eBPF object: one rule, used by `cargo xtask setup` and, included by path, by
//! dtr-lb-agent's build script. Both must agree, or set-up would prepare a toolchain that the build ignores.
//!
//! A stable host compiler cannot build for BPF: it comes without a `core` for that target. Two routes can:
//! a nightly, which builds `core` from its sources, and a distribution's compiler that has `core` precompiled
//! (linked into rustup under [`LINKED`]).

/// The environment variable that overrides the choice: the name of a rustup toolchain.
pub(crate) const OVERRIDE: &str = "DTR_LB_BPF_TOOLCHAIN";
/// The name under which set-up links the distribution's compiler.
pub(crate) const LINKED: &str = "dtr-lb-bpf";
/// Upstream's route.
pub(crate) const NIGHTLY: &str = "nightly";

/// The toolchain to build with, given the override (if any) and the output of `rustup toolchain list`.
pub(crate) fn choose(overridden: Option<String>, list: &str) -> String {
    match overridden {
        Some(name) if !name.is_empty() => name,
        _ if is_installed(LINKED, list) => LINKED.to_owned(),
        _ => NIGHTLY.to_owned(),
    }
}

/// Whether rustup has this toolchain. Asked before `rustup run`, which may otherwise start a download.
pub(crate) fn is_installed(name: &str, list: &str) -> bool {
    list.lines().filter_map(|line| line.split_whitespace().next()).any(|entry| is_called(entry, name))
}

/// Whether rustup's entry goes by this name: `nightly` means `nightly-x86_64-unknown-linux-gnu`, but not
/// `nightly-2026-01-31-x86_64-unknown-linux-gnu`.
pub(crate) fn is_called(entry: &str, name: &str) -> bool {
    match entry.strip_prefix(name) {
        Some("") => true,
        Some(rest) => {
            rest.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic()))
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{LINKED, choose, is_installed};

    const STABLE: &str = "stable-x86_64-unknown-linux-gnu (active, default)\n";
    const DATED: &str = "nightly-2026-01-31-x86_64-unknown-linux-gnu\n";

    #[test]
    fn an_entry_answers_to_its_short_name_only() {
        for (name, list, installed) in [
            ("stable", STABLE, true),
            ("stable-x86_64-unknown-linux-gnu", STABLE, true),
            ("nightly", "nightly-aarch64-unknown-linux-gnu\n", true),
            ("nightly", DATED, false),
            ("nightly-2026-01-31", DATED, true),
            (LINKED, "dtr-lb-bpf\n", true),
            (LINKED, "dtr-lb-bpf-2\n", false),
            ("stab", STABLE, false),
            ("nightly", "", false),
        ] {
            assert_eq!(is_installed(name, list), installed, "{name} in {list:?}");
        }
    }

    #[test]
    fn the_override_wins_then_the_link_then_nightly() {
        let linked = format!("{STABLE}{LINKED}\n");
        for (overridden, list, want) in [
            (Some("mine"), linked.as_str(), "mine"),
            (Some(""), linked.as_str(), LINKED),
            (None, linked.as_str(), LINKED),
            (None, STABLE, "nightly"),
        ] {
            assert_eq!(choose(overridden.map(str::to_owned), list), want, "{overridden:?}, {list:?}");
        }
    }
}
