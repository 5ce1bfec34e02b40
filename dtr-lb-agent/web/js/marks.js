// Marks of events on a plot, at their times. Pointed at, focused or tapped, each says what happened.

import { el } from "./dom.js";
import { isBad, marks } from "./events.js";
import { clock } from "./format.js";

/** Pixels between two marks; closer ones are one. */
const LEAST = 16;
/** So many sentences are told of one mark. */
const MOST = 6;

export class Marks {
  /** On `canvas`; told in `tip`. Only those of one plot of several are reached by the keyboard, as all say the same. */
  constructor(canvas, tip, first) {
    this.layer = el("div", { class: "marks", "aria-hidden": first ? null : "true" });
    this.tip = tip;
    this.first = first;
    this.print = "";
    canvas.append(this.layer);
  }

  /** `plot`: a uPlot, whose scale says where a time is. */
  show(plot, events) {
    const { min, max } = plot.scales.x;
    const { left, top, width, height } = plot.bbox;
    const ratio = devicePixelRatio;
    const found = min === null || min === undefined ? []
      : marks(events, { from: min * 1000, to: max * 1000, width: width / ratio, least: LEAST });
    const ids = found.map((mark) => mark.events.map((event) => event.id).join(" "));
    const print = ids.join(",");
    if (print !== this.print) {
      this.print = print;
      this.remake(found, ids);
    }
    this.layer.style.left = `${left / ratio}px`;
    this.layer.style.top = `${top / ratio}px`;
    this.layer.style.height = `${height / ratio}px`;
    found.forEach((mark, place) => { this.layer.children[place].style.left = `${mark.left}px`; });
  }

  /** A mark that stays keeps its element, and the focus. */
  remake(found, ids) {
    const old = new Map([...this.layer.children].map((button) => [button.getAttribute("data-events"), button]));
    const buttons = found.map((mark, place) => old.get(ids[place]) ?? this.button(mark, ids[place]));
    for (const button of old.values()) if (!buttons.includes(button)) button.remove();
    buttons.forEach((button, place) => {
      if (this.layer.children[place] !== button) this.layer.insertBefore(button, this.layer.children[place] ?? null);
    });
  }

  button(mark, id) {
    const words = mark.events.map((event) => `${clock(event.time)} ${event.text}`);
    const button = el("button", {
      type: "button", class: "event", "data-events": id, "data-bad": mark.events.some(isBad) ? "yes" : null,
      tabindex: this.first ? null : "-1", "aria-label": words.join(". "),
    });
    const tell = () => {
      const rest = words.length - MOST;
      const rows = words.slice(-MOST).map((text) => el("div", { text }));
      this.tip.replaceChildren(...(rest > 0 ? [el("div", { class: "quiet", text: `and ${rest} before` })] : []), ...rows);
      this.tip.hidden = false;
    };
    const hide = () => { this.tip.hidden = true; };
    for (const kind of ["pointerenter", "focus", "click"]) button.addEventListener(kind, tell);
    for (const kind of ["pointerleave", "blur"]) button.addEventListener(kind, hide);
    button.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
    return button;
  }
}
