//! `dtr-lb init`: a config to begin with.

use super::{Failure, print};
use crate::config::CommandLine;

/// Prints it, if the options are valid.
pub fn init(options: &CommandLine) -> Result<(), Failure> {
    let complete = options.with_examples();
    complete.read(&[])?;
    print(&options.to_file())
}
