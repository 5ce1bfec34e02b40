//! `dtr-lb init`: a config to begin with.

use super::{Failure, print};
use crate::config::{CommandLine, every_key};

/// Prints it, if the options are valid; or, with `all`, one with every key.
pub fn init(options: &CommandLine, all: bool) -> Result<(), Failure> {
    if all {
        return print(&every_key());
    }
    let complete = options.with_examples();
    complete.read(&[])?;
    print(&options.to_file())
}
