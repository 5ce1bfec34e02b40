//! `cargo xtask dist --verify`: whether another directory, and another umask, give the same bytes.

use std::{env, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use super::{SUMS, fresh, read};
use crate::command::{captured, shown, workspace_root};

/// An error if the sources are not those of the last commit, which a clone has.
pub(super) fn is_committed() -> Result<()> {
    let mut git = Command::new("git");
    let changed = captured(git.arg("-C").arg(workspace_root()).args(["status", "--porcelain"]))?;
    if changed.is_empty() {
        return Ok(());
    }
    bail!("a clone has only what is committed, so nothing can be compared while these differ:\n{changed}")
}

/// Makes everything once more in a clone below `output`, and compares with `sums`. The clone stays if they differ.
pub(super) fn again(output: &Path, sums: &str) -> Result<()> {
    let clone = fresh(&output.join("again"))?;
    println!("dist: once more, in {}", clone.display());
    let mut git = Command::new("git");
    captured(git.args(["clone", "--quiet", "--no-hardlinks"]).arg(workspace_root()).arg(&clone))?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut dist = Command::new("sh");
    dist.args(["-c", "umask 077; exec \"$0\" xtask dist"]).arg(cargo);
    shown(dist.current_dir(&clone).env_remove("CARGO_TARGET_DIR"))?;
    let other = read(&clone.join("target/dist").join(SUMS))?;
    let different = different(sums, &other);
    if !different.is_empty() {
        bail!(
            "these differ when they are built in another directory: {}. diffoscope shows where; the other ones are in {}",
            different.join(" "),
            clone.join("target/dist").display()
        );
    }
    std::fs::remove_dir_all(&clone).with_context(|| format!("cannot remove {}", clone.display()))?;
    println!("dist: built twice, in two directories: the digests are equal\n{}", sums.trim_end());
    Ok(())
}

/// The files whose digests differ, or that only one has.
fn different<'a>(one: &'a str, other: &'a str) -> Vec<&'a str> {
    let only = |one: &'a str, other: &str| {
        one.lines().filter(|line| !other.lines().any(|it| it == *line)).collect::<Vec<_>>()
    };
    let lines = only(one, other).into_iter().chain(only(other, one));
    let mut names: Vec<_> = lines.filter_map(|line| line.split_whitespace().last()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::different;

    #[test]
    fn files_that_differ_or_are_missing_are_named_once() {
        let one = "aa  a.deb\nbb  b.tar\ncc  c.tar\n";
        assert!(different(one, one).is_empty());
        assert_eq!(different(one, "aa  a.deb\nxx  b.tar\n"), ["b.tar", "c.tar"]);
    }
}
