//! `dtr-lb flows`

use super::{Failure, places, print, print_json, runtime};
use crate::{
    api,
    cli::{FlowsArgs, Global},
    flows::{MOST, Query},
};

pub fn flows(global: &Global, arguments: &FlowsArgs) -> Result<(), Failure> {
    let FlowsArgs { client, replica, service, state, limit, half_open, json } = arguments;
    if *limit > MOST {
        return Err(Failure { status: 2, message: format!("--limit is {MOST} at most, not {limit}") });
    }
    let query = Query {
        client: *client,
        replica: replica.clone(),
        service: service.clone(),
        state: state.clone(),
        limit: Some(*limit),
        half_open: *half_open,
    };
    let listing = runtime()?.block_on(api::ask_flows(&places(global).socket, &query))?;
    if *json { print_json(&listing) } else { print(&listing.text()) }
}
