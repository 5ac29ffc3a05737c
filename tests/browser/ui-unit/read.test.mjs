// Parts of a log that are read, not followed: whether all of the answer came, and where it joins what is held.

import assert from "node:assert/strict";
import { test } from "node:test";
import { choices, lineOf, loadOlder, olderThan, readLog } from "../../../assets/ui/log-read.js";
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

// Lines of one second as a read tells them: the tokens count from where it begins.
const readFrom = (texts, from) => texts.slice(from).map((text, n) => {
  const sum = text.split("").reduce((all, char) => (all * 31 + char.charCodeAt(0)) >>> 0, 7).toString(16).padStart(8, "0");
  const second = text.startsWith("late") ? 1 : 0;
  return { kind: "line", id: `v1.00000000000000aa.o${sum}.000000000000000${second}.${n.toString(16)}`, time: `2026-01-31T08:00:0${second}.000000000Z`, err: false, text };
});

test("the first line held is found in a read that counts a second's lines from elsewhere", () => {
  const cases = {
    "all differ": (n) => `line ${n}`,
    "all are the same": () => "tick",
    "every third": (n) => (n % 3 === 0 ? "tick" : `line ${n}`),
  };
  for (const [name, text] of Object.entries(cases)) {
    for (const late of [0, 100]) {
      const texts = [...Array.from({ length: 900 }, (_, n) => text(n)), ...Array.from({ length: late }, (_, n) => `late ${n}`)];
      const store = new LogStore();
      store.append(readFrom(texts, 600));
      assert.equal(olderThan(readFrom(texts, 50), store).length, 550, `${name}, ${late}`);
      assert.equal(olderThan(readFrom(texts, 601), store), null, `${name}, ${late}`);
    }
  }
});

test("lines of the same second that came since do not move the place", () => {
  const texts = Array.from({ length: 900 }, (_, n) => (n % 7 === 0 ? "tick" : `line ${n}`));
  const store = new LogStore();
  store.append(readFrom(texts.slice(0, 800), 602));
  assert.equal(olderThan(readFrom(texts, 50), store).length, 552);
});

test("a link leads to its line in another read", () => {
  const texts = Array.from({ length: 100 }, (_, n) => `line ${n}`);
  const linked = readFrom(texts, 40)[3];
  assert.equal(lineOf(readFrom(texts, 0), linked.id).text, "line 43");
  assert.equal(lineOf(readFrom(texts, 50), linked.id), null);
});
