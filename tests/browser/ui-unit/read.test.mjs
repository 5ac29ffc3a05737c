// Parts of a log that are read, not followed: whether all of the answer came, and where it joins what is held.

import assert from "node:assert/strict";
import { test } from "node:test";
import { choices, loadOlder, readLog } from "../../../assets/ui/log-read.js";
import { LogStore } from "../../../assets/ui/log-store.js";

const record = (n) => ({ log: `line ${n}\n`, stream: "stdout", time: "2026-01-31T08:00:00.000000000Z", id: `v1.${n}` });
const answering = (records) => ({ logs: async () => new Response(records.map((it) => `${JSON.stringify(it)}\n`).join("")) });
const read = (records, maxSize = 1_000_000) => readLog(answering(records), "a", {}, undefined, maxSize);

test("an answer is whole only if its end says so", async () => {
  for (const reason of ["complete", "until", "exited", "removed"]) assert.equal((await read([record(1), { event: "end", reason }])).items.length, 1);
  for (const reason of ["backend_lost", "slow_client", "ended_by_admin", "drain", "limit"]) {
    await assert.rejects(read([record(1), { event: "end", reason }]), /ended early/);
  }
  await assert.rejects(read([record(1)]), /broke off/);
});

// A log of `count` lines, `each` a second.
const logOf = (count, each) => Array.from({ length: count }, (_, n) => {
  const time = new Date(Date.UTC(2026, 0, 31, 8) + Math.floor(n / each) * 1000).toISOString().replace("Z", "000000Z");
  return { kind: "line", id: `v1.${n}`, time, err: false, text: `line ${n}` };
});
const answer = (log, { until, tail }) => log.filter((it) => it.time <= until).slice(-tail);

test("older lines join what is held without a hole, though the store lets lines go meanwhile", async () => {
  for (const moved of [0, 300, 5000]) {
    const log = logOf(20_000, 1000);
    const store = new LogStore(3000);
    store.append(log.slice(8000, 11_000));
    let next = 11_000;
    const read = async (params) => {
      const items = answer(log, params);
      // Once only: the sandbox prints while the answer comes.
      store.append(log.slice(next, next + (next === 11_000 ? moved : 0)));
      next += moved;
      return { items, isCut: false };
    };
    let isPut = false;
    await loadOlder(store, read, (found) => {
      isPut = found.length > 0;
      store.prepend(found);
    });
    assert.ok(isPut);
    const held = Array.from({ length: store.length }, (_, at) => Number(store.get(store.first + at).text.slice(5)));
    assert.ok(held.every((it, at) => it === held[0] + at), `a hole after ${moved} lines`);
  }
});

test("the log begins where its first line is held, or where it was rotated away", async () => {
  for (const log of [logOf(100, 10), logOf(100, 10).slice(50)]) {
    const store = new LogStore();
    store.append(logOf(100, 10).slice(log.length === 100 ? 0 : 20));
    let found = null;
    await loadOlder(store, async (params) => ({ items: answer(log, params), isCut: false }), (items) => (found = items));
    assert.deepEqual(found, []);
  }
});

test("many lines in the moment of the first one are asked for too", async () => {
  const log = logOf(251_000, 1_000_000);
  const store = new LogStore(1_000_000);
  store.append(log.slice(1000));
  let found = null;
  await loadOlder(store, async (params) => ({ items: answer(log, params), isCut: false }), (items) => (found = items));
  assert.equal(found.length, 1000);
});

test("what is held of an answer is bounded, and a cut one is not the log's beginning", async () => {
  const records = [...Array.from({ length: 100 }, (_, n) => record(n)), { event: "end", reason: "complete" }];
  const { items, isCut } = await read(records, 1000);
  assert.ok(isCut && items.length > 5 && items.length < 20);
  assert.equal(items.at(-1).text, "line 99");
  assert.equal((await read(records)).isCut, false);

  const log = logOf(100, 10);
  const store = new LogStore();
  store.append(log.slice(50));
  const put = [];
  await loadOlder(store, async () => ({ items: log.slice(40, 60), isCut: true }), (found) => put.push(found.length));
  assert.deepEqual(put, [10]);
  for (const from of [50, 55]) await assert.rejects(loadOlder(store, async () => ({ items: log.slice(from, 60), isCut: true }), () => put.push(0)), /too much/);
  assert.equal(put.length, 1);
});

test("what is chosen does not change with the form", () => {
  const form = { streams: { value: "stderr" }, grep: { value: "a" }, invert: { checked: true }, instance: { checked: false }, restarts: { checked: false } };
  const chosen = choices({ command: "", container: "egress" }, (id) => form[id]);
  form.grep.value = "b";
  assert.deepEqual(JSON.parse(JSON.stringify(chosen)), { container: "egress", stdout: "false", grep: "a", invert: "true" });
  assert.deepEqual(JSON.parse(JSON.stringify(choices({ command: "c", container: "" }, (id) => form[id]))), { command: "c", grep: "b", invert: "true" });
});
