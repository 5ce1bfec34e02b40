// Where the datapath sits, and how full its table is.

import { el, setText } from "./dom.js";
import { count } from "./format.js";

let shown = "";
let entries = null;

export function show(status) {
  const { datapath } = status;
  const print = JSON.stringify([datapath.attach, datapath.attach_reason, datapath.adopted]);
  if (print !== shown) {
    shown = print;
    build(datapath);
  }
  // A connection has two entries (with an IPv6 address four), or half of that where replicas answer clients directly.
  setText(entries, tableWords(status));
  setText(document.getElementById("version"), `dtr-lb ${status.version}`);
}

function tableWords({ datapath, flow_table: table }) {
  if (!table) return `${count(datapath.flow_entries)} of ${count(2 * datapath.max_flows)} entries in use`;
  const lost = [[table.evicted, "made way for others"], [table.refused, "refused"]].filter(([number]) => number > 0)
    .map(([number, words]) => `; ${count(number)} ${words}`);
  return `${count(table.entries)} of ${count(table.capacity)} entries in use${lost.join("")}`;
}

function build(datapath) {
  entries = el("dd", {});
  const pair = (label, ...what) => el("div", {}, el("dt", { text: label }), ...what);
  const interfaces = datapath.attach.map((attach) => el("li", { "data-missing": attach.present ? null : "yes" },
    el("b", { text: attach.interface }), ` ${hookWords(attach)}`,
    attach.present ? "" : el("span", { class: "state" }, el("span", { class: "mark", "aria-hidden": "true", text: "✕" }), "missing")));
  const attached = interfaces.length > 0 ? el("ul", {}, ...interfaces) : el("p", { text: "nowhere" });
  document.getElementById("datapath").replaceChildren(el("dl", { class: "facts" },
    pair("Attached to", el("dd", {}, attached)),
    pair("Reason", el("dd", { text: datapath.attach_reason || "–" })),
    pair("Adopted", el("dd", { text: datapath.adopted ? "from an earlier agent, with its flows" : "no: this agent loaded it" })),
    pair("Flow table", entries)));
}

function hookWords({ hook, native }) {
  if (hook !== "xdp") return hook === "tc" ? "by TC" : `by ${hook}`;
  return native ? "by XDP, in the driver (native)" : "by XDP, generic";
}
