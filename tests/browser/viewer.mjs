// A person with the viewer: usage: node viewer.mjs PROGRAM FOLDER [PICTURES]
//
// Each step is what a person does on the page, and what is checked is what the page shows. A proxy of this program's stands
// between the browser and the gateway's listener for the parts in which the connection breaks.

import { readFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { createRequire } from "node:module";
import { join } from "node:path";
import { HOSTILE, showsTextAlone } from "./hostile.mjs";
import { lastText, openBrowser, option, readAll, texts } from "./person.mjs";
import { check, counts, create as createIn, freePort, remove as removeIn, startGateway, until } from "./support.mjs";

const [program, folder, pictures = folder] = process.argv.slice(2);
const KEY = "of-the-viewer";
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const uiPort = await freePort();
let gateway = await startGateway(program, KEY, uiPort);

const BASH = (script) => ["/bin/bash", "-c", script];
const create = (name, script) => createIn(gateway, KEY, { image: { uri: "python:3.12-slim" }, entrypoint: BASH(script), metadata: { name, team: "search" } });
const remove = (id) => removeIn(gateway, KEY, id);

// Passes bytes on; `cut()` breaks all connections and refuses new ones until `heal()`.
function breakable() {
  const open = new Set();
  let isBroken = false;
  const server = createServer((client) => {
    if (isBroken) return void client.destroy();
    const backend = connect(uiPort, "127.0.0.1");
    for (const [from, to] of [[client, backend], [backend, client]]) {
      open.add(from);
      from.on("data", (data) => to.write(data));
      from.on("close", () => (open.delete(from), to.destroy()));
      from.on("error", () => {});
    }
  });
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve({
    port: server.address().port,
    cut() {
      isBroken = true;
      for (const socket of open) socket.destroy();
    },
    heal: () => (isBroken = false),
    close: () => server.close(),
  })));
}

const wire = await breakable();
// The listener answers to its own names, whatever the port.
const home = `http://127.0.0.1:${wire.port}/ui/`;
const { browser, newPage, wrong, elsewhere } = await openBrowser(`http://127.0.0.1:${wire.port}/`, KEY);

const isPressed = (page) => page.locator("#follow").getAttribute("aria-pressed");

async function openLog(page, id, query = "") {
  await page.goto(`${home}#/sandbox/${id}${query}`);
  await page.locator("#log .row").first().waitFor();
}

async function accessible(page, what) {
  // Not as a script of the page, which its policy forbids. Colours of 16 million are the sandbox's own choice.
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run({ exclude: ["#log .text span[style]"] }, { resultTypes: ["violations"] }));
  check(`axe: ${what}`, violations.length === 0, violations.map((it) => `${it.id}: ${it.nodes.map((node) => `${node.target} ${node.failureSummary}`).slice(0, 2)}`).join("\n"));
}

async function keyAndList(page, ids) {
  await page.goto(home);
  await page.locator("#key").fill("not-the-key");
  await page.locator("#key-form button").click();
  await until("a wrong key is told", async () => (await page.locator("#key-problem").innerText()) === "This key is wrong.");
  await accessible(page, "the key");
  await page.locator("#key").fill(KEY);
  await page.locator("#key-keep").check();
  await page.locator("#key-form button").click();
  await page.locator("tbody tr").first().waitFor();
  const row = page.locator("tbody tr").filter({ hasText: ids.crawler });
  check("the list tells of a sandbox", /Running.*in 59m.*python:3\.12-slim.*name=crawler/s.test(await row.innerText()), await row.innerText());
  await page.locator("#filter").fill("search crawler");
  check("the filter", (await page.locator("tbody tr").count()) === 1);
  await page.locator("#filter").fill("");
  await page.locator("#state").selectOption("Failed");
  check("the state", (await page.locator("tbody tr").count()) === 1 && (await page.locator("tbody").innerText()).includes(ids.failed));
  await page.locator("#state").selectOption("");
  const late = await create("late", "sleep 600");
  await until("a new sandbox appears by itself", async () => (await page.locator("tbody tr").filter({ hasText: late }).count()) === 1);
  await remove(late);
  await until("a deleted one goes by itself", async () => (await page.locator("tbody tr").filter({ hasText: late }).count()) === 0);
  await accessible(page, "the list");
  await row.locator("a").click();
}

