//! The loop, in paused time and with invented outcomes; and once with everything real.

use std::{cell::RefCell, collections::VecDeque, net::Ipv4Addr, rc::Rc, time::Duration};

use tokio::{
    sync::{
        mpsc::{Receiver, Sender, channel},
        watch,
    },
    task::LocalSet,
    time::{Instant, sleep, timeout},
};

use super::{
    AMPLE, ClosedPort, probe, prober, said,
    server::{Script, Server},
};
use crate::{
    config::Scheme,
    control::{ReplicaHealth, RiseFall},
    probe::{
        Certainty, Failure, Found, Outcome, ProbeTask, Prober, Report, Route, Target,
        schedule::Schedule,
        spawn,
        task::{Reporter, Untaken, run},
    },
};

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Every two seconds, every half in doubt, no jitter.
fn steady() -> Option<Schedule> {
    Some(Schedule::new(ms(2000), ms(500), ms(2000), 0.0))
}

/// A probe with invented outcomes: `+` good, `-` bad, `?` this host's fault; the last for ever. Notes when each
/// began, and fails the test if two run at once.
#[derive(Clone)]
struct Invented {
    outcomes: Rc<RefCell<VecDeque<char>>>,
    takes: Duration,
    began: Rc<RefCell<Vec<Duration>>>,
    running: Rc<RefCell<bool>>,
    start: Instant,
}

impl Invented {
    fn new(outcomes: &str, takes: Duration) -> Self {
        Self {
            outcomes: Rc::new(RefCell::new(outcomes.chars().collect())),
            takes,
            began: Rc::default(),
            running: Rc::default(),
            start: Instant::now(),
        }
    }

    async fn probe(self) -> Outcome {
        assert!(!self.running.replace(true), "two probes at once");
        self.began.borrow_mut().push(self.start.elapsed());
        sleep(self.takes).await;
        self.running.replace(false);
        let mut outcomes = self.outcomes.borrow_mut();
        let outcome = if outcomes.len() > 1 { outcomes.pop_front() } else { outcomes.front().copied() };
        let error = match outcome {
            Some('+') => None,
            Some('?') => Some(Failure::Local { reason: "out of sockets".to_owned() }),
            Some(_) | None => Some(Failure::Refused),
        };
        Outcome { status: None, took: self.takes, error }
    }

    /// Runs the loop for so long, with rise 2, fall 3 and this "random" number.
    async fn run_for(
        &self,
        time: Duration,
        schedule: Option<Schedule>,
        random: f64,
        sink: Sender<Report<u8>>,
    ) {
        let task = self.task(schedule, random, sink);
        let _ends = timeout(time, task).await;
    }

    /// The loop, and who takes its reports: judges them, says how sure that is, and hands them on to the test.
    async fn task(&self, schedule: Option<Schedule>, random: f64, taken: Sender<Report<u8>>) {
        let (pace, receiver) = watch::channel(Certainty::InDoubt);
        let (sink, mut reports) = channel(16);
        let take = async move {
            let mut health = RiseFall::new(2, 3);
            loop {
                let report = tokio::select! {
                    report = reports.recv() => report,
                    () = taken.closed() => None,
                };
                let Some(report) = report else { return };
                judge(&mut health, &report);
                pace.send_replace(health.certainty());
                let _test_has_ended = taken.send(report).await;
            }
        };
        tokio::join!(self.alone(schedule, random, receiver, sink), take);
    }

    /// The loop, and nobody who judges.
    async fn alone(
        &self,
        schedule: Option<Schedule>,
        random: f64,
        pace: watch::Receiver<Certainty>,
        sink: Sender<Report<u8>>,
    ) {
        let reporter = Reporter { id: 7, sink, untaken: Untaken::default() };
        let probe = || async { Found { outcome: self.clone().probe().await, agent: None } };
        run(probe, schedule, pace, || random, reporter).await;
    }

    fn began(&self) -> Vec<u128> {
        self.began.borrow().iter().map(Duration::as_millis).collect()
    }
}

/// As the control does.
fn judge<K>(health: &mut RiseFall, report: &Report<K>) {
    if !report.outcome.error.as_ref().is_some_and(Failure::is_local) {
        health.observe(report.outcome.ok(), report.in_a_row, report.opposite);
    }
}

/// What becomes of a replica by these reports, with rise 2 and fall 3.
fn judged(reports: &[Report<u8>]) -> Vec<ReplicaHealth> {
    let mut health = RiseFall::new(2, 3);
    let of = |report| {
        judge(&mut health, report);
        health.health()
    };
    reports.iter().map(of).collect()
}

