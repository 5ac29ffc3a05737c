// A person with the viewer on Kubernetes: usage: node viewer_kubernetes.mjs PROGRAM API_SERVER FOLDER
//
// API_SERVER is the test program that has the API server in it (tests/kubernetes/serve.rs), whose containers print what they are
// told. What they print and what becomes of them is said here line by line, so that the page has to show all of it once.

import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { connection, enterKey, marks, openBrowser, readAll, texts } from "./person.mjs";
import { check, counts, freePort, startGateway, stopGateway, until } from "./support.mjs";

const [program, apiServer, folder] = process.argv.slice(2);
const KEY = "of-the-viewer";
// The API server has it from the start.
const NAMESPACE = "osb";

// The API server as a process. Each command is answered by some lines and an empty one.
async function startCluster() {
  const child = spawn(apiServer, ["--ignored", "--exact", "serve::serve", "--nocapture"], { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async () => {
    const { done, value } = await lines.next();
    if (done) throw new Error("the API server has ended");
    return value;
  };
  const found = {};
  while (!(found.url && found.kubeconfig)) {
    // A test's name stands before its first line.
    const words = /\b(url|kubeconfig) (\S+)$/.exec(await next());
    if (words !== null) found[words[1]] = words[2];
  }
  const tell = async (...words) => {
    child.stdin.write(`${words.join(" ")}\n`);
    while ((await next()) !== "") continue;
  };
  const end = async () => {
    child.stdin.end();
    // It has more to say as a test, and somebody has to hear it.
    while (!(await lines.next()).done) continue;
  };
  return { ...found, tell, end };
}

const cluster = await startCluster();
const uiPort = await freePort();
const home = `http://127.0.0.1:${uiPort}/ui/`;
const runtime = `[runtime]\ntype = "kubernetes"\nexecd_image = "x"\n[kubernetes]\nnamespace = "${NAMESPACE}"\nkubeconfig_path = "${cluster.kubeconfig}"\n`;
let gateway = await startGateway(program, KEY, uiPort, { runtime });

async function call(method, path, object, type = "application/json") {
  const url = `${cluster.url}/apis/sandbox.opensandbox.io/v1alpha1/namespaces/${NAMESPACE}/batchsandboxes${path}`;
  const answer = await fetch(url, { method, headers: { "Content-Type": type }, body: JSON.stringify(object) });
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
}

// A sandbox as the operator leaves one that runs, whose pod is another matter.
async function create(id, name) {
  const metadata = { name: id, labels: { "opensandbox.io/id": id, name }, annotations: { "sandbox.opensandbox.io/endpoints": '["127.0.0.1"]' } };
  const spec = { replicas: 1, template: { spec: { containers: [{ name: "sandbox", image: "reg.example/python:3.12" }] } } };
  await call("POST", "", { apiVersion: "sandbox.opensandbox.io/v1alpha1", kind: "BatchSandbox", metadata, spec });
  const counts = Object.fromEntries(["Running", "Succeed", "Failed", "Pending", "Unknown"].map((name) => [`task${name}`, 0]));
  await call("PATCH", `/${id}/status`, { status: { phase: "Succeed", replicas: 1, allocated: 1, ready: 1, ...counts } }, "application/merge-patch+json");
}

// A container that prints, and what it has printed.
class Printer {
  constructor(sandbox, container = "sandbox") {
    this.place = [NAMESPACE, `${sandbox}-0`, container];
    this.printed = [];
  }

  async print(word, count) {
    const lines = Array.from({ length: count }, (_, at) => `${word} ${this.printed.length + at + 1}`);
    this.printed.push(...lines);
    await cluster.tell("print", ...this.place, lines.join("\\n"));
  }

  async restart(code) {
    this.printed = [];
    await cluster.tell("restart", ...this.place, code);
  }

  rotate = () => cluster.tell("rotate", ...this.place);
  exit = (code) => cluster.tell("exit", ...this.place, code);
}

const { browser, newPage, wrong, elsewhere } = await openBrowser(`http://127.0.0.1:${uiPort}/`, KEY);
const page = await newPage();

const shows = (what, line) => until(what, async () => { const seen = (await texts(page)).at(-1); return seen === line || seen; });

async function open(id) {
  await page.goto(`${home}#/sandbox/${id}`);
  await page.locator("#log .row").first().waitFor();
}

async function choose(act) {
  await page.locator("#options > summary").click();
  await act(page.locator("#choices"));
  await page.locator("#choices button").click();
}

// Every line that was printed, once; the marks are given back with how many lines stand before each.
async function showsAllOnce(what, printed) {
  const rows = await readAll(page);
  const seen = rows.filter((row) => row.kind === "line").map((row) => row.text);
  const at = printed.findIndex((line, n) => line !== seen[n]);
  check(what, seen.length === printed.length && at === -1, `${seen.length} of ${printed.length} lines, the first other one is ${at}: ${seen.slice(Math.max(0, at - 2), at + 3)}`);
  await page.keyboard.press("G");
  return rows.flatMap((row, n) => (row.kind === "line" ? [] : [[row.text, rows.slice(0, n).filter((it) => it.kind === "line").length]]));
}

const WEB = "11111111-0000-4000-8000-000000000001";
const LATE = "11111111-0000-4000-8000-000000000002";
const ROTATED = "11111111-0000-4000-8000-000000000003";
const [web, rotated] = [WEB, ROTATED].map((id) => new Printer(id));

async function list() {
  await page.goto(home);
  await page.locator("#key-keep").check();
  await enterKey(page, KEY);
  await page.locator("tbody tr").first().waitFor();
  const row = page.locator("tbody tr").filter({ hasText: WEB });
  check("the list tells of a sandbox", /Running.*reg\.example\/python:3\.12.*name=web/s.test(await row.innerText()), await row.innerText());
  await row.locator("a").click();
}

async function following() {
  await shows("the end of the log", "page 1500");
  check("it follows", (await connection(page)) === "following", await connection(page));
  await web.print("page", 20);
  await shows("new lines come", "page 1520");
  await showsAllOnce("all lines, once", web.printed);
}

async function containers() {
  await choose(async (form) => {
    await until("the pod's containers can be chosen", async () => (await form.locator("#container option").allInnerTexts()).join() === "sandbox,egress");
    await form.locator("#container").selectOption("egress");
  });
  await shows("the log of another container", "allowed 3");
  check("and nothing else", (await texts(page)).join() === "allowed 1,allowed 2,allowed 3", await texts(page));
  check("the address tells it", page.url().endsWith(`${WEB}?container=egress`), page.url());
  await choose((form) => form.locator("#container").selectOption(""));
  await shows("and back", "page 1520");
  await choose((form) => form.locator("#streams").selectOption("stderr"));
  await until("a cluster that does not tell the streams apart says so", async () => /streams/.test(await page.locator("#log-problem").innerText()));
  await choose((form) => form.locator("#streams").selectOption(""));
  await shows("both are shown again", "page 1520");
}

// The gateway is another process then, and the pods run on. `meanwhile` is what they do until there is one.
async function restartGateway(meanwhile) {
  await stopGateway(gateway, "SIGTERM");
  await until("the page tells that the gateway is away", async () => /reconnecting in/.test(await connection(page)));
  await meanwhile();
  gateway = await startGateway(program, KEY, uiPort, gateway);
}

async function restart() {
  await restartGateway(() => web.print("page", 100));
  await shows("the page comes back", "page 1620");
  check("and says so", /^connected again/.test(await connection(page)), await connection(page));
  await web.print("page", 5);
  await shows("it follows on", "page 1625");
  const notes = await showsAllOnce("no line is lost or doubled by a restart of the gateway", web.printed);
  check("a note stands where the break was", JSON.stringify(notes) === '[["reconnected: continued behind the last line",1520]]', notes);
}

async function previous() {
  const before = web.printed.slice(-2);
  await web.restart(7);
  await web.print("again", 2);
  await shows("the page goes on with the next instance", "again 2");
  const started = "the process was started again";
  check("behind a mark", (await marks(page, "restart")).join() === started, await marks(page, "restart"));
  await choose((form) => form.locator("#instance").check());
  await shows("the one before", before[1]);
  check("to its end", (await texts(page)).slice(-2).join() === before.join(), (await texts(page)).slice(-2));
  await until("which is told", async () => (await marks(page, "end")).join() === "ended: exit 7" && (await connection(page)) === "ended: exit 7");
  await choose((form) => form.locator("#instance").uncheck());
  await shows("the present one again", "again 2");
  check("and nothing else", (await texts(page)).join() === web.printed.join(), await texts(page));
}

async function ends() {
  await web.exit(137);
  await until("the end of a pod is a mark", async () => (await marks(page, "end")).join() === "ended: exit 137 (SIGKILL)");
  await until("and in the head", async () => (await connection(page)) === "ended: exit 137 (SIGKILL)" || (await connection(page)));
}

async function notStarted() {
  await page.goto(`${home}#/sandbox/${LATE}`);
  await until("a sandbox without a pod", async () => /no pod yet.*reconnecting in/.test(await connection(page)));
  await cluster.tell("pod", NAMESPACE, `${LATE}-0`, LATE, "sandbox");
  const late = new Printer(LATE);
  await late.print("began", 1);
  await shows("a log that begins later", "began 1");
}

async function gap() {
  await open(ROTATED);
  await shows("before the gap", "before 3");
  await restartGateway(async () => {
    await rotated.print("lost", 2);
    await rotated.rotate();
    await rotated.print("behind", 3);
  });
  await shows("behind the gap", "behind 8");
  check("a gap is told", /^gap: lines may be missing, they were rotated away/.test((await marks(page, "gap"))[0]), await marks(page, "gap"));
  const rows = await page.locator("#log .row").evaluateAll((all) => all.map((it) => /\b(gap|note)\b/.exec(it.className)?.[0] ?? it.querySelector(".text").textContent));
  check("where it is", rows.join() === "before 1,before 2,before 3,note,gap,behind 6,behind 7,behind 8", rows);
}

try {
  for (const [id, name] of [[WEB, "web"], [LATE, "late"], [ROTATED, "rotated"]]) await create(id, name);
  await cluster.tell("pod", NAMESPACE, `${WEB}-0`, WEB, "sandbox", "egress");
  await cluster.tell("pod", NAMESPACE, `${ROTATED}-0`, ROTATED, "sandbox");
  await web.print("page", 1500);
  await new Printer(WEB, "egress").print("allowed", 3);
  await rotated.print("before", 3);
  for (const step of [list, following, containers, restart, previous, ends, notStarted, gap]) {
    try {
      await step();
    } catch (error) {
      check(step.name, false, error.stack);
      await page.screenshot({ path: join(folder, `viewer-kubernetes-failed-${step.name}.png`) });
    }
  }
  check("the page made no mistake", wrong.length === 0, wrong.join("\n"));
  check("nothing was asked of others", elsewhere.length === 0, elsewhere);
} finally {
  await browser.close();
  gateway.child.kill("SIGTERM");
  await cluster.end();
}
const { passed, failed } = counts();
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 || passed === 0 ? 1 : 0);