async function reading(page) {
  await until("it follows", async () => /^tick \d+$/.test(await lastText(page)) && (await isPressed(page)) === "true");
  const before = await lastText(page);
  await until("new lines come", async () => (await lastText(page)) !== before);
  await page.locator("#log").hover();
  await page.mouse.wheel(0, -1500);
  await until("scrolling pauses", async () => (await isPressed(page)) === "false");
  await until("new lines are counted", async () => (await page.locator("#new-lines").isVisible()) && /^[1-9]\d* new lines?/.test(await page.locator("#new-lines").innerText()));
  const held = (await texts(page))[5];
  await page.waitForTimeout(1200);
  check("what is read stays where it is", (await texts(page))[5] === held, [held, (await texts(page))[5]]);
  await page.locator("#new-lines").click();
  await until("a click jumps to the end", async () => /^tick/.test(await lastText(page)) && (await page.locator("#new-lines").isHidden()));

  await page.keyboard.press("/");
  await page.keyboard.type("retry of page 29");
  await until("matches are counted", async () => (await page.locator("#matches").innerText()) === "2 lines");
  await page.keyboard.press("Enter");
  await until("a match is shown", async () => (await page.locator(".row.current mark").allInnerTexts()).join() === "retry of page 29");
  const first = await page.locator(".row.current .text").innerText();
  await page.keyboard.press("Escape");
  await page.keyboard.press("n");
  await until("the next one", async () => (await page.locator(".row.current .text").innerText()) !== first);
  await page.keyboard.press("N");
  await until("and back", async () => (await page.locator(".row.current .text").innerText()) === first);
  await page.locator("#search").fill("");

  await page.locator("#log").focus();
  await page.keyboard.press("g");
  // Which of the two streams was read first is chance.
  await until("g loads older lines up to the first", async () => {
    const [first] = await texts(page);
    return ((await page.locator("#older").innerText()) === "The log begins here" && /^(INFO  fetched page 1 in 1ms|WARN  retry of page 40:)/.test(first)) || first;
  });
  await page.keyboard.press("G");
  await until("and to the end", async () => /^tick/.test(await lastText(page)));
  await page.keyboard.press("f");
  check("f pauses", (await isPressed(page)) === "false");
  await page.keyboard.press("f");
  await page.keyboard.press("?");
  check("? helps", await page.locator("#help").isVisible());
  await accessible(page, "the help");
  await page.keyboard.press("Escape");
}

async function choosing(page) {
  await option(page, async (form) => {
    await form.locator("#grep").fill("page 1[0-9]{3} ");
    await form.locator("button").click();
  });
  await until("grep on the server", async () => {
    const all = await texts(page);
    return all.length > 10 && all.every((it) => /page 1\d{3} /.test(it));
  });
  await option(page, async (form) => {
    await form.locator("#grep").fill("(");
    await form.locator("button").click();
  });
  await until("a bad expression is told", async () => /regex|parse|unclosed/i.test(await page.locator("#log-problem").innerText()));
  await option(page, async (form) => {
    await form.locator("#grep").fill("");
    await form.locator("#streams").selectOption("stderr");
    await form.locator("button").click();
  });
  await until("stderr alone", async () => {
    const all = await texts(page);
    return all.length > 10 && all.every((it) => it.startsWith("WARN")) && (await page.locator("#log .row.err").count()) === all.length;
  });
  const time = () => page.locator("#log .row .time").last();
  const local = await time().innerText();
  await option(page, (form) => form.locator("#times").selectOption("utc"));
  await until("times in UTC", async () => {
    const hours = (text) => Number(text.slice(6, 8));
    return (hours(local) - hours(await time().innerText()) + 24) % 24 === 9;
  });
  await option(page, (form) => form.locator("#times").selectOption("off"));
  await until("no times", async () => (await page.locator("#log .row .time").count()) === 0);
  await option(page, async (form) => {
    await form.locator("#times").selectOption("local");
    await form.locator("#streams").selectOption("");
  });
}

async function download(page, which) {
  await page.locator("#downloads > summary").click();
  const waiting = page.waitForEvent("download");
  await until("the menu tells what it gives", async () => (await page.locator(`#${which}-is`).innerText()) !== "");
  const is = await page.locator(`#${which}-is`).innerText();
  await page.locator(`#download-${which}`).click();
  const done = await waiting;
  await until("the menu is closed", async () => (await page.locator("#downloads[open]").count()) === 0 && (await page.locator(`#${which}-is`).textContent()) === "");
  return { is, name: done.suggestedFilename(), text: readFileSync(await done.path(), "utf8") };
}

