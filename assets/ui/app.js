// The page as a whole: which screen is shown, the key, the theme and the keyboard.

import { Api } from "./api.js";
import { bind } from "./keyboard.js";
import { List } from "./list.js";
import { LogPage } from "./log-page.js";
import { parse } from "./route.js";
import { applyTheme, keepKey, keepSetting, setting, storedKey } from "./settings.js";

const el = (id) => document.getElementById(id);
const api = new Api();
let isOpen = false;
let stateTimer = null;

function announce(text) {
  el("status").textContent = text;
}

function askForKey(problem = "") {
  isOpen = false;
  clearTimeout(stateTimer);
  list.stop();
  log.close();
  keepKey("", false);
  api.key = "";
  show("key-screen");
  el("forget").hidden = true;
  el("key-problem").textContent = problem;
  el("key-problem").hidden = problem === "";
  el("key").focus();
}

function show(screen) {
  for (const id of ["key-screen", "list-screen", "log-screen"]) el(id).hidden = id !== screen;
  document.body.dataset.screen = screen;
}

const list = new List(el("list-screen"), api, { onError: () => askForKey("The key is not valid any more.") });
const log = new LogPage(api, { onUnauthorized: () => askForKey("The key is not valid any more."), announce });

async function followState(id) {
  clearTimeout(stateTimer);
  if (log.route?.id !== id) return;
  try {
    const sandbox = document.hidden ? null : await api.sandbox(id);
    if (sandbox !== null && log.route?.id === id) log.setSandbox(sandbox);
  } catch (error) {
    if (error.isUnauthorized) return void askForKey("The key is not valid any more.");
    if (error.status === 404 && log.route?.id === id) log.setSandbox({ id, status: { state: "Deleted" } });
  }
  if (log.route?.id === id) stateTimer = setTimeout(() => followState(id), 3000);
}

function navigate() {
  if (!isOpen) return;
  const route = parse(location.hash);
  if (route.id === null) {
    log.close();
    show("list-screen");
    document.title = "Sandboxes";
    list.start();
    return;
  }
  list.stop();
  show("log-screen");
  document.title = `Log of ${route.id.slice(0, 64)}`;
  log.open(route);
  followState(route.id);
}

// Tries the key; none at all at first, since a gateway may have none.
async function enter(key, isKept) {
  api.key = key;
  await (await api.get("/v1/sandboxes", { page: 1, pageSize: 1 })).json();
  keepKey(key, isKept && key !== "");
  isOpen = true;
  el("forget").hidden = key === "";
  el("key").value = "";
  navigate();
  if (parse(location.hash).id === null) el("filter").focus({ preventScroll: true });
}

el("key-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const key = el("key").value.trim();
  try {
    // Other characters cannot be in a header.
    if (!/^[\x21-\x7e]+$/.test(key)) throw new Error("A key has letters, digits and signs of ASCII only.");
    await enter(key, el("key-keep").checked);
  } catch (error) {
    api.key = "";
    const text = error.isUnauthorized ? "This key is wrong." : error instanceof TypeError ? "The gateway cannot be reached." : error.message;
    el("key-problem").textContent = text;
    el("key-problem").hidden = false;
    el("key").select();
  }
});
el("forget").addEventListener("click", () => askForKey());
el("theme").addEventListener("change", () => {
  keepSetting("theme", el("theme").value);
  applyTheme(el("theme").value);
});
el("help-open").addEventListener("click", () => el("help").showModal());
window.addEventListener("hashchange", navigate);

const isLog = () => !el("log-screen").hidden;
const onLog = (act) => () => isLog() && act();
bind({
  "/": () => (isLog() ? el("search") : el("filter")).focus(),
  f: onLog(() => log.follow(!log.view.isFollowing)),
  g: onLog(() => log.toTop()),
  G: onLog(() => log.toEnd()),
  n: onLog(() => log.match(1)),
  N: onLog(() => log.match(-1)),
  j: onLog(() => log.step(1)),
  k: onLog(() => log.step(-1)),
  "?": () => el("help").showModal(),
  Escape: onLog(() => {
    if (el("options").open) el("options").open = false;
    else location.hash = "#/";
  }),
  Leave: onLog(() => el("log").focus({ preventScroll: true })),
});

const theme = setting("theme", "auto");
el("theme").value = theme;
applyTheme(theme);
fetch("/version").then((it) => it.json()).then((it) => (el("version").textContent = it.version ?? ""), () => {});

// With the key that is kept, or none. Only a refusal forgets it: whatever else fails is tried again.
async function begin() {
  const stored = storedKey();
  for (let wait = 1000; !isOpen; wait = Math.min(15_000, wait * 2)) {
    try {
      return await enter(stored, stored !== "");
    } catch (error) {
      if (error.isUnauthorized) return askForKey(stored === "" ? "" : "The key is not valid any more.");
      const text = error.status === undefined ? "The gateway cannot be reached." : error.message;
      show("key-screen");
      el("key-problem").textContent = `${text} Trying again…`;
      el("key-problem").hidden = false;
      await new Promise((resolve) => setTimeout(resolve, Math.max(wait, 1000 * (error.retryAfter ?? 0))));
    }
  }
  return undefined;
}
begin();
