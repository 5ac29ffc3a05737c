// Loads what is older than the lines that are held: a part of it at the top, or all of it up to the log's first line.

import { loadOlder, OLDER_LINES } from "./log-read.js";
import { pause } from "./ndjson.js";

// Each part on the way to the first line is twice as long as the one before, up to an eighth of what is kept or to this many lines:
// what an answer costs grows with how far it reaches back.
const LONG_PART = 16_000;

export class OlderLines {
  // Whether the log has lines in front of those that are held, as far as is known.
  hasMore = true;
  isCommand = false;
  #run = null;
  // Why the way to the first line was left: `full` or `stopped`.
  #left = "";

  // `read(params, signal)` gives items. `put(items, isAll)` puts them in front of the store and returns how many were let go for
  // them. `onChange()` is called when the text is another one, `onEnd(text)` when all of it was to be loaded and it ended with this
  // text, `onError(error)` when a part was not loaded.
  constructor(store, { read, put, onChange, onEnd, onError }) {
    this.store = store;
    this.read = read;
    this.put = put;
    this.on = { change: onChange, end: onEnd, error: onError };
  }

  // Another log is shown, or the same one anew.
  reset(isCommand) {
    this.#run?.stop.abort();
    this.#run = null;
    this.#left = "";
    this.hasMore = true;
    this.isCommand = isCommand;
  }

  get isLoading() {
    return this.#run !== null;
  }

  // Whether the lines up to the first one are being loaded.
  get isLoadingAll() {
    return this.#run?.isAll === true;
  }

  get text() {
    if (this.#run?.isAll) return `Loading older lines, ${this.#run.count.toLocaleString("en")} so far. Esc stops.`;
    if (this.#run !== null) return "Loading older lines…";
    if (!this.hasMore) return this.isCommand ? "The command's output begins here" : "The log begins here";
    if (this.#left === "stopped") return "Stopped here: there are older lines.";
    if (this.#left !== "full") return "";
    return `Stopped here: ${this.store.bound}. There are older lines. If they are loaded, the newest ones are let go.`;
  }

  // Ends the way to the first line; what was loaded stays. Whether there was one.
  stop() {
    if (!this.isLoadingAll) return false;
    this.#left = "stopped";
    this.#run.stop.abort();
    return true;
  }

  // Ends whatever is being loaded.
  cancel() {
    if (!this.stop()) this.#run?.stop.abort();
  }

  // The lines in front of the first one held. `isAll`: up to the log's first line, or until the store is full.
  async load(isAll) {
    // Who asks for all while a part is loaded gets all.
    if (this.#run !== null) this.#run.isAll ||= isAll;
    if (this.#run !== null || !this.hasMore || this.store.edge(true) === null) return this.on.change();
    const run = { stop: new AbortController(), isAll, count: 0 };
    this.#run = run;
    this.#left = "";
    this.on.change();
    try {
      for (let lines = OLDER_LINES; ; lines = Math.min(2 * lines, Math.max(LONG_PART, this.store.maxLines / 8))) {
        const dropped = await this.#part(run, lines);
        if (dropped === null || run.stop.signal.aborted || !run.isAll || !this.hasMore) break;
        if (dropped > 0) {
          this.#left = "full";
          break;
        }
        this.on.change();
        await pause();
      }
    } catch (error) {
      if (!run.stop.signal.aborted) this.on.error(error);
    }
    // Another log has a run of its own, or none.
    if (this.#run !== run) return undefined;
    this.#run = null;
    this.on.change();
    return run.isAll && this.text !== "" ? this.on.end(this.text) : undefined;
  }

  // How many lines were let go for this part, or null if there was none.
  async #part(run, lines) {
    const { signal } = run.stop;
    const { store } = this;
    // A command's output comes from its beginning each time: in parts of one length, many lines would come very often.
    const wanted = this.isCommand ? Math.max(lines, store.length) : lines;
    // Not many more than there is room for, if they are as long as the lines that are held.
    const bySize = ((store.maxSize - store.size) * store.length) / store.size;
    const room = Math.max(OLDER_LINES, Math.floor(Math.min(store.maxLines - store.length, bySize)));
    let dropped = null;
    await loadOlder(store, (params) => this.read(params, signal), (found, isFirst) => {
      if (signal.aborted) return;
      run.count += found.filter((item) => item.kind === "line").length;
      dropped = found.length === 0 ? 0 : this.put(found, run.isAll);
      if (isFirst) this.hasMore = false;
    }, { lines: Math.min(wanted, room), isCommand: this.isCommand });
    return dropped;
  }
}
