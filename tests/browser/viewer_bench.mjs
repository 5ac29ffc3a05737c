// Measures the viewer: usage: node viewer_bench.mjs PROGRAM [SECONDS]
//
// A log of 100,000 lines is opened, from the navigation to its last line on the screen. Then a sandbox prints 5,000 lines a
// second while something is typed into the search, and once in ten seconds the heap is read after a collection. At last a log of a
// million lines is loaded up to its first line, scrolled and searched.

import { chromium } from "playwright-core";
import { freePort, startGateway } from "./support.mjs";

const [program, seconds = "60"] = process.argv.slice(2);
const KEY = "of-the-bench";
const RATE = 5000;
const uiPort = await freePort();
const gateway = await startGateway(program, KEY, uiPort);
const home = `http://127.0.0.1:${uiPort}/ui/`;

async function create(script) {
  const headers = { "Content-Type": "application/json", "OPEN-SANDBOX-API-KEY": KEY };
  const body = { image: { uri: "any" }, entrypoint: ["/bin/bash", "-c", script], timeout: 3600, resourceLimits: {} };
  return (await (await fetch(`${gateway.url}/v1/sandboxes`, { method: "POST", headers, body: JSON.stringify(body) })).json()).id;
}

const percentile = (all, part) => all.toSorted((one, other) => one - other)[Math.min(all.length - 1, Math.floor(all.length * part))];

