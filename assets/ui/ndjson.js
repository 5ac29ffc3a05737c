// Reads newline-delimited JSON from a response, in batches: one a network chunk, parsed without blocking the page.

// How long parsing may hold the main thread at a time, in milliseconds.
const SLICE = 8;

export function pause() {
  return new Promise((resolve) => {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => {
      channel.port1.close();
      resolve();
    };
    channel.port2.postMessage(0);
  });
}

// Yields arrays of records. Throws if a line is not JSON, or if the response breaks off within a line.
export async function* batches(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  let since = performance.now();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const text = decoder.decode(value, { stream: true });
      const last = text.lastIndexOf("\n");
      if (last === -1) {
        rest += text;
        continue;
      }
      const lines = (rest + text.slice(0, last)).split("\n");
      rest = text.slice(last + 1);
      let batch = [];
      for (const line of lines) {
        if (line !== "") batch.push(JSON.parse(line));
        if (performance.now() - since > SLICE) {
          if (batch.length > 0) yield batch;
          batch = [];
          await pause();
          since = performance.now();
        }
      }
      if (batch.length > 0) yield batch;
    }
    if (rest.trim() !== "") throw new TypeError("The log broke off within a record.");
  } finally {
    await reader.cancel().catch(() => {});
  }
}
