// Finds a text in the lines that are held, in slices, so that typing never waits. Lower-case queries ignore case.

import { plain } from "./ansi.js";

const SLICE = 4;
// The clock is looked at after so many lines, or so many characters.
const LINES = 64;
const LENGTH = 16_384;

// Where a query stands in a text: [from, to) pairs, at most `limit`.
export function ranges(text, query, limit = 1000) {
  if (query === "") return [];
  const isExact = query !== query.toLowerCase();
  const lower = isExact ? text : text.toLowerCase();
  // A few letters change their length in lower case: then only the exact text is found.
  const where = lower.length === text.length ? lower : text;
  const found = [];
  for (let at = where.indexOf(query); at !== -1 && found.length < limit; at = where.indexOf(query, at + query.length)) {
    found.push([at, at + query.length]);
  }
  return found;
}

function isMatch(item, query, isExact) {
  const text = plain(item.text);
  return (isExact ? text : text.toLowerCase()).includes(query);
}

export class Search {
  #timer = null;
  #next = 0;

  // `onChange()` is called when there are more matches, and when all is searched.
  constructor(store, onChange) {
    this.store = store;
    this.onChange = onChange;
    this.query = "";
    this.matches = [];
    this.current = null;
  }

  get isBusy() {
    return this.#timer !== null;
  }

  set(query) {
    this.query = query;
    this.restart();
  }

  // Also after older lines were put in front.
  restart() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.matches = [];
    this.#next = this.store.first;
    if (this.query !== "") this.#slice();
    else this.onChange();
  }

  // Lines were added behind, or dropped in front.
  grew() {
    if (this.query === "" || this.#timer !== null) return;
    this.#slice();
  }

  #slice() {
    const until = performance.now() + SLICE;
    const isExact = this.query !== this.query.toLowerCase();
    this.#next = Math.max(this.#next, this.store.first);
    while (this.#next < this.store.end && performance.now() < until) {
      for (let step = 0, length = 0; step < LINES && length < LENGTH && this.#next < this.store.end; step += 1) {
        const item = this.store.get(this.#next);
        if (isMatch(item, this.query, isExact)) this.matches.push(this.#next);
        length += item.text.length;
        this.#next += 1;
      }
    }
    let gone = 0;
    while (gone < this.matches.length && this.matches[gone] < this.store.first) gone += 1;
    if (gone > 0) this.matches.splice(0, gone);
    this.#timer = this.#next < this.store.end ? setTimeout(() => this.#slice(), 0) : null;
    this.onChange();
  }

  // The next match behind (1) or in front of (-1) this line, around the ends.
  step(from, way) {
    if (this.matches.length === 0) return null;
    const { matches } = this;
    const found = way > 0 ? matches.find((it) => it > from) ?? matches[0] : matches.findLast((it) => it < from) ?? matches.at(-1);
    this.current = found;
    return found;
  }
}
