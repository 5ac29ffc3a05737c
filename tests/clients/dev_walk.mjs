// Walks through the JavaScript SDK on `dev`: what execd serves, most of all.

import { ConnectionConfig, Sandbox, SandboxApiException } from "@alibaba-group/opensandbox";

const proxied = process.argv.length > 2;
const walk = `javascript on dev${proxied ? " by the proxy" : ""}`;
const connectionConfig = new ConnectionConfig({ useServerProxy: proxied });
const sandbox = await Sandbox.create({ connectionConfig, image: "any", timeoutSeconds: 300, env: { A: "b" } });

function check(step, holds, seen = "") {
  console.log(holds ? `ok ${walk}: ${step}` : `FAILED ${walk}: ${step}: not as expected: ${JSON.stringify(seen)}`);
}

const printed = (messages) => messages.map(({ text }) => text).join("");

async function commands() {
  check("isHealthy", await sandbox.isHealthy());
  check("metrics", (await sandbox.getMetrics()).memoryTotalMiB > 0);
  const result = await sandbox.commands.run("echo $A; echo err >&2; exit 3");
  check("run", printed(result.logs.stdout) === "b\n" && printed(result.logs.stderr) === "err\n" && result.exitCode === 3, result);
  const limited = await sandbox.commands.run("sleep 1000", { timeoutSeconds: 1 });
  check("timeout", limited.exitCode === 137, limited);
  const { id } = await sandbox.commands.run("echo one; echo two; sleep 1000", { background: true });
  let logs;
  for (let tries = 0; tries < 100 && logs?.cursor !== 1; tries++) {
    await new Promise((wake) => setTimeout(wake, 50));
    logs = await sandbox.commands.getBackgroundCommandLogs(id);
  }
  check("logs", logs.content === "one\ntwo\n" && logs.cursor === 1, logs);
  check("logs from a cursor", (await sandbox.commands.getBackgroundCommandLogs(id, 0)).content === "two\n");
  check("status", (await sandbox.commands.getCommandStatus(id)).running === true);
  await sandbox.commands.interrupt(id);
  let status;
  for (let tries = 0; tries < 100 && status?.running !== false; tries++) {
    await new Promise((wake) => setTimeout(wake, 50));
    status = await sandbox.commands.getCommandStatus(id);
  }
  check("interrupt", status.exitCode === 143 && status.finishedAt instanceof Date, status);
  const session = await sandbox.commands.createSession({ workingDirectory: "/usr" });
  await sandbox.commands.runInSession(session, "X=5");
  const kept = await sandbox.commands.runInSession(session, "echo $X $PWD");
  check("session", printed(kept.logs.stdout) === "5 /usr\n", kept);
  await sandbox.commands.deleteSession(session);
}

async function files() {
  const { files } = sandbox;
  await files.writeFiles([{ path: "a.txt", data: "hello" }, { path: "d/bytes", data: new Uint8Array([1, 2, 255]), mode: 600 }]);
  async function* stream() {
    yield new TextEncoder().encode("stre");
    yield new TextEncoder().encode("amed");
  }
  await files.writeFiles([{ path: "d/streamed", data: stream() }]);
  check("read", (await files.readFile("a.txt")) === "hello" && (await files.readFile("d/streamed")) === "streamed");
  check("bytes", (await files.readBytes("d/bytes")).join() === "1,2,255");
  check("range", (await files.readFile("a.txt", { range: "bytes=1-2" })) === "el");
  const info = (await files.getFileInfo(["d/bytes"]))["d/bytes"];
  check("info", info.size === 3 && info.mode === 600 && info.createdAt instanceof Date, info);
  await files.moveFiles([{ src: "a.txt", dest: "d/a.txt" }]);
  check("search", (await files.search({ path: ".", pattern: "*.txt" })).length === 1);
  check("list", (await files.listDirectory({ path: "d" })).length === 3);
  const replaced = await files.replaceContentsDetailed([{ path: "d/a.txt", oldContent: "l", newContent: "L" }]);
  check("replace", replaced[0]?.replacedCount === 2, replaced);
  await files.setPermissions([{ path: "d/a.txt", mode: 644 }]);
  await files.createDirectories([{ path: "e/f" }]);
  await files.deleteFiles(["d/a.txt"]);
  await files.deleteDirectories(["d", "e"]);
  check("removed", (await files.listDirectory({ path: "." })).length === 0);
  try {
    await files.readFile("nowhere");
    check("read nothing", false, "was not refused");
  } catch (error) {
    check("read nothing", error instanceof SandboxApiException && error.statusCode === 404, String(error));
  }
}

try {
  for (const step of [commands, files]) {
    try {
      await step();
    } catch (error) {
      console.log(`FAILED ${walk}: ${step.name}: ${String(error.stack).replaceAll("\n", "\n    ")}`);
    }
  }
} finally {
  await sandbox.kill();
  await sandbox.close();
}
