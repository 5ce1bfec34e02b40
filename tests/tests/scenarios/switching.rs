//! From another balancer to dtr-lb: what its import makes of DTR's own samples, beside the real servers that the samples are for.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use dtr_lb_tests::{
    balancer::Balancer,
    compare::{Deed, Original, compare},
    lab::{Client, Lab, Process, until},
};
use nix::sys::signal::Signal;

use crate::{BOTH_HOOKS, Place, Scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("nginx_and_what_import_makes_of_it", &[Place::XDP_ONE_ARM], |place| {
        side_by_side(place, Original::Nginx)
    }),
    ("haproxy_and_what_import_makes_of_it", &[Place::TC_ONE_ARM], |place| {
        side_by_side(place, Original::Haproxy)
    }),
    ("elb_and_what_import_makes_of_it", &[Place::XDP_ONE_ARM], |place| side_by_side(place, Original::Elb)),
    ("dtr_lb_takes_over_from_nginx_under_load", BOTH_HOOKS, |place| takeover(place, Original::Nginx)),
    ("dtr_lb_takes_over_from_haproxy_under_load", BOTH_HOOKS, |place| takeover(place, Original::Haproxy)),
];

/// How long each failure lasts.
const LENGTH: Duration = Duration::from_secs(8);
/// Requests that were under way when their replica failed: one of each client at most.
const UNDER_WAY: usize = 4;

fn side_by_side(place: Place, original: Original) -> Result<()> {
    let comparison = compare(original, place.hook, place.topology, LENGTH)?;
    println!("{}", comparison.table());
    let mut sums = [0, 0];
    for (deed, theirs, ours) in &comparison.rows {
        sums = [sums[0] + theirs.failed, sums[1] + ours.failed];
        ensure!(ours.requests > 50 && theirs.requests > 10, "{}: {theirs:?}, {ours:?}", deed.name());
        // Where a process stands still its host takes the connection, and nobody knows better before a check does: it may come at
        // once, or after two requests of each client.
        let most = if *deed == Deed::Frozen { 2 * UNDER_WAY } else { UNDER_WAY };
        ensure!(ours.failed <= most, "{}: {ours:?}\n{}", deed.name(), comparison.config);
    }
    ensure!(
        sums[1] <= sums[0] + UNDER_WAY,
        "dtr-lb failed {} requests, {} {}",
        sums[1],
        original.name(),
        sums[0]
    );
    Ok(())
}

/// The recipe of docs/import.md: import, check, start dtr-lb beside the balancer that serves, let that one's connections end, and
/// stop it. Nobody notices.
fn takeover(place: Place, original: Original) -> Result<()> {
    let lab = Lab::create(place.lab_options().without_registry())?;
    let process = original.start(&lab)?;
    let (config, _) = original.import(&lab)?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| -> Result<()> {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                let (client, over) = (lab.client().clone(), &over);
                scope.spawn(move || asks(&client, original, over))
            })
            .collect();
        let played = recipe(&lab, place, original, &process, &config);
        over.store(true, Ordering::Relaxed);
        let mut requests = 0;
        let mut failed = Vec::new();
        for client in clients {
            let (asked, errors) =
                client.join().unwrap_or_else(|panicked| std::panic::resume_unwind(panicked));
            requests += asked;
            failed.extend(errors);
        }
        played?;
        ensure!(requests > 100, "only {requests} requests");
        ensure!(failed.is_empty(), "{} of {requests} failed: {:?}", failed.len(), failed.first());
        Ok(())
    })
}

fn recipe(lab: &Lab, place: Place, original: Original, process: &Process, config: &str) -> Result<()> {
    // A download that began before, and goes on through the other balancer: its packets are of no connection of dtr-lb's, and pass.
    let url = original.url().replace("whoami", "slow/big?rate=1048576");
    let download = thread::scope(|scope| -> Result<_> {
        let client = lab.client().clone();
        let url = &url;
        let slow = scope.spawn(move || client.curl(url, &["--insecure", "--output", "/dev/null"]));
        thread::sleep(Duration::from_secs(1));
        let balancer = Balancer::start_with(lab, config, place.hook)?;
        let forwards = until(Duration::from_secs(10), || {
            let status = balancer.status(lab);
            status.is_ok_and(|status| status.verdicts.get("forwarded").is_some_and(|count| *count > 500))
        });
        ensure!(forwards, "dtr-lb gets no connections: {:?}", balancer.status(lab)?.verdicts);
        let slow = slow.join().unwrap_or_else(|panicked| std::panic::resume_unwind(panicked))?;
        Ok((slow, balancer))
    });
    let (slow, balancer) = download?;
    ensure!(slow.exit == 0, "the download that was under way: {slow:?}");
    // Both end when their last connection has: SIGQUIT to nginx, SIGUSR1 to HAProxy.
    let gently = if original == Original::Nginx { Signal::SIGQUIT } else { Signal::SIGUSR1 };
    process.signal(gently)?;
    ensure!(until(Duration::from_secs(10), || !process.is_running()), "{} does not end", original.name());
    thread::sleep(Duration::from_secs(1));
    ensure!(original.serves(lab), "dtr-lb alone does not serve: {}", balancer.process().log_tail(20));
    Ok(())
}

/// One new connection after the other, until it is over: how many, and what failed.
fn asks(client: &Client, original: Original, over: &AtomicBool) -> (usize, Vec<String>) {
    let (mut asked, mut errors) = (0, Vec::new());
    while !over.load(Ordering::Relaxed) {
        asked += 1;
        let answer = client.curl(original.url(), &["--insecure", "--max-time", "10"]).context("curl");
        match answer {
            Ok(answer) if answer.is_ok() => {}
            failed => errors.push(format!("{failed:?}")),
        }
        thread::sleep(Duration::from_millis(20));
    }
    (asked, errors)
}
