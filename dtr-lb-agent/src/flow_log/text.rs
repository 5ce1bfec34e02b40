//! A connection that is over, for people.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::LoggedFlow;
use crate::flows::{bytes, span};

impl LoggedFlow<'_> {
    /// Time of day here, client → replica, how long, bytes each way, how it ended.
    #[must_use]
    pub fn text(&self) -> String {
        let Self {
            time, service, replica, client, duration_ms, bytes_to_replica, bytes_to_client, end, ..
        } = self;
        let time = time.to_zoned(TimeZone::system()).strftime("%H:%M:%S%.3f");
        let replica = replica.as_deref().unwrap_or("-");
        let lasted = Duration::try_from_secs_f64(duration_ms / 1000.0).unwrap_or_default();
        format!(
            "{time} {client} → {replica} ({service}) {} {} there {} back {end}",
            span(lasted.as_secs_f64()),
            bytes(*bytes_to_replica),
            bytes(*bytes_to_client)
        )
    }
}
