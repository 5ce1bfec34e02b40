//! Examples of dropped packets, as the datapath sends them.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use aya::maps::{MapData, RingBuf};
use dtr_lb_common::{abi::DropEvent, verdict::Verdict};
use tokio::io::{Interest, unix::AsyncFd};

/// A packet that was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    pub verdict: Verdict,
    pub source: SocketAddr,
    pub destination: SocketAddr,
}

/// The stream of them.
pub struct Events {
    ring: AsyncFd<RingBuf<MapData>>,
}

impl Events {
    pub(super) fn new(ring: RingBuf<MapData>) -> io::Result<Self> {
        // SAFETY: the ring owns its file descriptor, gives the same one each time, and is dropped after the registration.
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }?;
        Ok(Self { ring })
    }

    /// Waits for the next ones. May be dropped and called again.
    pub async fn next(&mut self) -> io::Result<Vec<Dropped>> {
        loop {
            let mut ready = self.ring.readable_mut().await?;
            let found = drain(ready.get_inner_mut());
            ready.clear_ready();
            if !found.is_empty() {
                return Ok(found);
            }
        }
    }
}

fn drain(ring: &mut RingBuf<MapData>) -> Vec<Dropped> {
    let mut found = Vec::new();
    while let Some(item) = ring.next() {
        if let Ok(event) = bytemuck::try_pod_read_unaligned::<DropEvent>(&item)
            && let Some(verdict) = Verdict::ALL.get(event.verdict as usize)
        {
            let address = |address, port: dtr_lb_common::address::Be16| {
                SocketAddr::new(IpAddr::from(address), port.get())
            };
            found.push(Dropped {
                verdict: *verdict,
                source: address(event.source, event.source_port),
                destination: address(event.destination, event.destination_port),
            });
        }
    }
    found
}
