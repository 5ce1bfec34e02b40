//! The main loop: waits for what happens, has it judged, and says what the datapath is to say. It makes no system call that
//! writes the datapath: that is the `applier`'s.

use std::{future::Future, pin::Pin, time::Instant};

use jiff::Timestamp;
use tokio::{signal::unix::Signal, sync::mpsc};

use super::{
    ConfigSource,
    applier::{Applier, Died},
    configuration::{Changes, Requested, Step},
    effective::Sources,
    flow_counts,
    flow_watch::FlowWatch,
    health::Health,
    http::HttpSide,
    log::log,
    names::Following,
    network::{Network, Seen},
    notify::Manager,
    observer::{Noticed, Observer},
    pending_replies::PendingReplies,
    start::mtus,
};
use crate::{
    api::{self, Answer, Api, Detached, Refusal, Request},
    datapath::{PacketLog, Steering},
    directory::Directory,
    events::{By, Events},
    flow_log::FlowLog,
    interface::Look,
    metrics::Snapshot,
    status::{self, Observed, Reloads, Status},
};

/// The agent, once all is up.
pub(super) struct Driver {
    pub(super) configuration: Configuration,
    /// Configs that are on their way.
    pub(super) changes: Changes,
    pub(super) health: Health,
    pub(super) network: Network,
    pub(super) applier: Applier,
    /// Who steers probes, once one was to be.
    pub(super) steering: Option<Steering>,
    pub(super) observer: Observer,
    pub(super) events: Events,
    pub(super) endpoints: Endpoints,
    pub(super) flow_log: FlowLog,
    pub(super) flow_watch: FlowWatch,
    pub(super) replies: PendingReplies,
    pub(super) manager: Manager,
}

/// Where the config comes from.
pub(super) struct Configuration {
    pub(super) source: ConfigSource,
    /// What the effective config is made of.
    pub(super) sources: Sources,
    pub(super) following: Following,
    pub(super) reloads: Reloads,
}

/// Where the agent is reached.
pub(super) struct Endpoints {
    pub(super) api: Api,
    pub(super) http: HttpSide,
    pub(super) requests: mpsc::Receiver<Request>,
    /// Dropped, it ends.
    pub(super) _packet_log: Option<PacketLog>,
}

/// Why the main loop ended.
pub(super) enum End {
    /// By this signal: the datapath stays.
    Signal(&'static str),
    /// The datapath is to go, and this one wants to know when it has.
    Detach(Option<By>, Answer<Detached>),
    /// The datapath's thread has died.
    Died,
}

impl Driver {
    pub(super) async fn run(
        &mut self,
        mut hang_up: Signal,
        mut shutdown: Pin<&mut impl Future<Output = &'static str>>,
    ) -> End {
        loop {
            let mut decided = false;
            tokio::select! {
                reason = &mut shutdown => return End::Signal(reason),
                // How it went is in the log.
                Some(()) = hang_up.recv() => self.changes.request(Requested::Reload(None, None)),
                input = self.health.next() => {
                    let census = self.applier.census();
                    decided = self.health.take(input, self.applier.meter(), census.as_deref());
                }
                seen = self.network.next() => decided = self.take_seen(seen),
                () = self.configuration.following.looked() => self.changes.request(Requested::Names),
                Some(request) = self.endpoints.requests.recv() => {
                    if let Some((by, answer)) = self.take_request(request) {
                        return End::Detach(by, answer);
                    }
                }
                step = self.changes.next() => match step {
                    Step::Begin(requested) => self.begin_change(requested).await,
                    Step::Prepared(prepared) => decided = self.take_prepared(prepared),
                },
                changed = self.applier.changed() => match changed {
                    Ok(()) => self.take_state(),
                    Err(Died) => return End::Died,
                },
                noticed = self.observer.next() => self.notice(noticed),
                () = self.manager.beat_due() => self.manager.beat(self.applier.is_stuck()),
            }
            if decided && !self.health.holds() {
                self.publish();
            }
        }
    }

    /// Says what the datapath is to say now.
    pub(super) fn publish(&mut self) {
        let number = self.applier.want(self.health.control.desired(Instant::now()));
        self.replies.wanted(number);
        self.manager.replicas(&self.health.control);
    }

