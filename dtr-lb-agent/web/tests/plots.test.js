import assert from "node:assert/strict";
import { test } from "node:test";

import { STEPS, emptiness, labels, top, withGaps } from "../js/axes.js";
import { isBad, marks, merged, who } from "../js/events.js";
import { bytes, count, latency, rate, share } from "../js/format.js";

/** Numbers of an axis as uPlot places them. */
function splits(largest, whole) {
  const end = top(largest, whole);
  const step = (whole ? STEPS.whole : STEPS.any).find((one) => end / one <= 4);
  return Array.from({ length: Math.floor(end / step) + 1 }, (_, place) => Number((place * step).toPrecision(12)));
}

test("no two numbers of an axis are alike", () => {
  for (let largest = 0.02; largest < 1e10; largest *= 1.37) {
    for (const [words, whole] of [[count, true], [rate, false], [bytes, false]]) {
      const told = labels(splits(whole ? Math.ceil(largest) : largest, whole), words);
      assert.equal(new Set(told).size, told.length, `${largest}: ${told}`);
    }
  }
  assert.deepEqual(labels([0, 10_000, 20_000], rate), ["0", "10 k", "20 k"]);
  assert.deepEqual(labels([0, 0.02, 0.04], rate), ["0.00", "0.02", "0.04"]);
  assert.deepEqual(labels(splits(1, true), count), ["0", "1", "2"]);
});

test("nothing is told from zero, and from something", () => {
  assert.equal(emptiness([]), "unknown");
  assert.equal(emptiness([null, null]), "unknown");
  assert.equal(emptiness([null, 0, 0]), "zero");
  assert.equal(emptiness([0, 0.1]), null);
});

test("where no samples were taken there is a gap", () => {
  const { times, curves } = withGaps([0, 2, 60, 62], [[1, 2, 3, 4], [null, 1, undefined, 2]], 5);
  assert.deepEqual(times, [0, 2, 31, 60, 62]);
  assert.deepEqual(curves, [[1, 2, null, 3, 4], [null, 1, null, null, 2]]);
  assert.deepEqual(withGaps([0, 2], [[1, 2]], 5), { times: [0, 2], curves: [[1, 2]] });
});

const event = (id, second, more = {}) => ({ id, time: new Date(second * 1000).toISOString(), event: "replica_state", text: `event ${id}`, ...more });

test("events are kept once, and another agent begins anew", () => {
  let known = merged({ list: [], newest: 0 }, { events: [event(1, 1), event(2, 2)], newest: 2 });
  known = merged(known, { events: [event(2, 2), event(3, 3)], newest: 3 });
  assert.deepEqual(known.list.map(({ id }) => id), [1, 2, 3]);
  assert.equal(known.newest, 3);
  assert.equal(merged(known, { events: [] }).newest, 3);
  assert.deepEqual(merged(known, { events: [], newest: 1 }), { list: [], newest: 0 });
});

test("who wanted it is told", () => {
  assert.equal(who(null), "the agent");
  assert.equal(who({ uid: 0, user: "root" }), "root");
  assert.equal(who({ uid: 1000, user: null }), "uid 1000");
  assert.equal(who({ token: "admin", address: "10.0.0.9:5000" }), "admin from 10.0.0.9:5000");
  assert.ok(isBad(event(1, 1, { details: { to: "down" } })) && isBad(event(1, 1, { event: "service_down" })) && !isBad(event(1, 1)));
});

test("marks stand at their times; those that would cover each other are one", () => {
  const found = marks([event(1, 5), event(2, 100), event(3, 101), event(4, 300)], { from: 50_000, to: 150_000, width: 200, least: 10 });
  assert.deepEqual(found.map(({ left, events }) => [left, events.map(({ id }) => id)]), [[100, [2, 3]]]);
});

test("parts and latencies are short", () => {
  assert.equal(share(0.999), "99 %");
  assert.deepEqual([0.36, 8, 12.4, 1300].map(latency), ["0.4 ms", "8.0 ms", "12 ms", "1.3 s"]);
});
