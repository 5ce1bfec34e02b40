//! Looks at the interfaces of the config every few seconds, for as long as the agent runs.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use dtr_lb_common::wire::Mac;
use tokio::{sync::mpsc, task::JoinHandle, time::sleep};

use super::{InterfaceError, Links, Seen, host_macs};

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(2);

/// What was seen, and from when it is: it may have waited to be taken.
#[derive(Clone, Debug)]
pub struct Look {
    /// The look began then.
    pub begun: Instant,
    pub seen: Vec<Seen>,
    /// The Ethernet addresses of this host.
    pub macs: BTreeSet<Mac>,
}

/// Ends the looking when dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the looking"]
pub struct Watch {
    task: JoinHandle<()>,
}

impl Watch {
    /// Starts, in the network namespace of the calling thread and within a tokio runtime. What is seen is sent each time,
    /// changed or not. A look that fails is logged once and tried again.
    pub fn spawn(names: Vec<String>, links: Links) -> (Self, mpsc::Receiver<Look>) {
        let (sender, receiver) = mpsc::channel(1);
        (Self { task: tokio::spawn(run(names, links, sender)) }, receiver)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(names: Vec<String>, links: Links, sink: mpsc::Sender<Look>) {
    let mut links = Some(links);
    let mut failing = false;
    loop {
        sleep(PAUSE).await;
        let begun = Instant::now();
        match look(&mut links, &names).await {
            Ok((seen, macs)) => {
                failing = false;
                if sink.send(Look { begun, seen, macs }).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "interfaces that go away are not noticed for now; the agent retries every few seconds");
                }
                failing = true;
                // The next look gets a new socket.
                links = None;
            }
        }
    }
}

async fn look(
    links: &mut Option<Links>,
    names: &[String],
) -> Result<(Vec<Seen>, BTreeSet<Mac>), InterfaceError> {
    let open = match links.take() {
        Some(open) => open,
        None => Links::open()?,
    };
    let seen = links.insert(open).look(names).await?;
    Ok((seen, host_macs()?))
}
