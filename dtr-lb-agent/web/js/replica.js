// One replica of a service: a row of the table, and what there is to know beyond it.

import { actions } from "./admin.js";
import { announce, el, setAttribute, setText } from "./dom.js";
import { bytes, clock, count, duration, end, rate } from "./format.js";
import { signOf } from "./plots.js";

/** The sign beside the word: neither colour nor shape alone. */
const MARKS = { up: "●", down: "✕", starting: "○", draining: "◐", maint: "‖" };
const WORDS = { maint: "maintenance" };

export const stateWord = (state) => WORDS[state] ?? state;

/** Headers and, for narrow screens, the labels of the cells. */
export const COLUMNS = [
  ["Replica", "", ""],
  ["State", "", "by its probes, the passive check, and overrides"],
  ["Weight", "number", "its share of new flows, in proportion to the others"],
  ["Flows", "number", "connections that may still carry data"],
  ["New/s", "number", "connections steered to it per second"],
  ["To replica", "number", "bytes per second"],
  ["To clients", "number", "bytes per second"],
  ["Refused", "number", "connections that it answered with a RST"],
  ["Unanswered", "number", "connections that it had not answered when the client repeated its SYN"],
  ["Redispatched", "number", "connections sent to another replica instead"],
  ["Reset", "number", "packets of its connections answered with a RST, as it is dead"],
  ["Last probe", "", ""],
];

export function replicaView(service, replica, place, number) {
  const cells = COLUMNS.map(([label, kind]) => el("td", { role: "cell", class: kind || null, "data-label": label }));
  const [name, state] = cells;
  const id = `more-${number}`;
  const more = el("button", { type: "button", class: "plain more", "aria-expanded": "false", "aria-controls": id, text: "Details" });
  const address = el("span", { class: "quiet address", text: end(replica.address, replica.port) });
  const title = el("span", { class: "name" }, el("span", { class: `swatch c${signOf(place)}`, "aria-hidden": "true" }), ` ${replica.name}`);
  name.append(title, el("span", { class: "under" }, address, more));
  const badge = el("span", { class: "state" });
  const mark = el("span", { class: "mark", "aria-hidden": "true" });
  const word = el("span", {});
  badge.append(mark, word);
  const since = el("span", { class: "quiet since" });
  const reason = el("span", { class: "reason" });
  state.append(badge, since, reason);
  const row = el("tr", { role: "row", class: "replica" }, ...cells);
  const details = el("td", { role: "cell", colspan: COLUMNS.length });
  const second = el("tr", { role: "row", id, class: "details", hidden: true }, details);
  const element = el("tbody", { role: "rowgroup", "data-replica": replica.name }, row, second);
  let seen = null;
  let shown = "";

  more.addEventListener("click", () => {
    second.hidden = !second.hidden;
    setAttribute(more, "aria-expanded", String(!second.hidden));
    setText(more, second.hidden ? "Details" : "Less");
    shown = "";
    if (seen) detail(seen);
  });

  function detail({ service, replica, admin }) {
    if (second.hidden) return;
    // Made anew only if something is another: a button that has the focus stays.
    const print = JSON.stringify([replica.history, replica.state, replica.admin, replica.weight, admin, replica.since]);
    if (print !== shown) {
      shown = print;
      details.replaceChildren(el("div", { class: "more-of-it" }, changes(replica), totals(), actions(service, replica, admin)));
    }
    fillTotals(details, replica);
  }

  function update({ service, replica, admin, now }) {
    if (seen && seen.replica.state !== replica.state) {
      announce(`Service ${service.name}: replica ${replica.name} is ${stateWord(replica.state)}. ${replica.reason ?? ""}`);
    }
    seen = { service, replica, admin };
    setAttribute(element, "data-state", replica.state);
    setText(mark, MARKS[replica.state] ?? "?");
    setText(word, stateWord(replica.state));
    setText(since, `for ${duration(now - Date.parse(replica.since))}`);
    setAttribute(since, "title", `since ${clock(replica.since)}`);
    const expected = replica.state === "up" && !slowStart(replica);
    setText(reason, [expected ? null : replica.reason, agentWords(replica.agent), replica.warning].filter(Boolean).join("; "));
    const { rates } = replica;
    const texts = [weightWords(replica), count(replica.flows), rate(rates.new_flows), bytes(rates.bytes_to_replica),
      bytes(rates.bytes_to_client), count(replica.refused), count(replica.unanswered), count(replica.redispatched),
      count(replica.reset), probeWords(replica.last_probe)];
    texts.forEach((text, at) => setText(cells[at + 2], text));
    setAttribute(cells[7], "data-rising", rates.refused > 0 ? "yes" : null);
    setAttribute(cells[8], "data-rising", rates.unanswered > 0 ? "yes" : null);
    setAttribute(cells[10], "data-rising", rates.reset > 0 ? "yes" : null);
    setAttribute(cells[11], "data-failed", replica.last_probe && !replica.last_probe.ok ? "yes" : null);
    detail(seen);
  }

  return { element, update };
}

const slowStart = (replica) =>
  replica.state === "up" && !replica.backup && replica.effective_weight !== replica.weight;

function weightWords(replica) {
  if (replica.backup) return `${replica.weight} backup`;
  return slowStart(replica) ? `${replica.effective_weight} of ${replica.weight}` : String(replica.weight);
}

function probeWords(probe) {
  if (!probe) return "not yet";
  if (!probe.ok) return probe.error ?? "failed";
  return probe.status === null ? `connected in ${probe.ms} ms` : `${probe.status} in ${probe.ms} ms`;
}

/** What it says of itself, where that is more than that it is ready. */
function agentWords(agent) {
  if (!agent) return null;
  if (agent.error) return `agent not heard: ${agent.error}; it said ${agent.says} last`;
  return agent.says === "ready" ? null : `agent: ${agent.says}`;
}

/** What became of it, the newest first. */
function changes(replica) {
  const list = [...(replica.history ?? [])].reverse();
  const title = el("h4", { text: "Changes" });
  if (list.length === 0) {
    const words = `None since the agent's start; ${stateWord(replica.state)} since ${clock(replica.since)}.`;
    return el("div", { class: "changes" }, title, el("p", { class: "quiet", text: words }));
  }
  const items = list.map((change) => el("li", {},
    el("time", { datetime: change.time, text: clock(change.time) }),
    ` ${stateWord(change.from)} → `, el("b", { text: stateWord(change.to) }), change.reason ? `: ${change.reason}` : ""));
  return el("div", { class: "changes" }, title, el("ol", {}, ...items));
}

const TOTALS = [
  ["new flows", (replica) => count(replica.new_flows)],
  ["to replica", (replica) => `${count(replica.packets_to_replica)} packets, ${bytes(replica.bytes_to_replica)}`],
  ["to clients", (replica) => `${count(replica.packets_to_client)} packets, ${bytes(replica.bytes_to_client)}`],
];

function totals() {
  const pairs = TOTALS.map(([label], at) => el("div", {}, el("dt", { text: label }), el("dd", { "data-total": at })));
  return el("div", {}, el("h4", { text: "In all" }), el("dl", { class: "totals" }, ...pairs));
}

function fillTotals(details, replica) {
  for (const cell of details.querySelectorAll("[data-total]")) {
    setText(cell, TOTALS[cell.getAttribute("data-total")][1](replica));
  }
}
