// Walks through the JavaScript SDK.

import { ConnectionConfig, Sandbox, SandboxApiException, SandboxManager } from "@alibaba-group/opensandbox";

const proxied = process.argv.length > 2;
const runtime = process.env.CLIENTS_RUNTIME ?? "docker";
// The test API server's pods have no processes, and creation times are whole seconds there.
const onCluster = runtime === "kubernetes";
const walk = `javascript${proxied ? " by the proxy" : ""}${onCluster ? " on Kubernetes" : ""}`;
const notFound = `${runtime.toUpperCase()}::SANDBOX_NOT_FOUND`;
const [notRunning, notPaused] = onCluster
  ? ["KUBERNETES::INVALID_STATE", "KUBERNETES::INVALID_STATE"]
  : ["DOCKER::SANDBOX_NOT_RUNNING", "DOCKER::SANDBOX_NOT_PAUSED"];
const image = "osb-test/busybox:1";
const resource = { cpu: "100m", memory: "64Mi" };
const none = "11111111-2222-3333-4444-555555555555";
const connectionConfig = new ConnectionConfig({ useServerProxy: proxied });
const manager = SandboxManager.create({ connectionConfig });
const made = [];

function check(step, holds, seen = "") {
  console.log(holds ? `ok ${walk}: ${step}` : `FAILED ${walk}: ${step}: not as expected: ${JSON.stringify(seen)}`);
}

async function create(options = {}) {
  const sandbox = await Sandbox.create({ connectionConfig, image, resource, timeoutSeconds: 300, ...options });
  made.push(sandbox);
  return sandbox;
}

async function refused(step, call, status, code) {
  try {
    await call();
    check(step, false, "was not refused");
  } catch (error) {
    const seen = [error.statusCode, error.error?.code, Boolean(error.requestId)];
    check(step, error instanceof SandboxApiException && seen.join() === [status, code, true].join(), [seen, String(error)]);
  }
}

async function becomes(id, state) {
  for (let tries = 0; tries < 100; tries++) {
    if ((await manager.getSandboxInfo(id)).status.state === state) return true;
    await new Promise((wake) => setTimeout(wake, 100));
  }
  return false;
}

async function life() {
  const token = `w${Date.now()}`;
  const sandbox = await create({ metadata: { walk: token, gone: "soon" }, env: { A: "b" } });
  const info = await sandbox.getInfo();
  check("getInfo", info.status.state === "Running" && info.metadata.walk === token && info.image.uri === image, info);
  check("getInfo: times are dates", info.createdAt instanceof Date && info.expiresAt > new Date(Date.now() + 250_000), info);
  check("isHealthy", await sandbox.isHealthy());
  const { endpoint } = await sandbox.getEndpoint(8080);
  check("getEndpoint", endpoint.includes("/proxy/8080") === proxied, endpoint);
  check("getEndpointUrl", (await sandbox.getEndpointUrl(8080)).startsWith("http://"));
  const renewed = await sandbox.renew(1200);
  check("renew", renewed.expiresAt > new Date(Date.now() + 1_100_000), renewed);
  const patched = await sandbox.patchMetadata({ gone: null, new: "x" });
  check("patchMetadata", patched.metadata.new === "x" && !("gone" in patched.metadata), patched);
  const connected = await Sandbox.connect({ sandboxId: sandbox.id, connectionConfig });
  check("connect", connected.id === sandbox.id);
  await connected.close();
  const forever = await create({ timeoutSeconds: null });
  check("create without a timeout", (await forever.getInfo()).expiresAt == null);
  await refused("renew one without a timeout", () => forever.renew(60), 409, "DOCKER::INVALID_EXPIRATION");
  await sandbox.kill();
  await refused("getInfo after kill", () => sandbox.getInfo(), 404, notFound);
}

