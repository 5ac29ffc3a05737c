// A newcomer on /docs, and a look at /redoc: usage: node docs.mjs PROGRAM FOLDER
//
// Each step is what a person does: what is typed is typed into the page, what is checked is what the page shows.

import { join } from "node:path";
import { chromium } from "playwright-core";
import { check, counts, startGateway } from "./support.mjs";
import { authorize, execute, fill, open, operation } from "./swagger.mjs";

const [program, folder] = process.argv.slice(2);
const KEY = "of-the-browser";
const STEP = 15_000;

async function newcomer(page, url) {
  await page.goto(`${url}/docs`);
  await page.locator(".opblock").first().waitFor();
  const paths = await page.locator(".opblock-summary-path").evaluateAll((all) => all.map((it) => it.getAttribute("data-path")));
  const sandboxes = paths.filter((path) => path.endsWith("/sandboxes/{sandboxId}/logs"));
  check("each route stands once", sandboxes.length === 1 && sandboxes[0].startsWith("/v1/"), sandboxes);
  check("the routes at the root that have no twin are there", paths.includes("/health"), paths);

  let block = await open(page, "post", "/v1/sandboxes");
  let answer = await execute(block);
  check("without the key the page says what is missing", answer.status.startsWith("401") && answer.text.includes("MISSING_API_KEY"), `${answer.status} ${answer.text}`);

  await authorize(page, KEY);

  answer = await execute(block);
  check("the example creates a sandbox as it stands", answer.status.startsWith("202"), `${answer.status} ${answer.text}`);
  const id = /"id":\s*"([0-9a-f-]{36})"/.exec(answer.text)?.[1] ?? "";
  await page.screenshot({ path: join(folder, "docs-created.png") });

  block = await open(page, "get", "/v1/sandboxes");
  answer = await execute(block);
  check("the list shows it without a filter being touched", answer.status.startsWith("200") && answer.text.includes(id), `${answer.status} ${answer.text}`);

  const errors = operation(page, "get", "/v1/sandboxes").locator(".responses-table:not(.live-responses-table) .response");
  for (const [status, code] of [["400", "INVALID_PARAMETER"], ["401", "MISSING_API_KEY"], ["422", "VALIDATION_ERROR"]]) {
    const text = await errors.filter({ has: page.locator(`.response-col_status:has-text("${status}")`) }).first().innerText();
    check(`the example of ${status} is one`, text.includes(code) && !text.includes("SANDBOX_NOT_FOUND"), text);
  }

  block = await open(page, "get", "/v1/sandboxes/{sandboxId}/logs");
  await fill(block, "sandboxId", id);
  answer = await execute(block);
  check("the log has what was printed, though no time was touched", answer.status.startsWith("200") && answer.text.includes("line 1"), `${answer.status} ${answer.text}`);

  await block.locator('tr[data-param-name="follow"] select').selectOption("true");
  await block.locator('tr[data-param-name="tail"] input').fill("1");
  const started = Date.now();
  await block.locator(".btn.execute").click();
  const live = block.locator(".live-responses-table .response-col_description .highlight-code").first();
  await live.filter({ hasText: /line \d+\s+line \d+/ }).waitFor({ timeout: 9000 }).catch(() => {});
  const early = await live.innerText().catch(() => "");
  check("a followed log is drawn while it comes", Date.now() - started < 9000 && /line \d+\s+line \d+/.test(early), early);
  check("it says that more may come", early.includes("[Following"), early);
  await live.filter({ hasText: "This page follows a log for" }).waitFor({ timeout: 20_000 }).catch(() => {});
  const whole = await live.innerText();
  check("a followed log ends with a word about it", whole.includes("This page follows a log for"), whole);
  check("it followed to the end of its time", !whole.includes("[Following") && (whole.match(/line \d+/g) ?? []).length >= 5, whole);
  await page.screenshot({ path: join(folder, "docs-followed.png"), fullPage: true });

  block = await open(page, "delete", "/v1/sandboxes/{sandbox_id}");
  await fill(block, "sandbox_id", id);
  answer = await execute(block);
  check("it can be deleted", answer.status.startsWith("204"), `${answer.status} ${answer.text}`);
}

async function reader(page, url) {
  await page.goto(`${url}/redoc`);
  const heading = page.getByRole("heading", { name: /Stream a sandbox's log/ });
  await heading.first().waitFor({ timeout: STEP });
  check("ReDoc shows each route once", (await heading.count()) === 1, await heading.count());
  await page.screenshot({ path: join(folder, "redoc.png") });
}

const gateway = await startGateway(program, KEY);
const options = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: options });
try {
  for (const walk of [newcomer, reader]) {
    const page = await browser.newPage({ viewport: { width: 1280, height: 1000 } });
    page.setDefaultTimeout(STEP);
    const wrong = [];
    // ReDoc wants its maker's mark, which the pages' policy keeps it from asking for.
    const isMark = (text) => text.includes("https://cdn.redoc.ly/redoc/logo-mini.svg");
    page.on("pageerror", (error) => wrong.push(String(error)));
    // What the server refuses is logged as an error too, and is meant.
    page.on("console", (line) => line.type() === "error" && !isMark(line.text()) && !line.text().includes("the server responded with a status of 401") && wrong.push(line.text()));
    page.on("requestfailed", (request) => !request.url().includes("/logs") && !isMark(request.url()) && wrong.push(`${request.url()}: ${request.failure()?.errorText}`));
    page.on("request", (request) => !request.url().startsWith(gateway.url) && !isMark(request.url()) && !request.url().startsWith("data:") && !request.url().startsWith("blob:") && wrong.push(`elsewhere: ${request.url()}`));
    await walk(page, gateway.url).catch(async (error) => {
      await page.screenshot({ path: join(folder, `failed-${walk.name}.png`), fullPage: true });
      check(`the ${walk.name}'s walk`, false, error);
    });
    check(`the ${walk.name}'s page made no mistake`, wrong.length === 0, wrong.join("\n"));
    await page.close();
  }
} finally {
  await browser.close();
  gateway.child.kill("SIGTERM");
}
const { passed, failed } = counts();
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
