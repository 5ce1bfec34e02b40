//! Light and dark, a phone, the keyboard, and those who do not see it.

use anyhow::{Result, ensure};

use crate::{
    browser::Browser,
    stage::{Stage, replica},
};

/// The narrowest phones that are in use, in CSS pixels.
const PHONE: u32 = 360;
/// The key that goes to the next element, and the one that presses it, as WebDriver knows them.
const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";

/// Elements without what a screen reader needs: buttons without words, fields without labels, headers without a scope, tables
/// without a name.
const UNNAMED: &str = r#"
const seen = (element) => element.getClientRects().length > 0;
const named = (element) => (element.innerText || element.getAttribute("aria-label") || "").trim() !== "";
const labelled = (element) => element.labels?.length > 0;
return [
  ...[...document.querySelectorAll("button")].filter((element) => seen(element) && !named(element)),
  ...[...document.querySelectorAll("input")].filter((element) => seen(element) && !labelled(element)),
  ...[...document.querySelectorAll("th")].filter((element) => !element.scope),
  ...[...document.querySelectorAll("table")].filter((element) => !element.getAttribute("aria-label")),
  ...[...document.querySelectorAll("canvas")].filter((element) => !element.closest("[role='img'][aria-label]")),
].map((element) => element.outerHTML);
"#;

/// The least contrast of a text with what is behind it, by WCAG 2.2 (section 1.4.3), and that text.
const CONTRAST: &str = r#"
const part = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
const colour = (text) => text.match(/[\d.]+/g).map(Number);
const ground = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const found = colour(getComputedStyle(at).backgroundColor);
    if (found.length < 4 || found[3] === 1) return found;
  }
  return [255, 255, 255];
};
let worst = [21, ""];
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim() !== "");
  if (!own || element.getClientRects().length === 0) continue;
  const [a, b] = [light(colour(getComputedStyle(element).color)), light(ground(element))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < worst[0]) worst = [ratio, element.outerHTML.slice(0, 200)];
}
return worst;
"#;

fn no_side_scrolling(browser: &Browser, when: &str) -> Result<()> {
    fits(browser, PHONE, when)
}

/// Whether the page is not wider than the window.
pub(crate) fn fits(browser: &Browser, window: u32, when: &str) -> Result<()> {
    let width = browser.value("return document.documentElement.scrollWidth")?;
    ensure!(width.as_u64().is_some_and(|width| width <= u64::from(window)), "{width} pixels wide {when}");
    Ok(())
}

pub(crate) fn readable(browser: &Browser, theme: &str) -> Result<()> {
    let worst = browser.value(CONTRAST)?;
    ensure!(worst[0].as_f64().is_some_and(|ratio| ratio >= 4.5), "in the {theme} theme: {worst}");
    let unnamed = browser.value(UNNAMED)?;
    ensure!(unnamed == serde_json::json!([]), "without a name: {unnamed}");
    Ok(())
}

pub(crate) fn phone_keyboard_and_dark() -> Result<()> {
    let stage = Stage::new(true)?;
    // One down, so that the colours of trouble are looked at, too.
    stage.lab.replicas()[1].sicken()?;
    let _load = stage.load()?;
    stage.open()?;
    let browser = &stage.browser;
    let is = |theme: &str| format!("document.documentElement.dataset.theme === '{theme}'");
    browser.wait(
        "that r2 is down",
        "/https: 2 of 3 up; r2 /.test(document.querySelector('#problems').innerText)",
    )?;

    // As the system prefers, at once when it changes; and as the switch says, also after a reload.
    for scheme in ["light", "dark"] {
        browser.prefer(scheme)?;
        browser.wait(&format!("the {scheme} theme"), &is(scheme))?;
        readable(browser, scheme)?;
    }
    browser.click("#theme")?;
    browser.wait("the light theme, by the switch", &is("light"))?;
    stage.open()?;
    browser.wait("the light theme still", &is("light"))?;

    // By keyboard alone: the first details are reached, and opened.
    let row = replica("r1");
    let at_details = format!("document.activeElement === document.querySelector(\"{row} .more\")");
    for tab in 0.. {
        if browser.value(&format!("return {at_details}"))? == true {
            break;
        }
        ensure!(tab < 30, "the details are not reached by 30 tabs");
        browser.press(TAB)?;
    }
    let ring = browser.value("return getComputedStyle(document.activeElement).outlineStyle")?;
    ensure!(ring != "none", "the focus is not seen");
    browser.press(ENTER)?;
    browser.wait(
        "details",
        &format!("document.querySelector(\"{row} .more\").getAttribute('aria-expanded') === 'true'"),
    )?;

    browser.resize(PHONE, 740, true)?;
    browser.wait("all of it", "document.querySelectorAll('.plot canvas').length === 8")?;
    no_side_scrolling(browser, "with details")?;
    browser.value("document.querySelector('#verdicts-all').click()")?;
    no_side_scrolling(browser, "with all verdicts")?;
    readable(browser, "light, on a phone")?;
    browser.click("#login")?;
    no_side_scrolling(browser, "with the login")?;
    let inside = "const box = document.querySelector('dialog').getBoundingClientRect(); return box.left >= 0 && box.right <= innerWidth";
    ensure!(browser.value(inside)? == true, "the login is not in the window");
    let complaints = browser.complaints()?;
    ensure!(complaints.is_empty(), "the console has: {complaints:#?}");
    Ok(())
}
