// Reads a part of a log that is not followed: the surroundings of a linked line, and what is older than what is held.

import { batches } from "./ndjson.js";
import { itemOf, REASONS } from "./records.js";

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
