//! `dtr-lb top`: what its errors mean to a shell.

use super::{Failure, places, runtime};
use crate::{
    cli::Global,
    top::{self, TopError},
};

/// `dtr-lb top`
pub fn top(global: &Global) -> Result<(), Failure> {
    let socket = places(global).socket;
    runtime()?.block_on(top::run(&socket)).map_err(|error| match error {
        TopError::NoTerminal => Failure { status: 2, message: error.to_string() },
        TopError::Client(error) => error.into(),
        TopError::Terminal(_) => Failure::failed(error),
    })
}
