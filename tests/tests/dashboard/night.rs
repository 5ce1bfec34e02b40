//! A bad night: what is wrong and what clients notice of it, in the lab; and what a lab cannot be made to say within a test (names of
//! sixty characters, latencies, a full table, events of an hour), by an agent of the test's own in the page: `agent.js` answers
//! in the place of the real one.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use dtr_lb_tests::balancer::DOWN_WITHIN;
use serde_json::Value;

use crate::{
    browser::{Browser, SHOW_LIMIT},
    looks::{fits, readable},
    stage::{DASHBOARD, Stage},
};

/// A phone, a tablet, a desk; in CSS pixels.
const WIDTHS: [u32; 3] = [390, 800, 1400];
const TAB: &str = "\u{e004}";

/// Texts of cells, tiles and captions that touch one another, or leave their place.
const TOUCHING: &str = r#"
const box = (element) => {
  const range = document.createRange();
  range.selectNodeContents(element);
  const found = [...range.getClientRects()].filter((rect) => rect.width > 0 && rect.height > 0);
  if (found.length === 0) return null;
  return { left: Math.min(...found.map((rect) => rect.left)), right: Math.max(...found.map((rect) => rect.right)),
    top: Math.min(...found.map((rect) => rect.top)), bottom: Math.max(...found.map((rect) => rect.bottom)), element };
};
const clipped = (element) => element !== null && getComputedStyle(element).clipPath !== "none";
const seen = (element) => element.getClientRects().length > 0 && !clipped(element) && !clipped(element.closest("thead"));
const groups = ["thead tr", "tr.replica", ".verdicts tbody tr", ".head", "figcaption", ".glance", ".bar", ".problems", '#services'];
const touching = [];
for (const group of document.querySelectorAll(groups.join(","))) {
  const boxes = [...group.children].filter(seen).map(box).filter(Boolean);
  for (const [at, one] of boxes.entries()) {
    const home = one.element.parentElement.closest("td, .card, .tile, main, body").getBoundingClientRect();
    if (one.left < home.left - 1 || one.right > home.right + 1) touching.push(`out of its place: ${one.element.textContent.slice(0, 80)}`);
    for (const other of boxes.slice(at + 1)) {
      const beside = Math.min(one.right, other.right) - Math.max(one.left, other.left) > -3;
      const over = Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top) > 1;
      if (beside && over) touching.push(`${one.element.textContent.slice(0, 60)} | ${other.element.textContent.slice(0, 60)}`);
    }
  }
}
return touching;
"#;

/// The page with the test's own agent, which tells of this world.
fn open_with(browser: &Browser, world: &str) -> Result<()> {
    browser.run_first(&format!("{{ const WORLD = '{world}';\n{} }}", include_str!("agent.js")))?;
    browser.open(DASHBOARD)?;
    browser.wait("rates", "/[0-9]/.test(document.querySelector(\"td[data-label='New/s']\")?.textContent)")
}

