// Older lines up to the log's first one, the lines of a command, and what a download has.

import assert from "node:assert/strict";
import { test } from "node:test";
import { describe, downloadOf } from "../../../assets/ui/download.js";
import { OlderLines } from "../../../assets/ui/log-older.js";
import { lineOf } from "../../../assets/ui/log-read.js";
import { LogStore } from "../../../assets/ui/log-store.js";

const sumOf = (text) => text.split("").reduce((all, char) => (all * 31 + char.charCodeAt(0)) >>> 0, 7).toString(16).padStart(8, "0");

// A log of ten lines a second.
const logOf = (count) => Array.from({ length: count }, (_, n) => {
  const time = new Date(Date.UTC(2026, 0, 31, 8) + Math.floor(n / 10) * 1000).toISOString().replace("Z", "000000Z");
  return { kind: "line", id: `v1.${n}`, time, err: false, text: `line ${n}` };
});
const answer = (log, { until, tail }) => log.filter((it) => until === undefined || it.time <= until).slice(-tail);

// The output of a command as one read tells it: all of it at one time, the read's own.
const outputOf = (count, second) => Array.from({ length: count }, (_, n) => {
  const text = n % 3 === 0 ? "tick" : `line ${n}`;
  return { kind: "line", id: `v1.00000000000000aa.o${sumOf(text)}.000000000000000${second}.${n.toString(16)}`, time: `2026-01-31T08:00:0${second}.000000000Z`, err: false, text };
});

function opened(store, log, { isCommand = false, onRead = () => {} } = {}) {
  const seen = { reads: 0, ends: [], errors: [], texts: new Set() };
  const older = new OlderLines(store, {
    read: async (params, signal) => {
      seen.reads += 1;
      await onRead(older, seen.reads);
      if (signal.aborted) throw new DOMException("stopped", "AbortError");
      return { items: answer(log, params), isCut: false };
    },
    put: (items) => store.prepend(items),
    onChange: () => seen.texts.add(older.text),
    onEnd: (text) => seen.ends.push(text),
    onError: (error) => seen.errors.push(error.message),
  });
  older.reset(isCommand);
  return { older, seen };
}

const numbers = (store) => Array.from({ length: store.length }, (_, at) => Number(store.get(store.first + at).text.slice(5)));

test("all older lines are loaded up to the first one, and told meanwhile", async () => {
  const log = logOf(50_000);
  const store = new LogStore();
  store.append(log.slice(49_000));
  const { older, seen } = opened(store, log);
  await older.load(true);
  assert.deepEqual(numbers(store), Array.from({ length: 50_000 }, (_, n) => n));
  assert.deepEqual(seen.ends, ["The log begins here"]);
  assert.ok(seen.texts.has("Loading older lines, 6,000 so far. Esc stops."), [...seen.texts].join("\n"));
  assert.equal(seen.reads, 6, "no more is asked for behind the answer that has the first line");
  assert.equal(older.isLoading || older.hasMore, false);
});

test("without that, one part is loaded", async () => {
  const log = logOf(50_000);
  const store = new LogStore();
  store.append(log.slice(49_000));
  const { older, seen } = opened(store, log);
  await older.load(false);
  assert.equal(store.length, 3000);
  assert.deepEqual([seen.reads, seen.ends.length, older.text], [1, 0, ""]);
});

test("who asks for all while a part is loaded gets all", async () => {
  const log = logOf(9000);
  const store = new LogStore();
  store.append(log.slice(8000));
  const { older } = opened(store, log, { onRead: (it, reads) => (reads === 1 ? void it.load(true) : undefined) });
  await older.load(false);
  assert.equal(store.length, 9000);
});

test("a full store ends it, and little of the newest is let go", async () => {
  const log = logOf(50_000);
  for (const [store, words] of [[new LogStore(20_000), "20,000 lines"], [new LogStore(1_000_000, 20_000 * 74), "64 Mi characters"]]) {
    store.append(log.slice(49_000));
    const { older, seen } = opened(store, log);
    await older.load(true);
    assert.ok(seen.ends.length === 1 && seen.ends[0].includes(words), seen.ends[0]);
    assert.ok(older.hasMore && store.length > 19_000 && store.length <= 20_000, store.length);
    assert.ok(store.droppedNew > 0 && store.droppedNew <= 2000, store.droppedNew);
    const held = numbers(store);
    assert.ok(held.every((it, at) => it === held[0] + at));
  }
});

