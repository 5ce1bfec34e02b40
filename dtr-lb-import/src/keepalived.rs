//! Reads keepalived's configuration.

use crate::{
    SyntaxError,
    job::Job,
    report::{FileId, Ledger},
};

/// Whether a text looks like one.
pub fn is_one(_text: &str) -> bool {
    false
}

/// Reads a file into the job.
///
/// # Errors
/// The text breaks the format's syntax.
pub fn read(_text: &str, _file: FileId, _ledger: &mut Ledger, _job: &mut Job) -> Result<(), SyntaxError> {
    Ok(())
}
