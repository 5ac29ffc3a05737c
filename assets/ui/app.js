// The page as a whole: which screen is shown, the key, the theme and the keyboard.

import { Api } from "./api.js";
import { bind } from "./keyboard.js";
import { List } from "./list.js";
import { LogPage } from "./log-page.js";
import { waitFor } from "./log-stream.js";
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
  el("page-problem").hidden = true;
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
    // Another log may have been opened meanwhile.
    if (log.route?.id !== id) return;
    if (sandbox !== null) log.setSandbox(sandbox);
  } catch (error) {
    if (error.isUnauthorized) return void askForKey("The key is not valid any more.");
    if (log.route?.id !== id) return;
    if (error.status === 404) log.setSandbox({ id, status: { state: "Deleted" } });
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

// Throws if the gateway does not answer with a list.
async function tryKey(key) {
  api.key = key;
  await (await api.get("/v1/sandboxes", { page: 1, pageSize: 1 })).json();
}

function enter(key, isKept) {
  const isDone = keepKey(key, isKept && key !== "");
  if (isKept && !isDone) announce("This browser keeps no data of the page: the key is asked for again after a reload.");
  isOpen = true;
  el("forget").hidden = key === "";
  el("key").value = "";
  navigate();
  if (parse(location.hash).id === null) el("filter").focus({ preventScroll: true });
}

const textOf = (error) => (error.status === undefined ? "The gateway cannot be reached." : error.message);

// Tries the key that was kept, or none at all, since a gateway may have none. Only an answer about the key forgets it: a gateway
// that is being restarted, or has too much to do, is asked again.
async function begin() {
  const key = storedKey();
  for (let attempt = 0; ; attempt += 1) {
    try {
      await tryKey(key);
      break;
    } catch (error) {
      if (error.isUnauthorized) return askForKey(key === "" ? "" : "The key is not valid any more.");
      const wait = waitFor(attempt, error.retryAfter ?? 0);
      el("page-problem").textContent = `${textOf(error)} It is asked again in ${Math.ceil(wait / 1000)} s.`;
      el("page-problem").hidden = false;
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
  return enter(key, key !== "");
}

function keyProblem(text) {
  el("key-problem").textContent = text;
  el("key-problem").hidden = false;
  el("key").select();
}

el("key-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const key = el("key").value.trim();
  // Other characters cannot be in a header.
  if (!/^[\x21-\x7e]+$/.test(key)) return keyProblem("A key has letters, digits and signs of ASCII only.");
  try {
    await tryKey(key);
  } catch (error) {
    api.key = "";
    return keyProblem(error.isUnauthorized ? "This key is wrong." : textOf(error));
  }
  return enter(key, el("key-keep").checked);
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
  G: onLog(() => log.follow(true)),
  n: onLog(() => log.match(1)),
  N: onLog(() => log.match(-1)),
  j: onLog(() => log.step(1)),
  k: onLog(() => log.step(-1)),
  l: onLog(() => log.linkLine()),
  "?": () => el("help").showModal(),
  Escape: onLog(() => {
    if (log.closeMenu()) return;
    const open = [el("options"), el("downloads")].filter((menu) => menu.open);
    for (const menu of open) menu.open = false;
    if (open.length === 0) location.hash = "#/";
  }),
  Leave: onLog(() => el("log").focus({ preventScroll: true })),
});

const theme = setting("theme", "auto");
el("theme").value = theme;
applyTheme(theme);
fetch("/version").then((it) => it.json()).then((it) => (el("version").textContent = it.version ?? ""), () => {});
begin();
