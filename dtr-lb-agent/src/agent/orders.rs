//! What an operator orders for replicas at run time, and its way into the changes. Pure: an order, configs and changes in;
//! changes and whom they are about out.

use std::net::IpAddr;

use crate::{
    api::{Refusal, RefusalKind, ReplicaOrder, Replicas},
    changes::Changes,
    config::{Admin, Config, DEFAULT_WEIGHT, Edit, Host, Listed, MAX_WEIGHT, Replica, Service, is_name},
};

/// A replica of a service that an order is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) service: String,
    pub(super) replica: Replica,
}

/// Puts an order into `changes`. `config` is the effective config so far. Returns the replicas that it is about, as they were;
/// none of one that is added.
///
/// # Errors
/// The order names what is not there, or cannot be done. `changes` are as before then.
pub(super) fn apply(
    order: &ReplicaOrder,
    config: &Config,
    changes: &mut Changes,
) -> Result<Vec<Target>, Refusal> {
    match order {
        ReplicaOrder::Drain { replica, service } => {
            set_admin(Admin::Drain, replica, service, config, changes)
        }
        ReplicaOrder::Maint { replica, service } => {
            set_admin(Admin::Maint, replica, service, config, changes)
        }
        ReplicaOrder::Ready { replica, service } => {
            set_admin(Admin::Ready, replica, service, config, changes)
        }
        ReplicaOrder::Weight { replica, service, weight, save: _ } => {
            check_weight(*weight)?;
            let targets = find(config, replica, service.as_deref())?;
            for Target { service, replica } in &targets {
                changes.set_weight(service, replica.address, Some(*weight));
            }
            Ok(targets)
        }
        ReplicaOrder::Add { address, name, weight, services, save: _ } => {
            let listed = listed(address, name.as_deref(), *weight)?;
            for service in add_to(config, services, &listed)? {
                changes.add(&service, listed.clone());
            }
            Ok(Vec::new())
        }
        ReplicaOrder::Remove { replica, service, last, save: _ } => {
            remove(config, replica, service.as_deref(), *last, changes)
        }
    }
}

/// What the order changes in the file; `None` if it is to change nothing there. `targets` are those of [`apply`].
///
/// # Errors
/// The file cannot say it.
pub(super) fn edit(
    order: &ReplicaOrder,
    config: &Config,
    targets: &[Target],
) -> Result<Option<Edit>, Refusal> {
    let Some(name) = targets.first().map(|target| target.replica.name.clone()) else {
        let ReplicaOrder::Add { address, name, weight, services, save: true } = order else {
            return Ok(None);
        };
        let replica = listed(address, name.as_deref(), *weight)?;
        let services = add_to(config, services, &replica)?;
        return Ok(Some(Edit::Add { replica, services }));
    };
    match order {
        ReplicaOrder::Weight { weight, save: true, .. } => {
            let all = find(config, &name, None)?;
            if all.len() > targets.len() {
                return Err(Refusal::new(
                    RefusalKind::Conflict,
                    format!(
                        "the config file has one weight of replica `{name}` for all services: leave out --service, or --save"
                    ),
                ));
            }
            Ok(Some(Edit::Weight { replica: name, weight: *weight }))
        }
        ReplicaOrder::Remove { save: true, .. } => {
            let services = targets.iter().map(|target| target.service.clone()).collect();
            Ok(Some(Edit::Remove { replica: name, services }))
        }
        ReplicaOrder::Weight { save: false, .. }
        | ReplicaOrder::Remove { save: false, .. }
        | ReplicaOrder::Add { .. }
        | ReplicaOrder::Drain { .. }
        | ReplicaOrder::Maint { .. }
        | ReplicaOrder::Ready { .. } => Ok(None),
    }
}

