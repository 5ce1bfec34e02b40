//! The pictures of the documentation: `cargo xtask screenshots`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::stage::Stage;

/// Where they go; without it they are not made.
const DIRECTORY: &str = "DTR_LB_SCREENSHOTS";

/// The lab has no host of its own: in the pictures it has a name all the same.
const NAMED: &str = r#"
const asked = window.fetch;
window.fetch = async (path, options) => {
  const answer = await asked(path, options);
  if (path !== "/v1/status" || !answer.ok) return answer;
  return new Response(JSON.stringify({ ...await answer.json(), host: "balancer-1" }), { status: answer.status });
};
"#;

/// Downloads at once, slow ones, so that flows last.
const DOWNLOADS: usize = 8;

pub(crate) fn wanted() -> Option<PathBuf> {
    env::var_os(DIRECTORY).map(PathBuf::from)
}

/// Traffic for some minutes, of which a replica is away for a while, and down at the end: the plots are to have something to show.
pub(crate) fn make(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("making `{}`", directory.display()))?;
    let stage = Stage::new(false)?;
    let loads = (0..3).map(|_| stage.load()).collect::<Result<Vec<_>>>()?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for place in 0..DOWNLOADS {
            let scheme = if place % 2 == 0 { "https" } else { "http" };
            let (client, over) = (stage.lab.client(), &over);
            let url = format!("{scheme}://{}/big", stage.lab.vip());
            let rate = format!("{}k", 150 + 40 * place);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    // Some are to fail: their replica dies.
                    drop(client.curl(&url, &["--limit-rate", &rate, "--max-time", "8"]));
                }
            });
        }
        let taken = story(&stage).and_then(|()| take(&stage, directory));
        over.store(true, Ordering::Relaxed);
        taken
    })?;
    drop(loads);
    Ok(())
}

/// What the plots are to show, at the pace of minutes: nothing is waited for.
fn story(stage: &Stage) -> Result<()> {
    let replicas = stage.lab.replicas();
    let act = Duration::from_secs(40);
    thread::sleep(act);
    replicas[2].sicken()?;
    thread::sleep(act / 2);
    replicas[2].heal()?;
    thread::sleep(act * 2);
    replicas[1].kill()?;
    thread::sleep(act / 2);
    Ok(())
}

fn take(stage: &Stage, directory: &Path) -> Result<()> {
    let browser = &stage.browser;
    browser.run_first(NAMED)?;
    stage.open()?;
    browser.wait("rates", "document.querySelector(\"td[data-label='New/s']\").innerText !== '–'")?;
    let pictures = [
        ("light", "light", 1400, 960),
        ("dark", "dark", 1400, 960),
        ("phone", "light", 390, 844),
        ("phone-dark", "dark", 390, 844),
    ];
    for (name, scheme, width, height) in pictures {
        browser.prefer(scheme)?;
        browser.resize(width, height, width < 500)?;
        browser.wait("the theme", &format!("document.documentElement.dataset.theme === '{scheme}'"))?;
        browser.wait(
            "the plots in their new size",
            "[...document.querySelectorAll('.canvas')].every((canvas) => \
             Math.abs(canvas.clientWidth - canvas.querySelector('.uplot').clientWidth) < 3)",
        )?;
        let path = directory.join(format!("dashboard-{name}.webp"));
        fs::write(&path, browser.picture()?).with_context(|| format!("writing `{}`", path.display()))?;
    }
    Ok(())
}
