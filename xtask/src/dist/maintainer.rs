//! Who answers for the packages. Debian asks for a name and an address at which somebody reads. The project has none of its own, so
//! it is who packs: `DEBFULLNAME` and `DEBEMAIL`, as Debian's tools have it, or who made the commit that is packed.

use std::{env, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::command::{captured, workspace_root};

pub(super) fn of_this_build() -> Result<String> {
    let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
    maintainer(set("DEBFULLNAME"), set("DEBEMAIL"), || {
        let mut git = Command::new("git");
        captured(git.arg("-C").arg(workspace_root()).args(["log", "-1", "--format=%cn <%ce>"]))
            .context("nobody is known who could be the packages' maintainer; set DEBFULLNAME and DEBEMAIL")
    })
}

fn maintainer(
    name: Option<String>,
    address: Option<String>,
    committer: impl FnOnce() -> Result<String>,
) -> Result<String> {
    let whole = match (name, address) {
        (Some(name), Some(address)) if !address.contains('<') => format!("{name} <{address}>"),
        (_, Some(address)) if address.contains('<') => address,
        (None, Some(address)) => bail!("DEBEMAIL is {address}, and whose that is DEBFULLNAME does not say"),
        (_, _) => committer()?,
    };
    let whole = whole.trim();
    // In a control file the field ends with its line.
    let (name, address) = whole.split_once(" <").unwrap_or_default();
    if name.is_empty() || !address.ends_with('>') || !address.contains('@') || whole.contains('\n') {
        bail!("the packages' maintainer must be \"Name <address>\" (DEBFULLNAME, DEBEMAIL), not {whole:?}");
    }
    Ok(whole.to_owned())
}

#[cfg(test)]
mod tests {
    use super::maintainer;

    #[test]
    fn who_packs_is_the_maintainer_and_else_who_committed() {
        let committer = || Ok("Who Committed <git@host.example>\n".to_owned());
        for (name, address, want) in [
            (Some("Name"), Some("a@host.example"), "Name <a@host.example>"),
            (Some("Name"), Some("Other <a@host.example>"), "Other <a@host.example>"),
            (None, Some("Other <a@host.example>"), "Other <a@host.example>"),
            (Some("Name"), None, "Who Committed <git@host.example>"),
            (None, None, "Who Committed <git@host.example>"),
        ] {
            let found = maintainer(name.map(str::to_owned), address.map(str::to_owned), committer).unwrap();
            assert_eq!(found, want);
        }
    }

    #[test]
    fn what_would_be_no_control_file_is_refused() {
        let committer = || Ok("Name <nowhere>".to_owned());
        for (name, address, told) in [
            (None, Some("a@host.example"), "DEBFULLNAME"),
            (Some("Name\nDepends: x"), Some("a@host.example"), "must be"),
            (None, None, "nowhere"),
        ] {
            let error = maintainer(name.map(str::to_owned), address.map(str::to_owned), committer);
            let error = error.unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
