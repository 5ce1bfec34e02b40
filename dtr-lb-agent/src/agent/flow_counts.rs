//! Reads what the datapath has counted of the connections of all replicas.

use dtr_lb_common::abi::FlowStats;

use crate::{
    config::Config,
    control::ReplicaKey,
    datapath::{DatapathError, Meter},
    latency::Place,
    metrics::FlowCounts,
};

/// What `of` makes of each replica of each VIP of each service.
///
/// # Errors
/// As of [`Meter::flows`].
pub(super) fn each<T>(
    config: &Config,
    meter: &Meter,
    of: impl Fn(Place, &FlowStats) -> T,
) -> Result<Vec<T>, DatapathError> {
    let mut all = Vec::new();
    for service in &config.services {
        for vip in &service.vips {
            for replica in &service.replicas {
                let stats = meter.flows(*vip, service.port, replica.address, replica.port)?;
                all.push(of(Place::new(service, *vip, replica), &stats));
            }
        }
    }
    Ok(all)
}

/// For the metrics: the sums over the VIPs of each service.
///
/// # Errors
/// As of [`Meter::flows`].
pub(super) fn read(config: &Config, meter: &Meter) -> Result<FlowCounts, DatapathError> {
    let mut counts = FlowCounts::new(meter.all_flows()?.untold);
    for (place, stats) in each(config, meter, |place, stats| (place, *stats))? {
        let Place { service, vip: _, address, port } = place;
        counts.add(ReplicaKey { service, address, port }, &stats);
    }
    Ok(counts)
}