async function listing() {
  const token = `w${Date.now()}`;
  const ids = [];
  for (const odd of ["0", "1", "0"]) {
    ids.unshift((await create({ metadata: { walk: token, odd }, skipHealthCheck: true })).id);
  }
  const found = async (filter) => manager.listSandboxInfos({ metadata: { walk: token }, ...filter });
  const listed = (await found({})).items.map(({ id }) => id);
  check("list by metadata", (onCluster ? listed.sort().join() : listed.join()) === (onCluster ? [...ids].sort() : ids).join());
  check("list by two", (await found({ metadata: { walk: token, odd: "1" } })).items.map(({ id }) => id).join() === ids[1]);
  await manager.pauseSandbox(ids[2]);
  check("list: paused", await becomes(ids[2], "Paused"));
  check("list by state", (await found({ states: ["Paused"] })).items.map(({ id }) => id).join() === ids[2]);
  const page = await found({ page: 2, pageSize: 2 });
  check("list by pages", page.items.length === 1 && page.pagination.totalItems === 3 && !page.pagination.hasNextPage, page.pagination);
  await manager.resumeSandbox(ids[2]);
  check("manager: resume and get", await becomes(ids[2], "Running"));
  check("manager: patch", !("odd" in (await manager.patchSandboxMetadata(ids[0], { odd: null })).metadata));
  await manager.renewSandbox(ids[0], 1800);
  check("manager: renew", (await manager.getSandboxInfo(ids[0])).expiresAt > new Date(Date.now() + 1_700_000));
}

async function states() {
  const sandbox = await create();
  await sandbox.pause();
  check("pause", await becomes(sandbox.id, "Paused"));
  await refused("pause again", () => sandbox.pause(), 409, notRunning);
  // The SDK asks for the endpoint at once, when a cluster has no pod yet.
  if (onCluster) await manager.resumeSandbox(sandbox.id);
  if (onCluster) await becomes(sandbox.id, "Running");
  const resumed = onCluster ? await Sandbox.connect({ sandboxId: sandbox.id, connectionConfig }) : await sandbox.resume();
  check("resume", await becomes(resumed.id, "Running"));
  check("healthy after resume", await resumed.isHealthy());
  await refused("resume again", () => manager.resumeSandbox(sandbox.id), 409, notPaused);
}

async function commands() {
  const sandbox = await create();
  const { logs } = await sandbox.commands.run("echo to-out; echo to-err >&2");
  check("command", logs.stdout[0]?.text.trim() === "to-out" && logs.stderr[0]?.text.trim() === "to-err", logs);
  check("metrics", (await sandbox.getMetrics()).memoryTotalMiB > 0, await sandbox.getMetrics());
}

async function snapshots() {
  const source = await create();
  const name = `w${Date.now()}`;
  const snapshot = await manager.createSnapshot(source.id, { name });
  check("snapshot: create", snapshot.sandboxId === source.id && snapshot.name === name, snapshot);
  let seen = snapshot;
  for (let tries = 0; tries < 100 && seen.status.state === "Creating"; tries++) {
    await new Promise((wake) => setTimeout(wake, 100));
    seen = await manager.getSnapshot(snapshot.id);
  }
  check("snapshot: ready", seen.status.state === "Ready", seen);
  const listed = await manager.listSnapshots({ sandboxId: source.id, states: ["Ready"] });
  check("snapshot: list", listed.items.map(({ id }) => id).join() === snapshot.id, listed);
  const restored = await create({ image: undefined, snapshotId: snapshot.id });
  check("snapshot: restore", (await restored.getInfo()).snapshotId === snapshot.id || (await restored.isHealthy()));
  await restored.kill();
  await source.kill();
  await manager.deleteSnapshot(snapshot.id);
  await refused("snapshot: get after delete", () => manager.getSnapshot(snapshot.id), 404, "SNAPSHOT::NOT_FOUND");
}

async function errors() {
  await refused("get none", () => manager.getSandboxInfo(none), 404, notFound);
  await refused("kill none", () => manager.killSandbox(none), 404, notFound);
  await refused("pause none", () => manager.pauseSandbox(none), 404, notFound);
  await refused("renew none", () => manager.renewSandbox(none, 60), 404, notFound);
  await refused("patch none", () => manager.patchSandboxMetadata(none, { a: "b" }), 404, notFound);
  await refused("snapshot none", () => manager.createSnapshot(none), 404, notFound);
  await refused("a label", () => create({ metadata: { "-": "x" } }), 400, "SANDBOX::INVALID_METADATA_LABEL");
  await refused("a limit", () => create({ resource: { memory: "x" } }), 400, "SANDBOX::INVALID_PARAMETER");
  await refused("restore none", () => create({ image: undefined, snapshotId: none }), 404, "SNAPSHOT::NOT_FOUND");
}

try {
  for (const step of [life, listing, states, commands, snapshots, errors]) {
    try {
      await step();
    } catch (error) {
      console.log(`FAILED ${walk}: ${step.name}: ${String(error.stack).replaceAll("\n", "\n    ")}`);
    }
  }
} finally {
  for (const sandbox of made) {
    // Most are gone already.
    await manager.killSandbox(sandbox.id).catch(() => undefined);
    await sandbox.close();
  }
  await manager.close();
}
