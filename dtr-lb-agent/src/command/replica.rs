//! `dtr-lb replica …`: what becomes of replicas while the agent runs; and `dtr-lb undo`. `drain` waits, by what `wait` makes of the
//! agent's answers.

mod drain;
mod wait;

use std::net::SocketAddr;

use comfy_table::{Table, presets};
use jiff::Timestamp;
use serde::Serialize;

use super::{Failure, complain, places, print, print_json, runtime};
use crate::{
    api::{self, Ordered, ReplicaOrder, Replicas},
    cli::{Global, Of, OfAll, Output, ReplicaCommand, Save},
    config::Admin,
    human::age,
    status::{ReplicaStatus, Status},
};

/// Lists the replicas, or has the agent do something with one.
pub fn replica(global: &Global, command: &ReplicaCommand) -> Result<(), Failure> {
    let (order, output) = match command {
        ReplicaCommand::List { service, json } => return list(global, service.as_deref(), *json),
        ReplicaCommand::Add { address, name, weight, services, save: Save { save }, output } => {
            let (address, name, services) = (address.clone(), name.clone(), services.clone());
            (ReplicaOrder::Add { address, name, weight: *weight, services, save: *save }, output)
        }
        ReplicaCommand::Remove { of: Of { replica, service }, last, save: Save { save }, output } => {
            let (replica, service) = (replica.clone(), service.clone());
            (ReplicaOrder::Remove { replica, service, last: *last, save: *save }, output)
        }
        ReplicaCommand::Drain { of, wait, output: Output { json } } if wait.wait => {
            return drain::and_wait(&places(global).socket, of, wait.timeout, *json);
        }
        ReplicaCommand::Drain { of: OfAll { replicas, service }, wait: _, output } => {
            (ReplicaOrder::Drain { replica: Replicas(replicas.clone()), service: service.clone() }, output)
        }
        ReplicaCommand::Ready { of: OfAll { replicas, service }, output } => {
            (ReplicaOrder::Ready { replica: Replicas(replicas.clone()), service: service.clone() }, output)
        }
        ReplicaCommand::Maint { of: OfAll { replicas, service }, output } => {
            (ReplicaOrder::Maint { replica: Replicas(replicas.clone()), service: service.clone() }, output)
        }
        ReplicaCommand::Weight { of: Of { replica, service }, weight, save: Save { save }, output } => {
            let (replica, service) = (replica.clone(), service.clone());
            (ReplicaOrder::Weight { replica, service, weight: *weight, save: *save }, output)
        }
    };
    let ordered = runtime()?.block_on(api::ask_replica(&places(global).socket, &order))?;
    tell(&ordered, *output)
}

/// `dtr-lb undo`
pub fn undo(global: &Global, output: Output) -> Result<(), Failure> {
    let ordered = runtime()?.block_on(api::ask_undo(&places(global).socket))?;
    tell(&ordered, output)
}

/// What was done.
fn tell(ordered: &Ordered, Output { json }: Output) -> Result<(), Failure> {
    if json {
        return print_json(ordered);
    }
    let Ordered { done, notes } = ordered;
    notes.iter().for_each(|note| complain(&format!("note: {note}")));
    print(&done.iter().map(|line| format!("{line}\n")).collect::<String>())
}

fn list(global: &Global, service: Option<&str>, json: bool) -> Result<(), Failure> {
    let status = runtime()?.block_on(api::ask_status(&places(global).socket))?;
    let rows = rows(&status, service)?;
    if json {
        return print_json(&rows);
    }
    print(&table(&rows, Timestamp::now()))
}

/// A replica of a service.
#[derive(Debug, Serialize)]
struct Row<'a> {
    service: &'a str,
    #[serde(flatten)]
    replica: ReplicaStatus,
}

/// Of all services, or of one. A service with several VIPs is several in the status: what they count is added up, and the rest
/// is the same.
fn rows<'a>(status: &'a Status, wanted: Option<&str>) -> Result<Vec<Row<'a>>, Failure> {
    let mut rows: Vec<Row<'a>> = Vec::new();
    let mut known = Vec::new();
    for service in &status.services {
        if !known.contains(&service.name.as_str()) {
            known.push(service.name.as_str());
        }
        if wanted.is_some_and(|wanted| wanted != service.name) {
            continue;
        }
        for replica in &service.replicas {
            let end = (replica.address, replica.port);
            let listed = |row: &&mut Row<'_>| {
                row.service == service.name && (row.replica.address, row.replica.port) == end
            };
            match rows.iter_mut().find(listed) {
                Some(row) => row.replica.add(replica),
                None => rows.push(Row { service: &service.name, replica: replica.clone() }),
            }
        }
    }
    match wanted {
        Some(wanted) if !known.contains(&wanted) => {
            let message = format!("there is no service `{wanted}`; there are: {}", known.join(", "));
            Err(Failure { status: 2, message })
        }
        _ => Ok(rows),
    }
}

fn table(rows: &[Row<'_>], now: Timestamp) -> String {
    if rows.is_empty() {
        return "no replica: add one by `dtr-lb replica add ADDRESS`, or to the config file\n".to_owned();
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["service", "replica", "address", "state", "ordered", "weight", "flows", "why"]);
    for Row { service, replica } in rows {
        table.add_row([
            (*service).to_owned(),
            replica.name.clone(),
            SocketAddr::new(replica.address, replica.port).to_string(),
            replica.state.clone(),
            ordered(replica, now),
            weight(replica),
            replica.flows.to_string(),
            replica.reason.clone().unwrap_or_default(),
        ]);
    }
    table.trim_fmt().lines().map(|line| format!("{}\n", line.trim())).collect()
}

/// What an operator ordered for it, and how long ago: "drain for 3 min", "weight for 2 h".
fn ordered(replica: &ReplicaStatus, now: Timestamp) -> String {
    let what = match replica.admin {
        Admin::Ready if replica.ordered.is_some() => "weight",
        Admin::Ready => return String::new(),
        admin => admin.as_str(),
    };
    let since = replica.ordered.map(|at| format!(" for {}", age(now.duration_since(at))));
    format!("{what}{}", since.unwrap_or_default())
}

/// "50 (100 in the file)", where they differ; "100 backup".
fn weight(replica: &ReplicaStatus) -> String {
    let backup = if replica.backup { " backup" } else { "" };
    match replica.file_weight {
        Some(file) if file != replica.weight => format!("{}{backup} ({file} in the file)", replica.weight),
        Some(_) => format!("{}{backup}", replica.weight),
        None => format!("{}{backup} (not in the file)", replica.weight),
    }
}

#[cfg(test)]
mod tests;
