//! For tests that need the kernel's permission: `cargo xtask test` runs them, by their names (`as_root_…`), where it has root, and
//! counts them where it has not.

use nix::unistd::geteuid;

/// Fails a test that was asked for without root.
#[track_caller]
pub(crate) fn needs_root() {
    assert!(geteuid().is_root(), "needs root: run it by `cargo xtask test`");
}
