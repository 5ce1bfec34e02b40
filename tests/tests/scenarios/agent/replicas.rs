//! `dtr-lb replica`: what an operator orders while the agent runs.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use dtr_lb_agent::{config::Admin, status::ReplicaStatus};
use dtr_lb_tests::{
    balancer::UP_WITHIN,
    lab::{Process, until},
};
use nix::sys::signal::Signal;

use super::{
    expect,
    reload::{Traffic, expect_out, reload},
};
use crate::{
    Place, Stage,
    session::{Session, all_live},
};

/// See `health::CONNECTIONS`.
const CONNECTIONS: usize = 300;
/// The walk through the flow table, by which flows are counted, takes a second's pause.
const COUNTED_WITHIN: Duration = Duration::from_secs(5);

fn order(stage: &Stage, arguments: &[&str], words: &[&str]) -> Result<()> {
    let arguments: Vec<_> = ["replica"].iter().chain(arguments).copied().collect();
    expect_out(&stage.balancer.command(&stage.lab, &arguments)?, words)
        .with_context(|| format!("dtr-lb {}", arguments.join(" ")))
}

/// The replica with the connection of a download over HTTPS that has begun.
fn serving(stage: &Stage) -> Result<ReplicaStatus> {
    let mut found = None;
    until(COUNTED_WITHIN, || {
        let Ok(status) = stage.balancer.status(&stage.lab) else { return false };
        let https = status.services.into_iter().filter(|service| service.name == "https");
        found = https.flat_map(|service| service.replicas).find(|replica| replica.flows > 0);
        found.is_some()
    });
    found.context("the download is in no replica's count of flows")
}

/// Old connections of a drained replica finish, new ones go elsewhere; in maintenance the old ones are reset, and it is not
/// probed.
pub(super) fn drain_and_maint(place: Place) -> Result<()> {
    let stage = place.stage()?;
    let traffic = Traffic::start(&stage)?;
    let name = serving(&stage)?.name;
    let at = stage.lab.replicas().iter().position(|replica| replica.name() == name).context("a replica")?;
    let replica = &stage.lab.replicas()[at];
    order(
        &stage,
        &["drain", &name],
        &["service `https`", "gets no new connections; it has 1 connection left"],
    )?;
    stage.wait_for_state(&name, "draining", UP_WITHIN)?;
    let shares = stage.shares(CONNECTIONS)?;
    ensure!(shares[at] == 0, "a drained replica got new connections: {shares:?}");
    order(&stage, &["drain", &replica.address().to_string()], &["already"])?;
    // It goes on to be probed.
    replica.sicken()?;
    stage.wait_for_state(&name, "down", Duration::from_secs(3))?;
    replica.heal()?;
    stage.wait_for_state(&name, "draining", UP_WITHIN)?;
    ensure!(traffic.was_not_disturbed(&stage)? > 100, "there was hardly any load");

    order(&stage, &["ready", &name], &["is ready"])?;
    stage.wait_for_state(&name, "up", UP_WITHIN)?;
    let shares = stage.shares(CONNECTIONS)?;
    ensure!(shares[at] > 0, "a replica that is ready gets nothing: {shares:?}");

    let over = until(COUNTED_WITHIN, || {
        stage.replica_statuses().is_ok_and(|replicas| replicas.iter().all(|replica| replica.flows == 0))
    });
    ensure!(over, "the first download is over, and counted");
    let client = stage.lab.client().clone();
    let url = stage.url("https", "slow/big?rate=1m");
    let download = thread::spawn(move || client.curl(&url, &["--max-time", "60"]));
    let name = serving(&stage)?.name;
    let replica = stage.lab.replica(&name).context("a replica of the lab")?;
    order(&stage, &["maint", &name], &["is in maintenance", "its 1 connection is reset"])?;
    let outcome = download.join().map_err(|_| anyhow::anyhow!("the download's thread panicked"))??;
    ensure!(outcome.exit == 56, "its download was not reset: {} {}", outcome.exit, outcome.stderr);
    stage.wait_for_state(&name, "maint", UP_WITHIN)?;
    let probed = || Ok::<_, anyhow::Error>(replica.requests()?.probe_total());
    let quiet = probed()?;
    stage.shares(CONNECTIONS)?;
    thread::sleep(Duration::from_millis(600));
    ensure!(probed()? <= quiet + 1, "it is probed in maintenance");
    order(&stage, &["ready", &name], &["gets connections once a probe finds it up"])?;
    stage.wait_for_state(&name, "up", UP_WITHIN)?;
    let history = stage.balancer.replica(&stage.lab, "https", &name)?.history;
    let states: Vec<_> = history.iter().map(|change| change.to.as_str()).collect();
    ensure!(states.ends_with(&["maint", "starting", "up"]), "its history: {states:?}");
    Ok(())
}

