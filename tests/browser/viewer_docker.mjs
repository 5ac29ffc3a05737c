// A person with the viewer whose sandboxes are containers of a real engine: usage: node viewer_docker.mjs PROGRAM FOLDER
//
// These live on when the gateway ends, are started again by hand, lose lines to the engine's rotation, and run out of memory.

import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { HOSTILE, showsTextAlone } from "./hostile.mjs";
import { connection, enterKey, lastText, marks, openBrowser, option, readAll, texts } from "./person.mjs";
import { check, counts, create, DOCKER, freePort, remove, startGateway, stopGateway, until } from "./support.mjs";

const [program, folder] = process.argv.slice(2);
const KEY = "of-the-docker-viewer";
const IMAGE = "osb-test/busybox:1";

const uiPort = await freePort();
const home = `http://127.0.0.1:${uiPort}/ui/`;
let gateway = await startGateway(program, KEY, uiPort, { runtime: DOCKER });
const { browser, newPage, wrong, elsewhere } = await openBrowser(`http://127.0.0.1:${uiPort}/`, KEY);

const docker = async (...args) => (await promisify(execFile)("docker", args, { timeout: 120_000 })).stdout;
const container = (id) => `sandbox-${id}`;
// The sandboxes' scripts wait for files.
const touch = (id, file) => docker("exec", container(id), "touch", file);
const begins = (id, file) => docker("exec", container(id), "sh", "-c", `while [ ! -e ${file} ]; do sleep 0.1; done`);

// Those that the gateway made, and those that were made by hand.
const ids = {};
const byHand = [];

async function sandbox(name, script, limits = {}) {
  ids[name] = await create(gateway, KEY, { image: { uri: IMAGE }, entrypoint: ["sh", "-c", script], metadata: { name }, resourceLimits: limits });
}

// Made by hand for the options of its log.
async function rotated(name, script) {
  const id = randomUUID();
  byHand.push(id);
  ids[name] = id;
  const log = ["--log-driver", "json-file", "--log-opt", "max-size=16k", "--log-opt", "max-file=2"];
  await docker("run", "--detach", "--network", "none", "--name", container(id), "--label", `opensandbox.io/id=${id}`, ...log, IMAGE, "sh", "-c", script);
}

const COUNT = "i=0; count() { i=$((i+1)); echo count $i; }; until_there() { while [ ! -e $1 ]; do count; sleep 0.1; done; }";
const COUNTER = `${COUNT}; until_there /tmp/stop; echo counted; sleep 600`;
// It begins when it is looked at: its files hold what is printed in half a minute. Each burst is several times that, the first while
// nobody reads, the second while the page follows.
const ROTATED = `${COUNT}; count; while [ ! -e /tmp/go ]; do sleep 0.1; done; until_there /tmp/away; n=0; while [ $n -lt 2000 ]; do n=$((n+1)); count; done; touch /tmp/lost
  until_there /tmp/busy; n=0; while [ $n -lt 1000 ]; do n=$((n+1)); count; [ $((n % 20)) != 0 ] || usleep 20000; done
  until_there /tmp/stop; echo counted; sleep 600`;
// An engine does not kill the shell of a container that has its memory from elsewhere: it is the shell that grows.
const HUNGRY = "echo eats; while [ ! -e /tmp/go ]; do sleep 0.1; done; x=0123456789abcdef; while :; do x=$x$x; done";
const FAILING = "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo row $i; done; echo broken >&2; exit 3";

async function openLog(name) {
  const page = await newPage();
  await page.goto(`${home}#/sandbox/${ids[name]}`);
  // Each tab has a storage of its own.
  await enterKey(page, KEY);
  await page.locator("#log .row").first().waitFor();
  return page;
}

const counted = async (page) => Number(/^count (\d+)$/.exec(await lastText(page))?.[1] ?? 0);

async function goesOn(page, what) {
  const before = await lastText(page);
  await until(what, async () => (await counted(page)) > 0 && (await lastText(page)) !== before);
}

async function listed() {
  const page = await newPage();
  await page.goto(home);
  await enterKey(page, KEY);
  const row = page.locator("tbody tr").filter({ hasText: ids.counter });
  await row.waitFor();
  check("the list shows the container", /Running.*in 59m.*osb-test\/busybox:1.*name=counter/s.test(await row.innerText()), await row.innerText());
  await until("and one that has ended", async () => /Failed/.test(await page.locator("tbody tr").filter({ hasText: ids.failing }).innerText()));
  await row.locator("a").click();
  await goesOn(page, "its log is followed");
  return page;
}

