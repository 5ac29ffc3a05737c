// Times as people read them. The API's are RFC 3339 in UTC with nine decimals.

function two(number) {
  return String(number).padStart(2, "0");
}

// `mode` is `local`, `utc` or `off`. The date is shown without its year, which is in the title.
export function clock(time, mode) {
  if (mode === "off" || time === null) return "";
  if (mode === "utc") return `${time.slice(5, 10)} ${time.slice(11, 23)}`;
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) return time;
  const millis = time.slice(19, 23).padEnd(4, "0").replace(/^[^.]/, ".");
  return `${two(date.getMonth() + 1)}-${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}${millis}`;
}

// A duration in seconds, in its two largest units.
export function span(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${two(whole % 60)}s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)}h ${two(Math.floor((whole % 3600) / 60))}m`;
  return `${Math.floor(whole / 86400)}d ${Math.floor((whole % 86400) / 3600)}h`;
}

export function age(created, now = Date.now()) {
  const at = Date.parse(created ?? "");
  return Number.isNaN(at) ? "–" : span((now - at) / 1000);
}

export function expiry(expires, now = Date.now()) {
  const at = Date.parse(expires ?? "");
  if (Number.isNaN(at)) return "never";
  return at <= now ? "expired" : `in ${span((at - now) / 1000)}`;
}

// This many seconds later, in the API's form. The nanoseconds are kept.
export function later(time, seconds) {
  const date = new Date(Date.parse(`${time.slice(0, 19)}Z`) + seconds * 1000);
  return `${date.toISOString().slice(0, 19)}${time.slice(19)}`;
}
