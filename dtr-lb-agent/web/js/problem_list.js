// What is wrong, at the top of the page; or that nothing is.

import { el, setAttribute, setText, sync } from "./dom.js";
import { calm, problems } from "./problems.js";

const MARKS = { bad: "✕", warn: "▲", note: "◐" };
/** Of more than so many, the rest are one line: the page shows each further down. */
const MOST = 15;
/** Beside the mark, for those who do not see it. */
const WORDS = { bad: "Clients are affected: ", warn: "Problem: ", note: "Notice: " };

const list = document.getElementById("problems");
const nothing = document.getElementById("calm");
const views = new Map();
/** Since when the page has seen those that the agent gives no time of. */
let seen = new Map();

/** Shows them, and returns them. */
export function show(status, now) {
  const before = seen;
  seen = new Map();
  const found = problems(status, {
    now,
    seen(key) {
      seen.set(key, before.get(key) ?? now);
      return seen.get(key);
    },
  });
  const rest = found.slice(MOST);
  const more = rest.length === 0 ? [] : [{ key: "more", level: rest[0].level, text: `and ${rest.length} more: see the services below` }];
  sync(list, views, [...found.slice(0, MOST), ...more], (problem) => problem.key, row);
  nothing.hidden = found.length > 0;
  setText(nothing.lastChild, found.length > 0 ? "" : calm(status));
  return found;
}

function row() {
  const [mark, level, text] = [el("span", { class: "mark", "aria-hidden": "true" }), el("span", { class: "unseen" }), el("span", {})];
  const element = el("li", {}, mark, level, text);
  return {
    element,
    update(problem) {
      setAttribute(element, "data-level", problem.level);
      setText(mark, MARKS[problem.level]);
      setText(level, WORDS[problem.level]);
      setText(text, problem.text);
    },
  };
}
