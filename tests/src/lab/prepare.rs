//! What a namespace's kernel is told before it has any interface: new interfaces take the defaults over.

use std::{io, thread};

use super::{error::Error, namespace::Namespace, plan::Host};

/// IPv6 off, or on with what a lab needs: addresses that serve at once, and no talk with routers.
pub(super) fn second_family(namespace: &Namespace, off: bool) -> Result<(), Error> {
    let settings: &[(&str, &str)] = if off {
        &[("all.disable_ipv6", "1"), ("default.disable_ipv6", "1")]
    } else {
        // Link-local addresses stay: without one, Linux asks for no neighbour if the packet's source is an address
        // of another interface, as a VIP on `lo` is.
        &[("default.accept_dad", "0"), ("default.accept_ra", "0"), ("default.router_solicitations", "0")]
    };
    settings.iter().try_for_each(|(key, value)| namespace.sysctl(&format!("net.ipv6.conf.{key}"), value))
}

/// What a router forwards, and a replica that answers clients directly hides.
pub(super) fn host(namespace: &Namespace, host: &Host) -> Result<(), Error> {
    if host.forwards {
        namespace.sysctl("net.ipv4.ip_forward", "1")?;
        namespace.sysctl("net.ipv6.conf.all.forwarding", "1")?;
    }
    if !host.hides.is_empty() {
        // ARP neither answers for the VIP nor asks in its name. IPv6 needs nothing: Linux answers a solicitation
        // only for an address of the interface that it came in by (`ndisc_recv_ns`).
        namespace.sysctl("net.ipv4.conf.all.arp_ignore", "1")?;
        namespace.sysctl("net.ipv4.conf.all.arp_announce", "2")?;
        for all in ["all", "default"] {
            namespace.sysctl(&format!("net.ipv4.conf.{all}.rp_filter"), "0")?;
        }
    }
    Ok(())
}

/// One processor for all packets that a host receives of a connection, as the queues of a network card see to it. A veth has
/// a packet received by the processor that sent it: a client's ACK by one and its request by another, at the same time.
///
/// That is more than Linux's TCP can take. `inet_ehash_insert` takes the half-open connection out of the table before it puts
/// the whole one in, so that a request that comes in between finds nothing but the listener, and is answered by a reset: of a
/// million connections, one. Linux 6.19 puts the one in the other's place ("inet: Avoid ehash lookup race in
/// inet_ehash_insert()"). Hosts that only forward go without, so that the balancer meets all orders.
pub(super) fn one_processor_a_connection(namespace: &Namespace) -> Result<(), Error> {
    let count = thread::available_parallelism().map_or(1, usize::from).min(32);
    let all = u32::MAX >> (32 - count);
    match namespace.sysctl("net.core.rps_default_mask", &format!("{all:x}")) {
        // Before Linux 6.3 a namespace has no such default: then it is as it is.
        Err(Error::Namespace { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
