// All traffic in a few numbers: now, and in total.

import { el, setAttribute, setText } from "./dom.js";
import { bytes, count, rate } from "./format.js";
import { dropRate, drops } from "./rates.js";

const total = (number, words) => `${words(number)} in total`;

const TILES = [
  ["Flows", (status) => ({ value: count(status.flows), note: `room for ${count(status.datapath.max_flows)}` })],
  ["New flows/s", (status) => ({ value: rate(status.rates.new_flows), note: total(status.totals.new_flows, count) })],
  ["Packets/s", (status) => ({ value: rate(status.rates.packets), note: total(status.totals.packets, count) })],
  ["Bytes/s", (status) => ({ value: bytes(status.rates.bytes), note: total(status.totals.bytes, bytes) })],
  ["Dropped packets/s", (status) => {
    const now = dropRate(status);
    return { value: rate(now), bad: now > 0, note: total(drops(status), count) };
  }],
];

let tiles = null;

export function show(status) {
  if (!tiles) {
    tiles = TILES.map(([label, of]) => {
      const [value, note] = [el("b", {}), el("span", { class: "quiet" })];
      const element = el("div", { class: "tile" }, el("dt", { text: label }), el("dd", {}, value, note));
      return { of, value, note, element };
    });
    document.getElementById("glance").append(...tiles.map((tile) => tile.element));
  }
  for (const { of, value, note, element } of tiles) {
    const now = of(status);
    setText(value, now.value);
    setText(note, now.note ?? "");
    setAttribute(element, "data-bad", now.bad ? "yes" : null);
  }
}
