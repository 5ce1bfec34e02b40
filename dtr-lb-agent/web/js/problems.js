// What is wrong, and what clients notice of it, in sentences. Nothing here touches the page.
//
// A problem is `{key, level, text}`. Its level says who is concerned: `bad` clients, `warn` the operator, `note` nobody, as an
// operator wanted it so. The worst come first.

import { count, minute, plural, share } from "./format.js";

const LEVELS = ["bad", "warn", "note"];
/** A table or a range is short from this part on. */
const SHORT = 0.8;
/** So many causes stand in one sentence. */
const MOST_CAUSES = 3;

/**
 * All of a status, with the rates of `withRates`. `seen(key)`: since when (milliseconds) this page has seen what the status has no
 * time of; `now`: milliseconds.
 */
export function problems(status, { now, seen }) {
  const say = { at: (time) => minute(time, now), seen: (key) => minute(seen(key), now) };
  const services = byName(status.services);
  const found = [
    ...ofDatapath(status, say),
    ...services.flatMap((service) => ofService(service, say)),
    ...ofOrders(services, say),
    ...ofPorts(services),
    ...(status.names ?? []).filter((name) => name.error).map((name) => ofName(name, say)),
  ];
  return found.sort((one, other) => LEVELS.indexOf(one.level) - LEVELS.indexOf(other.level));
}

/** Where nothing is wrong. */
export function calm(status) {
  const services = byName(status.services);
  const all = services.flatMap((service) => service.replicas);
  const up = all.filter((replica) => replica.state === "up").length;
  return `${plural(services.length, "service")}, ${up} of ${plural(all.length, "replica")} up, nothing to do`;
}

/** The whole in some words: `{level, words}`; level is `good`, `warn` or `bad`. */
export function overall(list) {
  const of = (level) => list.filter((problem) => problem.level === level).length;
  const [bad, warn, notes] = LEVELS.map(of);
  const number = plural(bad + warn, "problem");
  if (bad > 0) return { level: "bad", words: `${number}, clients are affected` };
  if (warn > 0) return { level: "warn", words: `${number}, clients are served` };
  return { level: "good", words: notes > 0 ? "Clients are served" : "All is well" };
}

/** A service with several VIPs is one, whose replicas are the same for each. */
function byName(services) {
  const found = new Map();
  for (const service of services) {
    const first = found.get(service.name);
    if (!first) {
      found.set(service.name, { ...service, replicas: service.replicas.map((replica) => ({ ...replica })) });
      continue;
    }
    first.suspicion ??= service.suspicion;
    if (service.challenge?.flooded) first.challenge = service.challenge;
    // Judged for each VIP: a replica that is slow for one is named once.
    const named = (first.slow ?? []).map((slow) => slow.replica);
    first.slow = [...(first.slow ?? []), ...(service.slow ?? []).filter((slow) => !named.includes(slow.replica))];
    service.replicas.forEach((replica, place) => { if (first.replicas[place]) first.replicas[place].flows += replica.flows; });
  }
  return [...found.values()];
}

function ofDatapath(status, say) {
  const { attach, up_to_date: written, max_flows: most, flow_entries: entries } = status.datapath;
  const found = [];
  if (attach.length === 0) {
    found.push({ key: "attach", level: "bad", text: "The datapath is on no interface: nothing is balanced" });
  }
  for (const { interface: name } of attach.filter((at) => !at.present)) {
    const key = `attach ${name}`;
    found.push({ key, level: "bad", text: `The datapath is not on ${name}, seen since ${say.seen(key)}: packets that arrive there are not balanced` });
  }
  if (written === false) {
    const since = say.seen("tables");
    found.push({ key: "tables", level: "bad",
      text: `The tables are not written since ${since}: what changes in health or config does not reach the datapath, which goes on as before` });
  }
  // The agent says it itself, or it is worked out: a connection has two entries.
  const table = status.flow_table ?? { entries, capacity: 2 * most };
  const part = table.capacity > 0 ? table.entries / table.capacity : 0;
  if (part >= SHORT) {
    const refused = table.refused > 0 ? ` (${count(table.refused)} so far)` : "";
    const text = part >= 1 ? `The flow table is full: new connections are refused${refused}`
      : `The flow table is ${share(part)} full (${count(table.entries)} of ${count(table.capacity)} entries); when it is full, new connections are refused${refused}`;
    found.push({ key: "table", level: part >= 1 ? "bad" : "warn", text });
  }
  return found;
}

