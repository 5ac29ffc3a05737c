// Reads a log on `dev` with Node's fetch, by the resuming client of docs/log-recipes.md as it is written there, over a proxy that
// cuts every connection.

import { readFileSync, writeFileSync } from "node:fs";
import { createServer, connect } from "node:net";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const walk = "logs by fetch";
const [documents, folder] = process.argv.slice(2);
const { OPEN_SANDBOX_DOMAIN: domain, OPEN_SANDBOX_API_KEY: key } = process.env;
const headers = { "OPEN-SANDBOX-API-KEY": key, "Content-Type": "application/json" };
const LINES = 400;

function check(step, holds, seen = "") {
  console.log(holds ? `ok ${walk}: ${step}` : `FAILED ${walk}: ${step}: not as expected: ${JSON.stringify(seen).slice(0, 500)}`);
}

const recipe = /^```js\n(export async function\* records.*?)^```/ms.exec(readFileSync(join(documents, "log-recipes.md"), "utf8"))[1];
const file = join(folder, "recipe.mjs");
writeFileSync(file, recipe);
const { records } = await import(pathToFileURL(file));

// Cuts each connection after some bytes of the answer, another number each time.
let connections = 0;
const proxy = createServer((client) => {
  connections += 1;
  let left = 2500 + 41 * connections;
  const server = connect(Number(domain.split(":").pop()), "127.0.0.1");
  client.pipe(server);
  server.on("data", (piece) => {
    client.write(piece.subarray(0, left));
    left -= piece.length;
    if (left <= 0) {
      client.destroy();
      server.destroy();
    }
  });
  server.on("end", () => client.end());
  for (const side of [client, server]) side.on("error", () => {}).on("close", () => { client.destroy(); server.destroy(); });
});
await new Promise((listening) => proxy.listen(0, "127.0.0.1", listening));

const script = `for i in $(seq ${LINES}); do echo "line $i ü"; [ $((i % 20)) != 0 ] || sleep 0.05; done; exit 3`;
const body = JSON.stringify({ image: { uri: "any" }, entrypoint: ["/bin/sh", "-c", script], timeout: 300, resourceLimits: {} });
const created = await fetch(`http://${domain}/v1/sandboxes`, { method: "POST", headers, body });
const { id } = await created.json();
try {
  let text = "";
  let end;
  for await (const record of records(`http://127.0.0.1:${proxy.address().port}`, id, key)) {
    text += record.log ?? "";
    if (record.event === "end") end = record;
  }
  const expected = Array.from({ length: LINES }, (_, at) => `line ${at + 1} ü\n`).join("");
  check("every line once over cuts", text === expected, text.slice(-200));
  check("it was cut", connections > 5, connections);
  check("the end", end?.reason === "exited" && end.exit_code === 3, end);
  let tail = "";
  for await (const record of records(`http://${domain}`, id, key, { tail: 2 })) tail += record.log ?? "";
  check("a tail, and the end of the loop at 204", tail === expected.split("\n").slice(-3).join("\n"), tail);
} catch (error) {
  check("logs", false, String(error.stack));
} finally {
  proxy.close();
  await fetch(`http://${domain}/v1/sandboxes/${id}`, { method: "DELETE", headers });
}
