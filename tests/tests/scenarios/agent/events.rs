//! What changed, when, why and by whom, when the agent that did it is gone.

use std::{os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};
use dtr_lb_agent::{
    events::{By, Event, Listing},
    history::HistoryAnswer,
};
use dtr_lb_tests::{
    balancer::{Balancer, DOWN_WITHIN},
    lab::{Lab, until},
};
use nix::sys::signal::Signal;

use crate::{Place, Stage};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// A follower looks once a second.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(5);

/// An operator's orders, a replica that dies, reloads, and an agent that is killed: all of it is told in order by the next one, with
/// who and why; and by the file where no agent runs.
pub(super) fn outlive_the_agent(place: Place) -> Result<()> {
    let lab = Lab::create(place.lab_options().without_registry())?;
    let token = lab.directory().join("token");
    std::fs::write(&token, TOKEN).context("writing the token")?;
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).context("its permissions")?;
    let mut options = place.options();
    options.sets = vec![format!("agent.admin_token_file={}", token.display())];
    let balancer = Balancer::start(&lab, &options)?;
    let mut stage = Stage { lab, balancer };
    let follower =
        stage.balancer.spawn_command(&stage.lab, "follower", &["events", "--follow", "--since", "0"])?;

    done(&stage, &["replica", "drain", "r1"])?;
    over_http(&stage)?;
    let load =
        stage.lab.client().background_load(stage.http(), Duration::from_millis(2), Duration::from_secs(3))?;
    stage.lab.replica("r2").context("the lab has it")?.kill()?;
    stage.balancer.wait_for_state(&stage.lab, "r2", "down", DOWN_WITHIN)?;
    drop(load.stop());
    let original = stage.balancer.config_text()?;
    let (first, third) = original.split_at(original.rfind("weight = 100").context("r3 has a weight")?);
    stage.balancer.write_config_text(&format!("{first}{}", third.replace("100", "50")))?;
    done(&stage, &["reload"])?;
    stage.balancer.write_config_text(&format!("{first}{}", third.replace("100", "300")))?;
    let refused = stage.balancer.command(&stage.lab, &["reload", "--socket", &stage.socket()])?;
    ensure!(refused.status.code() == Some(2), "{refused:?}");
    stage.balancer.write_config_text(&original)?;
    let followed = until(FOLLOWED_WITHIN, || follower.log_tail(50).contains("the config was not reloaded"));
    ensure!(followed, "--follow did not: {}", follower.log_tail(50));
    ensure!(follower.log_tail(50).contains("(by root)"), "{}", follower.log_tail(50));
    follower.kill()?;

    stage.balancer.process().signal(Signal::SIGKILL)?;
    stage.balancer.process().wait(Duration::from_secs(5))?.context("the agent has not ended")?;
    let by_the_file = without_agent(&stage)?;
    told(&by_the_file.events)?;
    // As by a kill in the midst of a line.
    let mut text = std::fs::read_to_string(file(&stage))?;
    text.push_str("{\"id\": 999, \"ti");
    std::fs::write(file(&stage), text)?;

    let Stage { lab, balancer } = &mut stage;
    balancer.start_again_with(lab, &options.sets)?;
    let listing = listing(&stage, &[])?;
    let again = told(&listing.events)?;
    ensure!(listing.events.starts_with(&by_the_file.events), "{listing:#?}");
    ensure!(listing.oldest == 1 && !listing.left_out, "{} {}", listing.oldest, listing.left_out);
    let started = &listing.events[again..];
    let start = find(started, "agent_started", |event| event.details["adopted"] == true)?;
    ensure!(started[start].details["previous"] == "killed", "{started:#?}");
    ensure!(started[start].text.contains("did not end by itself"), "{}", started[start].text);

    narrowed(&stage, &listing)?;
    let plots = history(&stage)?;
    stage.balancer.process().signal(Signal::SIGTERM)?;
    stage.balancer.process().wait(Duration::from_secs(5))?.context("the agent has not ended")?;
    let last = without_agent(&stage)?;
    let last = last.events.last().context("there are some")?;
    ensure!((last.event.as_str(), &last.details["reason"]) == ("agent_ended", &"SIGTERM".into()), "{last:?}");

    let Stage { lab, balancer } = &mut stage;
    balancer.start_again_with(lab, &options.sets)?;
    let again = history(&stage)?;
    ensure!(!plots.times.is_empty() && again.times.starts_with(&plots.times), "{plots:?}, then {again:?}");
    Ok(())
}

/// What the plots show.
fn history(stage: &Stage) -> Result<HistoryAnswer> {
    let mut curl = stage.lab.balancer().command("curl");
    curl.args([
        "--silent",
        "--show-error",
        "--fail-with-body",
        "--max-time",
        "10",
        "--unix-socket",
        &stage.socket(),
    ]);
    let output = curl.arg("http://agent/v1/history").output().context("running curl")?;
    ensure!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).context("reading the history")
}

fn file(stage: &Stage) -> PathBuf {
    stage.lab.directory().join("dtr-lb.events.jsonl")
}

