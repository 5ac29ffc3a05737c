// Shows a window of the lines in a scroller of any number of lines: only the rows that are seen are elements.
//
// The scroll position is a part of the whole, t in 0..1: the line t·n stands at t·height of the view. With rows of one height
// that is plain scrolling. It also holds for rows of differing heights, and where a browser's largest height is exceeded.

import { row } from "./row.js";

// What all browsers can do. A page of a million lines on it is no longer than what is seen: none is passed over.
const MAX_HEIGHT = 16_000_000;
const SCROLL_KEYS = new Set(["ArrowDown", "ArrowUp", "PageDown", "PageUp", "Home", "End", " "]);
// A scroll so soon after a person's hand is that person's: a swipe runs on for a while. In milliseconds.
const SWIPE = 1500;
// How long lines that came wait to be shown, in milliseconds.
const SOON = 60;

export class LogView {
  #rows = new Map();
  #frame = 0;
  #soon = 0;
  #isStale = false;
  #rowHeight = 18;
  #width = 0;
  #mine = -1;
  #anchor = null;
  #touched = -Infinity;
  // The line whose button was used: its element is made anew, and the focus goes with it.
  #focused = null;

  // `onScroll({isTop, isBottom, isUser})` after each move.
  constructor(scroller, store, { onScroll, onRows }) {
    this.scroller = scroller;
    this.store = store;
    this.on = { scroll: onScroll, rows: onRows };
    this.isFollowing = true;
    this.look = { times: "local", query: "", current: null, linked: null };
    this.spacer = scroller.querySelector(".spacer");
    this.layer = scroller.querySelector(".rows");
    this.inner = document.createElement("div");
    this.inner.className = "inner";
    this.inner.setAttribute("role", "list");
    this.inner.setAttribute("aria-label", "Lines");
    this.layer.append(this.inner);
    scroller.addEventListener("scroll", () => this.#moved(), { passive: true });
    const touch = () => (this.#touched = performance.now());
    for (const name of ["wheel", "touchmove", "pointerdown"]) scroller.addEventListener(name, touch, { passive: true });
    scroller.addEventListener("pointermove", (event) => event.buttons !== 0 && touch(), { passive: true });
    scroller.addEventListener("keydown", (event) => SCROLL_KEYS.has(event.key) && touch());
    new ResizeObserver(() => {
      this.redraw();
    }).observe(scroller);
  }

  get height() {
    return this.scroller.clientHeight;
  }

  get #room() {
    return Math.max(0, this.spacer.offsetHeight - this.height);
  }

  // The line at the reference point, with its part: from the position in the scroller.
  get position() {
    const room = this.#room;
    if (room === 0) return this.isFollowing ? this.store.end : this.store.first;
    return this.store.first + Math.min(1, Math.max(0, this.scroller.scrollTop / room)) * this.store.length;
  }

  #moved() {
    if (Math.abs(this.scroller.scrollTop - this.#mine) < 1) return this.draw();
    this.#mine = -1;
    this.#anchor = null;
    const room = this.#room;
    const isBottom = this.scroller.scrollTop >= room - 2;
    const isUser = performance.now() - this.#touched < SWIPE;
    this.on.scroll({ isTop: this.scroller.scrollTop < this.height && room > 0, isBottom, isUser });
    return this.draw();
  }

  // Everything is made anew: after a change of how lines look.
  redraw() {
    this.#isStale = true;
    this.draw();
  }

  // Before the store changes: what stands where is kept.
  hold() {
    if (!this.isFollowing && this.#anchor === null) this.#anchor = this.position;
  }

  // For lines that came: not in each frame, so that there is time for what is typed.
  drawSoon() {
    if (this.#frame !== 0 || this.#soon !== 0) return;
    this.#soon = setTimeout(() => {
      this.#soon = 0;
      this.draw();
    }, SOON);
  }

  // In the next frame.
  draw() {
    if (this.#frame !== 0) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      this.#paint();
    });
  }

  to(number, part = 0.5) {
    this.#anchor = number + part;
    this.draw();
  }

  #paint() {
    const { store, scroller } = this;
    const count = store.length;
    const view = this.height;
    if (this.layer.offsetHeight !== view) this.layer.style.height = `${view}px`;
    const total = Math.min(MAX_HEIGHT, Math.max(1, Math.ceil(count * this.#rowHeight)));
    if (this.spacer.offsetHeight !== total) this.spacer.style.height = `${total}px`;
    const room = this.#room;
    if (this.isFollowing) {
      // Where somebody was before counts no more: a pause stays where it begins.
      this.#anchor = null;
      this.#set(room);
    } else if (this.#anchor !== null) {
      const part = Math.min(1, Math.max(0, (this.#anchor - store.first) / Math.max(1, count)));
      this.#set(part * room);
    }
    const isSmall = room === 0;
    const t = isSmall ? 0 : Math.min(1, scroller.scrollTop / room);
    const exact = !isSmall && this.#anchor !== null && !this.isFollowing ? this.#anchor - store.first : t * count;
    const at = Math.min(count, Math.max(0, exact));
    const index = Math.min(Math.max(0, count - 1), Math.floor(at));
    const y = t * view;
    const extra = 4;
    const least = 18;
    const from = Math.max(0, index - Math.ceil(y / least) - extra);
    const to = Math.min(count, index + Math.ceil((view - y) / least) + extra + 1);
    this.#fill(store.first + from, store.first + to);
    const reference = this.#rows.get(store.first + index);
    if (reference !== undefined) {
      const top = isSmall ? 0 : y - (reference.offsetTop + (at - index) * reference.offsetHeight);
      this.inner.style.transform = `translateY(${Math.round(top)}px)`;
      this.#measure();
    }
    if (this.#focused !== null) {
      (this.#rows.get(this.#focused)?.querySelector(".more") ?? scroller).focus({ preventScroll: true });
      this.#focused = null;
    }
    this.on.rows?.();
  }

  #set(top) {
    if (Math.abs(this.scroller.scrollTop - top) >= 0.5) this.scroller.scrollTop = top;
    this.#mine = this.scroller.scrollTop;
  }

  #fill(from, to) {
    if (this.#isStale) {
      this.#isStale = false;
      this.#rows.clear();
      this.inner.replaceChildren();
    }
    for (const [number, element] of this.#rows) {
      if (number < from || number >= to) {
        element.remove();
        this.#rows.delete(number);
      }
    }
    let before = this.inner.firstChild;
    for (let number = from; number < to; number += 1) {
      let element = this.#rows.get(number);
      if (element === undefined) {
        element = row(number, this.store.get(number), this.look, () => {
          this.#focused = number;
          this.redraw();
        });
        this.#rows.set(number, element);
        this.inner.insertBefore(element, before);
      } else {
        before = element.nextSibling;
      }
      // While lines come, these would change in each frame, and nobody could hear them.
      if (!this.isFollowing) {
        element.setAttribute("aria-posinset", String(number - this.store.first + 1));
        element.setAttribute("aria-setsize", String(this.store.length));
      }
    }
  }

  // The mean height and the largest width of rows, for the scroller's size.
  #measure() {
    const shown = this.#rows.size;
    if (shown === 0) return;
    const mean = this.inner.offsetHeight / shown;
    if (Math.abs(mean - this.#rowHeight) > this.#rowHeight * 0.2 || (mean < 18.5 && this.#rowHeight !== mean)) {
      const position = this.position;
      this.#rowHeight = mean;
      if (!this.isFollowing && this.#anchor === null) this.#anchor = position;
      this.draw();
    }
    const width = this.inner.offsetWidth;
    if (width > this.#width) {
      this.#width = width;
      this.spacer.style.minWidth = `${width}px`;
    }
  }

  // The scroller is as wide as its widest line again.
  forgetWidth() {
    this.#width = 0;
    this.spacer.style.minWidth = "";
  }
}
