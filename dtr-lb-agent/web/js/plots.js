// The last ten minutes of one service, as four plots: replicas are stacked, so that their sum is the service's.
//
// They begin full, with what the agent has kept (`/v1/history`), and grow by what each status says.

import { STEPS, emptiness, labels, top, withGaps } from "./axes.js";
import { el, setText } from "./dom.js";
import { concerns } from "./events.js";
import { bytes, clock, count, rate } from "./format.js";
import { Marks } from "./marks.js";
import { replicaKey } from "./rates.js";

const SPAN = 600;
/** So little is shown at least. */
const SHORTEST = 60;
/** A point is taken after so many seconds. */
const STEP = 1.9;
/** So many replicas are told apart; the rest are one. */
const MOST = 12;
const HEIGHT = 104;
/** The time between two samples is a gap from so many steps on. */
const GAP_STEPS = 3;
/** Seconds between the agent's samples, where it does not say. */
const KEPT_STEP = 2;
/** Lines differ by more than their colour. */
const DASHES = [[], [6, 3], [2, 2], [8, 3, 2, 3], [12, 4], [1, 3]];

const EMPTY = { unknown: "no samples yet", zero: "nothing in these minutes" };

const QUANTITIES = [
  { name: "flows", title: "Flows", words: count, whole: true },
  { name: "new_flows", title: "New flows/s", words: rate },
  { name: "packets", title: "Packets/s", words: rate },
  { name: "bytes", title: "Bytes/s", words: bytes },
];

/** Which of the colours and dashes a replica has in its service, by its place. */
export function signOf(place) {
  return place < MOST - 1 ? place : MOST - 1;
}

export class Plots {
  constructor(service, key) {
    this.key = key;
    this.times = [];
    this.curves = new Map();
    this.last = null;
    this.events = [];
    this.element = el("div", { class: "plots" });
    this.figures = QUANTITIES.map((quantity) => this.figure(quantity, service));
    this.figures.forEach((figure, place) => { figure.marks = new Marks(figure.canvas, figure.note, place === 0); });
    this.element.append(...this.figures.map((figure) => figure.element));
    this.resized = new ResizeObserver(() => this.fit());
    this.resized.observe(this.element);
    this.repaint = () => { this.build(); this.draw(); };
    window.addEventListener("dtr-lb-theme", this.repaint);
  }

  remove() {
    this.resized.disconnect();
    window.removeEventListener("dtr-lb-theme", this.repaint);
    for (const figure of this.figures) figure.plot?.destroy();
  }

  figure(quantity, service) {
    const now = el("b", { class: "now", text: "–" });
    const canvas = el("div", { class: "canvas" });
    const tip = el("div", { class: "tip", "aria-hidden": "true", hidden: true });
    const note = el("div", { class: "tip note", role: "status", hidden: true });
    const empty = el("p", { class: "empty quiet", "aria-hidden": "true", hidden: true });
    const caption = el("figcaption", {}, el("span", { text: quantity.title }), now);
    const element = el("figure", { class: "plot" }, caption, canvas, tip, note);
    const image = el("div", { role: "img" });
    canvas.append(image, empty);
    image.setAttribute("aria-label", `${quantity.title} of ${service.name}`);
    return { quantity, service: service.name, element, canvas, image, now, tip, note, empty, plot: null };
  }

  /** Takes what the agent has kept of this service. */
  begin(kept) {
    const times = kept.times.map((time) => time / 1000);
    const most = GAP_STEPS * (kept.step ? kept.step / 1000 : KEPT_STEP);
    const names = QUANTITIES.map((quantity) => quantity.name);
    this.times = withGaps(times, [], most).times;
    this.curves = new Map(kept.replicas.map((replica) => {
      const { curves } = withGaps(times, names.map((name) => replica[name]), most);
      return [replicaKey(replica), Object.fromEntries(names.map((name, place) => [name, curves[place]]))];
    }));
    // Taken from the next status on: its rates need two.
    this.last = null;
  }

