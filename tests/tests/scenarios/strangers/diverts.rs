//! A stranger on the client's segment, whose frames come from another Ethernet address than the client's.

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, ensure};
use dtr_lb_tests::lab::{Capture, Families, Frame, LabOptions, Segment};

use super::{Victim, far, stranger};
use crate::{Place, session::all_live};

/// Connections.
const COUNT: usize = 5;
const PAUSE: Duration = Duration::from_millis(20);
/// Dozens of rounds.
const LASTS: Duration = Duration::from_secs(1);

/// The way to a client may change while it is connected, and the balancer learns it from what the client sends. What only
/// pretends to be the client's teaches nothing: no answer goes to who sent it.
pub(super) fn answers(place: Place) -> Result<()> {
    let lab = LabOptions { clients: 2, ..place.family_options(Families::V4) };
    let stage = place.stage_with(lab, &place.options())?;
    let vip = stage.lab.vip();
    let mut victims = Victim::open(&stage, vip, COUNT)?;
    let client = stage.lab.client().address();
    let diverted = Capture::start(stage.lab.clients()[1].namespace(), move |frame| {
        !frame.outgoing && frame.tcp().is_some_and(|segment| segment.destination.ip() == client)
    })?;
    let socket = stranger(&stage, vip)?;
    let templates: Vec<_> = victims.iter().map(|victim| (victim.client_says(0), victim.of_replica)).collect();
    let (stop, stopped) = mpsc::channel::<()>();
    let attack = thread::spawn(move || -> Result<()> {
        for round in 0.. {
            for (segment, of_replica) in &templates {
                let acknowledgment = far(*of_replica, round);
                let ack = Segment { ack: true, acknowledgment, ..segment.clone() };
                for sent in [Segment { fin: true, ..ack.clone() }, Segment { data: 10, ..ack.clone() }] {
                    socket.send(&sent.packet(&[]))?;
                }
            }
            if stopped.recv_timeout(PAUSE) != Err(mpsc::RecvTimeoutError::Timeout) {
                break;
            }
        }
        Ok(())
    });
    let begun = Instant::now();
    let mut outcome = Ok(());
    while outcome.is_ok() && begun.elapsed() < LASTS {
        outcome = all_live(&stage, victims.iter_mut().map(|victim| &mut victim.session));
    }
    drop(stop);
    attack.join().map_err(|_| anyhow!("the stranger's thread panicked"))??;
    let diverted = diverted.stop();
    let data = diverted.frames.iter().filter_map(Frame::tcp).any(|segment| segment.data > 0);
    ensure!(
        diverted.count == 0,
        "{} frames for the client went to a stranger, with data: {data}; and {outcome:?}",
        diverted.count
    );
    outcome
}
