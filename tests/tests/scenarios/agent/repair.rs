//! Somebody changes the running agent's maps, or takes its program off: the agent puts it right, says so and counts it.

use std::{path::Path, time::Duration};

use anyhow::{Result, ensure};
use aya::maps::{Array, HashMap};
use dtr_lb_common::abi::{MaglevTable, Replica, Service, ServiceKey, map};
use dtr_lb_tests::{
    lab::until,
    pinned::{Picture, links, open},
};

use crate::Place;

/// A round begins ten seconds after the one before has ended.
const REPAIRED_WITHIN: Duration = Duration::from_secs(20);

/// A replica's entry, a service, a table, and a program, all at once, and that connections go on after it.
pub(super) fn repaired(place: Place) -> Result<()> {
    let stage = place.stage()?;
    let bpffs = stage.lab.bpffs().join("dtr-lb");
    let before = Picture::take(&bpffs)?;
    let mut replicas: Array<_, Replica> = open(&bpffs, map::REPLICAS)?;
    let replica = replicas.get(&1, 0)?;
    replicas.set(1, Replica { nat_count: 0, ..replica }, 0)?;
    let mut services: HashMap<_, ServiceKey, Service> = open(&bpffs, map::SERVICES)?;
    let (key, _) = services.iter().next().expect("a service is there")?;
    for other in services.iter().collect::<Result<Vec<_>, _>>()? {
        if other.0 != key {
            empty_table(&bpffs, other.1.table)?;
        }
    }
    services.remove(&key)?;
    for link in std::fs::read_dir(links(&bpffs))? {
        std::fs::remove_file(link?.path())?;
    }
    ensure!(Picture::take(&bpffs)?.must_equal(&before).is_err(), "nothing has changed");

    let counted = |map: &str| stage.balancer.status(&stage.lab).map(|status| status.datapath.repairs[map]);
    let right = || Picture::take(&bpffs).is_ok_and(|picture| picture.must_equal(&before).is_ok());
    let repaired = until(REPAIRED_WITHIN, || right() && counted("links").is_ok_and(|links| links > 0));
    ensure!(
        repaired,
        "{:?}; {}",
        stage.balancer.status(&stage.lab)?.datapath,
        stage.balancer.process().log_tail(20)
    );
    for (map, count) in
        [(map::REPLICAS, 1), (map::SERVICES, 1), (map::TABLES, 1), (map::VIPS, 0), (map::SETTINGS, 0)]
    {
        ensure!(counted(map)? == count, "{map}: {:?}", stage.balancer.status(&stage.lab)?.datapath.repairs);
    }
    for map in [map::REPLICAS, map::SERVICES, map::TABLES] {
        let lines = stage.balancer.log_lines(&["was repaired", map])?;
        ensure!(lines.len() == 1, "told once: {lines:?}");
    }
    stage.shares(60)?;
    Ok(())
}

/// Makes a table that steers to nobody. A function of its own: unoptimized code has several copies of a table on its stack.
fn empty_table(bpffs: &Path, table: u32) -> Result<()> {
    let mut tables: Array<_, MaglevTable> = open(bpffs, map::TABLES)?;
    Ok(tables.set(table, [0; _], 0)?)
}