pub(crate) fn problems_with_their_consequence() -> Result<()> {
    let stage = Stage::new(false)?;
    stage.open()?;
    let browser = &stage.browser;
    let told = |words: &str| format!("{words}.test(document.querySelector('#problems').innerText)");
    let host = fs::read_to_string("/proc/sys/kernel/hostname").context("the host's name")?;
    let host = host.trim();
    browser.wait("that all is well", "!document.querySelector('#calm').hidden")?;
    let calm = browser.text("#calm")?;
    ensure!(calm.ends_with("2 services, 6 of 6 replicas up, nothing to do"), "{calm}");
    ensure!(browser.text("#host")? == host, "the host is {host}, and shown as {}", browser.text("#host")?);
    let title = browser.value("return document.title")?;
    ensure!(title == format!("{host} – dtr-lb"), "the title is {title}");

    stage.balancer.command(&stage.lab, &["replica", "drain", "r3"])?;
    browser
        .wait("the drain", &told(r"/r3 is drained since \d\d:\d\d \(http, https\): no new connections/"))?;
    ensure!(browser.text("#overall")?.contains("Clients are served"), "a drain is no problem");

    stage.lab.replica("r2").context("r2")?.kill()?;
    browser.wait_for(
        DOWN_WITHIN + SHOW_LIMIT,
        "one down",
        &told(r"/https: 1 of 3 up; r2 refuses connections since \d\d:\d\d; clients notice nothing; r1 is the last one/"),
    )?;
    ensure!(browser.text("#overall")?.contains("clients are served"), "{}", browser.text("#overall")?);

    stage.balancer.command(&stage.lab, &["replica", "ready", "r3"])?;
    for name in ["r1", "r3"] {
        stage.lab.replica(name).context("a replica")?.kill()?;
    }
    browser.wait_for(
        DOWN_WITHIN + SHOW_LIMIT,
        "all down",
        &told(r"/All replicas of https are down since \d\d:\d\d.*: new connections go to them all the same \(fail-open\)/"),
    )?;
    let levels = browser
        .value("return [...document.querySelectorAll('#problems li')].map((line) => line.dataset.level)")?;
    ensure!(levels == serde_json::json!(["bad", "bad"]), "a line for each service: {levels}");
    browser.wait("it in the title", "/^✕ 2 problems, clients are affected – /.test(document.title)")?;
    let complaints = browser.complaints()?;
    ensure!(complaints.is_empty(), "the console has: {complaints:#?}");
    Ok(())
}

pub(crate) fn fits_phones_and_desks() -> Result<()> {
    let stage = Stage::new(false)?;
    let browser = &stage.browser;
    open_with(browser, "night")?;
    let problems = browser.text("#problems")?;
    for words in [
        "All replicas of api are down",
        "flow table is 85 % full",
        "5 times as long",
        "27,000 of 30,000 NAT ports",
    ] {
        ensure!(problems.contains(words), "`{words}` is not among the problems: {problems}");
    }
    let connect = browser.text("tr.replica td[data-label='Connect']")?;
    ensure!(connect == "1.2 / 831 ms", "the time to connect is shown as {connect}");
    for scheme in ["light", "dark"] {
        browser.prefer(scheme)?;
        browser.wait("the theme", &format!("document.documentElement.dataset.theme === '{scheme}'"))?;
        for width in WIDTHS {
            browser.resize(width, 900, width == WIDTHS[0])?;
            browser.wait(
                "the plots in their new size",
                "[...document.querySelectorAll('.canvas')].every((canvas) => \
                 Math.abs(canvas.clientWidth - canvas.querySelector('.uplot').clientWidth) < 3)",
            )?;
            let when = format!("at {width} pixels, {scheme}");
            fits(browser, width, &when)?;
            let touching = browser.value(TOUCHING)?;
            ensure!(touching == serde_json::json!([]), "{when}: {touching:#}");
            readable(browser, &when)?;
        }
    }
    side_by_side(browser)?;
    folded(browser)
}

/// On a desk the plots of a service are beside its replicas.
fn side_by_side(browser: &Browser) -> Result<()> {
    let beside = browser.value(
        "const [table, plots] = ['table', '.plots'].map((css) => document.querySelector(`.service ${css}`).getBoundingClientRect()); \
         return plots.left > table.right && plots.top < table.bottom",
    )?;
    ensure!(beside == true, "the plots are not beside the replicas");
    let folds = browser.value("return [...document.querySelectorAll('.fold')].filter((fold) => fold.getClientRects().length).length")?;
    ensure!(folds == 0, "nothing is to be folded on a desk");
    Ok(())
}

