//! What all replicas of a service obey, shared by their machines.

use std::time::Duration;

use crate::config::{Probe, Scheme, Service};

/// What a service's keys say about the health of its replicas.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// The service's name.
    pub(super) service: String,
    pub(super) probe: Probe,
    /// 0: there is no passive check.
    pub(super) max_fails: u32,
    pub(super) fail_timeout: Duration,
}

impl Rules {
    pub(super) fn new(service: &Service) -> Self {
        Self {
            service: service.name.clone(),
            probe: service.probe.clone(),
            max_fails: service.max_fails,
            fail_timeout: service.fail_timeout,
        }
    }

    /// Good probes in a row that bring a replica up. One that is not asked reports once, and is up by that.
    pub(super) fn rise(&self) -> u32 {
        if self.probe.scheme == Scheme::None { 1 } else { self.probe.rise }
    }

    /// Bad probes in a row that take a replica down.
    pub(super) fn fall(&self) -> u32 {
        self.probe.fall
    }
}
