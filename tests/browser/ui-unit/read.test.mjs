// Parts of a log that are read, not followed: whether all of the answer came, and where it joins what is held.

import assert from "node:assert/strict";
import { test } from "node:test";
import { readLog } from "../../../assets/ui/log-read.js";

const record = (n) => ({ log: `line ${n}\n`, stream: "stdout", time: "2026-01-31T08:00:00.000000000Z", id: `v1.${n}` });
const answering = (records) => ({ logs: async () => new Response(records.map((it) => `${JSON.stringify(it)}\n`).join("")) });
const read = (records, ...more) => readLog(answering(records), "a", {}, undefined, ...more);

test("an answer is whole only if its end says so", async () => {
  for (const reason of ["complete", "until", "exited", "removed"]) assert.equal((await read([record(1), { event: "end", reason }])).length, 1);
  for (const reason of ["backend_lost", "slow_client", "ended_by_admin", "drain", "limit"]) {
    await assert.rejects(read([record(1), { event: "end", reason }]), /ended early/);
  }
  await assert.rejects(read([record(1)]), /broke off/);
});
