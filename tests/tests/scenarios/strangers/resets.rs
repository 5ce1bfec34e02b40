//! Resets, SYNs and FINs of strangers on connections that are open and idle.

use std::{net::IpAddr, thread, time::Duration};

use anyhow::{Result, ensure};
use dtr_lb_tests::lab::{Families, Segment};

use super::{Victim, all_met, false_replica, far, stage, stranger, syns_at_replicas};
use crate::{Place, Stage, session::all_live};

/// Connections of each attack.
const COUNT: usize = 20;

/// After so long a SYN that comes again may be taken for one that was not answered: TCP itself waits for a second.
const AGAIN: Duration = Duration::from_millis(600);

/// A SYN on a connection that is open is for the replica to judge: it answers its client by a challenge ACK (RFC 5961 section
/// 4.2), which does no harm, and which tells a client that has lost its memory what to reset (RFC 9293 section 3.5.1).
pub(super) fn syns(place: Place, families: Families) -> Result<()> {
    attack(&stage(place, families)?, false)
}

/// A reset that is not believed, after it a SYN that would only be that of another connection if it were, and that SYN again; on
/// half of the connections one more reset.
pub(super) fn resets_and_syns(place: Place, families: Families) -> Result<()> {
    attack(&stage(place, families)?, true)
}

/// Sends SYNs in the name of each of some connections, and resets if there are to be any; they live, and others can be opened.
fn attack(stage: &Stage, resets: bool) -> Result<()> {
    for &vip in stage.lab.vips() {
        let mut victims = Victim::open(stage, vip, COUNT)?;
        let stranger = stranger(stage, vip)?;
        let syns: Vec<_> = (0..).zip(&victims).map(|(n, victim)| victim.client_says(1000 + n)).collect();
        let numbers: Vec<_> = syns.iter().map(|syn| syn.sequence).collect();
        let met = syns_at_replicas(stage, &numbers)?;
        let reset = |victim: &Victim, n| {
            let reset = Segment { rst: true, ..victim.client_says(n) };
            if resets { stranger.send(&reset.packet(&[])) } else { Ok(()) }
        };
        for round in 0..2 {
            if round > 0 {
                thread::sleep(AGAIN);
            }
            for ((n, victim), syn) in (0..).zip(&victims).zip(&syns) {
                if round == 0 {
                    reset(victim, n)?;
                }
                stranger.send(&Segment { syn: true, ..syn.clone() }.packet(&[]))?;
                if round == 1 && n % 2 == 1 {
                    reset(victim, 2000 + n)?;
                }
            }
            all_met(&met, COUNT * (round + 1))?;
        }
        // Twice: the answers to the first requests are not what brings them back.
        for _ in 0..2 {
            all_live(stage, victims.iter_mut().map(|victim| &mut victim.session))?;
        }
        stage.whoami_at("http", vip)?;
    }
    Ok(())
}

/// Sends a FIN in the client's name, and one in the replica's. None has a number that is right.
fn false_fins(stage: &Stage, victims: &[Victim], client_first: bool) -> Result<()> {
    for (n, victim) in (0..).zip(victims) {
        let (replica, segment) = false_replica(stage, victim.client)?;
        let fin = |segment: Segment, acknowledgment| {
            Segment { fin: true, ack: true, acknowledgment, ..segment }.packet(&[])
        };
        let of_client = fin(victim.client_says(n), far(victim.of_replica, n));
        let segment = Segment { sequence: far(victim.of_replica, n), ..segment };
        let of_replica = fin(segment, far(victim.of_client, n));
        let stranger = stranger(stage, victim.vip.ip())?;
        if client_first {
            stranger.send(&of_client)?;
        }
        replica.send(&of_replica)?;
        if !client_first {
            stranger.send(&of_client)?;
        }
    }
    Ok(())
}

/// An entry both of whose sides are taken to have closed, the client first, would be kept for 10 s.
const CLOSED: Duration = Duration::from_secs(12);
/// One whose replica has closed first, or that was reset, for 60 s. nginx closes a connection after 75 s without a request.
const RESTED: Duration = Duration::from_secs(63);

/// FINs of strangers in both names, and a rest.
pub(super) fn fins(place: Place) -> Result<()> {
    let stage = stage(place, Families::V4)?;
    let mut victims = Victim::open(&stage, stage.lab.vip(), COUNT)?;
    false_fins(&stage, &victims, true)?;
    rest(&stage, CLOSED)?;
    all_live(&stage, victims.iter_mut().map(|victim| &mut victim.session))
}

/// Resets in the client's name, in the replica's, and FINs in both, the replica's first; and a rest.
pub(super) fn minute(place: Place) -> Result<()> {
    let stage = stage(place, Families::V4)?;
    let vip: IpAddr = stage.lab.vip();
    let [mut by_client, mut by_replica, mut by_both] = [
        Victim::open(&stage, vip, COUNT)?,
        Victim::open(&stage, vip, COUNT)?,
        Victim::open(&stage, vip, COUNT)?,
    ];
    let stranger = stranger(&stage, vip)?;
    for (n, victim) in (0..).zip(&by_client) {
        stranger.send(&Segment { rst: true, ..victim.client_says(n) }.packet(&[]))?;
    }
    for (n, victim) in (0..).zip(&by_replica) {
        let (replica, segment) = false_replica(&stage, victim.client)?;
        let reset = Segment { rst: true, sequence: far(victim.of_replica, n), ..segment };
        replica.send(&reset.packet(&[]))?;
    }
    false_fins(&stage, &by_both, false)?;
    rest(&stage, RESTED)?;
    let mut outcomes = Vec::new();
    for (what, victims) in [
        ("resets in the client's name", &mut by_client),
        ("resets in the replica's name", &mut by_replica),
        ("FINs in both names", &mut by_both),
    ] {
        let outcome = all_live(&stage, victims.iter_mut().map(|victim| &mut victim.session));
        outcomes.extend(outcome.err().map(|error| format!("{what}: {error}")));
    }
    ensure!(outcomes.is_empty(), "{}", outcomes.join("\n"));
    Ok(())
}

/// Lets connections rest. It is the passing of time that is tried: there is nothing to wait for.
fn rest(stage: &Stage, time: Duration) -> Result<()> {
    thread::sleep(time);
    // The balancer itself serves: what does not live is not for want of it.
    stage.whoami("http").map(drop)
}
