// A line as a terminal would show it, as data: text with colours and styles. Nothing else of an escape sequence is done.
//
// Everything but SGR is removed first, and overwritten text is resolved, so that the vendored parser sees plain SGR only.

import { createAnsiSequenceParser, createColorPalette } from "./vendor/ansi-sequence-parser.js";

// CSI; OSC, DCS, SOS, PM and APC up to their end (or the line's, if they have none); charset choices; other two-byte ones.
const ESCAPE = /(?:\x1b\[|\x9b)([0-?]*)([ -/]*)([@-~])?|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|(?=\x1b)|$)|\x1b[ -/]+[0-~]?|\x1b[0-~]?/g;
const SPECIAL = /[\x00-\x08\x0a-\x1f\x7f-\x9f]/;
// How much of a line with carriage returns is looked at, in characters.
const MAX_OVERWRITE = 65536;
const palette = createColorPalette();

// One SGR code after the other: the parser does resets of a sequence before what the sequence sets.
function sgr(params) {
  const codes = params.replaceAll(":", ";").split(";");
  if (params === "" || codes.length > 32 || /[<=>?]/.test(params)) return params === "" ? "\x1b[0m" : "";
  let out = "";
  for (let at = 0; at < codes.length; at += 1) {
    const code = codes[at] === "" ? "0" : codes[at];
    if ((code === "38" || code === "48") && (codes[at + 1] === "5" || codes[at + 1] === "2")) {
      const count = codes[at + 1] === "5" ? 3 : 5;
      // `38:2::r:g:b` has an empty colour space.
      const skip = count === 5 && params.includes(":") && codes[at + 2] === "" ? 1 : 0;
      const values = codes.slice(at + 2 + skip, at + count + skip);
      if (values.length === count - 2 && values.every((it) => /^\d{1,3}$/.test(it) && Number(it) < 256)) out += `\x1b[${code};${codes[at + 1]};${values.join(";")}m`;
      at += count - 1 + skip;
    } else if (/^\d{1,3}$/.test(code)) {
      out += `\x1b[${code}m`;
    }
  }
  return out;
}

// Without escape sequences; SGR stays if `keep` is true, and "erase the line" as \x1b[K for `overwrite`.
function strip(text, keep, isErase = false) {
  return text.replace(ESCAPE, (all, params, between, final) => {
    if (final === "m" && between === "") return keep ? sgr(params) : "";
    return isErase && final === "K" ? `\x1b[${params}K` : "";
  });
}

// Carriage returns and backspaces as a terminal does them: what comes later is written over what is there.
function overwrite(text) {
  const tokens = text.slice(-MAX_OVERWRITE).match(/\x1b\[[0-?]*[mK]|[^]/gu) ?? [];
  const cells = [];
  // Erasing is only noted: the number of the last erasure that blanked the cells in front of this one.
  const erased = new Uint32Array(tokens.length + 1);
  let erasures = 0;
  let at = 0;
  let style = "";
  for (const token of tokens) {
    if (token === "\r") at = 0;
    else if (token === "\b") at = Math.max(0, at - 1);
    else if (token.startsWith("\x1b[") && token.endsWith("K")) {
      if (token === "\x1b[2K") erased[cells.length] = erasures += 1;
      else if (token === "\x1b[1K") erased[Math.min(at + 1, cells.length)] = erasures += 1;
      else cells.length = Math.min(cells.length, at);
    } else if (token.startsWith("\x1b[")) style = token === "\x1b[0m" ? "" : style + token;
    else {
      while (cells.length < at) cells.push({ char: " ", style: "", since: erasures });
      cells[at] = { char: token, style, since: erasures };
      at += 1;
    }
    // A style that is only added to grows without end.
    if (style.length > 256) style = style.slice(style.indexOf("m") + 1);
  }
  let last = 0;
  for (let index = tokens.length; index > 0; index -= 1) {
    last = Math.max(last, erased[index]);
    if (index <= cells.length && cells[index - 1].since < last) cells[index - 1] = { char: " ", style: "" };
  }
  let out = "";
  let current = "";
  for (const cell of cells) {
    if (cell.style !== current) {
      out += `\x1b[0m${cell.style}`;
      current = cell.style;
    }
    out += cell.char;
  }
  // Not by an expression: it would try each space of a run from anew.
  let length = out.length;
  while (length > 0 && out[length - 1] === " ") length -= 1;
  return out.slice(0, length);
}

function flat(text, keep) {
  const body = text.endsWith("\r") ? text.slice(0, -1) : text;
  if (!SPECIAL.test(body)) return body;
  if (!/[\r\b]/.test(body)) return strip(body, keep);
  const over = overwrite(strip(body, true, true));
  return keep ? over : strip(over, false);
}

// The text alone: what is searched.
export function plain(text) {
  return flat(text, false);
}

function colour(value) {
  if (value === null) return null;
  if (value.type === "named") return { name: value.name };
  if (value.type === "table" && value.index < 16) return { name: NAMED[value.index] };
  return { css: palette.value(value) };
}

const NAMED = [
  "black", "red", "green", "yellow", "blue", "magenta", "cyan", "white",
  "brightBlack", "brightRed", "brightGreen", "brightYellow", "brightBlue", "brightMagenta", "brightCyan", "brightWhite",
];

// Segments: `text`, `fg` and `bg` (null, `{name}` or `{css}`), `styles` (names of decorations).
export function segments(text) {
  const clean = flat(text, true);
  if (!clean.includes("\x1b")) return clean === "" ? [] : [{ text: clean, fg: null, bg: null, styles: [] }];
  return createAnsiSequenceParser().parse(clean).map((token) => {
    return { text: token.value, fg: colour(token.foreground), bg: colour(token.background), styles: [...token.decorations] };
  });
}
