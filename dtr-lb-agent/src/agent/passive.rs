//! Reads what the datapath counts of failed handshakes, for the passive check.

use std::time::{Duration, Instant};

use tracing::warn;

use crate::{
    config::Config,
    control::{Reading, ReplicaPlace},
    datapath::{Census, Datapath, DatapathError},
};

/// From one reading to the next ...
const PAUSE: Duration = Duration::from_millis(100);
/// ... and so many times what a reading took, where that is more: with thousands of replicas it is.
const SHARE: u32 = 20;
/// After a reading that failed.
const LONG_PAUSE: Duration = Duration::from_secs(10);

/// Reads all that a passive check wants to know, and says when to do so next.
pub(super) fn read(config: &Config, datapath: &Datapath) -> (Vec<Reading>, Duration) {
    let begun = Instant::now();
    match readings(config, datapath) {
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
fn readings(config: &Config, datapath: &Datapath) -> Result<Vec<Reading>, DatapathError> {
    let mut readings = Vec::new();
    let census = Census::default();
    for (service_place, service) in config.services.iter().enumerate() {
        if service.max_fails == 0 {
            continue;
        }
        for (place, replica) in service.replicas.iter().enumerate() {
            let place = ReplicaPlace { service: service_place, replica: place };
            let mut reading = Reading { place, refused: 0, unanswered: 0 };
            for vip in &service.vips {
                let (counted, _flows) =
                    datapath.replica(*vip, service.port, replica.address, replica.port, &census)?;
                reading.refused += counted.refused;
                reading.unanswered += counted.unanswered;
            }
            readings.push(reading);
        }
    }
    Ok(readings)
}
