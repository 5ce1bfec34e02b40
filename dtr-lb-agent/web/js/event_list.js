// What happened: asks the agent, and lists the last of it. An agent that keeps no events has none of this on its page.

import * as agent from "./agent.js";
import { el, sync } from "./dom.js";
import { MOST, isBad, merged, who } from "./events.js";
import { clock } from "./format.js";

const SHOWN = 20;
/** Milliseconds from one question to the next. */
const PAUSE = 2000;

const section = document.getElementById("events");
const list = document.getElementById("events-list");
const more = document.getElementById("events-more");
const views = new Map();
let known = { list: [], newest: 0 };
let none = false;
let asked = -Infinity;
let leftOut = false;

export const all = () => known.list;

/** Another agent may answer now, which has events or not. */
export function anew() {
  none = false;
  known = { list: [], newest: 0 };
}

/** Asks, if it is time; whether there is something new. A failure is not told: the status tells of the agent. */
export async function look(now) {
  if (none || now - asked < PAUSE) return false;
  asked = now;
  const first = known.newest === 0;
  try {
    const answer = await agent.events(known.newest, MOST);
    known = merged(known, answer);
    if (first) leftOut = answer.left_out;
    show();
    return first || answer.events.length > 0;
  } catch (error) {
    none = error instanceof agent.Refused && error.status === 404;
    if (none) section.hidden = true;
    return false;
  }
}

function show() {
  section.hidden = false;
  const last = known.list.slice(-SHOWN).reverse();
  sync(list, views, last, (event) => event.id, row);
  more.hidden = !leftOut && known.list.length <= SHOWN;
}

function row(event) {
  const element = el("li", { "data-event": event.id, "data-bad": isBad(event) ? "yes" : null },
    el("time", { datetime: event.time, text: clock(event.time) }), " ",
    el("span", { class: "text", text: event.text }), " ",
    el("span", { class: "quiet by", text: `by ${who(event.by)}` }));
  return { element, update() {} };
}
