// One service: its plots and its replicas.

import { el, setAttribute, setText, sync } from "./dom.js";
import { bytes, end, plural, rate } from "./format.js";
import { Plots } from "./plots.js";
import { replicaKey, serviceKey } from "./rates.js";
import { COLUMNS, replicaView, stateWord } from "./replica.js";

const MARKS = { up: "●", down: "✕", starting: "○" };
let numbers = 0;

export function serviceView(service) {
  numbers += 1;
  const id = `service-${numbers}`;
  const mark = el("span", { class: "mark", "aria-hidden": "true" });
  const word = el("span", {});
  const state = el("span", { class: "state" }, mark, word);
  const sums = el("span", { class: "quiet sums" });
  const head = el("div", { class: "head" },
    el("h2", { id }, "Service ", el("b", { text: service.name })),
    el("span", { class: "address", text: `${end(service.vip, service.port)} · ${service.mode}` }), state, sums);
  const titles = COLUMNS.map(([label, kind, words]) =>
    el("th", { role: "columnheader", scope: "col", class: kind || null, title: words || null, text: label }));
  const table = el("table", { role: "table", class: "replicas", "aria-label": `Replicas of ${service.name}` },
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...titles)));
  const hint = el("p", { class: "quiet", hidden: true });
  const empty = el("p", { class: "quiet", hidden: true, text: "This service has no replicas." });
  const plots = new Plots(service, serviceKey(service));
  const element = el("section", { class: "card service", "aria-labelledby": id }, head, hint, plots.element,
    el("div", { class: "wide" }, table), empty);
  const views = new Map();

  function update({ service, time, admin, kept }) {
    setAttribute(element, "data-state", service.state);
    setText(mark, MARKS[service.state] ?? "?");
    setText(word, stateWord(service.state));
    const { rates } = service;
    setText(sums, `${plural(service.flows, "flow")} · ${rate(rates.new_flows)} new/s · ${bytes(rates.bytes)}/s`);
    hint.hidden = !service.hint;
    setText(hint, service.hint ? `All replicas fail their probes in the same way; ${service.hint}` : "");
    empty.hidden = service.replicas.length > 0;
    table.hidden = service.replicas.length === 0;
    const items = service.replicas.map((replica, place) => ({ service, replica, place, admin, now: time }));
    // The first child is the row of titles.
    syncAfter(table, views, items);
    if (kept) plots.begin(kept);
    plots.add(service, time);
  }

  return { element, update, remove: () => plots.remove() };
}

/** A replica that moves to another place in the list gets another colour: it is made anew. */
function syncAfter(table, views, items) {
  const keyOf = (item) => `${replicaKey(item.replica)} ${item.place}`;
  const bodies = {
    get firstChild() { return table.firstChild.nextSibling; },
    insertBefore: (element, place) => table.insertBefore(element, place),
  };
  sync(bodies, views, items, keyOf, (item) => {
    numbers += 1;
    return replicaView(item.service, item.replica, item.place, numbers);
  });
}
