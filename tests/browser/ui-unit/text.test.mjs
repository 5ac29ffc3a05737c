// What a line's bytes become: colours, escapes, overwriting, unseen characters.

import assert from "node:assert/strict";
import { test } from "node:test";
import { plain, segments } from "../../../assets/ui/ansi.js";
import { pieces } from "../../../assets/ui/bidi.js";
import { cutAt } from "../../../assets/ui/row.js";
import { ranges, Search } from "../../../assets/ui/search.js";

test("SGR becomes data", () => {
  const [red, after] = segments("\x1b[1;31mred\x1b[m plain");
  assert.deepEqual(red, { text: "red", fg: { name: "red" }, bg: null, styles: ["bold"] });
  assert.deepEqual(after, { text: " plain", fg: null, bg: null, styles: [] });
});

test("colours of 256 and of 16 million, with both separators", () => {
  assert.deepEqual(segments("\x1b[38;5;200mx")[0].fg, { css: "#ff00d7" });
  assert.deepEqual(segments("\x1b[38;5;1mx")[0].fg, { name: "red" });
  assert.deepEqual(segments("\x1b[48;2;1;2;3mx")[0].bg, { css: "#010203" });
  assert.deepEqual(segments("\x1b[48:2::1:2:3mx")[0].bg, { css: "#010203" });
  assert.deepEqual(segments("\x1b[38;5;999mx")[0].fg, null);
});

test("a reset behind a colour in one sequence resets", () => {
  assert.deepEqual(segments("\x1b[31;0mx")[0].fg, null);
  assert.deepEqual(segments("\x1b[0;31mx")[0].fg, { name: "red" });
});

test("other escape sequences are removed", () => {
  assert.equal(plain("a\x1b]0;title\x07b"), "ab");
  assert.equal(plain("\x1b]8;;http://evil/\x1b\\link\x1b]8;;\x1b\\"), "link");
  assert.equal(plain("a\x1b[2J\x1b[10;10Hb\x1b(B\x1bcc\x1b"), "abc");
  assert.equal(plain("\x1bPq#0;2;0;0;0\x1b\\x"), "x");
  assert.equal(plain("a\x1b]52;c;never ended"), "a");
  for (const text of ["\x1b\x1b[31m", "\x1b[3\x1b[1m1m", "\x1b[\x1b]0;x\x07m"]) assert.ok(!plain(text).includes("\x1b"));
});

test("what a carriage return overwrites is not seen", () => {
  assert.equal(plain("abc\rX"), "Xbc");
  assert.equal(plain("10%\r100%\r"), "100%");
  assert.equal(plain("long text\rab\x1b[K"), "ab");
  assert.equal(plain("ab\bX"), "aX");
  assert.equal(segments("\x1b[31mred\r\x1b[32mg")[0].fg.name, "green");
});

test("erasing blanks what was there before it, and nothing that comes later", () => {
  assert.equal(plain("abcdef\b\b\x1b[2KX"), "    X");
  assert.equal(plain("abcdef\b\b\b\x1b[1KX"), "   Xef");
  assert.equal(plain("abc\x1b[2K\rxy"), "xy");
  assert.equal(plain("abcdef\b\b\b\b\x1b[1K\rX\b\x1b[1KY"), "Y  def");
  assert.equal(plain("abcdef\x1b[2K\rab\x1b[Kcd"), "abcd");
});

// Processor time of one call for this text, in microseconds: the least of some, so that what runs beside it does not count.
function cost(text) {
  const times = Array.from({ length: 7 }, () => {
    const began = process.cpuUsage();
    for (let round = 0; round < 3; round += 1) plain(text);
    const { user, system } = process.cpuUsage(began);
    return user + system;
  });
  return Math.min(...times);
}

// Four times the length takes four times the time, and not sixteen times. What takes next to nothing is not compared.
function growsWithLength(name, make) {
  const [short, long] = [cost(make(1)), cost(make(4))];
  assert.ok(long < 20_000 || long < 9 * short, `${name}: ${short} and ${long} µs`);
}

test("runs of spaces and erasures take a time that grows with the line only", () => {
  growsWithLength("spaces", (times) => `a\b${" ".repeat(16_000 * times)}x\t`);
  for (const erasure of ["\x1b[2K", "\x1b[2Kx", "\x1b[1K"]) {
    growsWithLength(JSON.stringify(erasure), (times) => `${"x".repeat(8000 * times)}${erasure.repeat(2000 * times)}\rz`);
  }
});

test("a search looks at the clock after a long line", (context) => {
  let now = 0;
  context.mock.method(performance, "now", () => (now += 3));
  const asked = [];
  const store = { first: 0, end: 10, get: (number) => (asked.push(number), { text: "x".repeat(20_000) }) };
  context.mock.timers.enable({ apis: ["setTimeout"] });
  new Search(store, () => {}).set("x");
  assert.deepEqual(asked, [0]);
});

test("escapes and returns take a time that grows with the line only", () => {
  for (const piece of ["\x1b[31m", "\x1b[", "\x1b]", "\r", "a\r", "\b", "\x1b[38;5;"]) {
    growsWithLength(JSON.stringify(piece), (times) => piece.repeat((20_000 * times) / piece.length));
  }
});

test("unseen characters and those of direction become marks", () => {
  assert.deepEqual(pieces("a\u202eb"), [{ text: "a", isMark: false, length: 1 }, { text: "RLO", isMark: true, length: 1 }, { text: "b", isMark: false, length: 1 }]);
  for (const char of "\0\x08\x7f\u0085\u200e\u2028\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff") {
    assert.ok(pieces(char)[0].isMark, char.codePointAt(0).toString(16));
  }
  assert.deepEqual(pieces("tab\tעברית"), [{ text: "tab\tעברית", isMark: false, length: 9 }]);
});

test("marks that stand together are one piece, as long as what they stand for", () => {
  assert.deepEqual(pieces("\x01".repeat(4096)), [{ text: "\u2401".repeat(4096), isMark: true, length: 4096 }]);
  assert.deepEqual(pieces("\u{e0041}\u200f\0\0\u200ex"), [{ text: "U+E0041 RLM ␀␀ LRM", isMark: true, length: 6 }, { text: "x", isMark: false, length: 1 }]);
});

test("ranges of a search", () => {
  assert.deepEqual(ranges("Error error", "error"), [[0, 5], [6, 11]]);
  assert.deepEqual(ranges("Error error", "Error"), [[0, 5]]);
  assert.deepEqual(ranges("aaaa", "aa"), [[0, 2], [2, 4]]);
});

test("a cut does not part a character", () => {
  assert.equal(cutAt("a😀b", 2), "a");
  assert.equal(cutAt("ab", 2), "ab");
});

test("no line takes more time than its length", () => {
  const start = process.cpuUsage();
  assert.equal(plain(`a\b${" ".repeat(65_000)}x\t`).trim(), "x");
  plain(`${"y".repeat(32_768)}${"\x1b[2K".repeat(8192)}\r`);
  // Quadratic work takes minutes.
  assert.ok(process.cpuUsage(start).user < 10_000_000);
});

test("an erased line is blank up to where the writing goes on", () => {
  assert.equal(plain("abc\b\x1b[2Kd"), "  d");
  assert.equal(plain("abc\r\x1b[2Kd"), "d");
});
