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
  // An established connection has two entries, or one where replicas answer clients directly.
  setText(entries, `${count(datapath.flow_entries)} entries; room for ${count(datapath.max_flows)} connections`);
  setText(document.getElementById("version"), `dtr-lb ${status.version}`);
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
