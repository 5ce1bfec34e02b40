//! The pictures of the documentation: `cargo xtask screenshots`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::stage::{Stage, replica};

/// Where they go; without it they are not made.
const DIRECTORY: &str = "DTR_LB_SCREENSHOTS";

pub(crate) fn wanted() -> Option<PathBuf> {
    env::var_os(DIRECTORY).map(PathBuf::from)
}

/// Traffic for some minutes, of which a replica is away for a while, and down at the end: the plots are to have something to show.
pub(crate) fn make(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("making `{}`", directory.display()))?;
    let stage = Stage::new(false)?;
    let loads = (0..6).map(|_| stage.load()).collect::<Result<Vec<_>>>()?;
    let big = ["http", "https"].map(|scheme| (scheme, format!("{scheme}://{}/big", stage.lab.vip())));
    let downloads = |times: usize| -> Result<()> {
        for time in 0..times {
            let (_, url) = &big[time % big.len()];
            stage.lab.client().curl(url, &["--limit-rate", "4M", "--max-time", "2"]).map(drop)?;
            // The rhythm of the curves, and nothing that is waited for.
            thread::sleep(Duration::from_millis(300));
        }
        Ok(())
    };
    downloads(30)?;
    stage.lab.replicas()[2].sicken()?;
    downloads(20)?;
    stage.lab.replicas()[2].heal()?;
    downloads(40)?;
    stage.lab.replicas()[1].kill()?;
    downloads(15)?;
    let browser = &stage.browser;
    stage.open()?;
    browser.wait("rates", "document.querySelector('.service .number:nth-child(5)').innerText !== '–'")?;
    browser.click(&format!("{} .more", replica("r2")))?;
    browser.value("scrollTo(0, 0)")?;
    for (name, scheme, width, height) in
        [("light", "light", 1360, 1050), ("dark", "dark", 1360, 1050), ("phone", "light", 360, 740)]
    {
        browser.prefer(scheme)?;
        browser.resize(width, height, width < 500)?;
        browser.wait("the theme", &format!("document.documentElement.dataset.theme === '{scheme}'"))?;
        browser.wait(
            "the plots in their new size",
            "[...document.querySelectorAll('.canvas')].every((canvas) => \
             Math.abs(canvas.clientWidth - canvas.querySelector('.uplot').clientWidth) < 3)",
        )?;
        let path = directory.join(format!("dashboard-{name}.png"));
        fs::write(&path, browser.picture()?).with_context(|| format!("writing `{}`", path.display()))?;
    }
    drop(loads);
    Ok(())
}
