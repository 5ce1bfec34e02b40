// How fast replicas and clients are, and how connections ended, in words; empty where the agent does not say.

import { count, latency } from "./format.js";

/** `1.2 / 8.0 ms`: half of them take less, and all but one in a hundred. */
export function short(times) {
  if (!times) return "–";
  const [half, most] = [latency(times.p50), latency(times.p99)];
  const unit = half.split(" ")[1];
  return most.endsWith(` ${unit}`) ? `${half.split(" ")[0]} / ${most}` : `${half} / ${most}`;
}

/** All that is known of the times: for the details. */
export function long(times) {
  if (!times) return "not measured yet";
  return `half within ${latency(times.p50)}, 99 of 100 within ${latency(times.p99)}, mean ${latency(times.mean)}`;
}

/** `closed 1,200, idle 3`: those that there were, the most frequent first. */
export function ends(numbers) {
  const found = Object.entries(numbers).filter(([, number]) => number > 0).sort(([, one], [, other]) => other - one);
  return found.length === 0 ? "none yet" : found.map(([end, number]) => `${end.replaceAll("_", " ")} ${count(number)}`).join(", ");
}
