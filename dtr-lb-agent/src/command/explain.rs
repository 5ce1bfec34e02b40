//! `dtr-lb explain`

use super::{Failure, places, print, print_json, runtime};
use crate::{
    api,
    cli::Global,
    explain::{Query, Question},
};

pub fn explain(global: &Global, source: &str, destination: &str, json: bool) -> Result<(), Failure> {
    // What cannot be asked is bad usage, whether an agent runs or not.
    Question::new(source, destination).map_err(|error| Failure { status: 2, message: error.to_string() })?;
    let query = Query { source: source.to_owned(), destination: destination.to_owned() };
    let explanation = runtime()?.block_on(api::ask_explain(&places(global).socket, &query))?;
    if json { print_json(&explanation) } else { print(&explanation.text()) }
}
