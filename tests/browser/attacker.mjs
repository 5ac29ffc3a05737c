// What runs in the page of a sandbox that attacks: attack.mjs sends the text of this function there, so it uses nothing from outside.

export function attack() {
  const windows = {};
  const heard = [];
  let base, ui, api, victim;

  // What was got, or why it was not.
  async function look(what) {
    try {
      const got = await Promise.race([what(), new Promise((_, reject) => setTimeout(reject, 5000, new Error("no answer")))]);
      return got === undefined || got === null || got === "" ? "nothing" : String(got);
    } catch (error) {
      return `refused: ${error.message ?? error}`;
    }
  }

  // Where the person's clicks lead. `given`: the address of the sandbox's own pages, of the viewer and of the API, and whose log is wanted.
  function begin(given) {
    ({ base, ui, api, victim } = given);
    const targets = { docs: `${api}/docs`, viewer: `${ui}/ui/#/sandbox/${victim}`, own: `${base}own.html` };
    for (const [id, url] of Object.entries(targets)) document.getElementById(id).onclick = () => (windows[id] = window.open(url));
    addEventListener("message", (event) => heard.push(String(event.data)));
    new BroadcastChannel("said").addEventListener("message", (event) => heard.push(event.data));
  }

  // A window that it has a hand on.
  const ofWindows = {
    "the text of a window": (it) => it.document.documentElement.innerText,
    "the address of a window": (it) => it.location.href,
    "the storage of a window": (it) => `${it.location} ${JSON.stringify([{ ...it.sessionStorage }, { ...it.localStorage }])}`,
    "a script in a window": (it) => it.eval("document.documentElement.outerHTML"),
    "what a window's scripts made": (it) => JSON.stringify(Object.keys(it)) + JSON.stringify(it.ui?.getState?.() ?? null),
  };

  async function frame(url) {
    const element = document.createElement("iframe");
    const loaded = new Promise((resolve) => element.addEventListener("load", resolve));
    element.src = url;
    document.body.append(element);
    await loaded;
    try {
      return `${element.contentWindow.location.href} ${element.contentDocument.documentElement.innerText}`;
    } finally {
      element.remove();
    }
  }

  async function answer(url, options) {
    const response = await fetch(url, { credentials: "include", ...options });
    if (response.type === "opaque") return "";
    return response.ok ? await response.text() : `status ${response.status}`;
  }

  function follow(url) {
    return new Promise((resolve, reject) => {
      const source = new EventSource(url, { withCredentials: true });
      source.onmessage = (event) => resolve(event.data);
      source.onerror = () => (source.close(), reject(new Error("no stream")));
    });
  }

  function script(url) {
    return new Promise((resolve, reject) => {
      const element = document.createElement("script");
      element.onload = () => resolve("a script");
      element.onerror = () => reject(new Error("no script"));
      element.src = url;
      document.head.append(element);
    });
  }

  async function worker(scope) {
    const made = await navigator.serviceWorker.register(`${base}worker.js`, { scope });
    await made.unregister();
    return made.scope;
  }

  async function stored() {
    const databases = await indexedDB.databases();
    return JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, databases, await caches.keys()]);
  }

  // All that was tried: `{ means, isOwn, got }`, where `isOwn` says that it was tried on what is its own.
  async function run() {
    const found = [];
    const attempt = async (means, what, isOwn = false) => found.push({ means, isOwn, got: await look(what) });
    for (const [name, it] of Object.entries(windows)) {
      for (const [means, what] of Object.entries(ofWindows)) await attempt(`${means}: ${name}`, async () => what(it), name === "own");
    }
    for (const name of ["docs", "viewer"]) {
      await attempt(`a script in the address of a window: ${name}`, async () => {
        const before = heard.length;
        windows[name].location = "javascript:opener.postMessage(document.documentElement.outerHTML, '*')";
        await new Promise((resolve) => setTimeout(resolve, 300));
        return heard.slice(before).join();
      });
      windows[name].postMessage({ type: "key", method: "getState" }, "*");
    }
    await attempt("a frame: own", () => frame(`${base}own.html`), true);
    for (const url of [`${api}/docs`, `${api}/redoc`, `${ui}/ui/`]) await attempt(`a frame: ${url}`, () => frame(url));

    await attempt("a request: own", () => answer(`${base}own.html`), true);
    for (const path of ["/v1/sandboxes", `/v1/sandboxes/${victim}/logs`]) {
      for (const cache of ["default", "force-cache", "only-if-cached"]) {
        await attempt(`a request with cache ${cache}: ${path}`, () => answer(`${api}${path}`, { cache, ...(cache === "only-if-cached" ? { mode: "same-origin" } : {}) }));
      }
      for (const mode of ["cors", "no-cors", "same-origin"]) await attempt(`a request with mode ${mode} to the viewer: ${path}`, () => answer(`${ui}${path}`, { mode, cache: "force-cache" }));
      await attempt(`a script of the viewer's listener: ${path}`, () => script(`${ui}${path}`));
    }
    const log = `/v1/sandboxes/${victim}/logs?follow=true&format=sse`;
    for (const listener of [api, ui]) await attempt(`a stream: ${listener}`, () => follow(`${listener}${log}`));
    await attempt("a script of the viewer's", () => script(`${ui}/ui/settings.js`));

    localStorage.setItem("mine", "own");
    await attempt("its own storage", async () => localStorage.getItem("mine"), true);
    // Its own cookie and its own item are there; the caller looks for what is not its own.
    await attempt("the storage of the origin", async () => {
      const all = await stored();
      return all.replace('"mine":"own"', "").replace("mine=1", "").replaceAll(/[^\w-]/g, "");
    });

    await attempt("a service worker of its own", () => worker(base), true);
    const origin = new URL("/", api).href;
    for (const scope of [origin, `${origin}docs`, `${origin}v1/`, `${origin}v1/sandboxes/`, new URL("../../", base).href, `${origin}v1/sandboxes/${victim}/`, `${origin}sandboxes/`]) {
      await attempt(`a service worker for ${scope}`, () => worker(scope));
    }
    await attempt("a channel to its own page", async () => heard.find((it) => it === "own"), true);
    await attempt("a channel, and messages of others", async () => heard.filter((it) => it !== "own").join());
    return found;
  }

  return { begin, run, look };
}
