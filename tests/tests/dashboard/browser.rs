//! Chromium without a window, driven by its own driver (WebDriver), in a namespace of a lab.

use std::{env, future::Future, time::Duration};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use dtr_lb_tests::lab::{Lab, Namespace, Process, until};
use serde_json::{Value, json};
use thirtyfour::{By, ChromiumLikeCapabilities as _, DesiredCapabilities, LoggingPrefsLogLevel, WebDriver};
use tokio::runtime::Runtime;

/// Of the driver, in the balancer's namespace.
const PORT: u16 = 9515;
/// How long a page may take to show what it is to show, on a busy machine.
pub(crate) const SHOW_LIMIT: Duration = Duration::from_secs(15);

/// What it is made of.
pub(crate) const PROGRAMS: [&str; 2] = ["chromium", "chromedriver"];

fn on_path(name: &str) -> Result<String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|directory| directory.join(name)).find(|path| path.is_file());
    Ok(found.with_context(|| format!("{name} is not in PATH"))?.display().to_string())
}

/// A browser with one page. Dropping it ends it.
pub(crate) struct Browser {
    namespace: Namespace,
    runtime: Runtime,
    driver: Option<WebDriver>,
    process: Process,
}

impl Browser {
    /// Starts one where the balancer is, with a window of a desktop's size.
    pub(crate) fn start(lab: &Lab) -> Result<Self> {
        // The client wants to know its cryptography. An error says that it is known already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let home = lab.directory().join("browser");
        std::fs::create_dir_all(&home).context("making the browser's directory")?;
        let mut command = lab.balancer().command("chromedriver");
        command.arg(format!("--port={PORT}")).env("TMPDIR", &home).env("HOME", &home);
        let process = lab.spawn("chromedriver", command)?;
        let mut capabilities = DesiredCapabilities::chrome();
        capabilities.set_binary(&on_path("chromium")?)?;
        // As root there is no sandbox, and in a container /dev/shm may be small.
        for argument in
            ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        {
            capabilities.add_arg(argument)?;
        }
        capabilities.add_arg(&format!("--user-data-dir={}", home.join("profile").display()))?;
        capabilities.set_browser_log_level(LoggingPrefsLogLevel::All)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut browser = Self { namespace: lab.balancer().clone(), runtime, driver: None, process };
        let mut driver = None;
        let started = until(SHOW_LIMIT, || {
            let url = format!("http://127.0.0.1:{PORT}");
            driver = browser.run(WebDriver::new(url, capabilities.clone())).ok();
            driver.is_some() || !browser.process.is_running()
        });
        browser.driver = driver;
        ensure!(
            started && browser.driver.is_some(),
            "Chromium does not start; its driver's log:\n{}",
            browser.process.log_tail(20)
        );
        browser.resize(1360, 900, false)?;
        Ok(browser)
    }

    /// Everything happens in the namespace: sockets are made there.
    fn run<T: Send>(
        &self,
        future: impl Future<Output = thirtyfour::error::WebDriverResult<T>> + Send,
    ) -> Result<T> {
        Ok(self.namespace.run(|| self.runtime.block_on(future))??)
    }

    fn driver(&self) -> Result<&WebDriver> {
        self.driver.as_ref().context("the browser has ended")
    }

    pub(crate) fn open(&self, url: &str) -> Result<()> {
        self.run(self.driver()?.goto(url)).with_context(|| format!("opening {url}"))
    }

    /// What a script in the page returns.
    pub(crate) fn value(&self, script: &str) -> Result<Value> {
        let returned = self.run(self.driver()?.execute(script, Vec::new()));
        Ok(returned.with_context(|| format!("in the page: {script}"))?.json().clone())
    }

    /// The text of the first element that fits; empty where there is none, or it is hidden.
    pub(crate) fn text(&self, css: &str) -> Result<String> {
        let script = format!(
            "const found = document.querySelector({}); return found?.getClientRects().length ? found.innerText : ''",
            Value::from(css)
        );
        Ok(self.value(&script)?.as_str().unwrap_or_default().to_owned())
    }

