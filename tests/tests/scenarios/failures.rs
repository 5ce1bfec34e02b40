//! Connections of replicas that fail or leave: which are ended, how soon, and which go on.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use dtr_lb_tests::{
    balancer::DOWN_WITHIN,
    lab::{Capture, Families, until},
};
use nix::sys::signal::Signal;

use crate::{
    BOTH_HOOKS, CROSSWISE, EVERYWHERE, Place, Scenario, Stage, judgment::BELIEVED_WITHIN, session::Session,
};

pub(crate) const SCENARIOS: &[Scenario] = &[
    // The reset is a packet of the datapath's own, in both directions' terms.
    ("a_client_that_waits_is_reset_when_its_replica_dies", EVERYWHERE, waiting),
    ("a_client_that_waits_is_left_alone_if_so_configured", &[Place::XDP_ONE_ARM], left_alone),
    ("a_replica_that_drains_keeps_what_it_has", BOTH_HOOKS, drains),
    ("with_all_down_and_refuse_clients_know_at_once", CROSSWISE, refused),
];

/// From the failure until the probes know it, and a second for the reset itself and a busy machine.
const RESET_WITHIN: Duration = DOWN_WITHIN.saturating_add(Duration::from_secs(2));

/// A client that has asked nothing and waits would wait for hours: its replica's cable is cut, and no packet comes any
/// more from either end. It is reset, and its kernel takes the reset for genuine, so that it was exact.
fn waiting(place: Place) -> Result<()> {
    let stage = place.stage_with(place.family_options(Families::Dual), &place.options())?;
    for (&vip, replica) in stage.lab.vips().iter().zip(stage.lab.replicas()) {
        let capture = Capture::start(stage.lab.client().namespace(), |frame| {
            !frame.outgoing && frame.tcp().is_some_and(|segment| segment.rst)
        })?;
        // That 100 connections miss a replica of three has a probability of (2/3)^100 = 2e-18.
        let mut session = session_at(&stage, vip, replica.name())?;
        replica.cut()?;
        let cut_at = Instant::now();
        let ended = session.answer(RESET_WITHIN);
        let took = cut_at.elapsed();
        let error = match ended {
            Ok(text) => bail!("{vip}: a replica that is cut off answers: {text}"),
            Err(error) => error,
        };
        ensure!(error.kind() == io::ErrorKind::ConnectionReset, "{vip}: after {took:?}: {error}");
        let own = session.stream.local_addr()?;
        let (_, caught) = capture.wait(Duration::from_secs(1), |caught| !caught.frames.is_empty());
        let resets: Vec<_> = caught.frames.iter().filter_map(dtr_lb_tests::lab::Frame::tcp).collect();
        let reset = resets.iter().find(|reset| reset.destination.port() == own.port());
        let reset = reset.with_context(|| format!("{vip}: no reset among {resets:?}"))?;
        ensure!(reset.checksum_is_right && reset.source == (vip, 80).into(), "{vip}: {reset:?}");
        // Others go on.
        stage.whoami_at("http", vip)?;
        replica.join()?;
        stage.wait_for_state(replica.name(), "up", Duration::from_secs(5))?;
    }
    Ok(())
}

/// A session that this replica serves.
fn session_at(stage: &Stage, vip: IpAddr, replica: &str) -> Result<Session> {
    for _ in 0..100 {
        let session = Session::open(stage, vip)?;
        if session.replica == replica {
            return Ok(session);
        }
    }
    bail!("100 connections, and none to {replica}")
}

/// `on_down = "leave"`: a replica that comes back finds its connections as they were.
fn left_alone(place: Place) -> Result<()> {
    let mut options = place.options();
    options.sets = vec!["datapath.on_down=leave".to_owned()];
    let stage = place.stage_with(place.family_options(Families::V4), &options)?;
    let replica = &stage.lab.replicas()[0];
    let mut session = session_at(&stage, stage.lab.vip(), replica.name())?;
    replica.cut()?;
    stage.wait_for_state(replica.name(), "down", DOWN_WITHIN)?;
    // This is sent while the replica counts as down, and TCP sends it again until somebody answers.
    session.say()?;
    let silent = session.answer(Duration::from_millis(500));
    let silent = silent.err().context("a replica that is cut off answers")?;
    ensure!(silent.kind() == io::ErrorKind::WouldBlock, "the connection ended: {silent}");
    replica.join()?;
    let text = session.answer(Duration::from_secs(5)).context("after the replica is back")?;
    ensure!(text == replica.name(), "answered by `{text}`");
    Ok(())
}

/// A replica of weight 0 gets no new connection, and goes on with those that it has.
fn drains(place: Place) -> Result<()> {
    let mut stage = place.stage()?;
    let mut session = session_at(&stage, stage.lab.vip(), "r1")?;
    stage.balancer.process().signal(Signal::SIGTERM)?;
    stage.balancer.process().wait(Duration::from_secs(5))?.context("SIGTERM does not end the agent")?;
    let Stage { lab, balancer } = &mut stage;
    balancer.start_again_with(lab, &["replica.0.weight=0".to_owned()])?;
    stage.wait_for_state("r1", "draining", DOWN_WITHIN)?;
    for _ in 0..3 {
        let text = session.ask(Duration::from_secs(3)).context("on the connection from before")?;
        ensure!(text == "r1", "answered by `{text}`");
    }
    let shares = stage.shares(300)?;
    ensure!(shares[0] == 0 && shares[1] > 0 && shares[2] > 0, "{shares:?}");
    Ok(())
}

/// All are cut off, so that nobody else could refuse.
fn refused(place: Place) -> Result<()> {
    let mut options = place.options();
    options.sets = vec!["datapath.all_down=refuse".to_owned()];
    let stage = place.stage_with(place.family_options(Families::Dual), &options)?;
    for replica in stage.lab.replicas() {
        replica.cut()?;
    }
    // Until then the balancer suspects itself.
    for replica in stage.lab.replicas() {
        stage.wait_for_state(replica.name(), "down", BELIEVED_WITHIN)?;
    }
    for &vip in stage.lab.vips() {
        let address = SocketAddr::new(vip, 80);
        let begun = Instant::now();
        let limit = Duration::from_secs(3);
        let outcome = stage.lab.client().namespace().run(|| TcpStream::connect_timeout(&address, limit))?;
        let took = begun.elapsed();
        let error = outcome.err().with_context(|| format!("{vip} accepts, and every replica is cut off"))?;
        ensure!(error.kind() == io::ErrorKind::ConnectionRefused, "{vip}: after {took:?}: {error}");
        // Less than the second after which a SYN would be sent again.
        ensure!(took < Duration::from_millis(500), "{vip}: refused after {took:?}");
    }
    stage.lab.replicas()[2].join()?;
    stage.wait_for_state("r3", "up", Duration::from_secs(5))?;
    ensure!(until(Duration::from_secs(2), || stage.whoami("http").is_ok_and(|replica| replica == "r3")));
    Ok(())
}
