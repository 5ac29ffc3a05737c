// Saves a whole log as a text file. The key goes in a header, so the browser cannot load the file by an address.

// How long the browser has to begin with the file, in milliseconds.
const KEPT = 60_000;

export async function saveLog(api, id, params, signal) {
  const response = await api.logs(id, { ...params, format: "text" }, signal);
  const url = URL.createObjectURL(await response.blob());
  const link = document.createElement("a");
  link.href = url;
  link.download = `${id}.log`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), KEPT);
}
