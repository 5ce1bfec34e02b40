//! The last ten minutes of flows and traffic, a sample every two seconds, so that the dashboard's plots are full when it
//! is opened.
//!
//! Pure: it is given statuses and times. The main loop adds to it, and whoever shows it reads by a handle, without asking
//! the main loop. What it takes is bounded: `LENGTH` samples of 16 bytes for each of at most `MOST_SERIES` replicas of
//! services, less than 10 MB. Replicas beyond that are left out, and told of; services never are.
//!
//! It outlives the agent: `file` keeps it for the next one, which shows a gap for the time between.

mod file;
mod series;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use file::HistoryError;
pub use series::Curves;
use series::{Series, Totals};

use crate::status::{ReplicaStatus, ServiceStatus, Status};

/// From one sample to the next.
pub const STEP: Duration = Duration::from_secs(2);
/// Samples that are kept: ten minutes.
const LENGTH: usize = 300;
/// Replicas of services that are kept.
const MOST_SERIES: usize = 2000;

/// A handle: all of them are one history.
#[derive(Clone, Debug, Default)]
pub struct History {
    kept: Arc<Mutex<Kept>>,
    /// Held while it is written: two would have one name for what they have not finished.
    writing: Arc<Mutex<()>>,
}

/// A service, and one of its replicas or none for all of them.
type Key = (ServiceKey, Option<ReplicaKey>);
type ServiceKey = (String, IpAddr, u16);
type ReplicaKey = (String, IpAddr, u16);

#[derive(Debug, Default)]
struct Kept {
    times: VecDeque<Timestamp>,
    series: BTreeMap<Key, Series>,
    left_out: usize,
}

/// What `GET /v1/history` answers. All lists are as long as `times`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryAnswer {
    /// Milliseconds from one sample to the next.
    pub step_ms: u64,
    /// When the samples were taken: milliseconds since 1970, UTC.
    pub times: Vec<i64>,
    pub services: Vec<ServiceHistory>,
    /// Replicas of services that are not kept, as there are too many.
    pub left_out: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceHistory {
    pub name: String,
    pub vip: IpAddr,
    pub port: u16,
    #[serde(flatten)]
    pub curves: Curves,
    pub replicas: Vec<ReplicaHistory>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplicaHistory {
    pub name: String,
    pub address: IpAddr,
    pub port: u16,
    #[serde(flatten)]
    pub curves: Curves,
}

impl History {
    /// Where that of an agent with this socket is kept.
    #[must_use]
    pub fn path(socket: &Path) -> PathBuf {
        socket.with_extension("history")
    }

    /// What an earlier agent has kept, with a gap up to `now`.
    ///
    /// # Errors
    /// There is none, or none that can be used.
    pub fn read(path: &Path, now: Timestamp) -> Result<Self, HistoryError> {
        file::read(path, now).map(|kept| Self { kept: Arc::new(Mutex::new(kept)), ..Self::default() })
    }

    /// Keeps it for the next agent. Takes some milliseconds, and as long as the disk does.
    ///
    /// # Errors
    /// The file cannot be written. What was kept before stays.
    pub fn write(&self, path: &Path) -> Result<(), HistoryError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = self.lock().to_bytes()?;
        Ok(file::write(path, &bytes)?)
    }

    /// Adds what the status says at this time.
    pub fn add(&self, status: &Status, time: Timestamp) {
        self.lock().add(status, time);
    }

    /// All of it, or that of the service of this name (each of its VIPs).
    #[must_use]
    pub fn answer(&self, service: Option<&str>) -> HistoryAnswer {
        self.lock().answer(service)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn add(&mut self, status: &Status, time: Timestamp) {
        let seconds = self.times.back().map(|last| time.duration_since(*last).as_secs_f64());
        let before = self.begin(time);
        self.left_out = 0;
        let present: BTreeSet<_> = status.services.iter().flat_map(keys).collect();
        // First, so that what has come does not find the places taken by what has gone.
        self.series.retain(|key, series| present.contains(key) || !series.is_blank());
        for service in &status.services {
            let of_service = service_key(service);
            let sum = service.replicas.iter().map(totals).fold(Totals::default(), Totals::plus);
            self.series
                .entry((of_service.clone(), None))
                .or_insert_with(|| Series::blank(before))
                .add(sum, seconds);
            for replica in &service.replicas {
                let key = (of_service.clone(), Some(replica_key(replica)));
                if !self.series.contains_key(&key) && self.series.len() >= MOST_SERIES {
                    self.left_out += 1;
                    continue;
                }
                self.series.entry(key).or_insert_with(|| Series::blank(before)).add(totals(replica), seconds);
            }
        }
        let now = self.times.len();
        self.series.values_mut().filter(|series| series.len() < now).for_each(Series::add_none);
    }

    /// A sample is to come from each series. Returns how many they have.
    fn begin(&mut self, time: Timestamp) -> usize {
        if self.times.len() == LENGTH {
            self.times.pop_front();
            self.series.values_mut().for_each(Series::forget_oldest);
        }
        self.times.push_back(time);
        self.times.len() - 1
    }

    fn answer(&self, service: Option<&str>) -> HistoryAnswer {
        let mut services: Vec<ServiceHistory> = Vec::new();
        // A service comes before its replicas, as none is less than any.
        for (((name, vip, port), replica), series) in &self.series {
            if service.is_some_and(|wanted| wanted != name) {
                continue;
            }
            let curves = series.curves();
            match (replica, services.last_mut()) {
                (None, _) => services.push(ServiceHistory {
                    name: name.clone(),
                    vip: *vip,
                    port: *port,
                    curves,
                    replicas: Vec::new(),
                }),
                (Some((name, address, port)), Some(service)) => service.replicas.push(ReplicaHistory {
                    name: name.clone(),
                    address: *address,
                    port: *port,
                    curves,
                }),
                (Some(_), None) => {}
            }
        }
        HistoryAnswer {
            step_ms: STEP.as_millis().try_into().unwrap_or(u64::MAX),
            times: self.times.iter().map(|time| time.as_millisecond()).collect(),
            services,
            left_out: self.left_out,
        }
    }
}

fn service_key(service: &ServiceStatus) -> ServiceKey {
    (service.name.clone(), service.vip, service.port)
}

fn replica_key(replica: &ReplicaStatus) -> ReplicaKey {
    (replica.name.clone(), replica.address, replica.port)
}

fn keys(service: &ServiceStatus) -> impl Iterator<Item = Key> + '_ {
    let own = service_key(service);
    let replicas = service.replicas.iter().map(|replica| Some(replica_key(replica)));
    std::iter::once(None).chain(replicas).map(move |replica| (own.clone(), replica))
}

fn totals(replica: &ReplicaStatus) -> Totals {
    Totals {
        flows: replica.flows,
        new_flows: replica.new_flows,
        packets: replica.packets,
        bytes: replica.bytes,
    }
}

#[cfg(test)]
mod tests;
