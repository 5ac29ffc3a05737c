// The part of a log that the page holds: a window that grows at both ends and is bounded in lines and in characters.
//
// Each item has a number that does not change while it is held: those in front have smaller ones, below zero too.

const MEBI = 1024 * 1024;

// So many lines of 256 characters fit, and no fewer than of 64 Mi characters in all.
function sizeFor(lines) {
  return Math.max(64 * MEBI, 256 * lines);
}

export class LogStore {
  #items = [];
  #head = 0;
  #first = 0;
  #size = 0;

  // `maxLines` and `maxSize` (characters) bound what is held.
  constructor(maxLines = 100_000, maxSize = sizeFor(maxLines)) {
    this.maxLines = maxLines;
    this.maxSize = maxSize;
    this.droppedOld = 0;
    this.droppedNew = 0;
  }

  // Other bounds, from the next lines on.
  keep(lines) {
    this.maxLines = lines;
    this.maxSize = sizeFor(lines);
  }

  // The bound that is reached, in words.
  get bound() {
    if (this.length >= this.maxLines) return `${this.maxLines.toLocaleString("en")} lines are held, the most that is kept (Options: Keep)`;
    return `${Math.round(this.maxSize / MEBI)} Mi characters are held, the most that is kept`;
  }

  get length() {
    return this.#items.length - this.#head;
  }

  // The number of the first item.
  get first() {
    return this.#first;
  }

  // The number behind the last item.
  get end() {
    return this.#first + this.length;
  }

  get size() {
    return this.#size;
  }

  get(number) {
    return this.#items[number - this.#first + this.#head];
  }

  clear() {
    this.#items = [];
    this.#head = 0;
    this.#first = 0;
    this.#size = 0;
    this.droppedOld = 0;
    this.droppedNew = 0;
  }

  // Adds newer items. The oldest are dropped for them; returns how many were.
  append(items) {
    for (const item of items) {
      this.#items.push(item);
      this.#size += cost(item);
    }
    let dropped = 0;
    while (this.#isOver() && this.length > 1) {
      this.#size -= cost(this.#items[this.#head]);
      this.#items[this.#head] = undefined;
      this.#head += 1;
      this.#first += 1;
      dropped += 1;
    }
    if (this.#head > 4096 && this.#head * 4 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    this.droppedOld += dropped;
    return dropped;
  }

  // Adds older items in front. The newest are dropped for them; returns how many were.
  prepend(items) {
    this.#items = items.concat(this.#head === 0 ? this.#items : this.#items.slice(this.#head));
    this.#head = 0;
    this.#first -= items.length;
    for (const item of items) this.#size += cost(item);
    this.droppedOld = Math.max(0, this.droppedOld - items.length);
    let dropped = 0;
    while (this.#isOver() && this.length > 1) {
      this.#size -= cost(this.#items.pop());
      dropped += 1;
    }
    this.droppedNew += dropped;
    return dropped;
  }

  // The number of the item with this token, or null.
  find(id) {
    for (let number = this.end - 1; number >= this.#first; number -= 1) {
      if (this.get(number).id === id) return number;
    }
    return null;
  }

  // The first or last item that has a token and a time, or null: where older and newer lines are asked for.
  edge(isFirst) {
    for (let step = 0; step < this.length; step += 1) {
      const item = this.get(isFirst ? this.#first + step : this.end - 1 - step);
      if (item.id !== null && item.time !== null && (!isFirst || item.kind === "line")) return item;
    }
    return null;
  }

  // How many lines are held from the start up to this time (RFC 3339 of one length: compared as text).
  linesUntil(time) {
    let count = 0;
    for (let number = this.#first; number < this.end; number += 1) {
      const item = this.get(number);
      if (item.kind !== "line") continue;
      if (item.time > time) break;
      count += 1;
    }
    return count;
  }

  #isOver() {
    return this.length > this.maxLines || this.#size > this.maxSize;
  }
}

// The characters that an item counts as: 64 for the item itself and its token.
export function cost(item) {
  return item.text.length + 64;
}
