//! Strangers who know a connection's addresses and ports, and none of its numbers: the attackers of RFC 5961, who can send in
//! anybody's name and hear nothing. Whatever they send, connections live, and nobody's place or port is taken for long.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use dtr_lb_agent::flows::FlowLine;
use dtr_lb_tests::lab::{
    Capture, Caught, Families, Frame, LabOptions, RawSocket, Replica, Router, Segment, until,
};

use crate::{BOTH_HOOKS, CROSSWISE, Place, Scenario, Stage, session::Session};

mod diverts;
mod pairs;
mod resets;
mod silences;
mod transfers;

pub(crate) const SCENARIOS: &[Scenario] = &[
    // What is decided is the pipeline's own. What takes the most is played on each hook and each topology.
    ("a_strangers_syn_is_left_to_the_replica", &[Place::TC_ONE_ARM], |place| {
        resets::syns(place, Families::Dual)
    }),
    ("a_strangers_reset_and_syn_take_no_connection", CROSSWISE, |place| {
        resets::resets_and_syns(place, Families::Dual)
    }),
    ("a_strangers_reset_and_syn_take_no_ipv6_connection", &[Place::XDP_ONE_ARM], |place| {
        resets::resets_and_syns(place, Families::V6)
    }),
    ("a_strangers_fins_end_no_connection", &[Place::XDP_ONE_ARM], resets::fins),
    ("a_strangers_word_is_forgotten_after_a_minute", &[Place::TC_ONE_ARM], resets::minute),
    // What under TC could be left to the device is looked at in another way there.
    ("damaged_syns_take_no_replica_out", BOTH_HOOKS, silences::damaged),
    ("silence_counts_by_clients_of_two_networks", BOTH_HOOKS, silences::of_networks),
    ("a_stranger_on_the_segment_gets_no_answers", &[Place::XDP_ONE_ARM], diverts::answers),
    ("a_transfer_goes_on_among_a_strangers_segments", &[Place::XDP_TWO_ARM], transfers::all_kinds),
    ("a_transfer_goes_on_among_a_strangers_fins_and_syns", &[Place::TC_ONE_ARM], transfers::fins_and_syns),
];

/// Each has the machine to itself. Each hook has its own cost, as with floods of SYNs alone.
pub(crate) const ALONE: &[Scenario] =
    &[("a_flood_of_whole_handshakes_is_not_noticed", BOTH_HOOKS, pairs::flood)];

/// A stage with a second client, which stands behind the same router as the first: the balancer cannot tell their frames apart.
fn stage(place: Place, families: Families) -> Result<Stage> {
    let lab = LabOptions { clients: 2, router: Some(Router::default()), ..place.family_options(families) };
    place.stage_with(lab, &place.options())
}

/// A connection, and what only its two ends should know.
struct Victim {
    session: Session,
    client: SocketAddr,
    vip: SocketAddr,
    /// The numbers of the next byte of each side, when the handshake was over.
    of_client: u32,
    of_replica: u32,
}

impl Victim {
    /// Opens so many.
    fn open(stage: &Stage, vip: IpAddr, count: usize) -> Result<Vec<Self>> {
        let answers = answers(stage)?;
        let sessions = (0..count).map(|_| Session::open(stage, vip)).collect::<Result<Vec<_>>>()?;
        sessions
            .into_iter()
            .map(|session| {
                let client = session.stream.local_addr()?;
                let answer = answer(&answers, client)?;
                Ok(Self {
                    session,
                    client,
                    vip: answer.source,
                    of_client: answer.acknowledgment,
                    of_replica: answer.sequence.wrapping_add(1),
                })
            })
            .collect()
    }

    /// The `n`th segment of a stranger's in the client's name, with a number that is far from right.
    fn client_says(&self, n: u32) -> Segment {
        Segment { sequence: far(self.of_client, n), ..Segment::between(self.client, self.vip) }
    }
}

/// The answers to a client's SYNs from now on: they tell the numbers of both sides.
fn answers(stage: &Stage) -> Result<Capture> {
    let capture = Capture::start(stage.lab.client().namespace(), |frame| {
        !frame.outgoing && frame.tcp().is_some_and(|segment| segment.syn && segment.ack)
    });
    Ok(capture?)
}

/// The one to this client.
fn answer(answers: &Capture, client: SocketAddr) -> Result<Segment> {
    let find = |caught: &Caught| {
        caught.frames.iter().filter_map(Frame::tcp).find(|answer| answer.destination == client)
    };
    // Whoever asks has seen it arrive; the capture's thread may be a little behind.
    let (_, caught) = answers.wait(Duration::from_secs(3), |caught| find(caught).is_some());
    find(&caught).with_context(|| format!("no answer to {client} was seen"))
}

/// A number at random, the same for the same `n`: a sixteenth of the circle away from `number` at least, farther than any window
/// reaches, so that no end takes what has it.
fn far(number: u32, n: u32) -> u32 {
    const NEAR: u32 = 1 << 28;
    let turn = u64::from(n.wrapping_add(1).wrapping_mul(0x9e37_79b9)) * u64::from(u32::MAX - 2 * NEAR);
    number.wrapping_add(NEAR).wrapping_add((turn >> 32) as u32)
}

/// Who sends in a client's name.
fn stranger(stage: &Stage, vip: IpAddr) -> Result<RawSocket> {
    Ok(RawSocket::open(stage.lab.clients()[1].namespace(), vip)?)
}

/// The connection's line in `dtr-lb flows`.
fn line(stage: &Stage, client: SocketAddr) -> Result<FlowLine> {
    let prefix = format!("{}/{}", client.ip(), if client.is_ipv4() { 32 } else { 128 });
    let listing = stage.flows(&["--client", &prefix])?;
    let line = listing.flows.into_iter().find(|line| line.client == client);
    line.with_context(|| format!("no flow of {client} is listed"))
}

/// Who sends in the replica's name: another replica. And a segment of it that says nothing yet.
fn false_replica(stage: &Stage, client: SocketAddr) -> Result<(RawSocket, Segment)> {
    let line = line(stage, client)?;
    let (nat, replica) = line.nat.zip(line.replica_address).context("not a NAT flow")?;
    let other = stage.lab.replicas().iter().find(|other| other.name() != line.replica);
    let other = other.context("one replica only")?.namespace();
    Ok((RawSocket::open(other, nat.ip())?, Segment::between(replica, nat)))
}

/// Counts, at each replica, SYNs that arrive with one of these numbers.
fn syns_at_replicas(stage: &Stage, numbers: &[u32]) -> Result<Vec<Capture>> {
    let start = |replica: &Replica| {
        let numbers = numbers.to_vec();
        let capture = Capture::start(replica.namespace(), move |frame| {
            !frame.outgoing
                && frame
                    .tcp()
                    .is_some_and(|segment| segment.syn && !segment.ack && numbers.contains(&segment.sequence))
        });
        Ok(capture?)
    };
    stage.lab.replicas().iter().map(start).collect()
}

/// Waits until the replicas have met so many of them: what was sent before has come through as well.
fn all_met(captures: &[Capture], count: usize) -> Result<()> {
    let met = || captures.iter().map(|capture| capture.so_far().count).sum::<u64>();
    let all = until(Duration::from_secs(3), || met() >= count as u64);
    ensure!(all, "replicas met {} of a stranger's {count} SYNs", met());
    Ok(())
}
