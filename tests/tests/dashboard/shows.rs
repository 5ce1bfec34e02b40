//! What is shown is what is: numbers, a replica that dies, an agent that does.

use anyhow::{Context as _, Result, ensure};
use dtr_lb_tests::{balancer::DOWN_WITHIN, lab::until};

use crate::{
    browser::SHOW_LIMIT,
    stage::{DASHBOARD, Stage, replica},
};

/// A number as the page writes it.
fn number(text: &str) -> Option<u64> {
    text.replace(',', "").parse().ok()
}

pub(crate) fn numbers_and_a_dead_replica() -> Result<()> {
    let mut stage = Stage::new(false)?;
    let load = stage.load()?;
    stage.open()?;
    let browser = &stage.browser;
    let rate = |name: &str| format!("{} td[data-label='New/s']", replica(name));
    for name in ["r1", "r2", "r3"] {
        let condition = format!("parseFloat(document.querySelector(\"{}\").innerText) > 0", rate(name));
        browser.wait(&format!("new flows of {name}"), &condition)?;
    }
    browser.wait(
        "a curve",
        "[...document.querySelectorAll('.service:first-child canvas')].some((canvas) => canvas.getContext('2d')\
         .getImageData(0, 0, canvas.width, canvas.height).data.some((value) => value > 0))",
    )?;
    ensure!(browser.text("#overall")?.contains("All is well"), "{}", browser.text("#overall")?);
    ensure!(
        browser.text("#datapath")?.contains("eth0 by XDP, in the driver"),
        "{}",
        browser.text("#datapath")?
    );
    ensure!(browser.text("#login")?.is_empty(), "there is no token to log in by");

    // It dies: the page says so, and why, soon after the agent knows.
    let dead = replica("r2");
    stage.lab.replica("r2").context("r2")?.kill()?;
    browser.wait_for(
        DOWN_WITHIN + SHOW_LIMIT,
        "that r2 is down, and why",
        &format!("/down[^]*refused/.test(document.querySelector(\"{dead}\").innerText)"),
    )?;
    browser.wait(
        "that r2 is down, at the top",
        "/http: 2 of 3 up; r2 refuses connections/.test(document.querySelector('#problems').innerText)",
    )?;
    browser.wait(
        "it to those who do not see it",
        "document.querySelector('#news').textContent.includes('r2 is down')",
    )?;

    // At rest, all numbers are the agent's.
    drop(load);
    let mut told = (None, None);
    let equal = until(SHOW_LIMIT, || {
        let status = stage.status().ok();
        let of_agent = status.and_then(|status| status.verdicts.get("forwarded").copied());
        let row = "tr[data-verdict='forwarded'] td[data-label='In all']";
        told = (of_agent, browser.text(row).ok().and_then(|text| number(&text)));
        told.0.is_some() && told.0 == told.1
    });
    ensure!(equal, "forwarded packets, by the agent and by the page: {told:?}");
    let by_history = "return fetch('/v1/history').then((answer) => answer.json()).then((history) => history.services[0]\
         .replicas.reduce((sum, replica) => sum + Math.max(...replica.new_flows), 0))";
    ensure!(
        browser.value(by_history)?.as_f64().is_some_and(|rate| rate > 1.0),
        "the history has no new flows"
    );
    let complaints = browser.complaints()?;
    ensure!(complaints.is_empty(), "the console has: {complaints:#?}");

    // The agent is killed: what is shown is known to be old. Another one is noticed without a reload.
    stage.balancer.process().kill()?;
    stage.browser.wait(
        "that the agent is gone",
        "document.querySelector('#gone').innerText.includes('does not answer since')",
    )?;
    stage.balancer.start_again(&stage.lab)?;
    stage.browser.wait("that it is back", "document.querySelector('#gone').hidden")?;
    stage.browser.complaints()?;
    stage.browser.open(DASHBOARD)?;
    let curve = "document.querySelector('.service .now')?.innerText.match(/[0-9]/)";
    stage.browser.wait("curves", curve)?;
    let complaints = stage.browser.complaints()?;
    ensure!(complaints.is_empty(), "the console has: {complaints:#?}");
    Ok(())
}