/// Weights, replicas that come and go, mistakes; and a kill -9 and a reload, which keep what was ordered.
pub(super) fn kept(place: Place) -> Result<()> {
    let mut stage = place.stage()?;
    let traffic = Traffic::start(&stage)?;
    order(&stage, &["weight", "r1", "0"], &["has weight 0 (100 in the file)"])?;
    let address = stage.lab.replicas()[2].address().to_string();
    order(&stage, &["remove", "r3"], &["is removed"])?;
    order(&stage, &["drain", "r2", "--service", "https"], &["service `https`: replica r2"])?;
    let shares = stage.shares(CONNECTIONS)?;
    ensure!(shares[0] == 0 && shares[1] == CONNECTIONS && shares[2] == 0, "{shares:?}");

    let mistakes: [(&[&str], &[&str]); 6] = [
        (&["drain", "r9"], &["replica `r9`", "r1 (", "r2 ("]),
        (&["drain", "r1", "--service", "ftp"], &["no service `ftp`", "http, https"]),
        (&["weight", "r1", "257"], &["257", "256"]),
        (&["add", &stage.lab.vip().to_string()], &["VIP"]),
        (&["add", "127.0.0.1"], &["loopback"]),
        (&["add", &stage.lab.replicas()[0].address().to_string()], &["already", "r1"]),
    ];
    for (arguments, words) in mistakes {
        let arguments: Vec<_> = ["replica"].iter().chain(arguments).copied().collect();
        expect(&stage.balancer.command(&stage.lab, &arguments)?, 2, words)?;
    }

    // A kill -9 under load, and the next agent.
    stage.balancer.process().kill()?;
    stage.shares(100)?;
    let Stage { lab, balancer } = &mut stage;
    balancer.start_again(lab)?;
    let list = |stage: &Stage| -> Result<Vec<(String, Admin, u16)>> {
        let replicas = stage.replica_statuses()?.into_iter();
        Ok(replicas.map(|replica| (replica.name, replica.admin, replica.weight)).collect())
    };
    let expected = [
        ("r1".to_owned(), Admin::Ready, 0),
        ("r2".to_owned(), Admin::Ready, 100),
        ("r1".to_owned(), Admin::Ready, 0),
        ("r2".to_owned(), Admin::Drain, 100),
    ];
    ensure!(list(&stage)? == expected, "after a kill: {:?}", list(&stage)?);
    ensure!(stage.balancer.status(&stage.lab)?.datapath.adopted);
    let text = stage.balancer.config_text()?;
    reload(&stage, &text.replacen("weight = 100", "weight = 90", 1), &[])?;
    ensure!(list(&stage)? == expected, "after a reload: {:?}", list(&stage)?);
    order(&stage, &["weight", "r1", "100"], &["has weight 100 (90 in the file)"])?;
    order(&stage, &["ready", "r2"], &["service `http`: replica r2", "is ready already", "is ready\n"])?;
    order(&stage, &["add", &address], &["replica `r3`", "added"])?;
    stage.wait_for_state("r3", "up", UP_WITHIN)?;
    let shares = stage.shares(CONNECTIONS)?;
    ensure!(shares.iter().all(|share| *share > 0), "{shares:?}");

    for replica in ["r3", "r1"] {
        order(&stage, &["remove", replica], &["is removed"])?;
    }
    let last = stage.balancer.command(&stage.lab, &["replica", "remove", "r2"])?;
    expect(&last, 2, &["is the last one", "--last"])?;
    ensure!(traffic.was_not_disturbed(&stage)? > 100, "there was hardly any load");
    order(&stage, &["remove", "r2", "--last"], &["is removed"])?;
    let empty = stage.balancer.command(&stage.lab, &["replica", "list"])?;
    expect_out(&empty, &["no replica: add one by"])?;

    // The changes end with the datapath.
    let kept = stage.lab.directory().join("dtr-lb.changes.json");
    ensure!(kept.exists(), "`{}` is missing", kept.display());
    stage.balancer.detach(&stage.lab)?;
    ensure!(!kept.exists(), "`{}` is left", kept.display());
    Ok(())
}

