//! Reads what replicas in mode `dnat` have answered, to notice those whose answers go past this host.

use crate::{
    config::{Config, Mode},
    control::{Answers, ReplicaPlace},
    datapath::{Census, DatapathError, Meter},
};

/// The sums over the VIPs of each service of that mode.
///
/// # Errors
/// As of [`Meter::replica`].
pub(super) fn read(config: &Config, meter: &Meter) -> Result<Vec<Answers>, DatapathError> {
    let mut all = Vec::new();
    let census = Census::default();
    let services = config.services.iter().enumerate().filter(|(_, service)| service.mode == Mode::Dnat);
    for (service_place, service) in services {
        for (place, replica) in service.replicas.iter().enumerate() {
            let place = ReplicaPlace { service: service_place, replica: place };
            let mut answers = Answers { place, unanswered: 0, to_client: 0 };
            for vip in &service.vips {
                let (counted, _flows) =
                    meter.replica(*vip, service.port, replica.address, replica.port, &census)?;
                answers.unanswered += counted.unanswered;
                answers.to_client += counted.to_client.packets;
            }
            all.push(answers);
        }
    }
    Ok(all)
}
