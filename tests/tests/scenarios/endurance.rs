//! Far more short connections than a run of all tests has time for, to find what happens once in a million. Ignored unless
//! asked for (see CONTRIBUTING.md). The first connection that fails ends it, with all segments of it, as the client, the
//! balancer and the replicas saw them.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use dtr_lb_tests::lab::{Capture, Client, Frame, LabOptions, Namespace, Replica, Segment, Tally};

use crate::{EVERYWHERE, Place, Scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("no_short_connection_fails", EVERYWHERE, short_connections),
    ("short_connections_of_several_clients_are_not_capped", EVERYWHERE, several_clients),
];

/// Connections of a batch: after each it is looked whether one has failed.
const BATCH: usize = 4000;
/// For how long, in seconds, by the environment; and how many connections at a time.
const SECONDS: (&str, u64) = ("DTR_LB_ENDURANCE_SECONDS", 60);
const CONCURRENCY: (&str, u64) = ("DTR_LB_ENDURANCE_CONCURRENCY", 16);

fn number((name, default): (&str, u64)) -> Result<u64> {
    std::env::var(name).map_or(Ok(default), |text| text.parse().with_context(|| format!("{name}={text}")))
}

/// A segment, and who saw it.
#[derive(Clone)]
struct Sighting {
    at: Instant,
    witness: String,
    interface: usize,
    outgoing: bool,
    segment: Segment,
}

type Sightings = Arc<Mutex<Vec<Sighting>>>;

/// Writes down all segments that a namespace sees.
fn watch(namespace: &Namespace, sightings: &Sightings) -> Result<Capture> {
    let (witness, sightings) = (namespace.name().to_owned(), Arc::clone(sightings));
    let filter = move |frame: &Frame| {
        if let Some(segment) = frame.tcp() {
            sightings.lock().unwrap_or_else(PoisonError::into_inner).push(Sighting {
                at: frame.at,
                witness: witness.clone(),
                interface: frame.interface,
                outgoing: frame.outgoing,
                segment,
            });
        }
        false
    };
    Ok(Capture::start(namespace, filter)?)
}

fn short_connections(place: Place) -> Result<()> {
    let (seconds, concurrency) = (number(SECONDS)?, number(CONCURRENCY)? as usize);
    let stage = place.stage()?;
    let sightings = Sightings::default();
    let replicas = stage.lab.replicas().iter().map(Replica::namespace);
    let witnesses = [stage.lab.client().namespace(), stage.lab.balancer()].into_iter().chain(replicas);
    let _captures = witnesses.map(|namespace| watch(namespace, &sightings)).collect::<Result<Vec<_>>>()?;
    let (begun, mut done) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(seconds) {
        sightings.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let tally = stage.lab.client().connections(stage.http(), BATCH, concurrency)?;
        done += BATCH;
        if let Some(first) = tally.errors.first() {
            // The captures' threads may be behind.
            std::thread::sleep(Duration::from_secs(2));
            let seen = sightings.lock().unwrap_or_else(PoisonError::into_inner).clone();
            bail!(
                "{} of {BATCH} failed, after {done}: {first:?}; verdicts {:?}\n{}",
                tally.errors.len(),
                stage.balancer.status(&stage.lab)?.verdicts,
                story(&seen, first.started)
            );
        }
    }
    println!("{}: {done} connections, {} at a time", place.name(), concurrency);
    stage.nothing_dropped()
}

