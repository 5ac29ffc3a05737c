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

export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

// Sandboxes as local processes.
export const PROCESS = '[runtime]\ntype = "process"\nexecd_image = "x"\n';

// With these sandboxes, and with this key; without one if it is empty. The viewer listens on `uiPort`, if there is one. With what was
// returned of one before, it is that one started again.
export async function startGateway(program, key, uiPort = 0, { runtime = PROCESS, ...before } = {}) {
  const home = before.home ?? mkdtempSync(join(tmpdir(), "browser-"));
  const port = before.port ?? (await freePort());
  const config = join(home, "gateway.toml");
  const ui = uiPort === 0 ? "" : `[ui]\nlisten = "127.0.0.1:${uiPort}"\n`;
  const line = key === "" ? "" : `api_key = "${key}"\n`;
  writeFileSync(config, `[server]\nhost = "127.0.0.1"\nport = ${port}\n${line}${runtime}${ui}`);
  const env = { PATH: process.env.PATH, HOME: home, ...(key === "" ? { OPENSANDBOX_INSECURE_SERVER: "YES" } : {}) };
  const child = spawn(program, ["--config", config], { env, stdio: ["ignore", "ignore", "inherit"] });
  const url = `http://127.0.0.1:${port}`;
  for (let i = 0; ; i += 1) {
    try {
      if ((await fetch(`${url}/health`)).ok) return { child, url, home, port, runtime };
    } catch (error) {
      if (i > 100) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