// All of a log of a million lines is in the page: how long its frames take, and how much memory.
async function million(page, cdp) {
  const id = await create(`seq -f 'line %.0f ${"y".repeat(60)}' 1000000; sleep 3600`);
  await page.waitForTimeout(5000);
  await page.goto(`${home}#/`);
  await page.evaluate(() => localStorage.setItem("opensandbox.look", JSON.stringify({ keep: 1_000_000 })));
  await page.reload();
  await page.goto(`${home}#/sandbox/${id}`);
  await page.locator("#log .row").first().waitFor();
  await page.evaluate(() => {
    globalThis.gaps = [];
    let last = performance.now();
    const look = (now) => {
      globalThis.gaps.push(now - last);
      last = now;
      requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  });
  const frames = async (what) => {
    const gaps = await page.evaluate(() => globalThis.gaps.splice(0));
    console.log(`${what}: frame after frame p50 ${percentile(gaps, 0.5).toFixed(0)} ms, p99 ${percentile(gaps, 0.99).toFixed(0)} ms, worst ${Math.max(...gaps).toFixed(0)} ms`);
  };
  const began = Date.now();
  await page.locator("#log").focus();
  await page.keyboard.press("g");
  await page.locator("#older", { hasText: /^(The log begins here|Stopped here)/ }).waitFor({ timeout: 600_000 });
  const first = await page.locator("#log .row .text").first().textContent();
  console.log(`1,000,000 lines loaded backwards in ${((Date.now() - began) / 1000).toFixed(1)} s: ${await page.locator("#older").textContent()}; first: ${first.slice(0, 12)}`);
  await frames("while they are loaded");
  await page.evaluate(async () => {
    const log = document.querySelector("#log");
    for (let step = 0; step < 300; step += 1) {
      // As fast as a hand drags the bar: from one end to the other, and back.
      log.scrollTop = (log.scrollHeight - log.clientHeight) * (1 - Math.abs(1 - step / 150));
      await new Promise(requestAnimationFrame);
    }
  });
  await frames("while they are scrolled");
  const asked = Date.now();
  await page.locator("#search").fill("line 77777");
  await page.locator("#matches", { hasText: /^11 lines|^\d+ of 11$/ }).waitFor({ timeout: 60_000 });
  console.log(`searched in ${((Date.now() - asked) / 1000).toFixed(1)} s`);
  await frames("while they are searched");
  await cdp.send("HeapProfiler.collectGarbage");
  console.log(`heap: ${(await page.evaluate(() => performance.memory.usedJSHeapSize / 1048576)).toFixed(0)} MiB`);
}

const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-dev-shm-usage", "--enable-precise-memory-info"] });
try {
  const page = await browser.newPage({ viewport: { width: 1280, height: 720 } });
  const filler = "x".repeat(60);
  const whole = await create(`seq -f 'line %.0f ${filler}' 100000; sleep 3600`);
  await page.goto(home);
  await page.locator("#key").fill(KEY);
  await page.locator("#key-keep").check();
  await page.locator("#key-form button").click();
  await page.locator("tbody tr").first().waitFor();
  await page.waitForTimeout(2000);
  const paints = [];
  for (let round = 0; round < 5; round += 1) {
    await page.goto("about:blank");
    await page.goto(`${home}#/sandbox/${whole}`, { waitUntil: "commit" });
    paints.push(await page.evaluate(() => new Promise((resolve) => {
      const look = () => (document.querySelector("#log .row:last-child .text")?.textContent.startsWith("line 100000 ") ? requestAnimationFrame(() => resolve(performance.now())) : requestAnimationFrame(look));
      look();
    })));
  }
  console.log(`first paint of the end of 100,000 lines, from the navigation: median ${percentile(paints, 0.5).toFixed(0)} ms, worst ${Math.max(...paints).toFixed(0)} ms`);

  const script = `exec python3 -u -c "
import sys, time
began = time.time(); n = 0
while True:
    for _ in range(50):
        n += 1
        sys.stdout.write('%.3f line %d ${filler}\\n' % (time.time(), n))
    sys.stdout.flush()
    time.sleep(max(0, began + n / ${RATE} - time.time()))
"`;
  const stream = await create(script);
  await page.goto(`${home}#/sandbox/${stream}`);
  await page.locator("#log .row").first().waitFor();
  await page.evaluate(() => {
    globalThis.latencies = [];
    document.querySelector("#search").addEventListener("keydown", (event) => {
      const began = event.timeStamp;
      // To the frame behind the one that shows it.
      requestAnimationFrame(() => setTimeout(() => globalThis.latencies.push(performance.now() - began), 0));
    }, true);
  });
  const cdp = await page.context().newCDPSession(page);
  await cdp.send("HeapProfiler.enable");
  console.log(`${RATE} lines a second:\n  second     shown line   behind (s)   behind (lines)   heap (MiB)`);
  const began = Date.now();
  const behind = [];
  let report = 10;
  await page.locator("#search").focus();
  for (let at = 0; (Date.now() - began) / 1000 < Number(seconds); at += 1) {
    // Words that match every line, some and none.
    await page.keyboard.type("line 12"[at % 7]);
    if (at % 7 === 6) for (let i = 0; i < 7; i += 1) await page.keyboard.press("Backspace");
    await page.waitForTimeout(100);
    const last = await page.evaluate(() => document.querySelector("#log .row:last-child .text").textContent);
    behind.push(Date.now() / 1000 - Number(last.split(" ")[0]));
    if ((Date.now() - began) / 1000 >= report) {
      await cdp.send("HeapProfiler.collectGarbage");
      const heap = await page.evaluate(() => performance.memory.usedJSHeapSize / 1048576);
      const now = behind.at(-1);
      console.log(`  ${String(report).padStart(6)} ${last.split(" ")[2].padStart(14)} ${now.toFixed(2).padStart(12)} ${String(Math.round(now * RATE)).padStart(16)} ${heap.toFixed(1).padStart(12)}`);
      report += 10;
    }
  }
  const latencies = await page.evaluate(() => globalThis.latencies);
  console.log(`behind: p95 ${percentile(behind, 0.95).toFixed(2)} s, worst ${Math.max(...behind).toFixed(2)} s`);
  console.log(`typing: ${latencies.length} keys, p50 ${percentile(latencies, 0.5).toFixed(0)} ms, p95 ${percentile(latencies, 0.95).toFixed(0)} ms, worst ${Math.max(...latencies).toFixed(0)} ms`);
  await million(page, cdp);
} finally {
  await browser.close();
  gateway.child.kill("SIGTERM");
}
process.exit(0);
