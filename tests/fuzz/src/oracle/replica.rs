//! Packets of replicas to a NAT end.

use dtr_lb_common::verdict::Verdict;

use super::{
    Oracle, Step,
    bytes::{self, Wrong},
    connection::{Connection, Phase},
};
use crate::reader::{Seen, flag};

impl Oracle {
    pub(super) fn of_replica(&mut self, step: &Step<'_>, seen: &Seen, owner: usize) -> Result<(), Wrong> {
        let now = self.now;
        let one = &self.connections[owner];
        let refuses = one.phase == Phase::Asked && seen.flags & flag::RST != 0;
        let impeded = self.impeded_back(seen, &one.client.ip, step.verdict);
        match step.verdict {
            Verdict::Forwarded => {
                if impeded.any {
                    return Err("forwarded, though something stands in its way".to_owned());
                }
                if one.sure
                    && (one.phase == Phase::Resting || self.current(one.client, one.vip) != Some(owner))
                {
                    return Err(format!("a late packet reached the client of {one:?}"));
                }
                let (vip, client, ways) = (one.vip, one.client, one.ways.clone());
                let by = ways.iter().find(|way| step.left_by(way));
                let way = by.ok_or_else(|| format!("left by none of the ways {ways:?}"))?;
                bytes::rewritten(step.before, seen, step.after, way, vip, client)?;
                self.goes_on(owner, step, seen, false)
            }
            Verdict::Redispatched if refuses => self.replays(step, owner),
            verdict => {
                let late = one.phase == Phase::Resting || !one.sure;
                let right = match verdict {
                    Verdict::DroppedLate => late,
                    Verdict::PassedNotService => true,
                    // Its client's entry made room while another replica was looked for.
                    Verdict::DroppedNoReplica | Verdict::DroppedNoPort | Verdict::DroppedTableFull => {
                        refuses && step.world().half_open < 20
                    }
                    _ => impeded.by_this,
                };
                if !right || (one.surely_carries(seen, now) && !impeded.by_this) {
                    return Err(format!("does not reach the client of {one:?}"));
                }
                self.stops(owner, seen);
                Ok(())
            }
        }
    }

    /// A replica's refusal left as its client's SYN.
    fn replays(&mut self, step: &Step<'_>, owner: usize) -> Result<(), Wrong> {
        let one = self.connections[owner].clone();
        if one.syn.data {
            return Err("a SYN with data was sent again".to_owned());
        }
        let mut why = "no replica is left".to_owned();
        for id in self.untried(step, &one) {
            let Some((_, replica)) = step.world().replica(id) else { continue };
            let checked = step.leaves_by(&replica.way).and_then(|()| {
                let side = self.claimed(step, id)?;
                bytes::replayed(&one.syn, step.after, &replica.way, side.1, side.0)?;
                Ok(side)
            });
            match checked {
                Ok(side) if replica.way.interface != 0 => {
                    let (began, last, client_last) = (self.now, self.now, self.now);
                    let begun = Connection { replica: id, side: Some(side), began, last, client_last, ..one };
                    return self.goes_over(owner, &Connection { evicted: None, ..begun });
                }
                Ok(_) => why = "by an unknown hop".to_owned(),
                Err(reason) => why = reason,
            }
        }
        Err(format!("replayed: {why}"))
    }
}