// The way to the first line of a log that has more than is kept: a person leaves it, goes on, and is told where it ends.
async function toFirst(page) {
  const id = await create("long", "seq -f 'line %.0f of many' 60000; sleep 600");
  const last = "line 60000 of many";
  // What is printed while the page follows is held already.
  const headers = { "OPEN-SANDBOX-API-KEY": KEY };
  await until("it has printed", async () => (await (await fetch(`${gateway.url}/v1/sandboxes/${id}/logs?tail=1`, { headers })).text()).trim() === last);
  await openLog(page, id);
  await option(page, (form) => form.locator("#keep").selectOption("20000"));
  const note = () => page.locator("#older").innerText();
  for (const [key, stop] of [["Escape", () => page.keyboard.press("Escape")], ["j", () => page.keyboard.press("j")], ["a click", () => page.locator("#to-top").click()]]) {
    await page.keyboard.press("G");
    await until("the end of a long log", async () => (await lastText(page)) === last && (await isPressed(page)) === "true");
    // So slow that it is under way when it is left.
    await page.route(/until=/, (route) => setTimeout(() => route.continue().catch(() => {}), 1000));
    await page.keyboard.press("g");
    await until("the way is shown", async () => /^Loading older lines, [0-9,]+ so far/.test(await note()) && (await page.locator("#to-top").innerText()) === "Stop");
    await stop();
    await until(`${key} stops it`, async () => (await page.locator("#to-top").innerText()) === "Top" && !(await note()).startsWith("Loading"));
    check("and does nothing else", page.url().endsWith(id), page.url());
    await page.unroute(/until=/);
  }
  await page.locator("#to-top").click();
  await until("a full page ends it", async () => (await note()).startsWith("Stopped here: 20,000 lines are held"));
  await until("with the oldest line of it", async () => /^line (38|39|40)\d{3} of many$/.test((await texts(page))[0]) || (await texts(page))[0]);
  await option(page, (form) => form.locator("#keep").selectOption("100000"));
  await page.keyboard.press("g");
  await until("and more room leads to the first", async () => (await texts(page))[0] === "line 1 of many" && (await note()) === "The log begins here");
  await remove(id);
}

async function linkAndDownload(page, id) {
  await openLog(page, id);
  await page.locator("#log").focus();
  await page.keyboard.press("g");
  await until("the first line of another log", async () => (await texts(page))[0] === "row 1" && (await page.locator("#older").innerText()) === "The log begins here");
  await page.locator("#log .row .time").nth(3).click();
  const linked = await page.locator(".row.linked .text").innerText();
  const link = page.url();
  check("the link has no key", link.includes("line=v1.") && !link.includes(KEY), link);
  const other = await newPage();
  // A tab of its own has a sessionStorage of its own: the key is asked for again.
  await other.goto(link);
  await other.locator("#key").fill(KEY);
  await other.locator("#key-form button").click();
  await until("a link leads to its line", async () => (await other.locator(".row.linked .text").innerText()) === linked);
  await other.close();

  const headers = { "OPEN-SANDBOX-API-KEY": KEY };
  const logOf = async (query) => (await fetch(`${gateway.url}/v1/sandboxes/${id}/logs?${query}`, { headers })).text();
  const whole = await logOf("timestamps=true");
  const file = (await download(page, "whole")).text;
  check("the download is the log", file === whole && whole.length > 1000, `${file.length} ${whole.length}`);
  await option(page, async (form) => {
    await form.locator("#grep").fill("row 1.*7$");
    await form.locator("#times").selectOption("off");
    await form.locator("button").click();
  });
  await until("a part is shown", async () => (await texts(page)).length > 0 && (await texts(page)).every((it) => /^row 1.*7$/.test(it)));
  const part = await download(page, "shown");
  check("a download of what is shown", part.text === (await logOf("grep=row+1.*7%24")) && part.text.startsWith("row 17\n"), part.text);
  check("it says so, as does its name", part.is === "lines that match row 1.*7$, without times" && part.name === `${id}.grep.log`, part);
  check("the other one has all the same", (await download(page, "whole")).text === whole);
  await option(page, (form) => form.locator("#times").selectOption("local"));
}

