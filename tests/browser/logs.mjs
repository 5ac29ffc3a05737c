// A page reads a sandbox's log with the browser's EventSource, as docs/log-recipes.md says: usage: node logs.mjs PROGRAM FOLDER
//
// The page and the gateway have one origin: this program serves the page and passes everything else on. It cuts the stream again and
// again, as a bad network does. The gateway has no key in this run, since EventSource sends no headers of the page's.

import { createServer, request } from "node:http";
import { chromium } from "playwright-core";
import { check, counts, startGateway } from "./support.mjs";

const [program] = process.argv.slice(2);
const LINES = 300;

const PAGE = `<!doctype html><title>log</title><script>
const id = new URLSearchParams(location.search).get("id");
const log = new EventSource("/sandboxes/" + id + "/logs?follow=true&format=sse");
window.lines = []; window.events = []; window.opened = 0; window.log = log;
log.onopen = () => { window.opened += 1; };
log.onmessage = ({ data }) => window.lines.push(JSON.parse(data).log);
for (const event of ["gap", "restart", "end"]) log.addEventListener(event, ({ data }) => window.events.push(JSON.parse(data)));
</script>`;

// Serves the page, and the gateway behind it. Streams are cut after some bytes, until `streams` of them were.
function sameOrigin(gateway) {
  const seen = { streams: 0, statuses: [], tokens: [] };
  const server = createServer((req, res) => {
    if (req.url.startsWith("/page")) {
      res.setHeader("Content-Type", "text/html");
      return res.end(PAGE);
    }
    const { host, ...headers } = req.headers;
    const isStream = req.url.includes("/logs");
    if (isStream) seen.tokens.push(headers["last-event-id"] ?? null);
    const backend = request(gateway + req.url, { method: req.method, headers }, (answer) => {
      if (isStream) seen.statuses.push(answer.statusCode);
      res.writeHead(answer.statusCode, answer.headers);
      let left = isStream && answer.statusCode === 200 ? 12000 + 53 * (seen.streams += 1) : Infinity;
      answer.on("data", (piece) => {
        if (left <= 0) return;
        left -= piece.length;
        if (left > 0) return void res.write(piece);
        // What was written first reaches the browser; then the connection breaks.
        res.write(piece.subarray(0, piece.length + left), () => res.socket?.destroy());
        backend.destroy();
      });
      answer.on("end", () => res.end());
      answer.on("error", () => left > 0 && res.socket?.destroy());
    });
    backend.on("error", () => res.headersSent || res.socket?.destroy());
    res.on("close", () => backend.destroy());
    req.pipe(backend);
  });
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve({ server, seen, url: `http://127.0.0.1:${server.address().port}` })));
}

const gateway = await startGateway(program, "");
const { server, seen, url } = await sameOrigin(gateway.url);
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-dev-shm-usage"] });
try {
  const script = `for i in $(seq ${LINES}); do echo "line $i"; [ $((i % 10)) != 0 ] || sleep 0.05; done; exit 5`;
  const body = JSON.stringify({ image: { uri: "any" }, entrypoint: ["/bin/sh", "-c", script], timeout: 300, resourceLimits: {} });
  const created = await fetch(`${gateway.url}/sandboxes`, { method: "POST", headers: { "Content-Type": "application/json" }, body });
  const { id } = await created.json();
  const page = await browser.newPage();
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  await page.goto(`${url}/page?id=${id}`);
  // The browser waits two seconds before it comes back: that is what `retry` says.
  await page.waitForFunction(() => window.log.readyState === EventSource.CLOSED, null, { timeout: 60_000 });
  const { lines, events, opened } = await page.evaluate(() => ({ lines: window.lines, events: window.events, opened: window.opened }));
  const expected = Array.from({ length: LINES }, (_, at) => `line ${at + 1}\n`);
  check("every line once over cuts", JSON.stringify(lines) === JSON.stringify(expected), lines.slice(-3));
  check("it was cut and came back", opened > 3 && seen.tokens.slice(1).every((token) => token?.startsWith("v1.")), seen.tokens);
  check("the end is an event", events.length === 1 && events[0].reason === "exited" && events[0].exit_code === 5, events);
  check("204 ends it", seen.statuses.at(-1) === 204, seen.statuses);
  check("no script failed", errors.length === 0, errors);
} catch (error) {
  check("the page", false, `${error.stack} ${JSON.stringify(seen)}`);
} finally {
  await browser.close();
  server.close();
  gateway.child.kill();
}
const { passed, failed } = counts();
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 || passed === 0 ? 1 : 0);
