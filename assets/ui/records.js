// What a record of the log API is on the page: a line, or a mark that is not the sandbox's text.

const utf8 = new TextDecoder("utf-8");

function fromBase64(text) {
  const bytes = Uint8Array.from(atob(text), (it) => it.charCodeAt(0));
  return utf8.decode(bytes);
}

function bodyOf(record) {
  const text = record.log ?? fromBase64(record.log_base64 ?? "");
  return text.endsWith("\n") ? text.slice(0, -1) : text;
}

export const REASONS = {
  removed: "the sandbox was deleted or has expired",
  complete: "all of it was shown",
  until: "the requested time was reached",
  limit: "the requested number of bytes was reached",
  restarted: "another run began",
  drain: "the gateway is ending",
  slow_client: "this page did not keep up",
  backend_lost: "the gateway lost the runtime",
  ended_by_admin: "an administrator ended the stream",
};

// After these the page comes back by itself, with the token.
export const RESUMED = new Set(["restarted", "drain", "slow_client", "backend_lost"]);

export function endText(end) {
  if (end.reason === "exited") {
    const code = end.exit_code ?? null;
    const exit = code === null ? "the process ended" : `exit ${code}`;
    return `ended: ${exit}${end.oom === true ? " (out of memory)" : signalOf(code)}`;
  }
  return `ended: ${REASONS[end.reason] ?? end.reason}`;
}

function signalOf(code) {
  const names = { 130: "SIGINT", 134: "SIGABRT", 137: "SIGKILL", 139: "SIGSEGV", 143: "SIGTERM" };
  return names[code] === undefined ? "" : ` (${names[code]})`;
}

const GAPS = {
  rotated: "they were rotated away",
  overrun: "this page did not keep up",
  backend_lost: "the runtime was lost",
  cursor_expired: "the place is no longer known",
};

export function gapText(gap) {
  const lines = typeof gap.lines === "number" ? `${gap.lines.toLocaleString("en")} lines` : "lines";
  const range = gap.after && gap.before ? `, ${gap.after} to ${gap.before}` : "";
  return `gap: ${lines} may be missing, ${GAPS[gap.reason] ?? gap.reason}${range}`.replace(/(\d lines) may be missing/, "$1 are missing");
}

// An item of the store, or null for what is not shown. `kind` is `line` or a mark's.
export function itemOf(record) {
  const time = record.time ?? null;
  const id = record.id ?? null;
  switch (record.event) {
    case undefined:
      return { kind: "line", id, time, err: record.stream === "stderr", part: record.partial === true, text: bodyOf(record) };
    case "gap":
      return { kind: "gap", id, time: record.before ?? time, text: gapText(record) };
    case "restart":
      return { kind: "restart", id, time: record.started_at ?? time, text: "the process was started again" };
    case "notice":
      return { kind: "notice", id, time, text: `${record.code}: ${record.message}` };
    case "end":
      return { kind: "end", id, time: record.finished_at ?? time, text: endText(record) };
    default:
      return null;
  }
}