/// On a phone the replicas that are well are folded, and the failed one never is.
fn folded(browser: &Browser) -> Result<()> {
    browser.resize(WIDTHS[0], 900, true)?;
    let shown = "[...document.querySelectorAll('.service:first-child [data-replica]')]\
         .filter((replica) => replica.getClientRects().length).map((replica) => replica.dataset.state).join(' ')";
    browser.wait("the failed one only", &format!("{shown} === 'down'"))?;
    let fold = ".service:first-child .fold";
    ensure!(browser.text(fold)?.starts_with("2 of 3 up"), "{}", browser.text(fold)?);
    browser.click(fold)?;
    browser.wait("all three", &format!("{shown} === 'up down up'"))?;
    let expanded =
        browser.value(&format!("return document.querySelector('{fold}').getAttribute('aria-expanded')"))?;
    ensure!(expanded == "true", "that it is open is not said");
    fits(browser, WIDTHS[0], "unfolded")?;
    let touching = browser.value(TOUCHING)?;
    ensure!(touching == serde_json::json!([]), "unfolded: {touching:#}");
    browser.click(&format!("{} .more", ".service:first-child [data-state='up']"))?;
    browser.wait(
        "the details",
        "/half within 22 ms, 99 of 100 within 1.5 s/.test(document.querySelector('.details').innerText)",
    )?;
    fits(browser, WIDTHS[0], "with details")?;
    browser.click(fold)?;
    browser.wait("the failed one only", &format!("{shown} === 'down'"))
}

pub(crate) fn events_and_gaps() -> Result<()> {
    let stage = Stage::new(false)?;
    let browser = &stage.browser;
    open_with(browser, "night")?;
    browser.wait("events", "document.querySelectorAll('#events-list li').length === 20")?;
    let first = browser.text("#events-list")?;
    for words in ["replica r1 is drained", "by root", "by admin from 10.0.0.9:50123", "by the agent"] {
        ensure!(first.contains(words), "`{words}` is not in the list: {first}");
    }
    let newest = browser.text("#events-list li")?;
    ensure!(newest.contains("of another service"), "the newest is not the first: {newest}");
    // Of this service: the drain, and the failure and the reload, a second apart, as one; not what is of another one.
    let marks = ".service:first-child .plot:first-child .event";
    let words = browser.value(&format!(
        "return [...document.querySelectorAll('{marks}')].map((mark) => mark.getAttribute('aria-label'))"
    ))?;
    let words: Vec<_> = words.as_array().context("marks")?.iter().filter_map(Value::as_str).collect();
    ensure!(
        words.len() == 2
            && words[0].contains("r1 is drained")
            && words[1].contains("refused")
            && words[1].contains("read again"),
        "{words:#?}"
    );
    let places = browser.value(
        "return [...document.querySelectorAll('.service:first-child .plot')].map((plot) => {\
           const over = plot.querySelector('.u-over').getBoundingClientRect();\
           return [...plot.querySelectorAll('.event')].map((mark) => { const box = mark.getBoundingClientRect();\
             return Math.round(((box.left + box.right) / 2 - over.left) / over.width * 100); }); })",
    )?;
    // 500 and 200 of the last 600 seconds ago, and the page has been open for some.
    for plot in places.as_array().context("plots")? {
        let at = |place: usize| plot[place].as_i64().unwrap_or(-1);
        ensure!((8..=18).contains(&at(0)) && (58..=68).contains(&at(1)), "marks are at {places} percent");
    }
    let note = ".service:first-child .plot:first-child .note";
    let says = |words: &str| {
        format!(
            "/{words}/.test(document.querySelector('{note}').innerText) && !document.querySelector('{note}').hidden"
        )
    };
    browser.point_at(marks)?;
    browser.wait("what it is, at the pointer", &says("r1 is drained"))?;
    browser.point_at("#host")?;
    browser.wait("nothing without it", &format!("document.querySelector('{note}').hidden"))?;
    browser.click(&format!("{marks}[data-bad]"))?;
    browser.wait("what it is, by a tap", &says("connection refused"))?;
    browser.value("document.activeElement.blur()")?;
    // By the keyboard: one plot's marks are reached, and not those of the other three.
    browser.value(&format!("document.querySelector('{marks}').focus()"))?;
    browser.wait("what it is, by the focus", &says("r1 is drained"))?;
    browser.press(TAB)?;
    browser.wait("the next one", &says("connection refused"))?;
    browser.press(TAB)?;
    let left =
        browser.value("return Boolean(document.activeElement.closest('.service:first-child .plots'))")?;
    ensure!(left == false, "the same marks are reached again in another plot");

    // Without samples there is no colour: columns of the canvas in the two minutes that are missing, and one between.
    let blank = browser.value(
        "const over = document.querySelector('.service:first-child .u-over');\
         const canvas = over.parentElement.querySelector('canvas'); const ratio = devicePixelRatio;\
         const [from, to] = [over.offsetTop + 2, over.offsetTop + over.offsetHeight - 2].map((y) => Math.round(y * ratio));\
         const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);\
         return [330, 150, 240].map((ago) => {\
           const x = Math.round((over.offsetLeft + over.offsetWidth * (1 - ago / 600)) * ratio);\
           const colours = new Set();\
           for (let y = from; y < to; y += 1) {\
             const [r, g, b, a] = data.slice((y * canvas.width + x) * 4, (y * canvas.width + x) * 4 + 4);\
             if (a > 200) colours.add(`${r},${g},${b}`);\
           }\
           return colours.size; })",
    )?;
    let colours = |place: usize| blank[place].as_u64().unwrap_or(99);
    ensure!(
        colours(0) <= 1 && colours(1) <= 1 && colours(2) >= 3,
        "colours in the two gaps and between: {blank}"
    );
    let complaints = browser.complaints()?;
    ensure!(complaints.is_empty(), "the console has: {complaints:#?}");
    Ok(())
}