  /** Adds what a status says at this time (milliseconds), and draws. */
  add(service, milliseconds) {
    const time = milliseconds / 1000;
    const seconds = this.last ? time - this.last.time : 0;
    if (!this.last || seconds >= STEP) {
      if (this.last || this.times.length === 0) this.push(service, time, seconds);
      this.last = { time, totals: new Map(service.replicas.map((replica) => [replicaKey(replica), { ...replica }])) };
    }
    this.order(service.replicas);
    this.now = { flows: service.flows, ...service.rates };
    this.draw();
  }

  /** Events, of which those of this service are marked. */
  mark(events) {
    this.events = events.filter((event) => concerns(event, this.figures[0].service));
    this.markAll();
  }

  markAll() {
    for (const figure of this.figures) if (figure.plot) figure.marks.show(figure.plot, this.events);
  }

  push(service, time, seconds) {
    const points = new Map(service.replicas.map((replica) => [replicaKey(replica), replica]));
    for (const key of points.keys()) {
      if (!this.curves.has(key)) {
        const blank = () => this.times.map(() => null);
        this.curves.set(key, { flows: blank(), new_flows: blank(), packets: blank(), bytes: blank() });
      }
    }
    if (this.times.length > 0 && time - this.times.at(-1) > GAP_STEPS * STEP) {
      this.times.push((time + this.times.at(-1)) / 2);
      for (const curve of this.curves.values()) for (const { name } of QUANTITIES) curve[name].push(null);
    }
    this.times.push(time);
    for (const [key, curve] of this.curves) {
      const now = points.get(key);
      const before = this.last?.totals.get(key);
      curve.flows.push(now ? now.flows : null);
      for (const counter of ["new_flows", "packets", "bytes"]) {
        const known = now && before && now[counter] >= before[counter];
        curve[counter].push(known ? (now[counter] - before[counter]) / seconds : null);
      }
    }
    while (this.times.length > 0 && this.times[0] < time - SPAN) {
      this.times.shift();
      for (const curve of this.curves.values()) for (const quantity of QUANTITIES) curve[quantity.name].shift();
    }
  }

  /** Which replicas are drawn, from the bottom up; built anew when these change. */
  order(replicas) {
    const listed = replicas.map((replica) => ({ key: replicaKey(replica), name: replica.name }));
    const present = new Set(listed.map((replica) => replica.key));
    // One that is gone is still in the plots until it has left them.
    const gone = [...this.curves.keys()].filter((key) => !present.has(key)).map((key) => ({ key, name: key.split(" ")[0] }));
    const all = [...listed, ...gone];
    const shown = all.length > MOST ? all.slice(0, MOST - 1) : all;
    const layers = shown.map((replica) => ({ name: replica.name, keys: [replica.key] }));
    if (all.length > MOST) {
      const rest = all.slice(MOST - 1);
      layers.push({ name: `${rest.length} others`, keys: rest.map((replica) => replica.key) });
    }
    const print = JSON.stringify(layers);
    if (print === this.print) return;
    this.print = print;
    this.layers = layers;
    this.build();
  }

  build() {
    if (!this.layers) return;
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const [ink, grid, ground] = [colour("--quiet"), colour("--grid"), colour("--card")];
    // The topmost is the sum of all and is drawn first; each below covers its part.
    const tops = this.layers.map((layer, place) => {
      const line = colour(`--c${signOf(place)}`);
      return {
        label: layer.name, stroke: line, fill: mixed(line, ground, 0.3), width: 1.5,
        dash: DASHES[place % DASHES.length], points: { show: false },
      };
    }).reverse();
    for (const figure of this.figures) {
      figure.plot?.destroy();
      const { words, whole } = figure.quantity;
      const axis = { stroke: ink, font: "11px system-ui, sans-serif", grid: { stroke: grid, width: 1 }, ticks: { show: false } };
      figure.plot = new uPlot({
        ...this.size(),
        padding: [8, 8, 0, 0],
        legend: { show: false },
        cursor: { sync: { key: this.key }, y: false, points: { show: false }, drag: { x: false, y: false } },
        scales: { x: { range: () => this.range() }, y: { range: (_, __, largest) => [0, top(largest, whole)] } },
        axes: [
          { ...axis, size: 24, space: 64, values: (_, splits) => splits.map((split) => hourAndMinute(split)) },
          {
            ...axis, size: 52, space: 26, incrs: whole ? STEPS.whole : STEPS.any,
            values: (_, splits) => (figure.emptiness ? splits.map((split) => (split === 0 ? "0" : "")) : labels(splits, words)),
          },
        ],
        series: [{}, ...tops],
        hooks: { setCursor: [(plot) => this.tell(figure, plot.cursor.idx)] },
      }, null, figure.image);
    }
  }