/// With `--save` the file says it, too, and keeps what else is in it.
pub(super) fn saved(place: Place) -> Result<()> {
    let stage = place.stage()?;
    let original = format!("# precious words\n{}", stage.balancer.config_text()?);
    reload(&stage, &original, &["nothing has changed"])?;
    let address = stage.lab.replicas()[2].address().to_string();
    order(&stage, &["weight", "r1", "0", "--save"], &["has weight 0\n", "saved to"])?;
    order(&stage, &["remove", "r3", "--save"], &["is removed", "saved to"])?;
    let text = stage.balancer.config_text()?;
    let expected = original.replacen("weight = 100", "weight = 0", 1);
    let third = expected.find("[[replica]]\nname = \"r3\"").context("the config has a third replica")?;
    ensure!(text.trim_end() == expected[..third].trim_end(), "the file says:\n{text}");
    let shares = stage.shares(CONNECTIONS)?;
    ensure!(shares == [0, CONNECTIONS, 0], "{shares:?}");
    let kept = std::fs::read_to_string(stage.lab.directory().join("dtr-lb.changes.json"))?;
    let kept: serde_json::Value = serde_json::from_str(&kept)?;
    ensure!(kept["services"] == serde_json::json!({}), "it is kept beside the file, too: {kept}");
    order(&stage, &["add", &address, "--name", "again", "--weight", "50", "--save"], &["added", "saved to"])?;
    stage.wait_for_state("again", "up", UP_WITHIN)?;
    ensure!(stage.balancer.config_text()?.contains("\"again\""), "{}", stage.balancer.config_text()?);
    expect_out(&stage.balancer.command(&stage.lab, &["reload"])?, &["nothing has changed"])?;
    // What somebody is still writing is not brought into force by the way.
    let writing = stage.balancer.config_text()?.replacen("weight = 100", "weight = 99", 1);
    stage.balancer.write_config_text(&writing)?;
    let refused = stage.balancer.command(&stage.lab, &["replica", "weight", "r1", "5", "--save"])?;
    expect(&refused, 2, &["dtr-lb reload", "--save"])?;
    ensure!(stage.balancer.config_text()? == writing);
    Ok(())
}

/// A kill -9 under load: no request fails, no connection is lost, and the next agent takes over.
pub(super) fn killed(place: Place) -> Result<()> {
    let mut stage = place.stage()?;
    let traffic = Traffic::start(&stage)?;
    serving(&stage)?;
    for signal in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGKILL] {
        stage.balancer.process().signal(signal)?;
        stage.balancer.process().wait(Duration::from_secs(5))?.context("the agent has not ended")?;
        stage.shares(50)?;
        let Stage { lab, balancer } = &mut stage;
        balancer.start_again(lab)?;
        ensure!(balancer.status(lab)?.datapath.adopted, "the datapath was not taken over");
        stage.shares(50)?;
    }
    ensure!(traffic.was_not_disturbed(&stage)? > 100, "there was hardly any load");
    Ok(())
}