// While the gateway is away, the sandboxes print on.
async function gatewayRestarts(page, rotating, signal, meanwhile = async () => {}) {
  await stopGateway(gateway, signal);
  await until(`${signal}: the break is told`, async () => /reconnecting/.test(await connection(page)));
  await meanwhile();
  gateway = await startGateway(program, KEY, uiPort, gateway);
  for (const it of [page, rotating]) {
    await until(`${signal}: the page comes back`, async () => /^connected again/.test(await connection(it)) || (await connection(it)));
    await goesOn(it, `${signal}: and goes on`);
  }
}

async function survives(page) {
  const rotating = await openLog("rotated");
  await touch(ids.rotated, "/tmp/go");
  await goesOn(rotating, "a log with small files is followed");
  await gatewayRestarts(page, rotating, "SIGTERM");
  await gatewayRestarts(page, rotating, "SIGKILL", async () => {
    await touch(ids.rotated, "/tmp/away");
    await begins(ids.rotated, "/tmp/lost");
  });
  return rotating;
}

// The marks are looked for in the whole log: they scroll away.
async function startedAgain(page) {
  const follows = async () => (await connection(page)) === "following" || (await connection(page));
  await docker("restart", "--time", "0", container(ids.counter));
  await until("a restart by hand is followed", follows);
  await goesOn(page, "and it prints");
  await docker("stop", "--time", "0", container(ids.counter));
  await until("an end by hand is told", async () => (await connection(page)) === "ended: exit 137 (SIGKILL)" || (await connection(page)));
  await docker("start", container(ids.counter));
  await until("a start by hand is followed", follows);
  await goesOn(page, "and it prints again");
}

// Whether it is counted on, and where it is not.
function breaksOf(numbers) {
  return numbers.map((it, at) => [numbers[at - 1] ?? 0, it]).filter(([before, it]) => it !== before + 1);
}

async function wholeLog(page) {
  await touch(ids.counter, "/tmp/stop");
  await until("the counter ends", async () => (await lastText(page)) === "counted");
  const rows = await readAll(page);
  const notes = rows.filter((it) => it.kind === "note");
  check("each break is a note in the log", notes.length >= 2 && notes.every((it) => it.text.startsWith("reconnected")), notes);
  const runs = [[]];
  for (const { kind, text } of rows) {
    if (kind === "restart") runs.push([]);
    if (kind === "line") runs.at(-1).push(text);
  }
  const restarts = rows.filter((it) => it.kind === "restart");
  check("each start is a mark in the log", restarts.every((it) => it.text === "the process was started again"), restarts);
  check("there are three runs, to the last line", runs.length === 3 && runs[2].pop() === "counted", runs.map((it) => it.at(-1)));
  for (const [number, run] of runs.entries()) {
    const numbers = run.map((it) => Number(it.slice("count ".length)));
    check(`each line of run ${number + 1} is there once and in order`, numbers.length > 5 && breaksOf(numbers).length === 0, breaksOf(numbers));
  }
  check("no gap is told where none is", rows.every((it) => it.kind !== "gap"));
}

async function rotatedLog(page) {
  await touch(ids.rotated, "/tmp/busy");
  await touch(ids.rotated, "/tmp/stop");
  await until("the log with small files ends", async () => (await lastText(page)) === "counted" || (await lastText(page)), 60_000);
  const rows = await readAll(page);
  const gaps = rows.filter((it) => it.kind === "gap").map((it) => it.text);
  const isTold = (it) => /^gap: lines may be missing, they were rotated away, .* to /.test(it);
  check("what was rotated away while the page was cut off is a gap", gaps.length >= 1 && gaps.every(isTold), gaps);
  const misplaced = [];
  let last = 0;
  let isGap = false;
  for (const { kind, text } of rows) {
    if (kind === "gap") isGap = true;
    if (kind !== "line" || text === "counted") continue;
    const number = Number(text.slice("count ".length));
    if (isGap ? number <= last + 1 : number !== last + 1) misplaced.push(`${number} behind ${last}${isGap ? " and a gap" : ""}`);
    [last, isGap] = [number, false];
  }
  check("lines are missing at a gap, and nowhere else, and none comes twice", misplaced.length === 0, misplaced);
  check("the count is at its end", last >= 3000, last);
  await page.close();
}

