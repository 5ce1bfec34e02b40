//! Does another host on a link answer for an address? Asked through the kernel's neighbour table, which sends the ARP
//! request or the neighbour solicitation.

use std::{net::IpAddr, time::Duration};

use rtnetlink::Handle;
use tokio::time::{Instant, sleep};

use super::{
    NextHopError,
    kernel::{self, Neighbour},
};

const POLL: Duration = Duration::from_millis(20);

/// The MAC address that answers for `address` on a link within `limit`, if one does. `address` may be one of this host's
/// own, which then does not answer itself.
///
/// What IPv6 hears of an address that this host has on the same interface it takes for a conflict, and does not note: the
/// answer is then `None` whatever others say. Needs `CAP_NET_ADMIN`. Leaves no entry behind.
///
/// # Errors
/// [`NextHopError::Netlink`]
pub async fn neighbour_probe(
    handle: &Handle,
    interface: u32,
    address: IpAddr,
    limit: Duration,
) -> Result<Option<[u8; 6]>, NextHopError> {
    let key = (interface, address);
    // What stands there from before may be old.
    kernel::forget(handle, key).await?;
    let found = ask(handle, interface, address, limit).await;
    kernel::forget(handle, key).await?;
    found
}

async fn ask(
    handle: &Handle,
    interface: u32,
    address: IpAddr,
    limit: Duration,
) -> Result<Option<[u8; 6]>, NextHopError> {
    let until = Instant::now() + limit;
    kernel::solicit(handle, (interface, address), false).await?;
    loop {
        let neighbours = kernel::neighbours(handle, Some(interface)).await?;
        match neighbours.get(&(interface, address)) {
            Some(Neighbour::Fresh(mac) | Neighbour::Stale(mac)) => return Ok(Some(*mac)),
            _ if Instant::now() >= until => return Ok(None),
            _ => sleep(POLL).await,
        }
    }
}
