// What is shown, as the fragment of the URL: `#/`, or `#/sandbox/ID?command=…&container=…&line=TOKEN&at=TIME`.

export function parse(hash) {
  const found = /^#\/sandbox\/([^?]+)(?:\?(.*))?$/.exec(hash);
  if (found === null) return { id: null };
  const query = new URLSearchParams(found[2] ?? "");
  let id = found[1];
  try {
    id = decodeURIComponent(id);
  } catch {
    // Not an escape: the gateway says that there is no such sandbox.
  }
  return { id, command: query.get("command") ?? "", container: query.get("container") ?? "", line: query.get("line"), at: query.get("at") };
}

export function format({ id, command, container, line, at }) {
  if (!id) return "#/";
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries({ command, container, line, at })) if (value) query.set(name, value);
  const text = query.toString();
  return `#/sandbox/${encodeURIComponent(id)}${text === "" ? "" : `?${text}`}`;
}
