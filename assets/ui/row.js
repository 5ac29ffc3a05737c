// The element of a line. The sandbox's text only ever becomes text nodes; colours are classes or CSSOM properties.

import { plain, segments } from "./ansi.js";
import { pieces } from "./bidi.js";
import { ranges } from "./search.js";
import { clock } from "./time.js";

// How much of a line is shown before "show more", and how much each click adds, in characters.
export const SHOWN = 4096;
const MORE = 65536;

function span(className, text) {
  const element = document.createElement("span");
  element.className = className;
  element.textContent = text;
  return element;
}

function dress(element, segment) {
  for (const style of segment.styles) element.classList.add(`s-${style}`);
  for (const [kind, value] of [["fg", segment.fg], ["bg", segment.bg]]) {
    if (value === null) continue;
    if (value.name !== undefined) element.classList.add(`${kind}-${value.name}`);
    else element.style.setProperty(kind === "fg" ? "color" : "background-color", value.css);
  }
}

// Text nodes with the marks of unseen characters and of what is searched for.
function fill(parent, text, from, found) {
  let at = from;
  for (const piece of pieces(text)) {
    const { length } = piece;
    if (piece.isMark) parent.append(span("ctl", piece.text));
    else {
      let done = 0;
      for (const [start, end] of found) {
        const left = Math.max(start - at, done);
        const right = Math.min(end - at, length);
        if (right <= left) continue;
        if (left > done) parent.append(piece.text.slice(done, left));
        const mark = document.createElement("mark");
        mark.textContent = piece.text.slice(left, right);
        parent.append(mark);
        done = right;
      }
      if (done < length) parent.append(piece.text.slice(done));
    }
    at += length;
  }
}

function fillText(cell, text, query) {
  const found = ranges(plain(text), query);
  let at = 0;
  for (const segment of segments(text)) {
    if (segment.fg === null && segment.bg === null && segment.styles.length === 0) fill(cell, segment.text, at, found);
    else {
      const part = span("", "");
      dress(part, segment);
      fill(part, segment.text, at, found);
      cell.append(part);
    }
    at += segment.text.length;
  }
}

// A cut does not part a surrogate pair.
export function cutAt(text, length) {
  if (text.length <= length) return text;
  const code = text.charCodeAt(length - 1);
  return text.slice(0, code >= 0xd800 && code < 0xdc00 ? length - 1 : length);
}

// `look`: `times`, `query`, `current` and `linked` (numbers of lines).
export function row(number, item, look, onMore) {
  const element = document.createElement("div");
  element.className = item.kind === "line" ? (item.err ? "row err" : "row") : `row mark ${item.kind}`;
  if (number === look.current) element.classList.add("current");
  if (number === look.linked) element.classList.add("linked");
  element.dataset.number = String(number);
  element.setAttribute("role", "listitem");
  if (look.times !== "off") {
    const time = span("time", clock(item.time, look.times));
    time.title = item.time ?? "";
    element.append(time);
  }
  if (item.kind === "line") {
    const stream = span("stream", item.err ? "E" : "");
    if (item.err) stream.title = "stderr";
    element.append(stream);
  }
  const cell = document.createElement("bdi");
  cell.className = "text";
  cell.dir = "ltr";
  element.append(cell);
  const shown = item.shown ?? SHOWN;
  fillText(cell, cutAt(item.text, shown), look.query);
  if (item.text.length > shown) {
    const more = document.createElement("button");
    more.type = "button";
    more.className = "more";
    more.textContent = `show more (${Math.ceil((item.text.length - shown) / 1024).toLocaleString("en")} KiB)`;
    more.addEventListener("click", () => {
      item.shown = shown + MORE;
      onMore();
    });
    element.append(more);
  }
  return element;
}
