// What a person does with the viewer, and what the page shows: for each walk.

import { chromium } from "playwright-core";
import { STEP } from "./support.mjs";

// A person's browser. What its pages do wrong is kept in `wrong`, and what they ask of others than `own` in `elsewhere`.
export async function openBrowser(own, key) {
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-dev-shm-usage"] });
  const context = await browser.newContext({ viewport: { width: 1280, height: 720 }, timezoneId: "Asia/Tokyo", bypassCSP: false });
  const wrong = [];
  const elsewhere = [];
  const newPage = async () => {
    const page = await context.newPage();
    page.setDefaultTimeout(STEP);
    page.on("pageerror", (error) => wrong.push(String(error)));
    page.on("dialog", (dialog) => (wrong.push(`dialog ${dialog.message()}`), dialog.dismiss()));
    page.on("console", (message) => {
      // The browser itself reports each answer that is an error, and each connection that breaks.
      if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) wrong.push(message.text());
    });
    page.on("request", (request) => {
      if (!request.url().startsWith(own) && !/^(data|blob):/.test(request.url())) elsewhere.push(request.url());
      if (request.url().includes(key)) wrong.push(`the key in ${request.url()}`);
    });
    return page;
  };
  return { browser, context, newPage, wrong, elsewhere };
}

// The lines on the screen, without marks.
export const texts = (page) => page.locator("#log .row:not(.mark) .text").allInnerTexts();
export const lastText = async (page) => (await texts(page)).at(-1);
// The marks of a kind on the screen.
export const marks = (page, kind) => page.locator(`#log .row.${kind} .text`).allInnerTexts();
export const connection = (page) => page.locator("#connection").innerText();

export async function option(page, act) {
  await page.locator("#options > summary").click();
  await act(page.locator("#choices"));
  if (await page.locator("#options[open]").count()) await page.locator("#options > summary").click();
}

export async function enterKey(page, key) {
  await page.locator("#key").fill(key);
  await page.locator("#key-form button").click();
}

// All that the page holds, read from the top to the bottom as a person scrolls: `{ kind, text }`, where the kind is `line` or a mark's.
export async function readAll(page) {
  await page.locator("#log").focus();
  await page.keyboard.press("g");
  await page.locator("#older", { hasText: "begins here" }).waitFor();
  const rows = new Map();
  for (let isEnd = false; !isEnd; ) {
    const seen = await page.evaluate(async (at) => {
      const log = document.getElementById("log");
      if (at === 0) log.scrollTop = 0;
      // The rows are drawn in the frame behind that of the scroll.
      for (let frame = 0; frame < 3; frame += 1) await new Promise(requestAnimationFrame);
      const rows = [...log.querySelectorAll(".row")].map((row) => {
        const kind = [...row.classList].find((name) => ["note", "gap", "restart", "end", "notice"].includes(name)) ?? "line";
        return [Number(row.dataset.number), { kind, isErr: row.classList.contains("err"), text: row.querySelector(".text").textContent }];
      });
      const isEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 1;
      log.scrollTop += log.clientHeight / 2;
      return { rows, isEnd };
    }, rows.size);
    for (const [number, row] of seen.rows) rows.set(number, row);
    isEnd = seen.isEnd;
  }
  const numbers = [...rows.keys()].sort((one, other) => one - other);
  if (numbers.at(-1) - numbers[0] + 1 !== numbers.length) throw new Error("a row was not drawn while the log was scrolled through");
  return numbers.map((number) => rows.get(number));
}
