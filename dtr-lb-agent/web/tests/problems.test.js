import assert from "node:assert/strict";
import { test } from "node:test";

import { calm, overall, problems } from "../js/problems.js";
import { AT_1847, NOW, down, replica, service, status } from "./status.js";

process.env.TZ = "UTC";
const SEEN = Date.parse("2026-01-02T18:50:00Z");

const of = (state) => problems(state, { now: NOW, seen: () => SEEN });
const said = (...services) => of(status(services)).map(({ level, text }) => `${level}: ${text}`);
const ups = (...numbers) => numbers.map((number) => replica(number));

test("nothing wrong is one calm line", () => {
  const state = status(["http", "https", "api"].map((name) => service(name, ups(1, 2, 3))));
  assert.deepEqual(of(state), []);
  assert.equal(calm(state), "3 services, 9 of 9 replicas up, nothing to do");
  assert.deepEqual(overall([]), { level: "good", words: "All is well" });
});

test("a service of two VIPs is one", () => {
  const replicas = [replica(1), down(2, "connection refused", { flows: 2 })];
  const second = service("https", [replica(1), down(2, "connection refused", { flows: 3 })], { vip: "2001:db8::10" });
  const told = said(service("https", replicas), second);
  assert.equal(told.length, 1);
  assert.match(told[0], /5 open ones may hang/);
  assert.equal(calm(status([service("https", ups(1)), service("https", ups(1))])), "1 service, 1 of 1 replica up, nothing to do");
});

test("a replica down says why, since when, and what clients notice", () => {
  const table = [
    [[replica(1), down(2, "connection refused"), replica(3)],
      "warn: https: 2 of 3 up; replica-2 refuses connections since 18:47; clients notice nothing"],
    [[replica(1), down(2, "passive check: 3 connections refused within 30s"), replica(3)],
      "warn: https: 2 of 3 up; replica-2 refuses connections since 18:47; clients notice nothing"],
    [[replica(1), down(2, "no answer within 2s (connecting)"), replica(3)],
      "warn: https: 2 of 3 up; replica-2 does not answer since 18:47; clients notice nothing"],
    [[replica(1), down(2, "status 503, expected 200-399"), replica(3)],
      "warn: https: 2 of 3 up; replica-2 answers its probes with status 503 since 18:47; clients notice nothing"],
    [[replica(1), down(2, "unreachable: No route to host"), replica(3)],
      "warn: https: 2 of 3 up; replica-2 cannot be reached since 18:47; clients notice nothing"],
    [[replica(1), down(2, "certificate expired"), replica(3)],
      "warn: https: 2 of 3 up; replica-2 is down (certificate expired) since 18:47; clients notice nothing"],
    [[replica(1), down(2, "connection refused", { flows: 12 }), replica(3)],
      "warn: https: 2 of 3 up; replica-2 refuses connections since 18:47; new connections go to the others, 12 open ones may hang"],
    [[replica(1), down(2, "connection refused", { flows: 12, rates: { reset: 4 } }), replica(3)],
      "warn: https: 2 of 3 up; replica-2 refuses connections since 18:47; clients with connections to it get resets, new connections go to the others"],
    [[replica(1), down(2, "connection refused"), down(3, "connection refused")],
      "warn: https: 1 of 3 up; replica-2 and replica-3 refuse connections since 18:47; clients notice nothing; replica-1 is the last one"],
    [[replica(1), replica(4), down(2, "connection refused"), down(3, "no answer within 2s (connecting)")],
      "warn: https: 2 of 4 up; replica-2 refuses connections since 18:47, replica-3 does not answer since 18:47; clients notice nothing"],
    [[down(1, "connection refused"), replica(9, { backup: true })],
      "warn: https: 1 of 2 up; replica-1 refuses connections since 18:47; clients notice nothing, new connections go to the backup replica-9"],
  ];
  for (const [replicas, words] of table) assert.deepEqual(said(service("https", replicas)), [words]);
});

test("all down says what becomes of new connections, as the shares are", () => {
  const refused = [1, 2, 3].map((number) => down(number, "connection refused"));
  assert.deepEqual(said(service("https", refused)),
    ["bad: All replicas of https are down since 18:47 (they refuse connections): new connections are refused"]);
  const open = [1, 2].map((number) => down(number, "connection refused", { effective_weight: 100 }));
  assert.deepEqual(said(service("https", open)),
    ["bad: All replicas of https are down since 18:47 (they refuse connections): new connections go to them all the same (fail-open), and may fail"]);
  assert.deepEqual(said(service("https", [down(1, "connection refused")])),
    ["bad: The only replica of https, replica-1, is down since 18:47 (it refuses connections): new connections are refused"]);
  const hinted = service("https", [down(1, "status 404, expected 200"), down(2, "status 404, expected 200")], { hint: "`/_ping` answers 200" });
  assert.match(said(hinted)[0], /with status 404\).*All fail their probes in the same way; `\/_ping` answers 200$/);
  const drained = replica(2, { state: "draining", admin: "drain", effective_weight: 0, since: AT_1847 });
  assert.match(said(service("https", [down(1, "connection refused"), drained]))[0],
    /^bad: No replica of https is up since 18:47: 1 down, the others drained or in maintenance; new connections are refused$/);
  assert.deepEqual(said(service("https", [drained]))[0],
    "bad: https: all replicas are drained or in maintenance: new connections are refused");
  assert.deepEqual(said(service("https", [])), ["bad: https has no replicas: new connections are refused"]);
});

