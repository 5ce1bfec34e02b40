//! `dtr-lb man`: the manual, a page for each command, made from the same definitions that parse the command line.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

use super::{Failure, print};
use crate::{cli::Cli, config};

/// Of the manual: commands for administrators.
const SECTION: &str = "8";

/// `dtr-lb man`: the first page to standard output, or all of them into `directory`.
pub fn man(directory: Option<&Path>) -> Result<(), Failure> {
    let pages = pages().map_err(Failure::failed)?;
    let Some(directory) = directory else {
        return print(&pages[0].1);
    };
    write(directory, &pages)
}

fn write(directory: &Path, pages: &[(String, String)]) -> Result<(), Failure> {
    let failed = |path: PathBuf| {
        move |error: io::Error| Failure::failed(format!("writing `{}` failed: {error}", path.display()))
    };
    fs::create_dir_all(directory).map_err(failed(directory.into()))?;
    for (name, page) in pages {
        let path = directory.join(name);
        fs::write(&path, page).map_err(failed(path))?;
    }
    Ok(())
}

/// Names of files and their contents; the page of `dtr-lb` itself comes first.
fn pages() -> io::Result<Vec<(String, String)>> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    collect(&command, &mut pages)?;
    Ok(pages)
}

fn collect(command: &Command, pages: &mut Vec<(String, String)>) -> io::Result<()> {
    let man = Man::new(command.clone()).section(SECTION);
    let name = man.get_filename();
    let mut page = Vec::new();
    man.render(&mut page)?;
    pages.push((name.clone(), titled(&String::from_utf8_lossy(&page), &name) + &end()));
    command
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .try_for_each(|command| collect(command, pages))
}

/// With a title of our own: clap_mangen 0.3 leaves out a date that is empty, so that what follows is taken for it. There is no
/// date, as two builds of one version are to have the same pages.
fn titled(page: &str, name: &str) -> String {
    let name = name.strip_suffix(&format!(".{SECTION}")).unwrap_or(name);
    let title =
        format!(".TH \"{name}\" \"{SECTION}\" \"\" \"dtr-lb {}\" \"dtr-lb\"", env!("CARGO_PKG_VERSION"));
    let lines = page.lines().map(|line| if line.starts_with(".TH ") { title.as_str() } else { line });
    lines.map(|line| format!("{line}\n")).collect()
}

/// What holds for each command.
fn end() -> String {
    format!(
        ".SH \"EXIT STATUS\"\n\
         .TP\n0\nDone.\n\
         .TP\n1\nFailed. Standard error says what, on what, why, and what to do.\n\
         .TP\n2\nBad usage, or a config that is not valid.\n\
         .TP\n3\nNo agent is running.\n\
         .SH FILES\n\
         .TP\n{config}\nThe config.\n\
         .TP\n{socket}\nThe agent's socket, unless the config names another one.\n",
        config = config::DEFAULT_PATH,
        socket = config::DEFAULT_SOCKET,
    )
}
