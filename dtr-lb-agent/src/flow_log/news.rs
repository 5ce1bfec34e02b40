//! What the datapath tells of connections, as records with names.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use dtr_lb_common::{
    abi::{End, Mode, Ticks, Tuple, age},
    address::{Address, Be16},
    flow_table::told::{News, Told},
};
use jiff::{SignedDuration, Timestamp};

use super::{FlowEnd, FlowRecord};
use crate::{
    datapath::{FlowNews, service_key},
    directory::Directory,
};

/// A moment, by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub time: Timestamp,
    pub ticks: Ticks,
    /// Ticks in a second.
    pub second: Ticks,
}

impl Now {
    /// So many ticks.
    fn duration(&self, ticks: Ticks) -> Duration {
        Duration::from_secs_f64(f64::from(ticks) / f64::from(self.second.max(1)))
    }

    /// When it was so many ticks.
    fn at(&self, ticks: Ticks) -> Timestamp {
        let ago = SignedDuration::try_from(self.duration(age(ticks, self.ticks)));
        ago.ok().and_then(|ago| self.time.checked_sub(ago).ok()).unwrap_or(self.time)
    }
}

/// The record of a connection that is over, or never began; nothing of one that begins.
pub fn record(news: &FlowNews, directory: &Directory, now: &Now) -> Option<FlowRecord> {
    let FlowNews { news: what, told, at, replica } = news;
    let end = match *what {
        News::Started => return None,
        News::Failed(verdict) => FlowEnd::Failed(verdict),
        News::Ended(end) => flow_end(end)?,
    };
    let Told { client, to, opened, to_replica, to_client, connect, client_rtt, attempts, .. } = *told;
    let (from, vip) =
        (socket(client.source, client.source_port), socket(client.destination, client.destination_port));
    let key = service_key(vip.ip(), vip.port());
    let service = directory.service(&key);
    let micros = |micros: u32| Duration::from_micros(micros.into());
    Some(FlowRecord {
        time: now.at(*at),
        service: service.map_or_else(|| vip.to_string().into(), Arc::from),
        replica: replica.map(|replica| directory.name(&replica).into()),
        client: from,
        vip,
        nat: nat(&client, &to),
        mode: replica.map(|replica| replica.mode).or_else(|| directory.mode(&key)).unwrap_or(Mode::NAT),
        start: now.at(opened),
        duration: now.duration(age(opened, *at)),
        connect: connect.map(micros),
        client_rtt: client_rtt.map(micros),
        to_replica,
        to_client,
        attempts,
        end,
    })
}

/// Where the replica saw it come from; nothing if it saw the client itself.
fn nat(client: &Tuple, to: &Tuple) -> Option<SocketAddr> {
    let changed = (to.source, to.source_port) != (client.source, client.source_port);
    changed.then(|| socket(to.source, to.source_port))
}

fn socket(address: Address, port: Be16) -> SocketAddr {
    SocketAddr::new(address.into(), port.get())
}

/// Nothing for what is no end, which the datapath does not tell.
fn flow_end(end: End) -> Option<FlowEnd> {
    Some(match end {
        End::CLOSED => FlowEnd::Closed,
        End::CLIENT_RESET => FlowEnd::ClientReset,
        End::REPLICA_RESET => FlowEnd::ReplicaReset,
        End::IDLE => FlowEnd::Idle,
        End::REPLICA_DOWN => FlowEnd::ReplicaDown,
        End::EVICTED => FlowEnd::Evicted,
        End::DETACHED => FlowEnd::Detached,
        End::UNANSWERED => FlowEnd::Unanswered,
        End::ABANDONED => FlowEnd::Abandoned,
        End::REFUSED => FlowEnd::Refused,
        End::CROWDED => FlowEnd::Crowded,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_that_is_told_has_the_datapaths_word() {
        for end in End::ALL.into_iter().filter(|end| *end != End::FAILED) {
            let known = flow_end(end).expect("it is told");
            assert_eq!((known.word(), known.is_failure()), (end.name(), end.fails()));
        }
        assert_eq!(flow_end(End::AGAIN), None);
    }

    #[test]
    fn ticks_are_times_also_where_they_wrap() {
        let time: Timestamp = "2026-01-01T00:00:10Z".parse().expect("a time");
        let now = Now { time, ticks: 100, second: 250 };
        assert_eq!(now.at(100u32.wrapping_sub(500)).to_string(), "2026-01-01T00:00:08Z");
        assert_eq!(now.at(101), time, "a processor that is ahead by a tick");
        assert_eq!(now.duration(25), Duration::from_millis(100));
    }
}