async function breaks(page) {
  const id = await create("counter", "i=0; while :; do i=$((i+1)); echo count $i; sleep 0.05; done");
  await openLog(page, id);
  for (let round = 0; round < 2; round += 1) {
    await until("it counts", async () => (await page.locator("#connection").innerText()) === "following" || (await page.locator("#connection").innerText()).startsWith("connected again"));
    wire.cut();
    await until("a break is told", async () => /reconnecting/.test(await page.locator("#connection").innerText()));
    await page.waitForTimeout(500);
    wire.heal();
    await until("and that it is over", async () => /^connected again/.test(await page.locator("#connection").innerText()));
    await until("a note stands in the log", async () => (await page.locator(".row.note").count()) > 0);
  }
  const behind = await lastText(page);
  await until("it goes on behind the last break", async () => (await lastText(page)) !== behind);
  const rows = await readAll(page);
  const lines = rows.filter((it) => it.kind === "line").map((it) => Number(it.text.slice("count ".length)));
  check("no line is lost or doubled", lines.length > 20 && lines.every((it, at) => it === at + 1), lines);
  check("over two breaks, each of which is told", rows.filter((it) => it.kind === "note").length === 2 && rows.at(-1).kind === "line", rows.filter((it) => it.kind !== "line"));
  await remove(id);
}

async function ends(page, ids) {
  await openLog(page, ids.failed);
  await until("an end with its code", async () => (await page.locator(".row.end .text").innerText()) === "ended: exit 3");
  await until("the head says so too", async () => (await page.locator("#connection").innerText()) === "ended: exit 3");
}

async function commands(page, id) {
  const headers = { "OPEN-SANDBOX-API-KEY": KEY };
  const endpoint = await (await fetch(`${gateway.url}/v1/sandboxes/${id}/endpoints/44772`, { headers })).json();
  const url = /^http/.test(endpoint.endpoint) ? endpoint.endpoint : `http://${endpoint.endpoint}`;
  const answer = await fetch(`${url}/command`, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headers, ...endpoint.headers },
    body: JSON.stringify({ command: "seq -f 'output %.0f' 5000; echo from the command; exit 4", background: true }),
  });
  const command = /"(?:id|text)":\s*"([0-9a-zA-Z-]{8,})"/.exec(await answer.text())?.[1];
  await openLog(page, id);
  await option(page, async (form) => {
    await form.locator("#command").fill(command);
    await form.locator("button").click();
  });
  await until("the output of a command", async () => (await lastText(page)) === "from the command");
  await until("and its end", async () => (await page.locator(".row.end .text").allInnerTexts()).join() === "ended: exit 4");
  check("the address tells it", page.url().includes(`command=${command}`), page.url());
  await page.locator("#log").hover();
  await page.mouse.wheel(0, -100_000);
  await until("older output is loaded at the top", async () => Number((await page.locator("#log .row").first().getAttribute("aria-setsize"))) > 2500);
  await page.locator("#log").focus();
  await page.keyboard.press("g");
  await until("up to its first line", async () => (await texts(page))[0] === "output 1" && (await page.locator("#older").innerText()) === "The command's output begins here");
  await page.locator("#log .row .time").nth(2).click();
  await page.locator("#log .row.linked").waitFor();
  const link = page.url();
  await page.goto(home);
  await page.goto(link);
  await until("a link leads to a line of a command", async () => (await page.locator(".row.linked .text").allInnerTexts()).join() === "output 3");
}

async function hostile(page) {
  const id = await create("hostile", HOSTILE);
  await openLog(page, id);
  await showsTextAlone(page, id);
  await option(page, (form) => form.locator("#wrap").check());
  await accessible(page, "hostile output, wrapped");
  await option(page, (form) => form.locator("#wrap").uncheck());
  await remove(id);
}

