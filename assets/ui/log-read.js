// What a log is asked for with, and parts of it that are not followed: around a linked line, and older than what is held.

import { cost } from "./log-store.js";
import { batches } from "./ndjson.js";
import { itemOf, REASONS } from "./records.js";
import { later } from "./time.js";

export const OLDER_LINES = 2000;
// Records that share a moment with the first one held may stand in front of it: this much later is asked for as well. In seconds.
export const SKEW = 2;
// How often the place of the first line held is looked for, each time in more lines.
const ROUNDS = 4;
// How many lines behind the first one held have to be the same where several places are possible.
const AGREEING = 64;
const TOKEN = /^v1\.(?:end\.)?([0-9a-f]+)\.([oe])([0-9a-f]+)\.([0-9a-f]+)\.([0-9a-f]+)/i;

// The ends of an answer that has all that was asked for.
const WHOLE = new Set(["complete", "until", "exited", "removed"]);

// What is chosen, without where to begin. `field(id)` is the field of the form.
export function choices({ command, container }, field) {
  const streams = field("streams").value;
  const grep = field("grep").value;
  return {
    command: command || undefined,
    container: command ? undefined : container || undefined,
    previous: !command && field("instance").checked ? "true" : undefined,
    stdout: !command && streams === "stderr" ? "false" : undefined,
    stderr: !command && streams === "stdout" ? "false" : undefined,
    restarts: !command && field("restarts").checked ? "true" : undefined,
    grep: grep || undefined,
    invert: grep && field("invert").checked ? "true" : undefined,
  };
}

// The items of the answer, the last of them if they are more than `maxSize` characters: `isCut`. Throws if it ended early: what is
// missing would be taken for what does not exist.
export async function readLog(api, id, params, signal, maxSize) {
  const response = await api.logs(id, { ...params, restarts: undefined, format: "ndjson" }, signal);
  const items = [];
  let first = 0;
  let size = 0;
  let end = null;
  for await (const records of batches(response.body)) {
    for (const record of records) {
      if (record.event === "end") end = record;
      const item = record.event === "end" || record.event === "notice" ? null : itemOf(record);
      if (item === null) continue;
      items.push(item);
      // What is next to the place that was asked for comes last.
      for (size += cost(item); size > maxSize && first < items.length - 1; first += 1) {
        size -= cost(items[first]);
        items[first] = undefined;
      }
    }
  }
  if (!WHOLE.has(end?.reason)) throw new Error(end === null ? "the answer broke off" : `the answer ended early: ${REASONS[end.reason] ?? end.reason}`);
  return { items: items.slice(first), isCut: first > 0 };
}

// What of a line's token is the same in each read: run, stream, checksum and time. The number within its time, which follows, and
// whether its line had begun (the letter's case) are counted from where that read began.
//
// A line of a command is the other way round: its time is when it was read, and its number is counted from the output's beginning.
export function placeOf(token, isCommand = false) {
  const found = TOKEN.exec(token);
  return found === null ? token : `${found[1]}.${found[2].toLowerCase()}${found[3]}.${found[isCommand ? 5 : 4]}`;
}

const isLine = (item) => item.kind === "line" && item.id !== null && item.time !== null;

// The line of this token in another read, or null. The last one, if the same was printed several times in one moment.
export function lineOf(items, token, isCommand = false) {
  const place = placeOf(token, isCommand);
  return items.find((item) => item.id === token) ?? items.findLast((item) => isLine(item) && placeOf(item.id, isCommand) === place) ?? null;
}

// The lines held from the first one on: all of its moment, and some more.
function firstLines(store) {
  const held = [];
  for (let number = store.first, more = 0; number < store.end && more < AGREEING; number += 1) {
    const item = store.get(number);
    if (!isLine(item)) continue;
    held.push(item);
    if (item.time > held[0].time) more += 1;
  }
  return held;
}

// The part of the answer in front of the first line held, or null if it does not reach that line.
export function olderThan(items, store) {
  const held = firstLines(store);
  const place = placeOf(held[0].id);
  const isSame = (item) => item.time === held[0].time && placeOf(item.id) === place;
  const lines = [];
  const places = [];
  for (const [at, item] of items.entries()) {
    if (!isLine(item)) continue;
    if (isSame(item)) places.push(lines.length);
    lines.push({ item, at });
  }
  // Where times are whole seconds, a moment has many lines, and some are the same. They are counted from the moment's end, which
  // does not depend on where a read began; lines that came since are behind it.
  const guess = places.length - held.filter(isSame).length;
  if (guess < 0) return null;
  const agrees = (from) => held.slice(0, AGREEING).every((item, step) => {
    const other = lines[from + step];
    return other === undefined || placeOf(other.item.id) === placeOf(item.id);
  });
  const found = places.slice(0, guess + 1).findLast(agrees) ?? places[guess];
  return items.slice(0, lines[found].at);
}

const numberOf = (item) => Number.parseInt(TOKEN.exec(item.id)?.[5] ?? "0", 16);

// The same for a command, whose lines have numbers.
export function olderOfCommand(items, store) {
  const first = store.edge(true);
  const lines = [...items.entries()].filter(([, item]) => isLine(item));
  const number = numberOf(first);
  if (lines.length === 0 || numberOf(lines[0][1]) > number) return null;
  const place = placeOf(first.id, true);
  // The parts of a very long line have its number.
  const found = lines.find(([, item]) => placeOf(item.id, true) === place) ?? lines.find(([, item]) => numberOf(item) >= number);
  return items.slice(0, found?.[0]);
}

// Lines in front of the first one held, about `lines` of them. `put(items, isFirst)` is called in the moment in which they fit;
// `isFirst`: the log begins with them, or with what is held if there are none.
//
// Exact: cut at the first line itself, not at its time. The stream goes on meanwhile, and a full store lets lines go in front, so
// the line that is the first one after the answer counts.
export async function loadOlder(store, read, put, { lines = OLDER_LINES, isCommand = false } = {}) {
  let factor = 1;
  for (let round = 0; round < ROUNDS; round += 1) {
    const asked = store.edge(true);
    if (asked === null) return;
    // The output of a command has no times to ask for.
    const until = isCommand ? undefined : later(asked.time, SKEW);
    const behind = isCommand ? store.length + store.droppedNew : store.linesUntil(until);
    const tail = (lines + behind) * factor;
    const { items, isCut } = await read({ until, tail });
    const edge = store.edge(true);
    if (edge === null) return;
    const found = isCommand ? olderOfCommand(items, store) : olderThan(items, store);
    const isWhole = !isCut && items.length < tail;
    if (found !== null && (found.length > 0 || isWhole)) return void put(found, isWhole);
    // Another one is the first by now, and beyond the time that was asked for: from there anew.
    if (edge !== asked) continue;
    if (isCut) throw new Error("there is too much at the time of the oldest line");
    // All of it was seen, and the line is not in it: it was rotated away, and all in front of it too.
    if (isWhole) return void put([], true);
    factor *= 4;
  }
  throw new Error("the place of the oldest line was not found. Lines may come too fast: choose fewer of them, or try again");
}