async function ends() {
  const page = await openLog("hungry");
  await until("it is followed", async () => (await connection(page)) === "following");
  await touch(ids.hungry, "/tmp/go");
  await until("an end by memory", async () => (await marks(page, "end")).join() === "ended: exit 137 (out of memory)" || (await marks(page, "end")));
  await until("the head says so too", async () => (await connection(page)) === "ended: exit 137 (out of memory)" || (await connection(page)));
  await until("and the state", async () => (await page.locator("#log-state").innerText()) === "Failed");
  await page.close();
}

async function reads() {
  const page = await openLog("failing");
  await until("an end with its code", async () => (await marks(page, "end")).join() === "ended: exit 3");
  // The order between the two streams is the engine's.
  const marked = (await readAll(page)).filter((it) => it.isErr).map((it) => it.text);
  check("stderr is marked among the others", marked.join() === "broken", marked);
  await page.locator("#options > summary").click();
  await page.locator("#streams").selectOption("stderr");
  await until("stderr alone", async () => (await texts(page)).join() === "broken" && (await page.locator("#log .row .stream").innerText()) === "E");
  await page.locator("#streams").selectOption("stdout");
  await until("stdout alone", async () => (await lastText(page)) === "row 300" && (await page.locator("#log .row.err").count()) === 0);
  await page.locator("#streams").selectOption("");
  await page.locator("#options > summary").click();
  await option(page, async (form) => {
    await form.locator("#grep").fill("row .*77$");
    await form.locator("button").click();
  });
  await until("grep on the server", async () => (await texts(page)).join() === "row 77,row 177,row 277");
  await page.locator("#log .row .time").nth(1).click();
  const link = page.url();
  check("the link has no key", link.includes("line=v1.") && !link.includes(KEY), link);
  const other = await newPage();
  await other.goto(link);
  await enterKey(other, KEY);
  await until("a link leads to its line", async () => (await other.locator(".row.linked .text").allInnerTexts()).join() === "row 177");
  check("among all others", (await texts(other)).includes("row 176"), await texts(other));
  await other.close();

  await page.locator("#downloads > summary").click();
  const waiting = page.waitForEvent("download");
  await page.locator("#download-whole").click();
  const file = readFileSync(await (await waiting).path(), "utf8");
  const lines = file.trimEnd().split("\n");
  const isLine = (it) => /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (row \d+|broken)$/.test(it);
  check("the download is the whole log with its times", lines.length === 301 && lines.every(isLine), lines.slice(0, 3));
  await page.close();
}

async function hostile() {
  const page = await openLog("hostile");
  await showsTextAlone(page, ids.hostile);
  await page.close();
}

async function all() {
  await Promise.all([
    sandbox("counter", COUNTER),
    sandbox("hungry", HUNGRY, { memory: "16Mi" }),
    sandbox("failing", FAILING),
    sandbox("hostile", HOSTILE),
    rotated("rotated", ROTATED),
  ]);
  const page = await listed();
  const rotating = await survives(page);
  await startedAgain(page);
  await wholeLog(page);
  await rotatedLog(rotating);
  for (const step of [ends, reads, hostile]) await step();
}

try {
  await all().catch(async (error) => {
    check("the walk", false, error.stack);
    for (const [at, page] of browser.contexts()[0].pages().entries()) await page.screenshot({ path: join(folder, `viewer-docker-failed-${at}.png`) });
  });
  check("no request to elsewhere", elsewhere.length === 0, elsewhere);
  check("the pages made no mistake", wrong.length === 0, wrong.join("\n"));
} finally {
  await browser.close();
  for (const id of Object.values(ids)) if (!byHand.includes(id)) await remove(gateway, KEY, id).catch((error) => check("a sandbox is removed", false, String(error)));
  await stopGateway(gateway, "SIGTERM");
  if (byHand.length > 0) await docker("rm", "--force", "--volumes", ...byHand.map(container));
}
const { passed, failed } = counts();
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 || passed === 0 ? 1 : 0);
