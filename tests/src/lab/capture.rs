//! Frames as a namespace sees them: what curl does not tell, such as whether a RST came, and with which number.
//!
//! A packet socket sees what the kernel's stack sends and receives. Where XDP takes a frame, it does not get there:
//! capture at the far end, in the client's or the replica's namespace.

use std::{
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use nix::errno::Errno;

use super::{error::Error, frame::Frame, namespace::Namespace, packet_socket, wait};

/// Frames kept; more are counted only.
const MOST_FRAMES: usize = 10_000;
/// How often the thread looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(20);

/// A capture under way. It ends when dropped.
#[derive(Debug)]
pub struct Capture {
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    caught: Mutex<Caught>,
}

/// What was captured.
#[derive(Clone, Debug, Default)]
pub struct Caught {
    /// The first 10,000 frames that the filter took.
    pub frames: Vec<Frame>,
    /// How many it took.
    pub count: u64,
}

impl Capture {
    /// Captures those frames of all interfaces of a namespace that `filter` takes. It is asked on a thread of its
    /// own. Frames are captured from before this returns.
    pub fn start(
        namespace: &Namespace,
        filter: impl Fn(&Frame) -> bool + Send + 'static,
    ) -> Result<Self, Error> {
        let failed = |errno: Errno| Error::Namespace {
            namespace: namespace.name().to_owned(),
            doing: "capture frames".to_owned(),
            source: errno.into(),
        };
        let socket = namespace.run(|| packet_socket::open(LOOK))?.map_err(failed)?;
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        // A socket belongs to the namespace it was made in; the thread need not.
        let thread = thread::spawn(move || own.fill(&socket, &filter));
        Ok(Self { shared, thread: Some(thread) })
    }

    /// What was captured so far.
    pub fn so_far(&self) -> Caught {
        self.shared.caught().clone()
    }

    /// Waits until `enough` of what was captured, at most for `limit`; says whether it was, and what.
    pub fn wait(&self, limit: Duration, mut enough: impl FnMut(&Caught) -> bool) -> (bool, Caught) {
        let reached = wait::until(limit, || enough(&self.shared.caught()));
        (reached, self.so_far())
    }

    /// Ends it, when all frames that have been there are read, and returns what was captured.
    pub fn stop(mut self) -> Caught {
        self.finish();
        std::mem::take(&mut self.shared.caught())
    }

    fn finish(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A filter that panicked has told on stderr, and the frames that are missing fail the test.
            let _ = thread.join();
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Shared {
    fn fill(&self, socket: &OwnedFd, filter: &impl Fn(&Frame) -> bool) {
        let mut buffer = vec![0; packet_socket::LARGEST];
        loop {
            match packet_socket::receive(socket, &mut buffer) {
                Ok(frame) => {
                    if filter(&frame) {
                        let mut caught = self.caught();
                        caught.count += 1;
                        if caught.frames.len() < MOST_FRAMES {
                            caught.frames.push(frame);
                        }
                    }
                }
                // An empty buffer: now it may stop. ENETDOWN: an interface went away, the others are still there.
                Err(Errno::EAGAIN | Errno::EINTR | Errno::ENETDOWN) => {
                    if self.stop.load(Ordering::Relaxed) {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    }

    fn caught(&self) -> MutexGuard<'_, Caught> {
        self.caught.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
