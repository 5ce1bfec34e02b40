// The dashboard: asks the agent for its status each second while the page is seen, and shows it.

import * as admin from "./admin.js";
import * as agent from "./agent.js";
import * as datapath from "./datapath.js";
import { announce, el, setAttribute, setText, sync } from "./dom.js";
import * as events from "./event_list.js";
import { clock } from "./format.js";
import * as glance from "./glance.js";
import * as problemList from "./problem_list.js";
import { overall } from "./problems.js";
import { serviceKey, withRates } from "./rates.js";
import { serviceView } from "./service.js";
import * as verdicts from "./verdicts.js";

const PAUSE = 1000;
/** After so long without a look, the plots are filled again from what the agent has kept. */
const GAP = 5000;
/** A rate over less than this would jump. */
const SHORTEST = 700;
const TITLE = "dtr-lb";
const MARKS = { good: "●", warn: "▲", bad: "✕", unknown: "…" };

const views = new Map();
const none = el("p", { class: "card quiet", hidden: true, text: "The config has no services." });
const services = document.getElementById("services");
let before = null;
let last = null;
let lastAnswer = null;
let failing = false;
let running = false;
let soon = null;

async function look() {
  if (running || document.hidden) return;
  running = true;
  clearTimeout(soon);
  try {
    const stale = lastAnswer === null || Date.now() - lastAnswer > GAP;
    const [status, kept] = await Promise.all([agent.status(), stale ? agent.history() : null]);
    const now = Date.now();
    if (stale && before) before = null;
    answered(now);
    show(withRates(status, now, before), now, kept);
    events.look(now).then((are) => are && showEvents());
    if (!before || now - before.time >= SHORTEST) before = { status, time: now };
  } catch (error) {
    failed(error);
  } finally {
    running = false;
    soon = setTimeout(look, PAUSE);
  }
}

function show(status, time, kept) {
  last = { status, time };
  setText(document.getElementById("host"), status.host || location.host);
  const found = problemList.show(status, time);
  glance.show(status);
  const keptOf = new Map((kept?.services ?? []).map((found) => [serviceKey(found), { times: kept.times, step: kept.step_ms, ...found }]));
  const items = status.services.map((service) =>
    ({ service, time, admin: admin.access.admin, kept: keptOf.get(serviceKey(service)) }));
  sync(services, views, items, (item) => serviceKey(item.service), (item) => serviceView(item.service));
  if (!none.parentNode) services.after(none);
  none.hidden = items.length > 0;
  verdicts.show(status);
  datapath.show(status);
  sayOverall(overall(found));
}

function showEvents() {
  for (const view of views.values()) view.mark(events.all());
}

function sayOverall({ level, words }) {
  const overall = document.getElementById("overall");
  const place = document.getElementById("overall-words");
  if (overall.dataset.level !== level && overall.dataset.level !== "unknown") announce(words);
  setAttribute(overall, "data-level", level);
  setText(overall.firstChild, MARKS[level]);
  setText(place, words);
  const host = last?.status.host ? `${last.status.host} – ` : "";
  document.title = level === "good" ? `${host}${TITLE}` : `${MARKS[level]} ${words} – ${host}${TITLE}`;
}

function answered(now) {
  lastAnswer = now;
  const gone = document.getElementById("gone");
  if (failing) {
    announce("The agent answers again");
    // It may be another one, which knows no session of before.
    admin.look();
    events.anew();
  }
  failing = false;
  gone.hidden = true;
  document.body.classList.remove("stale");
}

function failed(error) {
  const gone = document.getElementById("gone");
  const since = lastAnswer === null ? "" : ` since ${clock(lastAnswer)}`;
  const what = error instanceof agent.Refused ? `The agent cannot give its status${since}` : `The agent does not answer${since}`;
  const old = lastAnswer === null ? "" : " This page shows its last answer; the datapath forwards without the agent.";
  setText(gone, `${what}: ${error.message}.${old} Retrying every second.`);
  gone.hidden = false;
  failing = true;
  document.body.classList.add("stale");
  sayOverall({ level: "bad", words: "The agent does not answer" });
}

async function begin() {
  document.addEventListener("visibilitychange", look);
  document.getElementById("verdicts-all").addEventListener("change", () => last && verdicts.show(last.status));
  look();
  admin.begin(() => (last ? show(last.status, last.time, null) : look()));
  for (;;) {
    try {
      verdicts.learn(await agent.verdicts());
      return last && verdicts.show(last.status);
    } catch {
      await new Promise((later) => setTimeout(later, PAUSE));
    }
  }
}

begin();
