// An agent of the test's own, in the page: answers what the real one of this lab cannot be made to say within a test. It is put in
// front of the page's scripts, and sets `fetch` aside for the requests that it answers; `WORLD` says what it tells.
"use strict";
(() => {
  const LONG = "replica-with-a-name-of-sixty-characters-in-rack-twelve-of-a.1";
  const SERVICE = "service-with-a-name-of-sixty-characters-for-all-the-registry";
  const BEGUN = Date.now();
  const ago = (seconds) => new Date(BEGUN - seconds * 1000).toISOString();
  const idle = WORLD === "idle";

  /** What an older agent does not tell. */
  const MEASURED = { connect_ms: { p50: 1.24, p99: 831, mean: 4.2 }, client_rtt_ms: { p50: 22, p99: 1500, mean: 40.1 }, syns_again: 17,
    ends: { closed: 1_234_567, client_reset: 12, idle: 0 } };

  function replica(number, changes) {
    const passed = idle ? 0 : (Date.now() - BEGUN) / 1000 + 1e6;
    const grown = (perSecond) => Math.round(passed * perSecond * (changes.state === "down" ? 0.001 : 1));
    return {
      name: `${LONG}${number}`, address: `2001:db8:1234:5678:9abc:def0:1234:567${number}`, port: 30443, state: "up", admin: "ready",
      reason: "status 200", weight: 100, effective_weight: 100, backup: false, since: ago(7000), history: [], agent: null, warning: null,
      last_probe: { ok: true, status: 200, ms: 1.24, error: null }, flows: idle ? 0 : 12_345, packets: grown(9000), bytes: grown(8e6),
      packets_to_replica: grown(4000), bytes_to_replica: grown(4e6), packets_to_client: grown(5000), bytes_to_client: grown(4e6),
      new_flows: grown(130), refused: idle ? 0 : 123_456, unanswered: 3, redispatched: 9, reset: 0,
      ...(idle ? {} : MEASURED), ...changes,
    };
  }

  const lost = { state: "down", reason: "connection refused", effective_weight: 0, since: ago(200), connect_ms: null,
    last_probe: { ok: false, status: null, ms: 1, error: "connection refused" }, flows: 0 };

  function services() {
    const of = (name, port, replicas, changes) => ({ name, vip: "2001:db8:1234:5678:9abc:def0:1234:5678", port, mode: "nat", state: "up",
      challenge: { on: false, flooded: false }, suspicion: null, hint: null, replicas, ...changes });
    if (idle) return [of("http", 80, [1, 2, 3].map((number) => replica(number, {})))];
    return [
      of(SERVICE, 443, [replica(1, { nat_ports: [{ address: "10.0.0.2", used: 27_000, of: 30_000 }] }), replica(2, lost), replica(3, {})],
        { slow: [{ replica: `${LONG}3`, times: 5, text: `${LONG}3 takes 5 times as long as its peers to accept a connection` }] }),
      of("api", 6443, [replica(1, lost), replica(2, lost)], { state: "down" }),
    ];
  }

  const status = () => ({
    version: "0.1.0", host: "balancer-with-a-long-name-1.rack-12.example.com", services: services(), names: [], reloads: { ok: 0, failed: 0 },
    verdicts: idle ? {} : { forwarded: 9_000_000_000, dropped_no_replica: 12 },
    flow_table: { capacity: 2_000_000, entries: idle ? 0 : 1_700_000, evicted: 0, refused: 0 },
    datapath: { attach: [{ interface: "eth0", hook: "xdp", native: true, present: true }], attach_reason: "as configured", adopted: false,
      flows: 0, flow_entries: 0, max_flows: 1_000_000, repairs: {}, up_to_date: true, table_rewrites: 3 },
  });

  /** Ten minutes, of which one is missing as a jump in the times, and another as nulls. */
  function history() {
    const [jump, blank] = [[300, 360], [120, 180]];
    const seconds = Array.from({ length: 300 }, (_, at) => 600 - 2 * at).filter((at) => at < jump[0] || at > jump[1]);
    const curve = (top) => seconds.map((at) => (at > blank[0] && at < blank[1] ? null : idle ? 0 : top * (1 + Math.sin(at / 30) / 2)));
    const curves = () => ({ flows: curve(12_000), new_flows: curve(0.03), packets: curve(9000), bytes: curve(8e6) });
    return { step_ms: 2000, left_out: 0, times: seconds.map((at) => BEGUN - at * 1000), services: services().map((service) => ({
      name: service.name, vip: service.vip, port: service.port, ...curves(),
      replicas: service.replicas.map(({ name, address, port }) => ({ name, address, port, ...curves() })) })) };
  }

  const event = (id, seconds, text, more) => ({ id, time: ago(seconds), event: "replica_state", service: null, replica: null, text, by: null, details: {}, ...more });
  const EVENTS = [
    ...Array.from({ length: 30 }, (_, at) => event(at + 1, 3600 - at, `old event ${at + 1}`)),
    event(40, 500, "replica r1 is drained", { by: { uid: 0, user: "root" }, service: SERVICE }),
    event(41, 200, `replica ${LONG}2 of service ${SERVICE} is down: connection refused`, { event: "replica_down", service: SERVICE }),
    event(42, 199, "the config was read again", { by: { token: "admin", address: "10.0.0.9:50123" } }),
    event(43, 100, "of another service", { service: "api" }),
  ];

  function events(query) {
    const [since, limit] = ["since", "limit"].map((name) => Number(query.get(name)));
    return { events: EVENTS.filter(({ id }) => id > since).slice(-limit), oldest: 1, newest: 43, left_out: false };
  }

  // What a canvas has written since it was cleared: the numbers at the axes. Once, whatever was put in front of the page before.
  if (!window.canvasIsRecorded) {
    window.canvasIsRecorded = true;
    const { clearRect, fillText } = CanvasRenderingContext2D.prototype;
    CanvasRenderingContext2D.prototype.clearRect = function clear(...box) {
      this.canvas.written = [];
      return clearRect.apply(this, box);
    };
    CanvasRenderingContext2D.prototype.fillText = function write(text, ...place) {
      if (text !== "") this.canvas.written = [...(this.canvas.written ?? []), text];
      return fillText.call(this, text, ...place);
    };
  }

  const ANSWERS = { "/v1/status": status, "/v1/history": history, ...(idle ? {} : { "/v1/events": events }) };
  const real = window.fetch.bind(window);
  window.fetch = async (path, options) => {
    const url = new URL(path, location.href);
    if (idle && url.pathname === "/v1/events") return new Response("{\"error\": \"no such request\"}", { status: 404 });
    const answer = ANSWERS[url.pathname];
    return answer ? new Response(JSON.stringify(answer(url.searchParams)), { status: 200 }) : real(path, options);
  };
})();