    /// Waits until a condition holds in the page; `what` is for people.
    pub(crate) fn wait(&self, what: &str, condition: &str) -> Result<()> {
        self.wait_for(SHOW_LIMIT, what, condition)
    }

    pub(crate) fn wait_for(&self, limit: Duration, what: &str, condition: &str) -> Result<()> {
        let script = format!("return Boolean({condition})");
        let mut last = None;
        let held = until(limit, || {
            last = Some(self.value(&script));
            matches!(&last, Some(Ok(Value::Bool(true))))
        });
        ensure!(
            held,
            "the page does not show {what} within {limit:?} ({condition}: {last:?}); it shows:\n{}",
            self.text("body")?
        );
        Ok(())
    }

    /// A click as a person does it: the element must be seen and not covered.
    pub(crate) fn click(&self, css: &str) -> Result<()> {
        let driver = self.driver()?;
        let click = || {
            self.run(async {
                let element = driver.find(By::Css(css)).await?;
                element.scroll_into_view().await?;
                element.click().await
            })
        };
        // The page draws its rows anew each second: one may be gone between being found and being clicked.
        let mut clicked = click();
        for _ in 0..3 {
            if !clicked.as_ref().is_err_and(|error| format!("{error:#}").contains("stale element")) {
                break;
            }
            clicked = click();
        }
        clicked.with_context(|| format!("clicking {css}"))
    }

    /// Puts the pointer on an element.
    pub(crate) fn point_at(&self, css: &str) -> Result<()> {
        let driver = self.driver()?;
        self.run(async {
            let element = driver.find(By::Css(css)).await?;
            element.scroll_into_view().await?;
            driver.action_chain().move_to_element_center(&element).perform().await
        })
        .with_context(|| format!("pointing at {css}"))
    }

    /// From now on, pages that are opened run this before their own scripts.
    pub(crate) fn run_first(&self, script: &str) -> Result<()> {
        self.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script }))
    }

    /// Types into an element.
    pub(crate) fn type_into(&self, css: &str, text: &str) -> Result<()> {
        let driver = self.driver()?;
        self.run(async {
            let element = driver.find(By::Css(css)).await?;
            element.clear().await?;
            element.send_keys(text).await
        })
        .with_context(|| format!("typing into {css}"))
    }

    /// Presses keys wherever the focus is.
    pub(crate) fn press(&self, keys: &str) -> Result<()> {
        let driver = self.driver()?;
        self.run(async { driver.active_element().await?.send_keys(keys).await })
    }

    pub(crate) fn resize(&self, width: u32, height: u32, mobile: bool) -> Result<()> {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics)
    }

    /// What the system prefers: `light` or `dark`.
    pub(crate) fn prefer(&self, scheme: &str) -> Result<()> {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", features)
    }

    fn devtools(&self, method: &str, parameters: Value) -> Result<()> {
        self.devtools_answer(method, parameters).map(drop)
    }

    fn devtools_answer(&self, method: &str, parameters: Value) -> Result<Value> {
        let devtools = self.driver()?.cdp();
        self.run(devtools.send_raw(method, parameters)).with_context(|| method.to_owned())
    }

    /// What is seen, as WebP: a fifth of a PNG.
    pub(crate) fn picture(&self) -> Result<Vec<u8>> {
        let how = json!({ "format": "webp", "quality": 85 });
        let answer = self.devtools_answer("Page.captureScreenshot", how)?;
        let data = answer["data"].as_str().context("no picture came")?;
        base64::prelude::BASE64_STANDARD.decode(data).context("reading the picture")
    }

    /// What the console has got since this was last asked: errors of scripts, refused content, answers that were errors.
    pub(crate) fn complaints(&self) -> Result<Vec<String>> {
        let log = self.run(self.driver()?.browser_log()).context("reading the console")?;
        let bad = log.into_iter().filter(|entry| ["SEVERE", "WARNING"].contains(&entry.level.as_str()));
        Ok(bad.map(|entry| entry.message).collect())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if let Some(driver) = self.driver.take() {
            // The lab ends its process anyway.
            let _ = self.run(driver.quit());
        }
    }
}