/// The replicas of this name or address, in one service or in all.
///
/// # Errors
/// [`RefusalKind::NotFound`], with those that there are.
pub(super) fn find(config: &Config, replica: &str, service: Option<&str>) -> Result<Vec<Target>, Refusal> {
    let services = services(config, service)?;
    let address = replica.parse::<IpAddr>().ok();
    let is_it = |known: &&Replica| known.name == replica || address == Some(known.address);
    let of = |service: &&Service| {
        let found = service.replicas.iter().filter(is_it).cloned();
        let target = |replica| Target { service: service.name.clone(), replica };
        found.map(target).collect::<Vec<_>>()
    };
    let found: Vec<_> = services.iter().flat_map(of).collect();
    if found.is_empty() {
        let mut known: Vec<_> = services.iter().flat_map(|service| &service.replicas).map(called).collect();
        known.sort();
        known.dedup();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let place =
            service.map_or_else(|| "no service has".to_owned(), |name| format!("service `{name}` has no"));
        let a = if service.is_some() { "" } else { "a " };
        return Err(not_found(format!("{place} {a}replica `{replica}`; there are: {known}")));
    }
    Ok(found)
}

/// All of these, each once.
///
/// # Errors
/// As [`find`], for each that is not there.
fn find_all(config: &Config, replicas: &Replicas, service: Option<&str>) -> Result<Vec<Target>, Refusal> {
    let Replicas(named) = replicas;
    let mut found: Vec<Target> = Vec::new();
    let mut refused: Vec<Refusal> = Vec::new();
    for name in named {
        match find(config, name, service) {
            Ok(targets) => {
                let news: Vec<_> = targets.into_iter().filter(|target| !found.contains(target)).collect();
                found.extend(news);
            }
            Err(refusal) if refused.contains(&refusal) => {}
            Err(refusal) => refused.push(refusal),
        }
    }
    match (refused.is_empty(), named.len()) {
        (true, 0) => Err(bad("the order names no replica".to_owned())),
        (true, _) => Ok(found),
        (false, 1) => Err(refused.remove(0)),
        (false, _) => {
            let why: Vec<_> = refused.iter().map(|refusal| refusal.message.as_str()).collect();
            Err(Refusal::new(refused[0].kind, format!("{}; none of them is changed", why.join("; "))))
        }
    }
}

/// "replica-4 (10.0.0.14)", or "10.0.0.14" where that is its name.
pub(super) fn called(replica: &Replica) -> String {
    let address = replica.address.to_string();
    if replica.name == address { address } else { format!("{} ({address})", replica.name) }
}

fn services<'a>(config: &'a Config, wanted: Option<&str>) -> Result<Vec<&'a Service>, Refusal> {
    let Some(wanted) = wanted else { return Ok(config.services.iter().collect()) };
    let found: Vec<_> = config.services.iter().filter(|service| service.name == wanted).collect();
    if found.is_empty() {
        let known: Vec<_> = config.services.iter().map(|service| service.name.as_str()).collect();
        return Err(not_found(format!("there is no service `{wanted}`; there are: {}", known.join(", "))));
    }
    Ok(found)
}

fn set_admin(
    admin: Admin,
    replicas: &Replicas,
    service: &Option<String>,
    config: &Config,
    changes: &mut Changes,
) -> Result<Vec<Target>, Refusal> {
    let targets = find_all(config, replicas, service.as_deref())?;
    for Target { service, replica } in &targets {
        changes.set_admin(service, replica.address, admin);
    }
    Ok(targets)
}

fn listed(address: &str, name: Option<&str>, weight: Option<u16>) -> Result<Listed, Refusal> {
    let host =
        Host::parse(address).map_err(|error| bad(format!("`{address}` cannot be a replica: {error}")))?;
    if let Some(name) = name.filter(|name| !is_name(name)) {
        return Err(bad(format!("\"{name}\" is not usable as a name: letters, digits and `-_.:` are")));
    }
    let weight = weight.unwrap_or(DEFAULT_WEIGHT);
    check_weight(weight)?;
    let name = name.map_or_else(|| host.to_string(), str::to_owned);
    Ok(Listed { name, host, weight, slow_start: std::time::Duration::ZERO, backup: false })
}