/// A connection that is open to each of the replicas, and counted, in their order.
fn one_each(stage: &Stage) -> Result<Vec<Session>> {
    let mut sessions: Vec<Session> = Vec::new();
    for replica in stage.lab.replicas() {
        while sessions.last().is_none_or(|session| session.replica != replica.name()) {
            // One that another replica got ends here.
            let session = Session::open(stage, stage.lab.vip())?;
            if session.replica == replica.name() {
                sessions.push(session);
            }
        }
    }
    let mut flows = Vec::new();
    let counted = until(COUNTED_WITHIN, || {
        let http = stage
            .balancer
            .status(&stage.lab)
            .ok()
            .and_then(|status| status.services.into_iter().find(|service| service.name == "http"));
        flows = http.into_iter().flat_map(|http| http.replicas).map(|replica| replica.flows).collect();
        flows.iter().all(|flows| *flows == 1)
    });
    ensure!(counted, "connections that are counted: {flows:?}");
    Ok(sessions)
}

/// Waits until what a command says has these words.
fn said(process: &Process, words: &str) -> Result<()> {
    let mut text = String::new();
    let there = until(COUNTED_WITHIN, || {
        text = std::fs::read_to_string(process.log()).unwrap_or_default();
        text.contains(words)
    });
    ensure!(there, "`{words}` is not said: {text}");
    Ok(())
}

fn admins(stage: &Stage) -> Result<Vec<Admin>> {
    let status = stage.balancer.status(&stage.lab)?;
    let http = status.services.into_iter().find(|service| service.name == "http").context("a service")?;
    Ok(http.replicas.iter().map(|replica| replica.admin).collect())
}

fn undo(stage: &Stage, words: &[&str]) -> Result<()> {
    expect_out(&stage.balancer.command(&stage.lab, &["undo"])?, words)
}

/// Two replicas are drained in one order; what they have left is shown and waited for. One `undo` brings both back, also by the next
/// agent.
pub(super) fn waited_for(place: Place) -> Result<()> {
    let mut stage = place.stage()?;
    let mut sessions = one_each(&stage)?;
    let both = ["replica", "drain", "r1", "r2", "--wait"];
    let wrong = stage.balancer.command(&stage.lab, &["replica", "drain", "r1", "r9", "--wait"])?;
    expect(&wrong, 2, &["replica `r9`", "none of them is changed"])?;
    ensure!(admins(&stage)? == [Admin::Ready; 3], "refused, and done in part: {:?}", admins(&stage)?);

    let limited = stage.balancer.command(&stage.lab, &[&both[..], &["--timeout", "2s"]].concat())?;
    expect(
        &limited,
        1,
        &[
            "r1 1 left, r2 1 left",
            "connections are left after 2 s (--timeout); the drain stays in force",
            "service `http`: replica r1 (",
            "1 connection left, drained since",
            "`dtr-lb replica maint r1 r2`",
        ],
    )?;
    ensure!(admins(&stage)? == [Admin::Drain, Admin::Drain, Admin::Ready]);
    let listed = stage.balancer.command(&stage.lab, &["replica", "list"])?;
    expect_out(&listed, &["drain for "])?;

    let waiting = stage.balancer.spawn_command(&stage.lab, "drain", &both)?;
    said(&waiting, "r1 1 left, r2 1 left")?;
    ensure!(waiting.is_running(), "it does not wait: {}", waiting.log_tail(20));
    sessions.drain(..2);
    let ended = waiting.wait(Duration::from_secs(8))?.context("it goes on waiting")?;
    ensure!(ended.success(), "{ended}: {}", waiting.log_tail(20));
    said(&waiting, "no connection is left, after")?;
    let again = stage.balancer.command(&stage.lab, &[&both[..], &["--json"]].concat())?;
    let said_so: serde_json::Value = serde_json::from_slice(&again.stdout)?;
    ensure!(again.status.success() && said_so["left"] == 0, "{said_so}");
    ensure!(said_so["replicas"][0]["ended"] == "none_left", "{said_so}");
    all_live(&stage, sessions.iter_mut())?;

    // Who does not want to wait has drained all the same.
    let third = stage.balancer.spawn_command(&stage.lab, "third", &["replica", "drain", "r3", "--wait"])?;
    said(&third, "r3 1 left")?;
    third.signal(Signal::SIGINT)?;
    let ended = third.wait(Duration::from_secs(3))?.context("it goes on waiting")?;
    ensure!(ended.code() == Some(1), "{ended}: {}", third.log_tail(20));
    said(&third, "the drain stays in force")?;
    ensure!(admins(&stage)? == [Admin::Drain; 3]);

    undo(&stage, &["took back `replica drain r3`", "service `http`: replica r3 (", "is ready again"])?;
    ensure!(admins(&stage)? == [Admin::Drain, Admin::Drain, Admin::Ready]);
    stage.balancer.process().kill()?;
    let Stage { lab, balancer } = &mut stage;
    balancer.start_again(lab)?;
    undo(&stage, &["took back `replica drain r1 r2`", "replica r1 (", "replica r2 ("])?;
    ensure!(admins(&stage)? == [Admin::Ready; 3]);
    for replica in ["r1", "r2"] {
        stage.wait_for_state(replica, "up", UP_WITHIN)?;
    }
    let shares = stage.shares(CONNECTIONS)?;
    ensure!(shares.iter().all(|share| *share > 0), "{shares:?}");
    let none = stage.balancer.command(&stage.lab, &["undo"])?;
    expect(&none, 2, &["there is no order to take back"])
}

