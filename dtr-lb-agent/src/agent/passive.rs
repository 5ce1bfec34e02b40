//! Reads what the datapath counts of failed handshakes, for the passive check, and of what replicas say.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use dtr_lb_common::abi;
use tracing::warn;

use crate::{
    config::Config,
    control::{Control, Reading, ReplicaKey, ReplicaPlace, Witness},
    datapath::{Census, DatapathError, Meter},
};

/// From one reading to the next ...
const PAUSE: Duration = Duration::from_millis(100);
/// ... and so many times what a reading took, where that is more: with thousands of replicas it is.
const SHARE: u32 = 20;
/// After a reading that failed.
const LONG_PAUSE: Duration = Duration::from_secs(10);

/// Reads all that a passive check wants to know, and says when to do so next.
pub(super) fn read(control: &Control, meter: &Meter) -> (Vec<Reading>, Duration) {
    let begun = Instant::now();
    match readings(control, meter) {
        Ok(readings) => (readings, PAUSE.max(begun.elapsed() * SHARE)),
        Err(error) => {
            warn!(%error, "failed connections were not counted; the passive check stands still, probes go on");
            (Vec::new(), LONG_PAUSE)
        }
    }
}

/// Whether anybody wants to know.
pub(super) fn wanted(config: &Config) -> bool {
    config.services.iter().any(|service| service.max_fails > 0)
}

/// The sums over the VIPs of each service.
fn readings(control: &Control, meter: &Meter) -> Result<Vec<Reading>, DatapathError> {
    let mut readings = Vec::new();
    let census = Census::default();
    for (service_place, service) in control.config().services.iter().enumerate() {
        if service.max_fails == 0 {
            continue;
        }
        for (place, replica) in service.replicas.iter().enumerate() {
            let place = ReplicaPlace { service: service_place, replica: place };
            let mut reading =
                Reading { place, new_flows: 0, refused: 0, unanswered: 0, witnesses: Vec::new() };
            for vip in &service.vips {
                let (counted, _flows) =
                    meter.replica(*vip, service.port, replica.address, replica.port, &census)?;
                reading.new_flows += counted.new_flows;
                reading.refused += counted.refused;
                reading.unanswered += counted.unanswered;
            }
            if control.unanswered(place) != Some(reading.unanswered) {
                for vip in &service.vips {
                    let witnesses =
                        meter.witnesses(*vip, service.port, replica.address, replica.port)?.into_iter();
                    let witness = |abi::Witness { source, at }| Witness { source: source.into(), at };
                    reading.witnesses.extend(witnesses.map(witness));
                }
            }
            readings.push(reading);
        }
    }
    Ok(readings)
}

/// Packets with data or a FIN that a replica has sent to clients, ever; 0 where that cannot be read.
pub(super) fn data_to_client(control: &Control, meter: &Meter, key: &ReplicaKey) -> u64 {
    let Some(service) = control.config().services.iter().find(|service| service.name == key.service) else {
        return 0;
    };
    let census = Census::default();
    let of = |vip: &IpAddr| {
        let counted = meter.replica(*vip, service.port, key.address, key.port, &census);
        counted.map_or(0, |(counted, _flows)| counted.data_to_client)
    };
    service.vips.iter().map(of).sum()
}