fn done(stage: &Stage, arguments: &[&str]) -> Result<()> {
    let output = stage.balancer.command(&stage.lab, arguments)?;
    ensure!(output.status.success(), "{arguments:?}: {output:?}");
    Ok(())
}

/// The drained replica is made ready over HTTP, by the admin token.
fn over_http(stage: &Stage) -> Result<()> {
    let mut curl = stage.lab.balancer().command("curl");
    curl.args(["--silent", "--show-error", "--fail-with-body", "--max-time", "10"]);
    curl.args([
        "--header",
        &format!("Authorization: Bearer {TOKEN}"),
        "--header",
        "Content-Type: application/json",
    ]);
    curl.args(["--data", r#"{"action": "ready", "replica": "r1"}"#, "http://127.0.0.1:8181/v1/replica"]);
    let output = curl.output().context("running curl")?;
    ensure!(output.status.success(), "{output:?}");
    Ok(())
}

fn listing(stage: &Stage, more: &[&str]) -> Result<Listing> {
    let output = stage.balancer.command(&stage.lab, &[&["events", "--json"], more].concat())?;
    ensure!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).context("reading the events")
}

/// The same where no agent runs, which is told.
fn without_agent(stage: &Stage) -> Result<Listing> {
    let table = stage.balancer.command(&stage.lab, &["events"])?;
    ensure!(table.status.code() == Some(3), "{table:?}");
    let (text, notes) = (String::from_utf8_lossy(&table.stdout), String::from_utf8_lossy(&table.stderr));
    ensure!(notes.contains("no agent answers") && notes.contains("dtr-lb.events.jsonl"), "{notes}");
    ensure!(text.contains("operator's order") && text.contains("root"), "{text}");
    let output = stage.balancer.command(&stage.lab, &["events", "--json"])?;
    ensure!(output.status.code() == Some(3), "{output:?}");
    serde_json::from_slice(&output.stdout).context("reading the events")
}

/// The place of the first such event.
fn find(events: &[Event], name: &str, is_it: impl Fn(&Event) -> bool) -> Result<usize> {
    let found = events.iter().position(|event| event.event == name && is_it(event));
    found.with_context(|| format!("no such `{name}` in {events:#?}"))
}

/// All that has happened, one after the other, with who it was and why. Says where the last of it is.
fn told(events: &[Event]) -> Result<usize> {
    let is_order = |event: &Event, typed: &str| {
        event.details["order"].as_str().is_some_and(|order| order.starts_with(typed))
    };
    let root = Some(By::User { uid: 0, user: Some("root".into()) });
    ensure!(events.windows(2).all(|pair| pair[0].id < pair[1].id && pair[0].time <= pair[1].time));
    let mut at = 0;
    let mut next = |name: &str, is_it: &dyn Fn(&Event) -> bool| {
        at += find(&events[at..], name, is_it)?;
        Ok::<_, anyhow::Error>(at)
    };
    next("agent_started", &|event| event.details["adopted"] == false)?;
    next("replica_draining", &|event| {
        event.replica.as_deref() == Some("r1") && event.by == root && event.details["cause"] == "operator"
    })?;
    next("order_done", &|event| {
        event.replica.as_deref() == Some("r1") && event.by == root && is_order(event, "replica drain r1")
    })?;
    next("order_done", &|event| {
        let http = matches!(&event.by, Some(By::Http { token, address })
            if token == "admin token" && address.ip().is_loopback());
        http && is_order(event, "replica ready r1") && !event.text.contains(TOKEN)
    })?;
    next("replica_down", &|event| {
        let details = &event.details;
        let dead = event.replica.as_deref() == Some("r2") && event.service.as_deref() == Some("http");
        let evidence = details.get("refused").and_then(serde_json::Value::as_u64);
        dead && details["cause"] == "passive_check" && evidence >= Some(2) && event.text.contains("refused")
    })?;
    next("config_changed", &|event| {
        event.by == root
            && event.text.contains("`r3`")
            && event.text.contains("weight")
            && event.text.contains("50")
    })?;
    next("config_reloaded", &|event| event.by == root)?;
    next("config_refused", &|event| event.by == root && event.text.contains("replica[2].weight = 300"))
}

/// Which of them are wanted can be said.
fn narrowed(stage: &Stage, all: &Listing) -> Result<()> {
    let of_r2 = listing(stage, &["--replica", "r2", "--service", "https"])?.events;
    let wanted =
        |event: &&Event| event.replica.as_deref() == Some("r2") && event.service.as_deref() == Some("https");
    ensure!(!of_r2.is_empty() && of_r2.iter().all(|event| wanted(&event)), "{of_r2:#?}");
    let known = all.events[3].id.to_string();
    let later = listing(stage, &["--since", &known])?.events;
    ensure!(later.first().map(|event| event.id) == Some(all.events[4].id), "{later:#?}");
    let few = listing(stage, &["--since", "1h", "--limit", "2"])?;
    ensure!(few.events.len() == 2 && few.left_out, "{few:#?}");
    Ok(())
}
