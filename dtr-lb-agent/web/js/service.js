// One service: its state, its replicas and its plots.

import { el, setAttribute, setText, sync } from "./dom.js";
import { end } from "./format.js";
import { Plots } from "./plots.js";
import { replicaKey, serviceKey } from "./rates.js";
import { COLUMNS, GROUPS, isWell, replicaView, stateWord } from "./replica.js";

const MARKS = { up: "●", down: "✕", starting: "○" };
let numbers = 0;

export function serviceView(service) {
  numbers += 1;
  const id = `service-${numbers}`;
  const mark = el("span", { class: "mark", "aria-hidden": "true" });
  const word = el("span", {});
  const ups = el("span", { class: "ups" });
  // On a narrow screen only: there it hides the replicas that are well.
  const fold = el("button", { type: "button", class: "fold", "aria-expanded": "false", "aria-controls": `${id}-replicas` });
  const head = el("div", { class: "head" },
    el("h2", { id }, "Service ", el("b", { text: service.name })),
    el("span", { class: "address", text: `${end(service.vip, service.port)} · ${service.mode}` }),
    el("span", { class: "state" }, mark, word), ups, fold);
  const { table, now } = tableOf(service, `${id}-replicas`);
  const empty = el("p", { class: "quiet", hidden: true, text: "This service has no replicas." });
  const plots = new Plots(service, serviceKey(service));
  const element = el("section", { class: "card service", "aria-labelledby": id }, head,
    el("div", { class: "body" }, el("div", { class: "wide" }, table, empty), plots.element));
  const views = new Map();
  let open = false;
  let seen = [];

  function update({ service, time, admin, kept }) {
    setAttribute(element, "data-state", service.state);
    setText(mark, MARKS[service.state] ?? "?");
    setText(word, stateWord(service.state));
    seen = service.replicas;
    tellFold();
    const timed = seen.some((replica) => replica.connect_ms !== undefined);
    setAttribute(table, "data-timed", timed ? "yes" : null);
    setAttribute(now, "colspan", GROUPS[1].columns - (timed ? 0 : 1));
    empty.hidden = seen.length > 0;
    table.hidden = seen.length === 0;
    const items = seen.map((replica, place) => ({ service, replica, place, admin, timed, now: time }));
    syncBelow(table, views, items);
    if (kept) plots.begin(kept);
    plots.add(service, time);
  }

  function tellFold() {
    const words = `${seen.filter((replica) => replica.state === "up").length} of ${seen.length} up`;
    setText(ups, words);
    fold.hidden = !seen.some(isWell);
    setText(fold, `${words} ${open ? "▾" : "▸"}`);
    setAttribute(fold, "aria-expanded", String(open));
    setAttribute(fold, "aria-label", `${words}; ${open ? "hide" : "show"} those that are well`);
    setAttribute(table, "data-folded", open ? null : "yes");
  }

  fold.addEventListener("click", () => {
    open = !open;
    tellFold();
  });
  return { element, update, mark: (events) => plots.mark(events), remove: () => plots.remove() };
}

/** Its header says what is now and what is in total; `now` is the title over the former. */
function tableOf(service, id) {
  const title = (props) => el("th", { role: "columnheader", ...props });
  const groups = GROUPS.map(({ label, columns }) =>
    (label ? title({ scope: "colgroup", class: "group", colspan: columns, text: label }) : el("td", { role: "cell", colspan: columns })));
  const titles = COLUMNS.map(({ label, kind, words }) => title({ scope: "col", class: kind, title: words ?? null, text: label }));
  const table = el("table", { role: "table", id, class: "replicas", "aria-label": `Replicas of ${service.name}` },
    el("colgroup", {}, ...COLUMNS.map(({ kind }) => el("col", { class: kind }))),
    el("thead", { role: "rowgroup" }, el("tr", { role: "row", class: "groups" }, ...groups), el("tr", { role: "row" }, ...titles)));
  return { table, now: groups[1] };
}

/** Below the header. A replica that moves to another place in the list gets another colour: it is made anew. */
function syncBelow(table, views, items) {
  const keyOf = (item) => `${replicaKey(item.replica)} ${item.place}`;
  const bodies = {
    get firstChild() { return table.tHead.nextSibling; },
    insertBefore: (element, place) => table.insertBefore(element, place),
  };
  sync(bodies, views, items, keyOf, (item) => {
    numbers += 1;
    return replicaView(item.service, item.replica, item.place, numbers);
  });
}
