// Follows a log over breaks: comes back with the last token, after growing pauses, until the log has ended.

import { ApiError } from "./api.js";
import { batches } from "./ndjson.js";
import { itemOf, RESUMED } from "./records.js";

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 15_000;
// Pings come every 15 s: a connection that is silent for longer is dead.
const SILENCE = 40_000;

// Half of the pause is drawn, so that many pages do not come back in one moment. In milliseconds.
export function backoff(attempt, random = Math.random()) {
  const full = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** Math.min(attempt, 10));
  return full / 2 + (full / 2) * random;
}

// What a server may ask for at most, in milliseconds.
const LONGEST_WAIT = 300_000;

// The pause in milliseconds, and not less than what the server asked for, which is in seconds.
export function waitFor(attempt, retryAfter, random = Math.random()) {
  return Math.min(LONGEST_WAIT, Math.max(backoff(attempt, random), retryAfter * 1000));
}

// An answer that will not be another one if it is asked for again.
function isFinal(error) {
  return error instanceof ApiError && (error.status < 500 || error.status === 501) && error.status !== 429 && error.status !== 409;
}

export class LogStream {
  #stop = new AbortController();
  #skip = null;

  // `onItems(items)`, `onState({kind, text})` with kind `live`, `waiting`, `ended`, `failed`; `onError(error)` for 401. Where the process
  // has ended, `last` is the token behind which the log goes on if it is started again.
  constructor(api, id, params, { onItems, onState, onError }) {
    this.api = api;
    this.id = id;
    this.params = params;
    this.on = { items: onItems, state: onState, error: onError };
  }

  stop() {
    this.#stop.abort();
    this.#skip?.();
  }

  // `first`: the parameters of the first request alone, `tail` or `after`; and `end`, what is told if nothing has come behind that.
  async run({ end: told = "ended: nothing more comes", ...first }) {
    const signal = this.#stop.signal;
    let last = first.after ?? null;
    let attempt = 0;
    let isBack = false;
    let why = "";
    while (!signal.aborted) {
      const watch = new AbortController();
      const abort = () => watch.abort();
      signal.addEventListener("abort", abort);
      let timer = setTimeout(abort, SILENCE);
      let retryAfter = 0;
      try {
        const query = { ...this.params, format: "ndjson", follow: "true", ...(last === null ? first : { after: last }) };
        const response = await this.api.logs(this.id, query, watch.signal);
        if (response.status === 204) return this.on.state({ kind: "ended", text: told });
        this.on.state({ kind: "live", text: isBack ? "connected again, no line was lost" : "following", isBack });
        isBack = false;
        let end = null;
        for await (const records of batches(response.body)) {
          if (signal.aborted) return undefined;
          clearTimeout(timer);
          timer = setTimeout(abort, SILENCE);
          attempt = 0;
          const items = [];
          for (const record of records) {
            if (record.id) last = record.id;
            if (record.event === "end") end = record;
            const isShown = record.event !== "end" || !RESUMED.has(record.reason);
            const item = isShown ? itemOf(record) : null;
            if (item !== null) items.push(item);
          }
          if (items.length > 0) this.on.items(items);
        }
        if (end !== null && !RESUMED.has(end.reason)) return this.on.state({ kind: "ended", text: itemOf(end).text, last: end.reason === "exited" ? last : null });
        if (end?.reason === "restarted") continue;
      } catch (error) {
        if (signal.aborted) return undefined;
        if (error instanceof ApiError && error.isUnauthorized) return this.on.error(error);
        if (isFinal(error)) return this.on.state({ kind: "failed", text: error.message });
        why = error instanceof ApiError ? error.message : "";
        if (error instanceof ApiError) retryAfter = error.retryAfter;
        // What is not JSON will not be so the next time, but a cut in the middle of a record is a break like others.
      } finally {
        clearTimeout(timer);
        signal.removeEventListener("abort", abort);
      }
      isBack = true;
      const wait = waitFor(attempt, retryAfter);
      attempt += 1;
      this.on.state({ kind: "waiting", text: `${why || "connection lost:"} reconnecting in ${(wait / 1000).toFixed(1)} s` });
      why = "";
      await this.#pause(wait);
    }
    return undefined;
  }

  #pause(millis) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, millis);
      this.#skip = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