    /// Returns whether the datapath may have to say something else now.
    fn take_seen(&mut self, seen: Seen) -> bool {
        let control = &mut self.health.control;
        match seen {
            Seen::NextHops => {
                self.network.take_next_hops(control);
                true
            }
            Seen::Interfaces(Look { begun, seen, macs }) => {
                let before = control.own_macs().cloned();
                control.take_macs(macs).into_iter().for_each(log);
                control.ingress(mtus(&seen)).into_iter().for_each(log);
                // Those of another config are looked at once that is in force.
                if !self.changes.is_under_way() {
                    self.applier.look(begun, seen);
                }
                control.own_macs() != before.as_ref()
            }
        }
    }

    /// Returns who wants the agent to detach, if that is what is asked for.
    fn take_request(&mut self, request: Request) -> Option<(Option<By>, Answer<Detached>)> {
        match request {
            // Who asked may have gone.
            Request::Status(answer) => drop(answer.send(self.status())),
            Request::Metrics(answer) => drop(answer.send(self.snapshot())),
            Request::Look(answer) => drop(answer.send(Ok(self.look()))),
            Request::Trace(request) => self.applier.trace(request),
            Request::Follow(answer) => drop(answer.send(Ok(self.follow()))),
            Request::Replica(order, by, answer) => self.changes.request(Requested::Order(order, by, answer)),
            Request::Undo(by, answer) => self.changes.request(Requested::Undo(by, answer)),
            Request::Reload(by, answer) => self.changes.request(Requested::Reload(by, Some(answer))),
            Request::WouldReload(answer) => self.changes.request(Requested::WouldReload(answer)),
            Request::Detach(by, answer) => return Some((by, answer)),
        }
        None
    }

    /// Takes in how the datapath stands.
    fn take_state(&mut self) {
        let state = self.applier.take_state();
        self.replies.answer(&state);
        let config = self.health.control.config();
        self.observer.take_walk(state.walks, &state.census, config, self.applier.meter());
    }

    fn notice(&mut self, noticed: Noticed) {
        match noticed {
            Noticed::Dropped(dropped) => self.observer.log_drops(&dropped),
            Noticed::Fits(found) => self.observer.fits.take(found),
            Noticed::Sample => {
                let status = self.status();
                self.observer.sample(status.as_ref().ok());
                self.observer.read_handshakes(self.health.control.config(), self.applier.meter());
                self.health.read_answers(self.applier.meter());
                self.observer.fits.look(&self.health.control);
                self.applier.log_if_stuck();
            }
        }
    }

    fn status(&self) -> Result<Status, Refusal> {
        let control = &self.health.control;
        let state = self.applier.state().clone();
        let mode = control.config().datapath.syn_challenge;
        let observed = Observed {
            census: &state.census,
            attached: state.attached.as_ref(),
            present: &|interface| state.presence.serves(interface),
            adopted: self.applier.adopted(),
            repairs: &state.repairs,
            up_to_date: self.applier.is_up_to_date(),
            table_rewrites: state.table_rewrites,
            challenge: &|service, vip| self.observer.challenge(service, vip, mode),
            hint: &|service| self.observer.fits.hint(service),
            recent: &|place, read| self.observer.recent_handshakes(place, read),
            reloads: self.configuration.reloads,
        };
        let mut status = Status::collect(control, self.applier.meter(), observed).map_err(Refusal::failed)?;
        status.names = status::names(&self.configuration.following.answers(), Timestamp::now());
        status.datapath.walks = state.walks;
        status.take_orders(&self.configuration.sources.changes);
        Ok(status)
    }

    fn snapshot(&mut self) -> Result<Snapshot, Refusal> {
        self.health.probe_counts.keep(self.health.control.config());
        let status = self.status()?;
        let probes = self.health.probe_counts.clone();
        let flows = flow_counts::read(self.health.control.config(), self.applier.meter());
        let flows = flows.map_err(Refusal::failed)?;
        let (http, flow_log) = (self.endpoints.http.counts(), self.flow_log.counts());
        Ok(Snapshot { status, probes, flows, http, flow_log })
    }

    fn follow(&self) -> api::Follow {
        let directory = Directory::new(&self.health.control, Instant::now());
        api::Follow { subscription: self.flow_log.subscribe(), directory }
    }

    /// What another thread needs to look at the datapath's tables.
    fn look(&self) -> api::Look {
        let directory = Directory::new(&self.health.control, Instant::now());
        api::Look { reader: self.applier.reader(), directory, now: self.applier.meter().now() }
    }
}
