// Characters that are not seen, or that change how their surroundings are shown, as visible marks.

// C0 without tab, DEL, C1; zero width and line separators; marks, embeddings, overrides and isolates of direction; tags.
const UNSEEN = /[\u0000-\u0008\u000a-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]/gu;

const NAMES = {
  0x200e: "LRM", 0x200f: "RLM", 0x061c: "ALM", 0x202a: "LRE", 0x202b: "RLE", 0x202c: "PDF", 0x202d: "LRO", 0x202e: "RLO",
  0x2066: "LRI", 0x2067: "RLI", 0x2068: "FSI", 0x2069: "PDI", 0x200b: "ZWSP", 0xfeff: "BOM", 0x2028: "LS", 0x2029: "PS",
};

export function markOf(char) {
  const code = char.codePointAt(0);
  if (code < 0x20) return String.fromCharCode(0x2400 + code);
  if (code === 0x7f) return "\u2421";
  return NAMES[code] === undefined ? `U+${code.toString(16).toUpperCase().padStart(4, "0")}` : `${NAMES[code]}`;
}

function shown(text) {
  return { text, isMark: false, length: text.length };
}

// The pieces of a text: what is shown as it is, and marks. Marks that stand together are one piece, since each piece becomes an
// element. `length` is how much of the text a piece stands for, in UTF-16 units.
export function pieces(text) {
  const out = [];
  let from = 0;
  let isName = false;
  for (const found of text.matchAll(UNSEEN)) {
    if (found.index > from) out.push(shown(text.slice(from, found.index)));
    const mark = markOf(found[0]);
    const before = out.at(-1);
    if (before?.isMark) {
      // A picture is one character; names need a space between them.
      before.text += mark.length > 1 || isName ? ` ${mark}` : mark;
      before.length += found[0].length;
    } else {
      out.push({ text: mark, isMark: true, length: found[0].length });
    }
    isName = mark.length > 1;
    from = found.index + found[0].length;
  }
  if (from < text.length) out.push(shown(text.slice(from)));
  return out;
}
