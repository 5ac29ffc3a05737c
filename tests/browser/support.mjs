// What the walks share: the gateway, and the count of what held.

import { spawn } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

let passed = 0;
let failed = 0;

export function check(what, isTrue, seen = "") {
  if (isTrue) {
    passed += 1;
    return;
  }
  failed += 1;
  console.log(`FAILED ${what}${seen === "" ? "" : `: ${(typeof seen === "string" ? seen : JSON.stringify(seen)).slice(0, 600)}`}`);
}

export function counts() {
  return { passed, failed };
}

// One that the kernel gives to nobody who connects (those are from 32768 on), so that a gateway can be started again on it.
export async function freePort() {
  for (;;) {
    const port = 23_000 + Math.floor(Math.random() * 9000);
    const server = createServer();
    const isFree = await new Promise((resolve) => server.once("error", () => resolve(false)).listen(port, "127.0.0.1", () => resolve(true)));
    if (!isFree) continue;
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}

// Sandboxes as local processes, and as containers of the engine that `scripts/engine` takes care of. Those have the machine's network:
// Chromium breaks all its connections off when an interface comes or goes.
export const PROCESS = '[runtime]\ntype = "process"\nexecd_image = "x"\n';
export const DOCKER = '[runtime]\ntype = "docker"\nexecd_image = "osb-test/execd:stub"\n[docker]\nexpiry = "own"\n';

// With these sandboxes, and with this key; without one if it is empty. The viewer listens on `uiPort`, if there is one. With what was
// returned of one before, it is that one started again.
export async function startGateway(program, key, uiPort = 0, { runtime = PROCESS, ...before } = {}) {
  const home = before.home ?? mkdtempSync(join(tmpdir(), "browser-"));
  const port = before.port ?? (await freePort());
  const config = join(home, "gateway.toml");
  const ui = uiPort === 0 ? "" : `[ui]\nlisten = "127.0.0.1:${uiPort}"\n`;
  const line = key === "" ? "" : `api_key = "${key}"\n`;
  writeFileSync(config, `[server]\nhost = "127.0.0.1"\nport = ${port}\n${line}${runtime}${ui}`);
  const { PATH, DOCKER_HOST } = process.env;
  const env = { PATH, HOME: home, ...(DOCKER_HOST ? { DOCKER_HOST } : {}), ...(key === "" ? { OPENSANDBOX_INSECURE_SERVER: "YES" } : {}) };
  const child = spawn(program, ["--config", config], { env, stdio: ["ignore", "ignore", "inherit"] });
  const url = `http://127.0.0.1:${port}`;
  for (let i = 0; ; i += 1) {
    if (child.exitCode !== null) throw new Error(`the gateway ended with ${child.exitCode}`);
    try {
      if ((await fetch(`${url}/health`)).ok) return { child, url, home, port, runtime };
    } catch (error) {
      if (i > 200) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

// Ends it by this signal, and waits until it has ended.
export async function stopGateway({ child }, signal) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once("exit", resolve));
  child.kill(signal);
  await gone;
}

// A new sandbox's id.
export async function create(gateway, key, request) {
  const headers = { "Content-Type": "application/json", "OPEN-SANDBOX-API-KEY": key };
  const body = JSON.stringify({ timeout: 3600, resourceLimits: {}, ...request });
  const answer = await fetch(`${gateway.url}/v1/sandboxes`, { method: "POST", headers, body });
  if (!answer.ok) throw new Error(`create: ${answer.status} ${await answer.text()}`);
  return (await answer.json()).id;
}

export async function remove(gateway, key, id) {
  await fetch(`${gateway.url}/v1/sandboxes/${id}`, { method: "DELETE", headers: { "OPEN-SANDBOX-API-KEY": key } });
}

// What one has to wait for at most, on a busy machine.
export const STEP = 20_000;

// Waits until the page shows this, and says whether it did.
export async function until(what, look, millis = STEP) {
  const end = Date.now() + millis;
  let seen;
  do {
    seen = await look();
    if (seen === true) break;
    await new Promise((resolve) => setTimeout(resolve, 50));
  } while (Date.now() < end);
  check(what, seen === true, seen);
}
