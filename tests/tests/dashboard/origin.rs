//! Pages of others in a browser that is logged in: another port of the same host, to which the browser sends the session's cookie,
//! and another site. Neither changes anything.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};
use axum::{Router, response::Html, routing::get};

use crate::{
    changes::log_in,
    stage::{DASHBOARD, Stage, TOKEN},
};

const PORT: u16 = 9999;

/// A form that sends what looks like JSON, as no other kind needs the agent's leave.
const PAGE: &str = r#"<!doctype html><title>other</title>
<form method="post" action="http://127.0.0.1:8181/v1/replica" enctype="text/plain">
<input name='{"action":"drain","replica":"r1","x":"' value='"}'><button>win a prize</button></form>"#;

/// Tries what a page can: without and with a word that the agent would have to allow first.
const ATTACKS: &str = r#"
const send = (mode, type) => fetch("http://127.0.0.1:8181/v1/replica", {
  method: "POST", mode, credentials: "include", headers: { "Content-Type": type },
  body: JSON.stringify({ action: "drain", replica: "r1" }),
}).then((answer) => answer.type, () => "refused");
return Promise.all([send("no-cors", "text/plain"), send("cors", "application/json"), send("cors", "text/plain"),
  fetch("http://127.0.0.1:8181/v1/status", { credentials: "include" }).then(() => "read", () => "refused")]);
"#;

pub(crate) fn pages_of_others_change_nothing() -> Result<()> {
    let stage = Stage::new(true)?;
    serve_other_pages(&stage)?;
    stage.open()?;
    let browser = &stage.browser;
    log_in(browser, TOKEN)?;
    browser.wait("that one is logged in", "!document.querySelector('#logout').hidden")?;
    for other in ["127.0.0.1", "localhost"] {
        browser.open(&format!("http://{other}:{PORT}/"))?;
        let outcomes = browser.value(ATTACKS)?;
        // What a page may send blindly is sent, and refused by the agent, whose answer the page may not have either
        // (Cross-Origin-Resource-Policy); the rest the browser does not even send.
        ensure!(
            outcomes == serde_json::json!(["refused", "refused", "refused", "refused"]),
            "{other}: {outcomes}"
        );
        browser.click("button")?;
        browser.wait(
            "the refusal",
            "location.port === '8181' && document.body.innerText.includes('another site')",
        )?;
    }
    let status = stage.status()?;
    let changed =
        status.services.iter().flat_map(|service| &service.replicas).find(|replica| replica.state != "up");
    ensure!(changed.is_none(), "a page of somebody else's has changed {changed:?}");

    // The same from its own page is done: what was refused is where it came from. And the session is still there.
    browser.open(DASHBOARD)?;
    let own = "return fetch('/v1/replica', {method: 'POST', headers: {'Content-Type': 'application/json'}, \
         body: JSON.stringify({action: 'drain', replica: 'r1'})}).then((answer) => answer.status)";
    let answer = browser.value(own)?;
    ensure!(answer == 200, "its own page is answered {answer}");
    Ok(())
}

/// Serves them in the balancer's namespace until the test is over.
fn serve_other_pages(stage: &Stage) -> Result<()> {
    let (ready, served) = std::sync::mpsc::channel();
    let namespace = stage.lab.balancer().clone();
    std::thread::spawn(move || {
        let serving = namespace.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).await?;
                // Who waits for it may have failed.
                let _ = ready.send(());
                axum::serve(listener, Router::new().route("/", get(|| async { Html(PAGE) }))).await
            })
        });
        drop(serving);
    });
    served.recv().context("the other pages are not served")
}
