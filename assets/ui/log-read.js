// Reads a part of a log that is not followed: the surroundings of a linked line, and what is older than what is held.

import { olderThan } from "./log-store.js";
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

// The items of the answer. Throws if it ended early: what is missing would be taken for what does not exist.
export async function readLog(api, id, params, signal) {
  const response = await api.logs(id, { ...params, restarts: undefined, format: "ndjson" }, signal);
  const items = [];
  let end = null;
  for await (const records of batches(response.body)) {
    for (const record of records) {
      if (record.event === "end") end = record;
      const item = record.event === "end" || record.event === "notice" ? null : itemOf(record);
      if (item !== null) items.push(item);
    }
  }
  if (!WHOLE.has(end?.reason)) throw new Error(end === null ? "the answer broke off" : `the answer ended early: ${REASONS[end.reason] ?? end.reason}`);
  return items;
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
    const items = await read({ until, tail });
    const edge = store.edge(true);
    if (edge === null) return;
    const found = olderThan(items, edge.id);
    if (found !== null) return void put(found);
    // Another one is the first by now, and beyond the time that was asked for: from there anew.
    if (edge !== asked) continue;
    // All of it was seen, and the line is not in it: it was rotated away, and all in front of it too.
    if (items.length < tail) return void put([]);
    factor *= 4;
  }
  throw new Error("the place of the oldest line was not found. Lines may come too fast: choose fewer of them, or try again");
}