/// The services to which a new replica is to be added: those named, or all.
fn add_to(config: &Config, named: &[String], listed: &Listed) -> Result<Vec<String>, Refusal> {
    let mut wanted = Vec::new();
    if named.is_empty() {
        wanted.extend(&config.services);
    }
    for name in named {
        wanted.extend(services(config, Some(name))?);
    }
    for service in &wanted {
        let same_host = |known: &&Replica| {
            Some(known.address) == listed.host.address()
                || (known.host_name.as_deref() == listed.host.name() && known.host_name.is_some())
        };
        if let Some(known) = service.replicas.iter().find(same_host) {
            return Err(Refusal::new(
                RefusalKind::Conflict,
                format!(
                    "service `{}` has {} already, as replica {}",
                    service.name,
                    listed.host,
                    called(known)
                ),
            ));
        }
        if let Some(known) = service.replicas.iter().find(|known| known.name == listed.name) {
            return Err(Refusal::new(
                RefusalKind::Conflict,
                format!(
                    "service `{}` has a replica {} already: give the new one another name (--name)",
                    service.name,
                    called(known)
                ),
            ));
        }
    }
    Ok(wanted.into_iter().map(|service| service.name.clone()).collect())
}

fn remove(
    config: &Config,
    replica: &str,
    service: Option<&str>,
    last: bool,
    changes: &mut Changes,
) -> Result<Vec<Target>, Refusal> {
    let targets = match find(config, replica, service) {
        Ok(targets) => targets,
        Err(refusal) => return remove_name(config, replica, service, changes).ok_or(refusal)?,
    };
    for target in &targets {
        let mut services = config.services.iter();
        let alone = services.any(|known| known.name == target.service && known.replicas.len() == 1);
        if alone && !last {
            return Err(Refusal::new(
                RefusalKind::Conflict,
                format!(
                    "replica {} is the last one of service `{}`, whose new connections would be dropped without it; if that \
                     is meant, say so (--last)",
                    called(&target.replica),
                    target.service
                ),
            ));
        }
    }
    for Target { service, replica } in &targets {
        changes.remove(service, replica.address);
    }
    Ok(targets)
}

/// A host name that stands for replicas; `None` if nothing has it.
fn remove_name(
    config: &Config,
    name: &str,
    service: Option<&str>,
    changes: &mut Changes,
) -> Option<Result<Vec<Target>, Refusal>> {
    let services = services(config, service).ok()?;
    let is_it = |listed: &Listed| listed.host.name().is_some_and(|host| host == name || listed.name == name);
    if let Some(known) = services.iter().find(|service| service.listed.iter().any(is_it)) {
        return Some(Err(Refusal::new(
            RefusalKind::Conflict,
            format!(
                "`{name}` is a host name in the config of service `{}`: take it out of the file, and reload; single addresses \
                 of it can be removed here",
                known.name
            ),
        )));
    }
    let mut targets = Vec::new();
    let mut found = false;
    for service in services {
        let host = changes.added(&service.name).iter().find(|listed| is_it(listed));
        let Some(host) = host.and_then(|listed| listed.host.name()).map(str::to_owned) else { continue };
        found |= changes.remove_name(&service.name, &host);
        let of =
            service.replicas.iter().filter(|replica| replica.host_name.as_deref() == Some(host.as_str()));
        targets.extend(of.map(|replica| Target { service: service.name.clone(), replica: replica.clone() }));
    }
    found.then_some(Ok(targets))
}

fn check_weight(weight: u16) -> Result<(), Refusal> {
    if weight > MAX_WEIGHT {
        return Err(bad(format!("weight {weight} is out of range: it is 0 to {MAX_WEIGHT}")));
    }
    Ok(())
}

fn bad(message: String) -> Refusal {
    Refusal::new(RefusalKind::BadRequest, message)
}

fn not_found(message: String) -> Refusal {
    Refusal::new(RefusalKind::NotFound, message)
}

#[cfg(test)]
mod tests;