test("it can be stopped, and what was loaded stays", async () => {
  const log = logOf(50_000);
  const store = new LogStore();
  store.append(log.slice(49_000));
  const { older, seen } = opened(store, log, { onRead: (it, reads) => reads === 3 && assert.ok(it.stop()) });
  await older.load(true);
  assert.equal(store.length, 7000);
  assert.deepEqual([seen.ends, seen.errors], [["Stopped here: there are older lines."], []]);
  assert.equal(older.stop(), false);
  await older.load(true);
  assert.equal(store.length, 50_000);
});

test("another log ends it without a word", async () => {
  const log = logOf(50_000);
  const store = new LogStore();
  store.append(log.slice(49_000));
  const { older, seen } = opened(store, log, { onRead: (it, reads) => reads === 2 && it.reset(false) });
  await older.load(true);
  assert.deepEqual([store.length, seen.ends.length, seen.errors.length, older.isLoading], [3000, 0, 0, false]);
});

test("an answer that fails is told, and the next one goes on", async () => {
  const log = logOf(5000);
  const store = new LogStore();
  store.append(log.slice(4000));
  const { older, seen } = opened(store, log, {
    onRead: (_, reads) => {
      if (reads === 2) throw new Error("no");
    },
  });
  await older.load(true);
  assert.deepEqual([seen.errors, store.length, older.isLoading], [["no"], 3000, false]);
  await older.load(true);
  assert.equal(store.length, 5000);
});

test("as many lines as were asked for, and none of them older, is not the log's beginning", async () => {
  // 2,000 more of the first line's second came than the store knows of: the answer begins with just that line.
  const log = Array.from({ length: 8000 }, (_, n) => ({ ...logOf(1)[0], id: `v1.${n}`, text: `line ${n}` }));
  const store = new LogStore();
  store.append(log.slice(5000, 6000));
  const { older } = opened(store, log);
  await older.load(true);
  assert.equal(store.get(store.first).text, "line 0");
});

test("older lines of a command are found by their numbers, since each read has times of its own", async () => {
  const store = new LogStore();
  store.append(outputOf(9000, 1).slice(8000));
  const { older, seen } = opened(store, outputOf(9500, 2), { isCommand: true });
  await older.load(true);
  assert.deepEqual(Array.from({ length: store.length }, (_, at) => store.get(store.first + at).text), outputOf(9000, 3).map((it) => it.text));
  assert.deepEqual(seen.ends, ["The command's output begins here"]);
});

test("a command's output that was rotated away begins where it is held", async () => {
  const store = new LogStore();
  store.append(outputOf(9000, 1).slice(8000));
  const { older, seen } = opened(store, outputOf(9500, 2).slice(8600), { isCommand: true });
  await older.load(true);
  assert.deepEqual([store.length, seen.ends], [1000, ["The command's output begins here"]]);
});

test("newer lines of a command than are held are counted too", async () => {
  const store = new LogStore();
  store.append(outputOf(2000, 1).slice(1000));
  const { older } = opened(store, outputOf(30_000, 2), { isCommand: true });
  await older.load(false);
  assert.equal(store.length, 2000);
});

test("a link to a line of a command leads to it in another read", () => {
  const linked = outputOf(100, 1)[42];
  assert.equal(lineOf(outputOf(100, 2), linked.id, true).id, outputOf(100, 2)[42].id);
  assert.equal(lineOf(outputOf(40, 2), linked.id, true), null);
});

test("a download is the whole log or what is shown, and says which", () => {
  const chosen = { container: "egress", previous: "true", stdout: "false", grep: "a+", invert: "true" };
  const whole = downloadOf("id", chosen, { isWhole: true, hasTimes: false });
  const shown = downloadOf("id", chosen, { isWhole: false, hasTimes: false });
  const given = (it) => [it.name, JSON.parse(JSON.stringify(it.params))];
  assert.deepEqual(given(whole), ["id.egress.previous.log", { container: "egress", previous: "true", timestamps: "true", format: "text" }]);
  assert.deepEqual(given(shown), ["id.egress.previous.stderr.grep.log", { container: "egress", previous: "true", stdout: "false", grep: "a+", invert: "true", format: "text" }]);
  assert.equal(describe(chosen, { isWhole: true, hasTimes: false }), "container egress, previous instance, all lines of both streams, with times in UTC");
  assert.equal(describe(chosen, { isWhole: false, hasTimes: false }), "container egress, previous instance, stderr alone, lines that do not match a+, without times");
  assert.equal(describe({}, { isWhole: false, hasTimes: true }), "all lines of both streams, with times in UTC");
  assert.equal(describe({ command: "c" }, { isWhole: true, hasTimes: true }), "the command's output, all lines, with times in UTC");
});
