// A page of a sandbox that attacks the person who opens it: usage: node attack.mjs PROGRAM FOLDER
//
// Sandboxes' pages come through the gateway's own origin. The person has typed the key into /docs and into the viewer, and reads a
// log on both. The page tries to get the key or that log. Each of its means works on a page of its own, so that a means that failed
// for another reason than the gateway's is seen.

import { join } from "node:path";
import { attack } from "./attacker.mjs";
import { enterKey, openBrowser } from "./person.mjs";
import { check, counts, create, DOCKER, freePort, remove, startGateway, STEP, stopGateway, until } from "./support.mjs";
import { authorize, execute, fill, open } from "./swagger.mjs";

const [program, folder] = process.argv.slice(2);
const KEY = "of-the-attacked";
const SECRET = "a-line-of-the-victims";
const IMAGE = { uri: "osb-test/busybox:1" };

const uiPort = await freePort();
const port = await freePort();
const ui = `http://127.0.0.1:${uiPort}`;
const gateway = await startGateway(program, KEY, uiPort, { runtime: DOCKER });
const { browser, context } = await openBrowser("http://127.0.0.1", KEY);

// Each answer says whatever may widen what its page may do.
const HEADERS = ["service-worker-allowed: /", "access-control-allow-origin: *", "set-cookie: mine=1; path=/"];

// A server of these files for any path that ends like them.
function server(files) {
  const written = Object.entries(files).map(([name, text]) => `echo ${Buffer.from(text).toString("base64")} | base64 -d >/www/${name}`);
  const answer = String.raw`#!/bin/sh
    IFS=' ' read -r method path _
    while IFS= read -r line; do [ ${"$"}{#line} -gt 1 ] || break; done
    file=/www/${"$"}{path##*/} type=text/html; file=${"$"}{file%%\?*}
    case $file in *.js) type=text/javascript ;; esac
    printf 'HTTP/1.1 200 OK\r\ncontent-type: %s\r\n${HEADERS.join("\\r\\n")}\r\ncontent-length: %s\r\nconnection: close\r\n\r\n' $type $(wc -c <$file)
    cat $file`;
  return ["sh", "-c", `mkdir /www; ${written.join("; ")}; echo ${Buffer.from(answer).toString("base64")} | base64 -d >/answer; chmod +x /answer; echo serves; exec nc -ll -p ${port} -e /answer`];
}

const PAGE = `<!doctype html><title>A game</title><button id="docs">Documentation</button><button id="viewer">Viewer</button><button id="own">More</button><script src="attack.js"></script>`;
const FILES = {
  "attack.html": PAGE,
  "attack.js": `globalThis.attack = (${attack})();`,
  "own.html": "<!doctype html><title>Own</title><p>a page of the sandbox's own</p>",
  "worker.js": "self.addEventListener('fetch', () => {});",
};

async function reads(page, id) {
  await page.goto(`${gateway.url}/docs`);
  await page.locator(".opblock").first().waitFor();
  await readsOn(page, id);
}

// Types the key, and reads the log of the victim.
async function readsOn(page, id) {
  await authorize(page, KEY);
  const block = await open(page, "get", "/v1/sandboxes/{sandboxId}/logs");
  await fill(block, "sandboxId", id);
  const { text } = await execute(block);
  check("the person reads the log on /docs", text.includes(SECRET), text);
}

async function watches(page, id) {
  await page.goto(`${ui}/ui/#/sandbox/${id}`);
  await page.locator("#key").waitFor();
  await page.locator("#key-keep").check();
  await enterKey(page, KEY);
  await until("the person watches the log in the viewer", async () => (await page.locator("#log .row .text").allInnerTexts()).includes(SECRET));
}

async function opened(page, button) {
  const [popup] = await Promise.all([context.waitForEvent("page"), page.locator(`#${button}`).click()]);
  popup.setDefaultTimeout(STEP);
  await popup.waitForLoadState();
  return popup;
}

async function all() {
  const victim = await create(gateway, KEY, { image: IMAGE, entrypoint: ["sh", "-c", `echo ${SECRET}; sleep 600`] });
  const attacker = await create(gateway, KEY, { image: IMAGE, entrypoint: server(FILES) });
  ids.push(victim, attacker);
  const [docs, viewer, page] = [await context.newPage(), await context.newPage(), await context.newPage()];
  for (const it of [docs, viewer, page]) it.setDefaultTimeout(STEP);
  await reads(docs, victim);
  await watches(viewer, victim);

  const base = `${gateway.url}/v1/sandboxes/${attacker}/proxy/${port}/`;
  await until("the sandbox serves its page", async () => (await fetch(`${base}attack.html`)).status === 200);
  await page.goto(`${base}attack.html`);
  await page.evaluate((given) => globalThis.attack.begin(given), { base, ui, api: gateway.url, victim });
  const own = await opened(page, "own");
  // The person does on pages that the attacker has opened what was done on the others.
  const openedDocs = await opened(page, "docs");
  await openedDocs.locator(".opblock").first().waitFor();
  await readsOn(openedDocs, victim);
  const openedViewer = await opened(page, "viewer");
  await enterKey(openedViewer, KEY);
  await until("the person watches in a viewer that was opened", async () => (await openedViewer.locator("#log .row .text").allInnerTexts()).includes(SECRET));
  // Pages that say all they have.
  for (const it of [docs, openedDocs, viewer, openedViewer, own]) {
    await it.evaluate((said) => { new BroadcastChannel("said").postMessage(said); }, it === own ? "own" : `${KEY} ${SECRET}`);
  }
  const found = await page.evaluate(() => globalThis.attack.run());

  const names = new Set(found.map((it) => it.means));
  check("each means was tried", names.size >= 25, [...names]);
  for (const { means, isOwn, got } of found) {
    // Where the attacker's own page is meant, it works.
    if (isOwn) check(`it can: ${means}`, !got.startsWith("refused"), got);
    else check(`it gets nothing by: ${means}`, !got.includes(KEY) && !got.includes(SECRET) && /^(refused|nothing|status 40[134])/.test(got), got);
  }
  // What the person had is as it was.
  check("/docs is still there", (await docs.locator("body").innerText()).includes(SECRET));
  check("the viewer is still there", (await viewer.locator("#log .row .text").allInnerTexts()).includes(SECRET));
  await openedBy(docs, base);
}

// A page of the sandbox that /docs itself has opened.
async function openedBy(docs, base) {
  const [page] = await Promise.all([context.waitForEvent("page"), docs.evaluate((url) => void open(url), `${base}attack.html`)]);
  await page.waitForLoadState();
  const got = await page.evaluate(() => globalThis.attack.look(() => `${opener.document.body.innerText} ${opener.location.href}`));
  check("it gets nothing of the page that opened it", got.startsWith("refused"), got);
}

const ids = [];
try {
  await all().catch(async (error) => {
    check("the attack", false, error.stack);
    for (const [at, page] of context.pages().entries()) await page.screenshot({ path: join(folder, `attack-failed-${at}.png`) });
  });
} finally {
  await browser.close();
  for (const id of ids) await remove(gateway, KEY, id);
  await stopGateway(gateway, "SIGTERM");
}
const { passed, failed } = counts();
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 || passed === 0 ? 1 : 0);
