// A status as the agent gives it, for tests: all is well until a test changes it.

export const NOW = Date.parse("2026-01-02T19:00:00Z");
export const AT_1847 = "2026-01-02T18:47:12Z";

export function replica(number, changes = {}) {
  return {
    name: `replica-${number}`, address: `10.0.0.1${number}`, port: 443, state: "up", admin: "ready", reason: "status 200", weight: 100,
    effective_weight: 100, backup: false, since: "2026-01-02T08:00:00Z", last_probe: { ok: true, status: 200, ms: 1.2, error: null },
    history: [], agent: null, warning: null, flows: 0, packets: 0, bytes: 0, packets_to_replica: 0, bytes_to_replica: 0,
    packets_to_client: 0, bytes_to_client: 0, new_flows: 0, refused: 0, unanswered: 0, redispatched: 0, reset: 0, ...changes,
  };
}

export const down = (number, reason, changes = {}) =>
  replica(number, { state: "down", reason, effective_weight: 0, since: AT_1847, last_probe: { ok: false, status: null, ms: 1, error: reason }, ...changes });

export function service(name, replicas, changes = {}) {
  const up = replicas.some((one) => one.state === "up");
  return { name, vip: "10.0.0.10", port: 443, mode: "nat", state: up ? "up" : "down", challenge: { on: false, flooded: false },
    suspicion: null, hint: null, replicas, ...changes };
}

export function status(services, changes = {}) {
  const { datapath, ...others } = changes;
  return {
    version: "0.1.0", host: "lb-1", services, verdicts: {}, reloads: { ok: 0, failed: 0 }, names: [],
    datapath: { attach: [{ interface: "eth0", hook: "xdp", native: true, present: true }], attach_reason: "", adopted: false, flows: 0,
      flow_entries: 0, max_flows: 1000, repairs: {}, up_to_date: true, table_rewrites: 1, ...datapath },
    ...others,
  };
}