  size() {
    const width = this.figures[0].canvas.clientWidth;
    return { width: Math.max(width, 120), height: HEIGHT };
  }

  fit() {
    for (const figure of this.figures) {
      const size = this.size();
      if (figure.plot && figure.plot.width !== size.width) figure.plot.setSize(size);
    }
    this.markAll();
  }

  range() {
    const end = this.times.at(-1) ?? Date.now() / 1000;
    // While there is less, it fills the plot.
    return [Math.max(end - SPAN, Math.min(this.times[0] ?? end, end - SHORTEST)), end];
  }

  /** The numbers of one layer. */
  values(layer, name) {
    const curves = layer.keys.map((key) => this.curves.get(key)?.[name]).filter(Boolean);
    return this.times.map((_, place) => curves.reduce((sum, curve) => {
      const value = curve[place] ?? null;
      return value === null ? sum : (sum ?? 0) + value;
    }, null));
  }

  draw() {
    if (!this.layers) return;
    for (const figure of this.figures) {
      const { name, words, title } = figure.quantity;
      figure.layers = this.layers.map((layer) => this.values(layer, name));
      const sampled = this.times.map((_, place) => figure.layers.some((layer) => layer[place] !== null));
      let below = this.times.map((_, place) => (sampled[place] ? 0 : null));
      const tops = figure.layers.map((layer) => {
        below = below.map((sum, place) => (sum === null ? null : sum + (layer[place] ?? 0)));
        return below;
      });
      figure.sum = below;
      figure.emptiness = emptiness(below);
      figure.empty.hidden = figure.emptiness === null;
      setText(figure.empty, EMPTY[figure.emptiness] ?? "");
      figure.plot?.setData([this.times, ...tops.reverse()]);
      const now = this.now?.[name] ?? null;
      setText(figure.now, now === null ? "–" : `now ${words(now)}`);
      const known = now === null ? "unknown" : words(now);
      const label = `${title} of ${figure.service}, the last ten minutes; now ${known}${figure.emptiness ? `; ${EMPTY[figure.emptiness]}` : ""}`;
      figure.image.setAttribute("aria-label", label);
    }
    this.markAll();
  }

  /** What the plot says at the pointer. */
  tell(figure, place) {
    const time = place === null || place === undefined ? undefined : this.times[place];
    figure.tip.hidden = time === undefined;
    if (time === undefined) return;
    const { words } = figure.quantity;
    const say = (value) => (value === null || value === undefined ? "–" : words(value));
    const rows = this.layers.map((layer, at) => el("div", {},
      el("span", { class: `swatch c${signOf(at)}` }), ` ${layer.name} `, el("b", { text: say(figure.layers[at][place]) })));
    figure.tip.replaceChildren(el("div", {}, `${clock(time * 1000)} `, el("b", { text: say(figure.sum[place]) })), ...rows.reverse());
  }
}

function hourAndMinute(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", ...(seconds % 60 ? { second: "2-digit" } : {}) });
}

/** Two colours, `#rrggbb`, of which the first has this part. */
function mixed(first, second, part) {
  const numbers = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  const [a, b] = [numbers(first), numbers(second)];
  return `rgb(${a.map((value, at) => Math.round(value * part + b[at] * (1 - part))).join(",")})`;
}