/// What was saved is taken back in the file, too; what somebody has changed since is not overwritten.
pub(super) fn taken_back(place: Place) -> Result<()> {
    let stage = place.stage()?;
    let original = format!("# precious words\n{}", stage.balancer.config_text()?);
    reload(&stage, &original, &["nothing has changed"])?;
    order(&stage, &["remove", "r3", "--save"], &["is removed", "saved to"])?;
    order(&stage, &["weight", "r1", "0", "--save"], &["has weight 0\n", "saved to"])?;
    undo(
        &stage,
        &["took back `replica weight r1 0 --save`", "has weight 100 again", "has its earlier text again"],
    )?;
    undo(&stage, &["took back `replica remove r3 --save`", "replica r3 (", "is back"])?;
    ensure!(stage.balancer.config_text()? == original, "{}", stage.balancer.config_text()?);
    stage.wait_for_state("r3", "up", UP_WITHIN)?;
    let shares = stage.shares(CONNECTIONS)?;
    ensure!(shares.iter().all(|share| *share > 0), "{shares:?}");
    expect_out(&stage.balancer.command(&stage.lab, &["reload"])?, &["nothing has changed"])?;

    order(&stage, &["weight", "r1", "0", "--save"], &["saved to"])?;
    let more = format!("{}# more\n", stage.balancer.config_text()?);
    stage.balancer.write_config_text(&more)?;
    let refused = stage.balancer.command(&stage.lab, &["undo"])?;
    expect(&refused, 2, &["was changed after that order was saved", "by hand"])?;
    ensure!(stage.balancer.config_text()? == more);

    order(&stage, &["drain", "r3"], &["gets no new connections"])?;
    let third = more.find("[[replica]]\nname = \"r3\"").context("the config has a third replica")?;
    reload(&stage, &more[..third], &["removed"])?;
    let refused = stage.balancer.command(&stage.lab, &["undo"])?;
    expect(
        &refused,
        2,
        &["`replica drain r3` cannot be taken back", "any more, as the config was changed since"],
    )
}