test("before the first probes it is not said that they are down", () => {
  const starting = (number, weight) => replica(number, { state: "starting", reason: null, effective_weight: weight });
  assert.deepEqual(said(service("https", [starting(1, 100), starting(2, 100)], { state: "starting" })),
    ["warn: https: none is up, and 2 replicas are not probed yet; new connections go there all the same"]);
  assert.deepEqual(said(service("https", [replica(1), starting(2, 0)])), ["note: https: 1 of 2 up; replica-2 is not probed yet"]);
});

test("what an operator wanted is one line for all services, and no problem", () => {
  const drained = () => replica(2, { state: "draining", admin: "drain", effective_weight: 0, since: AT_1847, flows: 6 });
  const list = of(status([service("http", [replica(1), drained()]), service("https", [replica(1), drained()])]));
  assert.deepEqual(list.map(({ text }) => text), ["replica-2 is drained since 18:47 (http, https): no new connections, 12 open ones left"]);
  assert.deepEqual(overall(list), { level: "good", words: "Clients are served" });
  const aside = [[{ state: "maint", admin: "maint" }, "is in maintenance"], [{ state: "draining", weight: 0 }, "has weight 0"],
    [{ state: "draining", agent: { says: "drain", error: null } }, "is drained by its own agent"]];
  for (const [change, how] of aside) {
    assert.ok(said(service("https", [replica(1), replica(2, { ...change, since: AT_1847 })]))[0].startsWith(`note: replica-2 ${how} since 18:47`));
  }
});

test("doubts, floods, warnings, slow replicas and names are told", () => {
  const flooded = { on: true, flooded: true, since: AT_1847, syns_per_second: 25_000, handshakes_per_second: 30 };
  const told = said(service("https", [replica(1, { warning: "answers past this balancer", agent: { says: "75%", error: "connection refused" } })], {
    suspicion: { since: AT_1847, reason: "3 of 3 replicas fell silent together" }, challenge: flooded,
    slow: [{ replica: "replica-1", times: 5, text: "replica-1 takes 5 times as long as its peers to accept a connection" }],
  }));
  assert.deepEqual(told, [
    "warn: This host is suspected, not the replicas of https, since 18:47: 3 of 3 replicas fell silent together; the replicas keep their share, and nothing is reset",
    "warn: https is flooded with SYNs since 18:47 (25,000 SYNs/s, 30 handshakes/s): clients prove their addresses first, which takes each up to a second once",
    "warn: https: replica-1 takes 5 times as long as its peers to accept a connection",
    "warn: replica-1 of https: answers past this balancer",
    "warn: replica-1 of https: its agent is not heard (connection refused); what it said last holds: 75%",
  ]);
  const names = [{ name: "registry.example.com", addresses: ["10.0.0.11"], answered: AT_1847, age_seconds: 5, error: "SERVFAIL" },
    { name: "new.example.com", addresses: [], answered: null, age_seconds: null, error: "NXDOMAIN" }];
  assert.deepEqual(of(status([service("https", ups(1))], { names })).map(({ text }) => text), [
    "The host name registry.example.com is not resolved (SERVFAIL): the last good answer, 18:47, holds (1 address)",
    "The host name new.example.com is not resolved (NXDOMAIN): it has no replicas yet",
  ]);
});

test("a replica that is slow for one VIP of several is named once", () => {
  const slow = (number) => ({ replica: `replica-${number}`, times: 5, text: `replica-${number} is slow` });
  const vips = [{ slow: [] }, { vip: "10.0.0.20", slow: [slow(1)] }, { vip: "10.0.0.30", slow: [slow(1), slow(2)] }];
  const services = vips.map((vip) => service("https", ups(2), vip));
  assert.deepEqual(of(status(services)).map(({ text }) => text), ["https: replica-1 is slow", "https: replica-2 is slow"]);
});

test("the datapath's troubles come first, with the time at which this page saw them", () => {
  const replicas = [replica(1), down(2, "connection refused")];
  const attach = [{ interface: "eth1", hook: "xdp", native: true, present: false }];
  const list = of(status([service("https", replicas)], { datapath: { attach, up_to_date: false } }));
  assert.deepEqual(list.map(({ level }) => level), ["bad", "bad", "warn"]);
  assert.equal(list[0].text, "The datapath is not on eth1, seen since 18:50: packets that arrive there are not balanced");
  assert.match(list[1].text, /^The tables are not written since 18:50: /);
  assert.deepEqual(overall(list), { level: "bad", words: "3 problems, clients are affected" });
  assert.match(of(status([service("https", ups(1))], { datapath: { attach: [] } }))[0].text, /on no interface/);
});

test("a table and NAT ports are a problem from 80 % on, and bad when full", () => {
  const table = (entries, more) => of(status([service("https", ups(1))], { flow_table: { capacity: 2000, entries, evicted: 0, refused: 0, ...more } }));
  assert.deepEqual(table(1599), []);
  assert.equal(table(1600)[0].text, "The flow table is 80 % full (1,600 of 2,000 entries); when it is full, new connections are refused");
  assert.deepEqual(table(2000, { refused: 7 })[0], { key: "table", level: "bad", text: "The flow table is full: new connections are refused (7 so far)" });
  // An agent that does not say it itself.
  assert.equal(of(status([service("https", ups(1))], { datapath: { flow_entries: 1999, max_flows: 1000 } }))[0].text.slice(0, 30),
    "The flow table is 99 % full (1");
  const ports = (used) => said(service("https", [replica(1, { nat_ports: [{ address: "10.0.0.2", used, of: 30_000 }] })]));
  assert.deepEqual(ports(23_999), []);
  assert.deepEqual(ports(27_000), ["warn: 27,000 of 30,000 NAT ports of 10.0.0.2 to replica-1 are in use (90 %): without a free one, "
    + "new connections go to other replicas or are refused"]);
  assert.match(ports(30_000)[0], /^bad: All 30,000 NAT ports/);
});