/// Clients of several addresses, whose connections the replicas close first: each leaves a NAT port in TIME_WAIT, of which there are so
/// many that all would rest after some seconds. None may wait for one.
fn several_clients(place: Place) -> Result<()> {
    const SLOW: Duration = Duration::from_secs(1);
    /// A second: four times what ports allow that rest for a minute each.
    const LEAST: f64 = 8000.0;
    let (seconds, concurrency) = (number(SECONDS)?, number(CONCURRENCY)? as usize);
    let lab = LabOptions { clients: 4, ..place.lab_options().without_registry() };
    let stage = place.stage_with(lab, &place.options())?;
    let (begun, service) = (Instant::now(), stage.http());
    let of_client = |client: &Client| -> Result<Tally> {
        let mut all = Tally::default();
        while begun.elapsed() < Duration::from_secs(seconds) {
            let tally = client.connections(service, BATCH, concurrency)?;
            for (replica, count) in tally.replicas {
                *all.replicas.entry(replica).or_default() += count;
            }
            all.errors.extend(tally.errors);
            all.slowest = all.slowest.max(tally.slowest);
        }
        Ok(all)
    };
    let tallies = std::thread::scope(|scope| {
        let of_client = &of_client;
        let clients = stage.lab.clients().iter();
        let clients: Vec<_> = clients.map(|client| scope.spawn(move || of_client(client))).collect();
        clients
            .into_iter()
            .map(|client| client.join().expect("it does not panic"))
            .collect::<Result<Vec<_>>>()
    })?;
    let took = begun.elapsed().as_secs_f64();
    let done: usize = tallies.iter().flat_map(|tally| tally.replicas.values()).sum();
    let slowest = tallies.iter().map(|tally| tally.slowest).max().unwrap_or_default();
    let verdicts = stage.balancer.status(&stage.lab)?.verdicts;
    println!(
        "{}: {:.0} connections a second, {done} in all, the slowest {slowest:.1?}",
        place.name(),
        done as f64 / took
    );
    if let Some(first) = tallies.iter().flat_map(|tally| &tally.errors).next() {
        bail!("of {done} one failed: {first:?}; verdicts {verdicts:?}");
    }
    ensure!(
        done as f64 / took >= LEAST,
        "{:.0} connections a second; verdicts {verdicts:?}",
        done as f64 / took
    );
    ensure!(slowest < SLOW, "the slowest took {slowest:?}; verdicts {verdicts:?}");
    Ok(())
}

/// All segments of the connections that were reset, in order of time.
fn story(seen: &[Sighting], since: Instant) -> String {
    let resets = seen.iter().filter(|sighting| sighting.segment.rst);
    let mut ports: BTreeSet<u16> = resets
        .flat_map(|sighting| [sighting.segment.source.port(), sighting.segment.destination.port()])
        .filter(|port| *port > 1024)
        .collect();
    // Both sides of the balancer: a SYN keeps its sequence number.
    let of_any = |segment: &Segment, ports: &BTreeSet<u16>| {
        ports.contains(&segment.source.port()) || ports.contains(&segment.destination.port())
    };
    let opens = |sighting: &&Sighting| sighting.segment.syn && !sighting.segment.ack;
    let numbers: BTreeSet<u32> = seen
        .iter()
        .filter(opens)
        .filter(|sighting| of_any(&sighting.segment, &ports))
        .map(|sighting| sighting.segment.sequence)
        .collect();
    let same = seen.iter().filter(opens).filter(|sighting| numbers.contains(&sighting.segment.sequence));
    ports.extend(same.map(|sighting| sighting.segment.source.port()));
    let mut told: Vec<_> = seen.iter().filter(|sighting| of_any(&sighting.segment, &ports)).collect();
    told.sort_by_key(|sighting| sighting.at);
    let line = |Sighting { at, witness, interface, outgoing, segment }: &Sighting| {
        let flags: String = [(segment.syn, 'S'), (segment.ack, 'A'), (segment.fin, 'F'), (segment.rst, 'R')]
            .iter()
            .filter(|(set, _)| *set)
            .map(|(_, letter)| *letter)
            .collect();
        let millis =
            if *at >= since { (*at - since).as_secs_f64() * 1e3 } else { -(since - *at).as_secs_f64() * 1e3 };
        format!(
            "{millis:>10.3} ms {witness:<24} {interface} {} {} > {} {flags} seq {} ack {} data {}\n",
            if *outgoing { "out" } else { "in " },
            segment.source,
            segment.destination,
            segment.sequence,
            segment.acknowledgment,
            segment.data
        )
    };
    told.into_iter().map(line).collect()
}
