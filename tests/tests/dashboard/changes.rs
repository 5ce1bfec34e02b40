//! What an operator changes from the page, and who cannot.

use anyhow::{Context as _, Result, ensure};
use dtr_lb_tests::balancer::UP_WITHIN;

use crate::{
    browser::Browser,
    stage::{Stage, TOKEN, replica},
};

/// Logs in by the form, with this.
pub(crate) fn log_in(browser: &Browser, token: &str) -> Result<()> {
    browser.wait("that one can log in", "!document.querySelector('#login').hidden")?;
    browser.click("#login")?;
    browser.type_into("#token", token)?;
    browser.click("dialog button[type='submit']")
}

/// What a POST of the page itself is answered: status and body.
fn post(browser: &Browser, path: &str) -> Result<String> {
    let script = format!(
        "return fetch('{path}', {{method: 'POST', headers: {{'Content-Type': 'application/json'}}, body: '{{}}'}})\
         .then(async (answer) => `${{answer.status}} ${{await answer.text()}}`)"
    );
    Ok(browser.value(&script)?.as_str().context("no text")?.to_owned())
}

pub(crate) fn without_a_token() -> Result<()> {
    let stage = Stage::new(false)?;
    stage.open()?;
    let browser = &stage.browser;
    browser.click(&format!("{} .more", replica("r1")))?;
    browser.wait(
        "details",
        &format!("document.querySelector(\"{} .details\").innerText.includes('Changes')", replica("r1")),
    )?;
    let buttons = browser.value("return document.querySelectorAll('[data-action]').length")?;
    ensure!(buttons == 0, "{buttons} buttons to change something");
    for path in ["/v1/replica", "/v1/reload", "/v1/detach", "/v1/session"] {
        let answer = post(browser, path)?;
        ensure!(answer.starts_with("403 ") && answer.contains("admin_token_file"), "{path}: {answer}");
    }
    Ok(())
}

pub(crate) fn logs_in_and_drains() -> Result<()> {
    let stage = Stage::new(true)?;
    stage.open()?;
    let browser = &stage.browser;
    ensure!(post(browser, "/v1/replica")?.starts_with("401 "), "a change without a login");
    log_in(browser, "not-the-admin-token-at-all")?;
    browser.wait(
        "that it is wrong",
        "document.querySelector('dialog .error')?.innerText.includes('not the admin token')",
    )?;
    ensure!(browser.complaints()?.iter().all(|line| line.contains("401")), "other than the refusals");
    browser.type_into("#token", TOKEN)?;
    browser.click("dialog button[type='submit']")?;
    browser.wait(
        "that one is logged in",
        "!document.querySelector('#logout').hidden && !document.querySelector('dialog').open",
    )?;
    let cookie = browser.value("return document.cookie")?;
    ensure!(cookie == "", "a script sees the session: {cookie}");

    let row = replica("r1");
    browser.click(&format!("{row} .more"))?;
    let act = |action: &str, words: &str| -> Result<()> {
        browser.wait(
            &format!("the button for {action}"),
            &format!("document.querySelector(\"{row} [data-action='{action}']\")"),
        )?;
        browser.click(&format!("{row} [data-action='{action}']"))?;
        let asked = browser.text("dialog")?;
        ensure!(asked.contains(words), "it is not said what {action} does: {asked}");
        browser.click("dialog button[type='submit']")?;
        browser.wait("that it is done", "!document.querySelector('dialog').open")
    };
    act("drain", "no new connections")?;
    stage.balancer.wait_for_state(&stage.lab, "r1", "draining", UP_WITHIN)?;
    browser.wait(
        "that r1 is draining",
        &format!("document.querySelector(\"{row} .state\").innerText.includes('draining')"),
    )?;
    act("ready", "ends drain and maintenance")?;
    stage.balancer.wait_for_state(&stage.lab, "r1", "up", UP_WITHIN)?;
    act("maint", "are reset")?;
    stage.balancer.wait_for_state(&stage.lab, "r1", "maint", UP_WITHIN)?;
    act("ready", "ends drain and maintenance")?;
    stage.balancer.wait_for_state(&stage.lab, "r1", "up", UP_WITHIN)?;

    browser.wait("the button", &format!("document.querySelector(\"{row} [data-action='weight']\")"))?;
    browser.click(&format!("{row} [data-action='weight']"))?;
    browser.type_into("#weight", "7")?;
    browser.click("#one-service")?;
    browser.click("dialog button[type='submit']")?;
    browser.wait(
        "the weight",
        &format!("document.querySelector(\"{row} td[data-label='Weight']\").innerText === '7'"),
    )?;
    let weights: Vec<_> =
        ["http", "https"].map(|service| stage.balancer.replica(&stage.lab, service, "r1")).into();
    let weights = weights.into_iter().map(|found| Ok(found?.weight)).collect::<Result<Vec<_>>>()?;
    ensure!(weights == [7, 100], "the weight is for the one service only: {weights:?}");
    let complaints = browser.complaints()?;
    ensure!(complaints.is_empty(), "the console has: {complaints:#?}");

    // `detach` is not to be had here, whoever asks.
    ensure!(post(browser, "/v1/detach")?.starts_with("404 "), "{}", post(browser, "/v1/detach")?);
    browser.complaints()?;
    browser.click("#logout")?;
    browser.wait("that nothing can be changed", "document.querySelectorAll('[data-action]').length === 0")?;
    ensure!(post(browser, "/v1/replica")?.starts_with("401 "), "a change after the logout");
    Ok(())
}
