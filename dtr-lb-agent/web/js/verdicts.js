// What became of the packets: each verdict with what it means, how many there were, and how many there are now.

import { el, setAttribute, setText, sync } from "./dom.js";
import { count, rate } from "./format.js";

const GROUPS = [
  ["forward", "→", "Sent on"],
  ["answer", "↩", "Answered by the datapath"],
  ["drop", "✕", "Dropped"],
  ["pass", "↑", "Passed to the host's network stack"],
];
const HEADERS = [["Verdict", ""], ["Packets/s", "number"], ["In all", "number"], ["What it means", ""]];

let words = [];
let groups = null;
const all = document.getElementById("verdicts-all");

/** What the agent says that they mean. */
export function learn(list) {
  words = list;
}

export function show(status) {
  groups ??= GROUPS.map(([action, mark, title]) => group(action, mark, title));
  for (const { action, element, views, table } of groups) {
    const items = words.filter((verdict) => verdict.action === action)
      .map((verdict) => ({ ...verdict, packets: status.verdicts[verdict.name] ?? 0, rate: status.verdict_rates[verdict.name] ?? null }))
      .filter((verdict) => all.checked || verdict.packets > 0);
    element.hidden = items.length === 0;
    sync(table, views, items, (verdict) => verdict.name, row);
  }
  const seen = words.length > 0 && Object.values(status.verdicts).every((packets) => packets === 0);
  setText(nothing, seen && !all.checked ? "No packets yet." : "");
  nothing.hidden = nothing.textContent === "";
}

const nothing = el("p", { class: "quiet", hidden: true });

function group(action, mark, title) {
  const table = el("tbody", { role: "rowgroup" });
  const titles = HEADERS.map(([label, kind]) => el("th", { role: "columnheader", scope: "col", class: kind || null, text: label }));
  const element = el("div", { class: "wide" },
    el("h3", {}, el("span", { class: `mark ${action}`, "aria-hidden": "true", text: mark }), ` ${title}`),
    el("table", { role: "table", class: "verdicts", "aria-label": title },
      el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...titles)), table));
  const parent = document.getElementById("verdicts");
  if (!nothing.parentNode) parent.append(nothing);
  parent.append(element);
  return { action, element, table, views: new Map() };
}

function row(verdict) {
  const name = el("td", { role: "cell", "data-label": "Verdict" }, el("code", { text: verdict.name }));
  const now = el("td", { role: "cell", class: "number", "data-label": "Packets/s" });
  const total = el("td", { role: "cell", class: "number", "data-label": "In all" });
  const meaning = el("td", { role: "cell", class: "meaning", "data-label": "What it means" }, ...prose(verdict.meaning),
    verdict.advice ? el("span", { class: "quiet advice" }, " ", ...prose(verdict.advice)) : null);
  const element = el("tr", { role: "row", "data-verdict": verdict.name }, name, now, total, meaning);
  return {
    element,
    update(verdict) {
      setText(now, rate(verdict.rate));
      setText(total, count(verdict.packets));
      setAttribute(element, "data-rising", verdict.action === "drop" && verdict.rate > 0 ? "yes" : null);
    },
  };
}

/** Text in which keys, values and commands stand in backticks. */
function prose(text) {
  return text.split("`").map((part, index) => index % 2 === 1 ? el("code", { text: part }) : part);
}
