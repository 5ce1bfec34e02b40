//! Where clients connect: VIPs and ports.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use super::replicas::{Draftable as _, Replicas, allowed_name, unique};
use crate::{
    Given,
    job::{BindHost, Host, Job, Service},
    report::{At, Ledger},
};

/// A range of more ports than this is no service of a registry.
const MOST_PORTS: usize = 64;
/// Services of dtr-lb at most, each VIP of one counted by itself (`dtr_lb_common::abi::MAX_SERVICES`).
pub const MOST_PLACES: usize = 64;
/// What stands in for the VIP where no file says it.
const VIP: &str = "the VIP";

/// The addresses that stand for "every address of the balancer's host".
pub(super) struct Vips {
    addresses: Vec<IpAddr>,
    missing: bool,
    /// What is known of hosts in binds, by their text.
    named: HashMap<Host, IpAddr>,
}

/// One `[[service]]`'s place.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) vips: Vec<IpAddr>,
    pub(super) vip_missing: bool,
    pub(super) port: u16,
    /// The service has others.
    pub(super) is_one_of_several: bool,
    at: At,
}

/// The VIPs that are given, else those that VRRP moves, else those that some service names, else one that stands in for them.
pub(super) fn vips(job: &Job, given: &Given, replicas: &mut Replicas, ledger: &mut Ledger) -> Vips {
    let mut named = HashMap::new();
    let resolve = |host: &Host, at: At, replicas: &mut Replicas, ledger: &mut Ledger| match host {
        Host::Address(address) if address.usable() => Some(*address),
        Host::Address(_) => None,
        Host::Name(text) | Host::Placeholder(text) => {
            if let Some(address) = replicas.address_of(text) {
                return Some(address);
            }
            let address = replicas.stand_in(text, 1)?;
            ledger.fault_that_decides(
                at,
                format!("{text} is no address; {address} stands in for it as the VIP: write the real one, or give --replica '{text}=ADDRESS'"),
            );
            Some(address)
        }
    };
    let mut said = Vec::new();
    for vip in &job.vips {
        if let Some(address) = resolve(&vip.value, vip.at, replicas, ledger) {
            said.push(address);
        }
    }
    let mut bound = Vec::new();
    for bind in job.services.iter().flat_map(|service| &service.binds) {
        if let BindHost::One(host) = &bind.value.host
            && let Some(address) = resolve(host, bind.at, replicas, ledger)
        {
            named.insert(host.clone(), address);
            bound.push(address);
        }
    }
    let first = [&given.vips, &said, &bound].into_iter().find(|list| !list.is_empty());
    let mut seen = HashSet::new();
    let mut addresses: Vec<IpAddr> =
        first.into_iter().flatten().filter(|vip| seen.insert(**vip)).copied().collect();
    let missing = addresses.is_empty();
    if missing {
        addresses.extend(replicas.stand_in(VIP, 1));
    }
    Vips { addresses, missing, named }
}

/// The places of a service. Those with the same port are one.
pub(super) fn of(service: &Service, vips: &Vips, ledger: &mut Ledger) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    for bind in &service.binds {
        if bind.value.ports.clone().count() > MOST_PORTS {
            ledger.left_out_that_decides(
                bind.at,
                format!(
                    "{} ports: more than {MOST_PORTS} are not made services of",
                    bind.value.ports.clone().count()
                ),
            );
            continue;
        }
        let any = |is: fn(&IpAddr) -> bool| vips.addresses.iter().copied().filter(is).collect::<Vec<_>>();
        let addresses = match &bind.value.host {
            BindHost::Any => any(|_| true),
            BindHost::AnyV4 => any(IpAddr::is_ipv4),
            BindHost::AnyV6 => any(IpAddr::is_ipv6),
            BindHost::One(host) => vips.named.get(host).copied().into_iter().collect(),
        };
        let is_any = !matches!(bind.value.host, BindHost::One(_));
        if addresses.is_empty() {
            let ports = &bind.value.ports;
            let has_others = service.binds.iter().any(|other| {
                other.at != bind.at && other.value.ports == *ports && other.value.host != bind.value.host
            });
            if !is_any {
                let why = "clients of other hosts do not reach this address: no service is made of it";
                ledger.left_out_that_decides(bind.at, why);
            } else if has_others {
                ledger.differs(bind.at, "the VIPs are of the other family: to serve this one as well, give --vip an address of it");
            } else {
                ledger.left_out_that_decides(bind.at, "no VIP of this family is known: give --vip");
            }
            continue;
        }
        if is_any {
            let list = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let why = if vips.missing {
                format!(
                    "it listens at every address of its host; dtr-lb serves those that it is told: {list} stands in for the VIP, give --vip"
                )
            } else {
                format!("it listens at every address of its host; dtr-lb serves the VIP: {list}")
            };
            ledger.differs(bind.at, why);
        } else {
            ledger.taken(bind.at, "");
        }
        for port in bind.value.ports.clone().filter(|port| *port != 0) {
            let missing = is_any && vips.missing;
            match places.iter_mut().find(|place| place.port == port) {
                Some(place) => {
                    let new: Vec<_> =
                        addresses.iter().filter(|vip| !place.vips.contains(vip)).copied().collect();
                    place.vips.extend(new);
                    place.vip_missing |= missing;
                }
                None => places.push(Place {
                    vips: addresses.clone(),
                    vip_missing: missing,
                    port,
                    is_one_of_several: false,
                    at: bind.at,
                }),
            }
        }
    }
    if places.len() > 1 {
        places.iter_mut().for_each(|place| place.is_one_of_several = true);
    }
    places
}

/// What is taken already: VIPs with ports, and names of services.
#[derive(Default)]
pub(super) struct Taken {
    places: HashMap<(IpAddr, u16), At>,
    names: HashMap<String, usize>,
}

impl Taken {
    /// Takes a place, without what is taken or cannot be a VIP. `None` if nothing of it is left.
    pub(super) fn claim(
        &mut self,
        mut place: Place,
        service: &Service,
        replicas: &Replicas,
        ledger: &mut Ledger,
    ) -> Option<Place> {
        let mut free = Vec::new();
        for vip in std::mem::take(&mut place.vips) {
            if replicas.has(&vip) {
                ledger.left_out_that_decides(
                    place.at,
                    format!("{vip} is an address of a replica as well: the VIP has to be another one"),
                );
            } else if let Some(first) = self.places.get(&(vip, place.port)) {
                let first = ledger.place(*first);
                ledger.left_out_that_decides(
                    place.at,
                    format!("{vip} port {} is a service already ({first}): its clients go there", place.port),
                );
            } else if self.places.len() >= MOST_PLACES {
                ledger.left_out_that_decides(
                    place.at,
                    format!("dtr-lb has {MOST_PLACES} services at most, each VIP counted by itself: give this one a balancer of its own"),
                );
            } else {
                self.places.insert((vip, place.port), service.at);
                free.push(vip);
            }
        }
        place.vips = free;
        (!place.vips.is_empty()).then_some(place)
    }

    /// A name for a service, unlike the others.
    pub(super) fn name(&mut self, name: &str, port: u16, is_one_of_several: bool) -> String {
        let name = allowed_name(name);
        let name = if is_one_of_several { format!("{name}-{port}") } else { name };
        unique(&name, &mut self.names)
    }
}
