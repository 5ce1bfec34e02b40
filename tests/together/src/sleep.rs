//! Connections that nobody uses: they are made to look as if both directions had been silent for too long.

use anyhow::{Context as _, Result};
use dtr_lb_agent::datapath::{Datapath, Mapped};
use dtr_lb_common::{
    abi::{Direction, Settings},
    flow_table::{Line as _, Memory as _, entry::word},
};
use dtr_lb_together_ebpf::record::phase;

use crate::{programs::Maps, walk::answers, world::Size};

/// Who makes them old.
pub(crate) struct Sleepers {
    table: Mapped,
    settings: Settings,
}

impl Sleepers {
    pub(crate) fn new(datapath: &Datapath) -> Result<Self> {
        let settings = datapath.reader().settings()?.context("there are no settings")?;
        Ok(Self { table: datapath.map_table()?, settings })
    }

    /// Makes those old whose owners have let them sleep. Nobody takes the place of a connection that is established, so that both
    /// words are its own, until both are written.
    pub(crate) fn make_old(&self, datapath: &mut Datapath, maps: &mut Maps, size: &Size) -> Result<()> {
        let words = self.table.words();
        for peer in size.steady_peers()..size.peers() {
            let record = maps.record(peer)?;
            if record.phase() != phase::ASLEEP || maps.aged(peer)? == record.life() {
                continue;
            }
            let long_ago = datapath.now()?.wrapping_sub(self.settings.established + self.settings.second);
            let key = answers(record.mapping());
            let both = words.entries(0..words.buckets()).filter(|flow| match flow.direction() {
                Direction::ToClient => flow.key == key,
                Direction::ToReplica | Direction::Direct => flow.to.reversed() == key,
            });
            let both: Vec<_> = both.collect();
            // One that is not whole by now has met its owner's next packet: it is for the next time.
            if both.len() == 2 {
                for flow in both {
                    let line = words.line(flow.place).context("an entry outside the table")?;
                    line.store(word::LAST_SEEN, long_ago);
                }
            }
            maps.set_aged(peer, record.life())?;
        }
        Ok(())
    }
}