async function pictured(page, ids) {
  const id = await create("train-resnet", String.raw`
    printf '\033[1m==> Installing dependencies\033[0m\n'; echo 'Resolved 48 packages in 312ms'
    for i in numpy torch pillow tqdm datasets; do printf ' \033[32m+\033[0m %s\n' $i; sleep 0.03; done
    echo 'warning: torch 2.4 is built for CUDA 12.4, using the CPU' >&2
    for e in 1 2 3 4; do printf '\033[1m==> Epoch %d/4\033[0m\n' $e
      for s in 100 200 300 400 500 600; do printf '\033[36mstep\033[0m %4d  loss \033[33m0.%03d\033[0m  acc \033[32m0.%03d\033[0m  1,204 img/s\n' $s $((900 - e*140 - s/10)) $((480 + e*90 + s/12)); sleep 0.05; done
      [ $e = 2 ] && printf 'retry: shard 17 timed out after 5 s, attempt 2\nretry: shard 17 read\n' >&2
    done; i=600; while :; do i=$((i+1)); printf '\033[36mstep\033[0m %4d  loss \033[33m0.2%02d\033[0m\n' $i $((i%97)); sleep 0.5; done`);
  await openLog(page, id);
  await until("it prints", async () => /^step  6/.test(await lastText(page)));
  for (const theme of ["light", "dark"]) {
    await page.locator("#theme").selectOption(theme);
    await page.locator("#search").fill("retry");
    await page.waitForTimeout(400);
    await accessible(page, `the log, ${theme}`);
    await page.locator("#options > summary").click();
    await accessible(page, `the options, ${theme}`);
    await page.locator("#options > summary").click();
    await page.locator("#next-match").click();
    await until("new lines meanwhile", async () => page.locator("#new-lines").isVisible());
    await page.mouse.click(640, 60);
    await page.screenshot({ path: join(pictures, `viewer-${theme}.png`) });
  }
  await page.locator("#search").fill("");
  await page.setViewportSize({ width: 390, height: 780 });
  await option(page, (form) => form.locator("#wrap").check());
  await page.keyboard.press("G");
  await page.waitForTimeout(400);
  check("a phone needs no scrolling sideways", await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  await accessible(page, "a phone");
  await page.screenshot({ path: join(pictures, "viewer-phone.png") });
  await page.locator("#back").click();
  await page.locator("tbody tr").first().waitFor();
  check("the list fits a phone", (await page.locator("#log-screen").isHidden()) && (await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth)));
  await page.screenshot({ path: join(folder, "viewer-phone-list.png") });
}

// Local processes end with their gateway, so what there is to survive is the page: it tells the break, comes back with its
// token, and is told that the sandbox is gone.
async function restart(page) {
  const id = await create("restarted", "i=0; while :; do i=$((i+1)); echo count $i; sleep 0.1; done");
  await openLog(page, id);
  await until("it counts before the restart", async () => /^count/.test(await lastText(page)));
  const gone = new Promise((resolve) => gateway.child.once("exit", resolve));
  gateway.child.kill("SIGTERM");
  await gone;
  await until("the restart is told", async () => /reconnecting|^ended/.test(await page.locator("#connection").innerText()));
  const held = await texts(page);
  gateway = await startGateway(program, KEY, uiPort, gateway);
  await until("the page comes back and tells the end", async () => /^ended/.test(await page.locator("#connection").innerText()));
  const seen = await texts(page);
  check("what was shown is still there, once", held.length > 0 && held.every((it) => seen.filter((other) => other === it).length === 1), seen);
}

try {
  const ids = {
    crawler: await create("crawler", String.raw`for i in $(seq 3000); do printf '\033[32mINFO\033[0m  fetched page %d in \033[36m%dms\033[0m\n' $i $((i%97)); [ $((i%40)) != 0 ] || echo "WARN  retry of page $i: connection reset" >&2; done; i=0; while :; do i=$((i+1)); printf '\033[1;33mtick\033[0m %d\n' $i; sleep 0.3; done`),
    failed: await create("failed", "echo working; exit 3"),
  };
  const page = await newPage();
  const steps = { keyAndList, reading, choosing, linkAndDownload: (it) => linkAndDownload(it, ids.finished), toFirst, breaks, ends, commands: (it) => commands(it, ids.crawler), hostile, pictured, restart };
  ids.finished = await create("finished", "for i in $(seq 2500); do echo row $i; done");
  for (const [name, step] of Object.entries(steps)) {
    try {
      await step(page, ids);
    } catch (error) {
      check(name, false, error.stack);
      await page.screenshot({ path: join(folder, `viewer-failed-${name}.png`) });
    }
  }
  await page.locator("#forget").click();
  check("the key is forgotten", (await page.evaluate(() => sessionStorage.length)) === 0 && (await page.locator("#key").isVisible()));
  check("no request to elsewhere", elsewhere.length === 0, elsewhere);
  check("the pages made no mistake", wrong.length === 0, wrong.join("\n"));
} finally {
  await browser.close();
  wire.close();
  gateway.child.kill("SIGTERM");
}
const { passed, failed } = counts();
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 || passed === 0 ? 1 : 0);
