//! A line for each packet, by aya-log: for development.

use aya::Ebpf;
use aya_log::EbpfLogger;
use tokio::{
    io::{Interest, unix::AsyncFd},
    task::JoinHandle,
};

use super::error::{DatapathError, causes};

/// Reads the programs' log until it is dropped.
#[derive(Debug)]
pub struct PacketLog {
    reader: JoinHandle<()>,
}

impl PacketLog {
    pub(super) fn start(ebpf: &mut Ebpf) -> Result<Self, DatapathError> {
        let failed = |error: &dyn std::error::Error| DatapathError::Object {
            reason: format!("reading the programs' log failed: {}", causes(error)),
        };
        let logger = EbpfLogger::init(ebpf).map_err(|error| failed(&error))?;
        // SAFETY: the logger owns its file descriptor, gives the same one each time, and is dropped after the
        // registration.
        let registered = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) };
        let mut logger = registered.map_err(|error| failed(&std::io::Error::from(error)))?;
        let reader = tokio::spawn(async move {
            while let Ok(mut ready) = logger.readable_mut().await {
                ready.get_inner_mut().flush();
                ready.clear_ready();
            }
        });
        Ok(Self { reader })
    }
}

impl Drop for PacketLog {
    fn drop(&mut self) {
        self.reader.abort();
    }
}