fn taken(reports: &mut Receiver<Report<u8>>) -> Vec<Report<u8>> {
    std::iter::from_fn(|| reports.try_recv().ok()).collect()
}

#[tokio::test(start_paused = true)]
async fn probes_begin_an_interval_apart_however_long_they_take() {
    for takes in [0, 300, 1999] {
        let invented = Invented::new("+", ms(takes));
        let (sink, _reports) = channel(16);
        invented.run_for(ms(7000), steady(), 0.5, sink).await;
        assert_eq!(invented.began(), [50, 2050, 4050, 6050], "a probe takes {takes} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_longer_than_the_interval_is_followed_at_once() {
    let invented = Invented::new("+", ms(2500));
    let (sink, mut reports) = channel(16);
    invented.run_for(ms(8000), steady(), 0.0, sink).await;
    assert_eq!(invented.began(), [0, 2500, 5000, 7500]);
    // It is no sign that this host has no time for it.
    assert!(taken(&mut reports).iter().all(|report| report.late == ms(0)));
}

#[tokio::test(start_paused = true)]
async fn probes_come_faster_while_in_doubt() {
    // Up, then two failures and a recovery: doubt from the first failure to the success.
    let invented = Invented::new("+--+", ms(0));
    let (sink, _reports) = channel(16);
    invented.run_for(ms(7500), steady(), 0.0, sink).await;
    assert_eq!(invented.began(), [0, 2000, 2500, 3000, 5000, 7000]);

    // No answer from the start: fast until it is known to be down.
    let invented = Invented::new("-", ms(0));
    let (sink, _reports) = channel(16);
    invented.run_for(ms(4000), steady(), 0.0, sink).await;
    assert_eq!(invented.began(), [0, 500, 1000, 3000]);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_surely_down_is_probed_at_an_interval_of_its_own() {
    // Down with the third; a good one is doubt, and a bad one after it is none.
    let invented = Invented::new("----+-", ms(0));
    let (sink, _reports) = channel(16);
    let schedule = Some(Schedule::new(ms(2000), ms(500), ms(8000), 0.0));
    invented.run_for(ms(26_000), schedule, 0.0, sink).await;
    assert_eq!(invented.began(), [0, 500, 1000, 9000, 17_000, 17_500, 25_500]);
}

#[tokio::test(start_paused = true)]
async fn a_pace_that_changes_moves_the_next_probe() {
    let invented = Invented::new("+", ms(0));
    let (pace, receiver) = watch::channel(Certainty::Up);
    let (sink, mut reports) = channel(16);
    let change = async {
        sleep(ms(2100)).await;
        // From 4000 to 2500.
        pace.send_replace(Certainty::InDoubt);
        sleep(ms(500)).await;
        // What is overdue by it begins at once, and that is no lateness.
        pace.send_replace(Certainty::Up);
        sleep(ms(1400)).await;
        pace.send_replace(Certainty::InDoubt);
        std::future::pending::<()>().await;
    };
    let task = async { tokio::join!(invented.alone(steady(), 0.0, receiver, sink), change) };
    let _ends = timeout(ms(4200), task).await;
    assert_eq!(invented.began(), [0, 2000, 2500, 4000]);
    assert!(taken(&mut reports).iter().all(|report| report.late == ms(0)));
}

#[tokio::test(start_paused = true)]
async fn every_probe_is_reported_once() {
    let invented = Invented::new("+---++", ms(0));
    let (sink, mut reports) = channel(16);
    invented.run_for(ms(5900), steady(), 0.0, sink).await;
    let reports = taken(&mut reports);
    let found: Vec<_> = reports.iter().map(|r| (r.id, r.outcome.ok(), r.in_a_row)).collect();
    assert_eq!(found, [true, false, false, false, true, true].map(|ok| (7, ok, 1)));
    use ReplicaHealth::{Down, Up};
    assert_eq!(judged(&reports), [Up, Up, Up, Down, Down, Up]);
}

#[tokio::test(start_paused = true)]
async fn what_is_this_hosts_fault_is_reported_and_not_counted() {
    let invented = Invented::new("+--????--", ms(0));
    let (sink, mut reports) = channel(16);
    invented.run_for(ms(5400), steady(), 0.0, sink).await;
    let reports = taken(&mut reports);
    assert_eq!(reports.len(), 8);
    assert!(reports[3..7].iter().all(|report| report.outcome.error.as_ref().is_some_and(Failure::is_local)));
    let states = judged(&reports);
    assert_eq!(states[6], ReplicaHealth::Up, "four local failures after two of the replica's");
    assert_eq!(states[7], ReplicaHealth::Down, "the replica's third");
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_stuck_stops_no_probe_and_misses_no_transition() {
    let invented = Invented::new("+--?-", ms(0));
    let (_pace, receiver) = watch::channel(Certainty::Up);
    let (sink, mut reports) = channel(1);
    let local = LocalSet::new();
    let task = {
        let invented = invented.clone();
        async move { invented.alone(steady(), 0.0, receiver, sink).await }
    };
    let task = local.spawn_local(task);
    local.run_until(sleep(ms(9900))).await;
    assert_eq!(invented.began(), [0, 2000, 4000, 6000, 8000], "at the pace that was the last");

    // One report was in the channel all the time; the one that is waiting tells what has happened since.
    let found = local.run_until(async { [reports.recv().await, reports.recv().await] }).await;
    let found = found.map(|report| report.expect("the task runs"));
    assert_eq!([found[0].in_a_row, found[1].in_a_row], [1, 3], "what this host could not ask is not counted");
    assert_eq!(judged(&found), [ReplicaHealth::Up, ReplicaHealth::Down]);
    // And not again.
    let next = local.run_until(reports.recv()).await.expect("the task runs");
    assert_eq!(next.in_a_row, 1);

    drop(reports);
    local.run_until(task).await.expect("the task ends by itself");
}

#[tokio::test(start_paused = true)]
async fn a_closed_sink_ends_the_task() {
    let invented = Invented::new("+", ms(0));
    let (sink, reports) = channel(16);
    let close = async {
        sleep(ms(1000)).await;
        drop(reports);
    };
    tokio::join!(invented.task(steady(), 0.0, sink), close);
    assert_eq!(invented.start.elapsed().as_millis(), 1000, "it does not wait for the next probe");
    assert_eq!(invented.began(), [0]);
}

#[tokio::test(start_paused = true)]
async fn a_probe_configured_away_reports_up_once() {
    let (sink, mut reports) = channel(16);
    let task =
        spawn("registry", prober(probe(Scheme::None, 443)).expect("a valid probe"), Certainty::InDoubt, sink);
    let report = reports.recv().await.expect("a report");
    assert!(report.outcome.ok());
    assert_eq!(report.in_a_row, 1);
    assert_eq!(reports.recv().await, None);
    drop(task);
}

#[tokio::test]
async fn a_real_replica_that_goes_away_and_comes_back() {
    // An address that no other test uses, so that none gets the port while the replica is away.
    let replica = Ipv4Addr::new(127, 0, 0, 2);
    let server = Server::plain_at((replica, 0).into(), Script::http("200 OK", "")).await;
    let address = server.address;
    let mut probe = probe(Scheme::Http, address.port());
    (probe.interval, probe.fast_interval, probe.down_interval) = (ms(20), ms(5), ms(20));
    let (sink, mut reports) = channel(1);
    let prober =
        Prober::new(&Target { address: replica.into(), probe, route: Route::Plain }).expect("a valid probe");
    let task = spawn("replica-1", prober, Certainty::InDoubt, sink);
    let mut health = RiseFall::new(2, 3);

    let up = next_transition(&mut health, &mut reports, &task).await;
    assert_eq!((up.id, health.health(), up.outcome.status), ("replica-1", ReplicaHealth::Up, Some(200)));
    drop(server);
    let down = next_transition(&mut health, &mut reports, &task).await;
    assert_eq!((health.health(), said(&down.outcome).as_str()), (ReplicaHealth::Down, "connection refused"));
    let _server = Server::plain_at(address, Script::http("200 OK", "")).await;
    next_transition(&mut health, &mut reports, &task).await;
    assert_eq!(health.health(), ReplicaHealth::Up);
}

#[tokio::test]
async fn dropping_the_task_ends_the_probing() {
    let closed = ClosedPort::new();
    let mut probe = probe(Scheme::Tcp, closed.port());
    (probe.interval, probe.fast_interval) = (ms(5), ms(5));
    let (sink, mut reports) = channel(1);
    let task = spawn(1, prober(probe).expect("a valid probe"), Certainty::InDoubt, sink);
    assert!(reports.recv().await.is_some());
    drop(task);
    // The sink goes with the task. One report may have been on its way.
    let rest = async { while reports.recv().await.is_some() {} };
    timeout(AMPLE, rest).await.expect("the end of the reports");
}

async fn next_transition<K>(
    health: &mut RiseFall,
    reports: &mut Receiver<Report<K>>,
    task: &ProbeTask,
) -> Report<K> {
    let before = health.health();
    loop {
        let report = reports.recv().await.expect("the task runs");
        judge(health, &report);
        task.pace(health.certainty());
        if health.health() != before {
            return report;
        }
    }
}
