//! What the kernel says of the agent's own process, under the names that Prometheus' client libraries agree on.

use procfs::{
    ProcResult, WithCurrentSystemInfo as _,
    process::{LimitValue, Process as Own},
};

use super::page::Page;

/// The agent as a process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Process {
    pub cpu_seconds: f64,
    /// In seconds since 1970.
    pub started: f64,
    /// In bytes.
    pub resident: u64,
    pub virtual_memory: u64,
    pub open_files: u64,
    /// `None` if there is no limit.
    pub max_files: Option<u64>,
    pub threads: u64,
}

impl Process {
    /// Reads `/proc/self`; `None` where that cannot be read.
    #[must_use]
    pub fn read() -> Option<Self> {
        Self::try_read().ok()
    }

    fn try_read() -> ProcResult<Self> {
        let own = Own::myself()?;
        let stat = own.stat()?;
        let ticks = procfs::ticks_per_second() as f64;
        let max_files = match own.limits()?.max_open_files.soft_limit {
            LimitValue::Value(limit) => Some(limit),
            LimitValue::Unlimited => None,
        };
        Ok(Self {
            cpu_seconds: (stat.utime + stat.stime) as f64 / ticks,
            started: procfs::boot_time_secs()? as f64 + stat.starttime as f64 / ticks,
            resident: stat.rss_bytes().get(),
            virtual_memory: stat.vsize,
            open_files: own.fd_count()? as u64,
            max_files,
            threads: u64::try_from(stat.num_threads).unwrap_or_default(),
        })
    }

    pub(super) fn add(&self, page: &mut Page) {
        let Self { cpu_seconds, started, resident, virtual_memory, open_files, max_files, threads } = *self;
        page.counter("process_cpu_seconds_total", "User and system CPU time of the agent.", cpu_seconds);
        page.gauge(
            "process_start_time_seconds",
            "When the agent was started, in seconds since 1970.",
            started,
        );
        page.gauge("process_resident_memory_bytes", "Resident memory of the agent.", resident as f64);
        page.gauge("process_virtual_memory_bytes", "Virtual memory of the agent.", virtual_memory as f64);
        page.gauge("process_open_fds", "File descriptors that the agent has open.", open_files as f64);
        if let Some(limit) = max_files {
            page.gauge("process_max_fds", "File descriptors that the agent may have open.", limit as f64);
        }
        page.gauge("process_threads", "Threads of the agent.", threads as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_there_and_its_numbers_are_of_its_kind() {
        let before = Process::read().expect("/proc is mounted");
        let files: Vec<_> = (0..10).map(|_| std::fs::File::open("/dev/null").expect("a file")).collect();
        let after = Process::read().expect("/proc is mounted");
        assert!(after.open_files >= before.open_files + 5, "{before:?} {after:?} {}", files.len());
        assert!(after.cpu_seconds >= before.cpu_seconds);
        assert_eq!(after.started, before.started);
        let now = jiff::Timestamp::now().as_second() as f64;
        assert!((now - 3600.0 * 24.0..=now + 2.0).contains(&after.started), "{after:?} {now}");
        assert!((1 << 20..1 << 34).contains(&after.resident) && after.virtual_memory >= after.resident);
        assert!(after.threads >= 1);
    }
}
