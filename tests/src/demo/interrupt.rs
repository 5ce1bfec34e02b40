//! SIGINT, SIGTERM and SIGHUP, as something to wait for: the lab has to be removed by its owner, in order.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result};

/// What a wait brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wake {
    /// A line was typed, without its end.
    Typed(String),
    /// A signal to end.
    Signal,
    /// Neither, until the time was over.
    Time,
}

/// Signals, and typed lines if there is somebody to read for.
pub(super) struct Interrupt {
    sender: mpsc::Sender<Wake>,
    received: mpsc::Receiver<Wake>,
    signalled: Arc<AtomicBool>,
}

impl Interrupt {
    /// Takes over the three signals for the rest of the program's life. Later ones do not cut the removal short.
    pub(super) fn install() -> Result<Self> {
        let (sender, received) = mpsc::channel();
        let signalled = Arc::<AtomicBool>::default();
        let (to_main, flag) = (sender.clone(), Arc::clone(&signalled));
        ctrlc::set_handler(move || {
            flag.store(true, Ordering::Relaxed);
            // The receiver lives as long as there is anything to end.
            let _ = to_main.send(Wake::Signal);
        })
        .context(
            "cannot handle SIGINT, SIGTERM and SIGHUP, so nothing is started that they would leave behind",
        )?;
        Ok(Self { sender, received, signalled })
    }

    /// Whether a signal has come, without waiting.
    pub(super) fn pending(&self) -> bool {
        self.signalled.load(Ordering::Relaxed)
    }

    /// Also wakes for lines on standard input, from now on. Its end wakes nobody: a lab whose input is no terminal
    /// runs until it is signalled.
    pub(super) fn listen(&self) {
        let sender = self.sender.clone();
        thread::spawn(move || {
            for line in io::stdin().lines().map_while(Result::ok) {
                if sender.send(Wake::Typed(line)).is_err() {
                    return;
                }
            }
        });
    }

    /// Waits until something comes or `deadline` is reached.
    pub(super) fn wait_until(&self, deadline: Instant) -> Wake {
        if self.pending() {
            return Wake::Signal;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        // Disconnected cannot be: a sender is kept here.
        self.received.recv_timeout(left).unwrap_or(Wake::Time)
    }
}
