// The key and how the page looks. The key is in memory, or in sessionStorage if the user ticks it; never in a URL.
//
// A browser that blocks a site's data throws at each use of its storage: the page works without, and keeps nothing.

const KEY = "opensandbox.key";
const LOOK = "opensandbox.look";

export function storedKey() {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

// Whether it was done.
export function keepKey(key, isKept) {
  try {
    if (isKept) sessionStorage.setItem(KEY, key);
    else sessionStorage.removeItem(KEY);
    return true;
  } catch {
    return false;
  }
}

function look() {
  try {
    return JSON.parse(localStorage.getItem(LOOK) ?? "{}");
  } catch {
    return {};
  }
}

export function setting(name, fallback) {
  return look()[name] ?? fallback;
}

export function keepSetting(name, value) {
  try {
    localStorage.setItem(LOOK, JSON.stringify({ ...look(), [name]: value }));
  } catch {
    // It holds until the page is loaded again.
  }
}

// `auto`, `light` or `dark`.
export function applyTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}
