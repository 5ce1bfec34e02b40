// What happened: kept from what the agent tells, told by whom, and put together where marks would cover each other. Nothing here
// touches the page.

/** So many are kept: those of the plots' ten minutes on a bad night. */
export const MOST = 500;

/** Adds what the agent answered to what is known: `{list, newest}`, the list with the newest last; `newest` is what to ask on from. */
export function merged(known, answer) {
  const newest = answer.newest ?? answer.events.reduce((most, event) => Math.max(most, event.id), known.newest);
  // Smaller than before: another agent counts anew, and what is known is not its own.
  if (newest < known.newest) return { list: [], newest: 0 };
  const byId = new Map([...known.list, ...answer.events].map((event) => [event.id, event]));
  const list = [...byId.values()].sort((one, other) => one.id - other.id).slice(-MOST);
  return { list, newest };
}

/** Who wanted it. */
export function who(by) {
  if (!by) return "the agent";
  if (by.token !== undefined) return `${by.token} from ${by.address}`;
  return by.user ?? `uid ${by.uid}`;
}

/** Whether it is about this service, or about all of them. */
export const concerns = (event, service) => !event.service || event.service === service;

/** Bad ones are marked so. */
export const isBad = (event) => /_down$/.test(event.event) || event.details?.to === "down";

/**
 * Marks of events (with `time`, milliseconds) that are within `from` and `to`: `{left, events}`, left in pixels of a plot that is so
 * wide; events closer than `least` pixels share one.
 */
export function marks(events, { from, to, width, least }) {
  const found = [];
  for (const event of events) {
    const time = Date.parse(event.time);
    if (!(time >= from && time <= to)) continue;
    const left = ((time - from) / (to - from)) * width;
    const last = found.at(-1);
    if (last && left - last.left < least) last.events.push(event);
    else found.push({ left, events: [event] });
  }
  return found;
}