function ofService(service, say) {
  const { name, suspicion, challenge } = service;
  const found = [ofReplicas(service, say)].filter(Boolean);
  if (suspicion) {
    found.push({ key: `suspicion ${name}`, level: "warn", text: `This host is suspected, not the replicas of ${name}, since `
      + `${say.at(suspicion.since)}: ${suspicion.reason}; the replicas keep their share, and nothing is reset` });
  }
  if (challenge?.flooded) {
    const rates = `${count(challenge.syns_per_second)} SYNs/s, ${count(challenge.handshakes_per_second)} handshakes/s`;
    const since = challenge.since ? ` since ${say.at(challenge.since)}` : "";
    found.push({ key: `flood ${name}`, level: "warn",
      text: `${name} is flooded with SYNs${since} (${rates}): clients prove their addresses first, which takes each up to a second once` });
  }
  for (const slow of service.slow ?? []) found.push({ key: `slow ${name} ${slow.replica}`, level: "warn", text: `${name}: ${slow.text}` });
  for (const replica of service.replicas) {
    const whose = `${replica.name} of ${name}`;
    if (replica.warning) found.push({ key: `warning ${whose}`, level: "warn", text: `${whose}: ${replica.warning}` });
    if (replica.agent?.error) {
      found.push({ key: `agent ${whose}`, level: "warn",
        text: `${whose}: its agent is not heard (${replica.agent.error}); what it said last holds: ${replica.agent.says}` });
    }
  }
  return found;
}

/** How many are up, why the others are not, and what becomes of connections. */
function ofReplicas({ name, replicas, hint }, say) {
  const are = (state) => replicas.filter((replica) => replica.state === state);
  const [up, down, starting] = ["up", "down", "starting"].map(are);
  const key = `replicas ${name}`;
  if (replicas.length === 0) return { key, level: "bad", text: `${name} has no replicas: new connections are refused` };
  if (up.length === 0 && starting.some((replica) => replica.effective_weight > 0)) {
    return { key, level: "warn", text: noneUp({ name, replicas, down, starting, hint }, say) };
  }
  if (up.length === 0) return { key, level: "bad", text: noneUp({ name, replicas, down, starting, hint }, say) };
  if (down.length > 0) {
    const first = `${name}: ${up.length} of ${replicas.length} up`;
    return { key, level: "warn", text: `${first}; ${causes(down, say)}; ${whatClientsNotice(up, down)}` };
  }
  if (starting.length > 0) {
    return { key, level: "note", text: `${name}: ${up.length} of ${replicas.length} up; ${listed(starting)} ${are_(starting)} not probed yet` };
  }
  return null;
}

const are_ = (replicas) => (replicas.length === 1 ? "is" : "are");

function noneUp({ name, replicas, down, starting, hint }, say) {
  const offered = replicas.filter((replica) => replica.effective_weight > 0);
  if (starting.length > 0) {
    const judged = down.length > 0 ? ` (${down.length} ${are_(down)} down)` : "";
    const then = offered.length > 0 ? "new connections go there all the same" : "new connections are refused";
    return `${name}: none is up, and ${plural(starting.length, "replica")} ${are_(starting)} not probed yet${judged}; ${then}`;
  }
  const words = hint ? `. All fail their probes in the same way; ${hint}` : "";
  if (down.length === 0) return `${name}: all replicas are drained or in maintenance: new connections are refused`;
  const last = down.map((replica) => Date.parse(replica.since)).reduce((one, other) => Math.max(one, other));
  const whole = down.length === replicas.length;
  const of = replicas.length === 1 ? `the only replica of ${name}, ${replicas[0].name}, is` : `all replicas of ${name} are`;
  const why = alike(down);
  const states = whole ? `${of} down since ${say.at(last)}${why ? ` (${why})` : ""}`
    : `no replica of ${name} is up since ${say.at(last)}: ${down.length} down, the others drained or in maintenance`;
  const then = offered.length === 0 ? "new connections are refused"
    : `new connections go to ${offered.length === 1 ? "it" : "them"} all the same (fail-open), and may fail`;
  return `${capital(states)}${whole ? ": " : "; "}${then}${words}`;
}

function whatClientsNotice(up, down) {
  const serving = up.filter((replica) => replica.effective_weight > 0);
  const resets = down.some((replica) => replica.rates?.reset > 0);
  const open = down.reduce((sum, replica) => sum + replica.flows, 0);
  const where = serving.length > 0 && serving.every((replica) => replica.backup) ? `the backup ${listed(serving)}` : "the others";
  const last = up.length === 1 && where === "the others" ? `; ${up[0].name} is the last one` : "";
  if (resets) return `clients with connections to ${them(down)} get resets, new connections go to ${where}${last}`;
  if (open > 0) return `new connections go to ${where}, ${plural(open, "open one")} may hang${last}`;
  if (where !== "the others") return `clients notice nothing, new connections go to ${where}`;
  return `clients notice nothing${last}`;
}

