// One replica of a service: a row of the table, and what there is to know beyond it.

import { actions } from "./admin.js";
import { announce, el, setAttribute, setText } from "./dom.js";
import { bytes, clock, compact, count, duration, end, rate } from "./format.js";
import * as latency from "./latency.js";
import { signOf } from "./plots.js";

/** The sign beside the word: neither colour nor shape alone. */
const MARKS = { up: "●", down: "✕", starting: "○", draining: "◐", maint: "‖" };
const WORDS = { maint: "maintenance" };

export const stateWord = (state) => WORDS[state] ?? state;

/**
 * The columns: what stands over them, on narrow screens before each cell (`long`, if that needs more words), and their kind, which
 * is a class of theirs.
 */
export const COLUMNS = [
  { label: "Replica", kind: "who" },
  { label: "State", kind: "what", words: "by its probes, the passive check, and overrides" },
  { label: "Weight", kind: "number", words: "its share of new flows, in proportion to the others" },
  { label: "Flows", kind: "number", words: "connections that may still carry data" },
  { label: "New/s", kind: "number", words: "connections steered to it per second" },
  { label: "In/s", long: "To replica/s", kind: "number", words: "bytes to the replica per second" },
  { label: "Out/s", long: "To clients/s", kind: "number", words: "bytes to clients per second" },
  { label: "Connect", long: "Connect, half / 99 of 100 within", kind: "number timed",
    words: "how long it takes to accept a connection: half within / 99 of 100 within" },
  { label: "Failed", long: "Failed in total", kind: "number",
    words: "connections that it refused, or had not answered when the client repeated its SYN; the details have each" },
];
/** What stands over the columns: how they are to be read. */
export const GROUPS = [{ label: "", columns: 3 }, { label: "Now", columns: 5 }, { label: "Total", columns: 1 }];

/** Whether there is nothing to look at. */
export const isWell = (replica) => replica.state === "up" && !replica.warning && !replica.agent?.error && replica.last_probe?.ok !== false;

export function replicaView(service, replica, place, number) {
  const cells = COLUMNS.map(({ label, long, kind }) => el("td", { role: "cell", class: kind, "data-label": label, "data-long": long ?? label }));
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
  const probe = el("span", { class: "probe" });
  state.append(badge, since, reason, probe);
  const row = el("tr", { role: "row", class: "replica" }, ...cells);
  const details = el("td", { role: "cell" });
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
    const print = JSON.stringify([replica.history, replica.state, replica.admin, replica.weight, admin, replica.since, totalsOf(replica).length]);
    if (print !== shown) {
      shown = print;
      details.replaceChildren(el("div", { class: "more-of-it" }, changes(replica), totals(replica), actions(service, replica, admin)));
    }
    fillTotals(details, replica);
  }

  /** `timed`: whether the column of times is shown. */
  function update({ service, replica, admin, timed, now }) {
    if (seen && seen.replica.state !== replica.state) {
      announce(`Service ${service.name}: replica ${replica.name} is ${stateWord(replica.state)}. ${replica.reason ?? ""}`);
    }
    seen = { service, replica, admin };
    setAttribute(details, "colspan", COLUMNS.length - (timed ? 0 : 1));
    setAttribute(element, "data-state", replica.state);
    setAttribute(element, "data-well", isWell(replica) ? "yes" : null);
    setText(mark, MARKS[replica.state] ?? "?");
    setText(word, stateWord(replica.state));
    setText(since, `for ${duration(now - Date.parse(replica.since))}`);
    setAttribute(since, "title", `since ${clock(replica.since)}`);
    const expected = replica.state === "up" && !slowStart(replica);
    const why = [expected ? null : replica.reason, agentWords(replica.agent), replica.warning].filter(Boolean).join("; ");
    setText(reason, why);
    const probed = probeWords(replica.last_probe);
    setText(probe, why.includes(probed) ? "" : `Probe: ${probed}`);
    setAttribute(probe, "data-failed", replica.last_probe && !replica.last_probe.ok ? "yes" : null);
    const { rates } = replica;
    const texts = [weightWords(replica), compact(replica.flows), rate(rates.new_flows), bytes(rates.bytes_to_replica),
      bytes(rates.bytes_to_client), latency.short(replica.connect_ms), compact(replica.refused + replica.unanswered)];
    texts.forEach((text, at) => setText(cells[at + 2], text));
    setAttribute(cells[8], "data-rising", rates.refused > 0 || rates.unanswered > 0 ? "yes" : null);
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
  ["refused", (replica) => count(replica.refused)],
  ["unanswered", (replica) => count(replica.unanswered)],
  ["redispatched", (replica) => count(replica.redispatched)],
  ["packets reset", (replica) => count(replica.reset)],
  ["SYNs again", (replica) => count(replica.syns_again), "syns_again"],
  ["ends", (replica) => latency.ends(replica.ends), "ends"],
  ["connect", (replica) => latency.long(replica.connect_ms), "connect_ms"],
  ["client RTT", (replica) => latency.long(replica.client_rtt_ms), "client_rtt_ms"],
];

/** Those that this agent tells. */
const totalsOf = (replica) => TOTALS.filter(([, , field]) => !field || (replica[field] !== undefined && (replica[field] !== null || field.endsWith("_ms"))));

function totals(replica) {
  const pairs = totalsOf(replica).map((total) =>
    el("div", {}, el("dt", { text: total[0] }), el("dd", { "data-total": TOTALS.indexOf(total) })));
  return el("div", {}, el("h4", { text: "Since the datapath was loaded" }), el("dl", { class: "totals" }, ...pairs));
}

function fillTotals(details, replica) {
  for (const cell of details.querySelectorAll("[data-total]")) {
    setText(cell, TOTALS[cell.getAttribute("data-total")][1](replica));
  }
}