pub(crate) fn empty_plots() -> Result<()> {
    let stage = Stage::new(false)?;
    let browser = &stage.browser;
    open_with(browser, "idle")?;
    let words = browser
        .value("return [...document.querySelectorAll('.plot .empty')].map((empty) => empty.innerText)")?;
    ensure!(words == serde_json::json!(vec!["nothing in these minutes"; 4]), "{words}");
    // What is written at the axes: of the upper one only times.
    let axes = browser.value("return [...document.querySelectorAll('.plot canvas')].map((canvas) => canvas.written.filter((text) => !text.includes(':')))")?;
    ensure!(
        axes.as_array().is_some_and(|axes| axes.iter().all(|axis| *axis == serde_json::json!(["0"]))),
        "{axes}"
    );
    ensure!(
        browser.text("#calm")?.contains("1 service, 3 of 3 replicas up, nothing to do"),
        "{}",
        browser.text("#calm")?
    );
    ensure!(
        browser.value("return document.querySelector('#events').hidden")? == true,
        "an agent without events has no list of them"
    );

    // Times that are not measured have no column, and the details are as wide as their table.
    browser.click(".more")?;
    let ends = "return [...document.querySelectorAll('.replicas tr')].filter((row) => row.getClientRects().length)\
         .map((row) => [...row.children].filter((cell) => cell.getClientRects().length).at(-1).getBoundingClientRect().right)";
    let ends = browser.value(ends)?;
    let rights: Vec<_> = ends.as_array().context("rows")?.iter().filter_map(Value::as_f64).collect();
    ensure!(
        rights.len() == 6 && rights.iter().all(|right| (right - rights[0]).abs() < 1.0),
        "rows end at {ends}"
    );
    ensure!(browser.text("td[data-label='Connect']")?.is_empty(), "times that are not measured are shown");

    open_with(browser, "night")?;
    let axes = browser
        .value("return [...document.querySelectorAll('.plot canvas')].map((canvas) => canvas.written)")?;
    for axis in axes.as_array().context("axes")? {
        let mut told: Vec<_> = axis.as_array().context("an axis")?.iter().filter_map(Value::as_str).collect();
        let all = told.len();
        told.sort_unstable();
        told.dedup();
        ensure!(all > 2 && told.len() == all, "numbers of an axis are alike: {axis}");
    }
    Ok(())
}
