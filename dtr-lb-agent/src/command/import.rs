//! `dtr-lb import`

use std::{fs, io::Read as _, path::Path};

use dtr_lb_import::{Format, Given, Import, Input, Unreadable, import as import_files};

use super::{Failure, complain, print};
use crate::cli::ImportArgs;

/// More than any config that somebody maintains; what is longer is another file.
const LONGEST: u64 = 4 * 1024 * 1024;

/// Prints the config to standard output and the report to standard error. Exit status 1 if something was left out that decides who
/// is served or who is let in, 2 if the files cannot be read as any format.
pub fn import(arguments: &ImportArgs) -> Result<(), Failure> {
    let files = arguments.files.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    let given = Given {
        from: arguments.from.iter().map(|from| from.0).collect(),
        vips: arguments.vips.clone(),
        replicas: arguments.replicas.clone(),
    };
    let is_readable = |path: &Path| fs::File::open(path).is_ok_and(|_| !path.is_dir());
    let Import { config, report } = import_files(&files, &given, &is_readable)
        .map_err(|unreadable: Unreadable| Failure { status: 2, message: unreadable.to_string() })?;
    if !(arguments.strict && report.decides) {
        print(&config)?;
    }
    if arguments.json {
        complain(&serde_json::to_string_pretty(&report).map_err(Failure::failed)?);
    } else {
        complain(report.text().trim_end());
    }
    if !report.decides {
        return Ok(());
    }
    // The report says it, row by row; JSON stays JSON.
    let message = if arguments.json {
        String::new()
    } else if arguments.strict {
        "no config was printed, as --strict is given and the rows marked `!` decide who is served or who is let in".into()
    } else {
        "look at the rows marked `!` before you use this config: they decide who is served or who is let in"
            .into()
    };
    Err(Failure { status: 1, message })
}

/// Reads a file, or standard input where that is `-`.
fn read(path: &Path) -> Result<Input, Failure> {
    let unreadable = |why: String| Failure { status: 2, message: format!("{}: {why}", path.display()) };
    let mut bytes = Vec::new();
    let (name, read) = if path == Path::new("-") {
        ("standard input".to_owned(), std::io::stdin().take(LONGEST + 1).read_to_end(&mut bytes))
    } else {
        let file = fs::File::open(path).map_err(|error| unreadable(error.to_string()))?;
        (path.display().to_string(), file.take(LONGEST + 1).read_to_end(&mut bytes))
    };
    read.map_err(|error| unreadable(error.to_string()))?;
    if bytes.len() as u64 > LONGEST {
        return Err(unreadable(format!("longer than {} MiB; this is hardly a config", LONGEST >> 20)));
    }
    // A comment in Latin-1 is no reason to refuse a file: what is no UTF-8 becomes a mark that nothing is read from.
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if text.contains('\0') {
        return Err(unreadable("not a text file".to_owned()));
    }
    Ok(Input { name, text })
}

/// A format, by its name on the command line.
#[derive(Clone, Copy, Debug)]
pub struct From(pub Format);

/// Reads the name of a format.
///
/// # Errors
/// There is no such format; all names are told.
pub fn parse_format(name: &str) -> Result<From, String> {
    let names = || Format::ALL.map(Format::name).join(", ");
    let format = Format::ALL.into_iter().find(|format| format.name() == name);
    format.map(From).ok_or_else(|| format!("not one of {}", names()))
}

#[cfg(test)]
mod tests;
