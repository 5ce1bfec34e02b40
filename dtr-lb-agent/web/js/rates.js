// Rates from two looks at the counters, and their sums. Nothing here touches the page.

/** A second's difference; `null` without a look before, or where a counter began anew. */
function perSecond(now, before, seconds) {
  if (before === undefined || !(seconds > 0) || now < before) return null;
  return (now - before) / seconds;
}

const COUNTERS = ["new_flows", "packets", "bytes", "packets_to_replica", "bytes_to_replica", "packets_to_client",
  "bytes_to_client", "refused", "redispatched", "unanswered", "reset"];

export const serviceKey = (service) => `${service.name} ${service.vip} ${service.port}`;
export const replicaKey = (replica) => `${replica.name} ${replica.address} ${replica.port}`;

/**
 * Adds to a status what a look before makes of it: `rates` to each replica and service, `verdict_rates` to the whole.
 * `time`: milliseconds. Returns the status.
 */
export function withRates(status, time, before) {
  const seconds = before ? (time - before.time) / 1000 : 0;
  const old = new Map();
  for (const service of before?.status.services ?? []) {
    for (const replica of service.replicas) old.set(`${serviceKey(service)} ${replicaKey(replica)}`, replica);
  }
  for (const service of status.services) {
    for (const replica of service.replicas) {
      const last = old.get(`${serviceKey(service)} ${replicaKey(replica)}`);
      replica.rates = Object.fromEntries(
        COUNTERS.map((counter) => [counter, perSecond(replica[counter], last?.[counter], seconds)]));
    }
    service.rates = sumOf(service.replicas.map((replica) => replica.rates));
    service.totals = totalsOf(service.replicas);
    service.flows = service.replicas.reduce((sum, replica) => sum + replica.flows, 0);
  }
  status.rates = sumOf(status.services.map((service) => service.rates));
  status.totals = totalsOf(status.services.map((service) => service.totals));
  status.flows = status.services.reduce((sum, service) => sum + service.flows, 0);
  const verdicts = before?.status.verdicts;
  status.verdict_rates = Object.fromEntries(Object.entries(status.verdicts)
    .map(([name, packets]) => [name, perSecond(packets, verdicts?.[name], seconds)]));
  return status;
}

function sumOf(all) {
  const sum = (counter) => all.reduce((sum, rates) => {
    const rate = rates?.[counter] ?? null;
    return rate === null ? sum : (sum ?? 0) + rate;
  }, null);
  return Object.fromEntries(COUNTERS.map((counter) => [counter, sum(counter)]));
}

const totalsOf = (all) =>
  Object.fromEntries(COUNTERS.map((counter) => [counter, all.reduce((sum, one) => sum + (one[counter] ?? 0), 0)]));

/** Drops a second, of all verdicts that drop. */
export function dropRate(status) {
  const rates = Object.entries(status.verdict_rates).filter(([name]) => name.startsWith("dropped_"));
  return rates.reduce((sum, [, rate]) => (rate === null ? sum : (sum ?? 0) + rate), null);
}

/** Packets of all verdicts that drop, since the datapath was loaded. */
export function drops(status) {
  return Object.entries(status.verdicts).reduce((sum, [name, packets]) => (name.startsWith("dropped_") ? sum + packets : sum), 0);
}
