// The whole in a few numbers.

import { el, setAttribute, setText } from "./dom.js";
import { bytes, count, rate } from "./format.js";
import { dropRate } from "./rates.js";

const part = (some, all) => `${some} of ${all}`;

const TILES = [
  ["Services up", (status) => {
    const up = status.services.filter((service) => service.state === "up").length;
    return { value: part(up, status.services.length), bad: up < status.services.length };
  }],
  ["Replicas up", (status) => {
    // A replica of two services is one: it is up if it is for all of them.
    const all = status.services.flatMap((service) => service.replicas);
    const names = (replicas) => new Set(replicas.map((replica) => replica.name));
    const down = names(all.filter((replica) => replica.state === "down"));
    const other = names(all.filter((replica) => replica.state !== "up"));
    const aside = other.size - down.size;
    return { value: part(names(all).size - other.size, names(all).size), bad: down.size > 0, note: aside > 0 ? `${aside} not in use` : "" };
  }],
  ["Flows", (status) => ({ value: count(status.flows), note: `room for ${count(status.datapath.max_flows)}` })],
  ["New flows/s", (status) => ({ value: rate(status.rates.new_flows) })],
  ["Packets/s", (status) => ({ value: rate(status.rates.packets) })],
  ["Bytes/s", (status) => ({ value: bytes(status.rates.bytes) })],
  ["Dropped/s", (status) => {
    const drops = dropRate(status);
    return { value: rate(drops), bad: drops > 0, note: drops > 0 ? "see the verdicts" : "" };
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
