//! Connections that stand in a table without a packet: for measurements and tests.

use bytemuck::Zeroable as _;

use super::shared::Words;
use crate::{
    abi::Flow,
    flow_table::{self, Clock, Insertion, insert::Replace},
    hash,
};

/// Enters both directions of a connection as the datapath does, the replica's first. Says whether there was room. Nobody else writes
/// the table meanwhile.
pub fn enter_both(table: Words<'_>, client: &mut Flow, replica: &mut Flow, clock: &Clock<'_>) -> bool {
    if !enter(table, replica, clock) {
        return false;
    }
    client.partner = replica.place;
    if !enter(table, client, clock) {
        flow_table::insert::withdraw(&table, replica);
        return false;
    }
    replica.partner = client.place;
    flow_table::publish(&table, replica);
    flow_table::publish(&table, client);
    true
}

/// Enters the only direction of a connection whose replica answers the client directly.
pub fn enter_direct(table: Words<'_>, client: &mut Flow, clock: &Clock<'_>) -> bool {
    let entered = enter(table, client, clock);
    if entered {
        flow_table::publish(&table, client);
    }
    entered
}

fn enter(table: Words<'_>, flow: &mut Flow, clock: &Clock<'_>) -> bool {
    let hash = hash::flow_table(&clock.settings.flow_keys, &flow.key);
    let buckets = flow_table::buckets(hash, clock.settings.flow_buckets);
    let mut holder = Flow::zeroed();
    let done = flow_table::insert(&table, buckets, flow, &mut holder, clock, |_| Replace::No);
    done == Insertion::Done
}