const them = (replicas) => (replicas.length === 1 ? "it" : "them");

/** What replicas do, by the reason that the agent gives: for one, and for several. */
const DEEDS = [
  [/^connection refused|^passive check: \d+ connections? refused/, "refuses connections", "refuse connections"],
  [/^no answer within|^answer not complete|^passive check: \d+ connections? unanswered/, "does not answer", "do not answer"],
  [/^unreachable/, "cannot be reached", "cannot be reached"],
  [/^status (\d+), expected/, "answers its probes with status $1", "answer their probes with status $1"],
];

function deed(replica) {
  for (const [pattern, one, many] of DEEDS) {
    const found = pattern.exec(replica.reason ?? "");
    if (found) return [one, many].map((words) => words.replace("$1", found[1] ?? ""));
  }
  const why = replica.reason ? ` (${replica.reason})` : "";
  return [`is down${why}`, `are down${why}`];
}

/** What all of them do, if it is the same; as in `they refuse connections`. */
function alike(replicas) {
  const deeds = new Set(replicas.map((replica) => deed(replica)[1]));
  if (deeds.size !== 1) return "";
  const [one, many] = deed(replicas[0]);
  return replicas.length === 1 ? `it ${one}` : `they ${many}`;
}

function causes(down, say) {
  const groups = new Map();
  for (const replica of down) {
    const [one, many] = deed(replica);
    const group = groups.get(many) ?? { one, many, replicas: [] };
    group.replicas.push(replica);
    groups.set(many, group);
  }
  const words = [...groups.values()].map(({ one, many, replicas }) => {
    const since = Math.min(...replicas.map((replica) => Date.parse(replica.since)));
    return `${listed(replicas)} ${replicas.length === 1 ? one : many} since ${say.at(since)}`;
  });
  return words.length > MOST_CAUSES
    ? `${words.slice(0, MOST_CAUSES).join(", ")}, others for ${plural(words.length - MOST_CAUSES, "other reason")}` : words.join(", ");
}

/** What operators, weights or the replicas' own agents keep from new connections: one sentence a replica, for all its services. */
function ofOrders(services, say) {
  const groups = new Map();
  for (const service of services) {
    for (const replica of service.replicas.filter(({ state }) => state === "draining" || state === "maint")) {
      const how = replica.state === "maint" ? "is in maintenance"
        : replica.admin === "drain" ? "is drained" : replica.weight === 0 ? "has weight 0" : "is drained by its own agent";
      const key = `order ${replica.name} ${how}`;
      const group = groups.get(key) ?? { key, how, replica, services: [], flows: 0, since: Infinity };
      group.services.push(service.name);
      group.flows += replica.flows;
      group.since = Math.min(group.since, Date.parse(replica.since));
      groups.set(key, group);
    }
  }
  return [...groups.values()].map(({ key, how, replica, services: names, flows, since }) => {
    const what = replica.state === "maint" ? "no new connections, no probes" : "no new connections";
    const open = flows > 0 ? `, ${plural(flows, "open one")} left` : "";
    return { key, level: "note", text: `${replica.name} ${how} since ${say.at(since)} (${names.join(", ")}): ${what}${open}` };
  });
}

function ofPorts(services) {
  const found = new Map();
  for (const service of services) {
    for (const replica of service.replicas) {
      for (const { address, used, of } of replica.nat_ports ?? []) {
        if (!(of > 0) || used / of < SHORT) continue;
        const full = used >= of;
        const key = `ports ${replica.address} ${replica.port} ${address}`;
        const numbers = full ? `All ${count(of)} NAT ports of ${address} to ${replica.name} are in use`
          : `${count(used)} of ${count(of)} NAT ports of ${address} to ${replica.name} are in use (${share(used / of)})`;
        const then = full ? "new connections go to other replicas or are refused" : "without a free one, new connections go to other replicas or are refused";
        found.set(key, { key, level: full ? "bad" : "warn", text: `${numbers}: ${then}` });
      }
    }
  }
  return [...found.values()];
}

function ofName({ name, error, addresses, answered }, say) {
  const of = answered ? `, ${say.at(answered)}` : "";
  const then = addresses.length === 0 ? "it has no replicas yet"
    : `the last good answer${of}, holds (${plural(addresses.length, "address", "addresses")})`;
  return { key: `name ${name}`, level: "warn", text: `The host name ${name} is not resolved (${error}): ${then}` };
}

function listed(replicas) {
  const names = replicas.map((replica) => replica.name);
  if (names.length > 4) return `${names.slice(0, 3).join(", ")} and ${names.length - 3} more`;
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}

const capital = (words) => words.charAt(0).toUpperCase() + words.slice(1);
