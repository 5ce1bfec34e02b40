// What stands at a plot's axis: numbers that are told apart, and no axis where there is nothing. Nothing here touches the page.

/** Steps between two numbers: 1, 2 and 5 times a power of ten. */
function steps(from, to) {
  const found = [];
  for (let power = from; power <= to; power += 1) for (const digit of [1, 2, 5]) found.push(Number(`${digit}e${power}`));
  return found;
}

/** Of what is counted there are only whole numbers; of a rate, hundredths. */
export const STEPS = { whole: steps(0, 15), any: steps(-2, 15) };

/** Whether there is nothing to draw: `unknown` without any number, `zero` where all are 0, else `null`. */
export function emptiness(numbers) {
  const known = numbers.filter((number) => number !== null && number !== undefined);
  if (known.length === 0) return "unknown";
  return known.every((number) => number === 0) ? "zero" : null;
}

/** The upper end of the axis over the largest number. */
export function top(largest, whole) {
  if (!(largest > 0)) return 1;
  return whole ? Math.max(largest * 1.1, 2) : largest * 1.1;
}

/** The words at the axis: short, and no two alike. */
export function labels(splits, words) {
  const short = splits.map((split) => words(split).replace(/(\.\d*?)0+(?=\s|$)/, "$1").replace(/\.(?=\s|$)/, ""));
  if (new Set(short).size === short.length) return short;
  const step = splits.length > 1 ? splits[1] - splits[0] : 1;
  const digits = Math.max(0, Math.ceil(-Math.log10(step)));
  return splits.map((split) => split.toFixed(digits));
}

/**
 * Samples with gaps where none were taken: where the time from one to the next is more than `most` (in the unit of `times`), a
 * sample of nulls stands between. `curves`: lists as long as `times`. Returns `{times, curves}`.
 */
export function withGaps(times, curves, most) {
  const places = times.flatMap((time, place) => (place > 0 && time - times[place - 1] > most ? [null, place] : [place]));
  const gap = (at) => (times[places[at - 1]] + times[places[at + 1]]) / 2;
  return {
    times: places.map((place, at) => (place === null ? gap(at) : times[place])),
    curves: curves.map((curve) => places.map((place) => (place === null ? null : curve[place] ?? null))),
  };
}
