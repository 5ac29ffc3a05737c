// What a log is asked for with, and parts of it that are not followed: around a linked line, and older than what is held.

import { cost, olderThan } from "./log-store.js";
import { batches } from "./ndjson.js";
import { itemOf, REASONS } from "./records.js";
import { later } from "./time.js";

export const OLDER_LINES = 2000;
// Records that share a moment with the first one held may stand in front of it: this much later is asked for as well. In seconds.
export const SKEW = 2;
// How often the place of the first line held is looked for, each time in more lines.
const ROUNDS = 4;

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

// The items of the answer, the last of them if they are more than `maxSize` characters: `isCut`. Throws if it ended early: what is missing would be taken for what does not exist.
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

// Lines in front of the first one held. `put(items)` is called in the moment in which they fit; with none, the log begins here.
//
// Exact: cut at the first line itself, not at its time. The stream goes on meanwhile, and a full store lets lines go in front, so
// the line that is the first one after the answer counts.
export async function loadOlder(store, read, put) {
  let factor = 1;
  for (let round = 0; round < ROUNDS; round += 1) {
    const asked = store.edge(true);
    if (asked === null) return;
    const until = later(asked.time, SKEW);
    const tail = (OLDER_LINES + store.linesUntil(until)) * factor;
    const { items, isCut } = await read({ until, tail });
    const edge = store.edge(true);
    if (edge === null) return;
    const found = olderThan(items, edge.id);
    if (found !== null && (found.length > 0 || !isCut)) return void put(found);
    // Another one is the first by now, and beyond the time that was asked for: from there anew.
    if (edge !== asked) continue;
    if (isCut) throw new Error("there is too much at the time of the oldest line");
    // All of it was seen, and the line is not in it: it was rotated away, and all in front of it too.
    if (items.length < tail) return void put([]);
    factor *= 4;
  }
  throw new Error("the place of the oldest line was not found. Lines may come too fast: choose fewer of them, or try again");
}
