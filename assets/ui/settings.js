// The key and how the page looks. The key is in memory, or in sessionStorage if the user ticks it; never in a URL.

const KEY = "opensandbox.key";
const LOOK = "opensandbox.look";

export function storedKey() {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    // A browser that keeps nothing of sites.
    return "";
  }
}

export function keepKey(key, isKept) {
  try {
    if (isKept) sessionStorage.setItem(KEY, key);
    else sessionStorage.removeItem(KEY);
  } catch {
    // Then it is in memory alone.
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
    // Then it is for this page alone.
  }
}

// `auto`, `light` or `dark`.
export function applyTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}
