// The window of the log, its edges, the records, the times, the addresses.

import assert from "node:assert/strict";
import { test } from "node:test";
import { containerNames } from "../../../assets/ui/api.js";
import { isShown } from "../../../assets/ui/list.js";
import { LogStore } from "../../../assets/ui/log-store.js";
import { backoff, waitFor } from "../../../assets/ui/log-stream.js";
import { batches } from "../../../assets/ui/ndjson.js";
import { itemOf } from "../../../assets/ui/records.js";
import { format, parse } from "../../../assets/ui/route.js";
import { keepKey, keepSetting, setting, storedKey } from "../../../assets/ui/settings.js";
import { clock, expiry, later, span } from "../../../assets/ui/time.js";

const line = (n) => ({ kind: "line", id: `v1.${n}`, time: `2026-01-31T08:00:0${n % 10}.000000000Z`, err: false, text: `line ${n}` });
const lines = (from, to) => Array.from({ length: to - from }, (_, at) => line(from + at));

test("the oldest lines are dropped for newer ones, and numbers stay", () => {
  const store = new LogStore(10);
  store.append(lines(0, 8));
  assert.equal(store.append(lines(8, 15)), 5);
  assert.equal(store.length, 10);
  assert.equal(store.first, 5);
  assert.equal(store.get(7).text, "line 7");
  assert.equal(store.droppedOld, 5);
});

test("many drops keep what is held", () => {
  const store = new LogStore(100);
  for (let from = 0; from < 50_000; from += 50) store.append(lines(from, from + 50));
  assert.equal(store.get(store.end - 1).text, "line 49999");
  assert.equal(store.get(store.first).text, "line 49900");
});

test("the newest are dropped for older ones", () => {
  const store = new LogStore(10);
  store.append(lines(20, 28));
  assert.equal(store.prepend(lines(15, 20)), 3);
  assert.equal(store.first, -5);
  assert.equal(store.get(-5).text, "line 15");
  assert.equal(store.edge(false).text, "line 24");
  assert.equal(store.droppedNew, 3);
});

test("the size is bounded too", () => {
  const store = new LogStore(1000, 10_000);
  store.append(Array.from({ length: 100 }, () => ({ ...line(1), text: "x".repeat(1000) })));
  assert.ok(store.size <= 10_000);
});

test("records", () => {
  assert.equal(itemOf({ log: "a\n", stream: "stderr", time: "t", id: "i" }).err, true);
  assert.equal(itemOf({ log_base64: btoa("\xff\n") }).text, "\ufffd");
  assert.equal(itemOf({ event: "end", reason: "exited", exit_code: 137, oom: true }).text, "ended: exit 137 (out of memory)");
  assert.equal(itemOf({ event: "end", reason: "exited", exit_code: 137, oom: false }).text, "ended: exit 137 (SIGKILL)");
  assert.equal(itemOf({ event: "gap", reason: "overrun", lines: 1200 }).text, "gap: 1,200 lines are missing, this page did not keep up");
  assert.equal(itemOf({ event: "ping" }), null);
});

test("a record is joined over pieces of the network, and a break within one is told", async () => {
  const body = (parts) => new Response(new ReadableStream({
    start(to) {
      for (const part of parts) to.enqueue(new TextEncoder().encode(part));
      to.close();
    },
  })).body;
  const seen = [];
  for await (const batch of batches(body(['{"a":', '1}\n{"a":2}\n{"', 'a":3}\n']))) seen.push(...batch);
  assert.deepEqual(seen, [{ a: 1 }, { a: 2 }, { a: 3 }]);
  await assert.rejects(async () => {
    for await (const _ of batches(body(['{"a":1}\n{"b']))) continue;
  }, TypeError);
});

test("times", () => {
  assert.equal(clock("2026-01-31T08:00:00.123456789Z", "utc"), "01-31 08:00:00.123");
  assert.equal(clock("2026-01-31T08:00:00.123456789Z", "off"), "");
  assert.match(clock("2026-01-31T08:00:00.123456789Z", "local"), /^\d\d-\d\d \d\d:\d\d:\d\d\.123$/);
  assert.equal(later("2026-01-31T08:00:59.123456789Z", 2), "2026-01-31T08:01:01.123456789Z");
  assert.equal(span(3700), "1h 01m");
  assert.equal(expiry(undefined), "never");
  assert.equal(expiry("2026-01-01T00:00:00Z", Date.parse("2025-12-31T23:58:30Z")), "in 1m 30s");
});

test("addresses go both ways", () => {
  const route = { id: "a-b", command: "c", container: "", line: "v1.x", at: "2026-01-31T08:00:00.1Z" };
  assert.deepEqual(parse(format(route)), route);
  assert.equal(parse("#/").id, null);
  assert.equal(parse("#/sandbox/%zz").id, "%zz");
});

test("containers are read from the message", () => {
  assert.deepEqual(containerNames('There is no container "0" in the sandbox\'s pod. It has: sandbox, egress.'), ["sandbox", "egress"]);
  assert.deepEqual(containerNames("The sandbox's pod has no container."), []);
});

test("the filter takes all words and the state", () => {
  const sandbox = { id: "x1", status: { state: "Running" }, image: { uri: "python:3" }, metadata: { team: "red" } };
  assert.ok(isShown(sandbox, "py TEAM=red", ""));
  assert.ok(!isShown(sandbox, "blue", ""));
  assert.ok(!isShown(sandbox, "", "Failed"));
});

test("pauses grow and are bounded", () => {
  assert.ok(backoff(0, 1) === 500 && backoff(3, 1) === 4000 && backoff(99, 1) === 15_000 && backoff(0, 0) === 250);
  assert.ok(waitFor(0, 0, 1) === 500 && waitFor(0, 5, 0) === 5000 && waitFor(99, 5, 1) === 15_000 && waitFor(0, 9999, 1) === 300_000);
});

test("a browser that blocks storage has no key and no settings, and nothing throws", () => {
  const blocked = { configurable: true, get: () => { throw new Error("SecurityError"); } };
  for (const name of ["sessionStorage", "localStorage"]) Object.defineProperty(globalThis, name, blocked);
  try {
    assert.equal(storedKey(), "");
    assert.equal(keepKey("k", true), false);
    assert.equal(setting("theme", "auto"), "auto");
    keepSetting("theme", "dark");
  } finally {
    for (const name of ["sessionStorage", "localStorage"]) delete globalThis[name];
  }
});
