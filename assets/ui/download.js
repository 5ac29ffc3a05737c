// Saves a log as a text file. The key goes in a header, so the browser cannot load the file by an address.

// How long the browser has to begin with the file, in milliseconds.
const KEPT = 60_000;

// The choices that leave lines out; the others say which log it is.
const NARROWING = ["stdout", "stderr", "grep", "invert"];

// What a download asks for, and its file's name. `chosen` is what the log shown was asked for with. The whole log has all lines of
// both streams with their times; as it is shown, it has those that were chosen, with their times if they are shown.
export function downloadOf(id, chosen, { isWhole, hasTimes }) {
  const { command, container, previous } = chosen;
  const narrowed = isWhole ? {} : Object.fromEntries(NARROWING.map((name) => [name, chosen[name]]));
  const parts = [id, command ?? container, previous && "previous", narrowed.stdout && "stderr", narrowed.stderr && "stdout", narrowed.grep && "grep"];
  return {
    name: `${parts.filter(Boolean).join(".")}.log`,
    params: { command, container, previous, ...narrowed, timestamps: isWhole || hasTimes ? "true" : undefined, format: "text" },
  };
}

// The same in words.
export function describe(chosen, { isWhole, hasTimes }) {
  const { command, container, previous, stdout, stderr, grep, invert } = chosen;
  const narrowed = [stdout && "stderr alone", stderr && "stdout alone", grep && `lines that ${invert ? "do not match" : "match"} ${grep}`];
  const all = command ? "all lines" : "all lines of both streams";
  return [
    command ? "the command's output" : container && `container ${container}`,
    previous && "previous instance",
    ...(isWhole ? [all] : narrowed.some(Boolean) ? narrowed : [all]),
    isWhole || hasTimes ? "with times in UTC" : "without times",
  ].filter(Boolean).join(", ");
}

async function saveLog(api, id, { name, params }, signal) {
  const response = await api.logs(id, params, signal);
  const url = URL.createObjectURL(await response.blob());
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), KEPT);
}

// The menu of the two. `shown()` tells what is shown: `id`, `chosen`, `hasTimes`. A download goes on while the same
// sandbox's log is shown in another way.
export class DownloadMenu {
  #stop = new AbortController();

  constructor(menu, api, { shown, onDone, onError }) {
    this.menu = menu;
    this.api = api;
    this.shown = shown;
    this.on = { done: onDone, error: onError };
    this.buttons = [...menu.querySelectorAll("button")];
    menu.addEventListener("toggle", () => this.#describe());
    for (const button of this.buttons) button.addEventListener("click", () => this.#save(button === this.buttons[0]));
  }

  close() {
    this.menu.open = false;
  }

  // Ends a download.
  abort() {
    this.#stop.abort();
    this.#stop = new AbortController();
  }

  #describe() {
    const { chosen, hasTimes } = this.shown();
    for (const [at, button] of this.buttons.entries()) {
      const text = this.menu.open ? describe(chosen, { isWhole: at === 0, hasTimes }) : "";
      document.getElementById(button.getAttribute("aria-describedby")).textContent = text;
    }
  }

  async #save(isWhole) {
    const { id, chosen, hasTimes } = this.shown();
    const { signal } = this.#stop;
    for (const button of this.buttons) button.disabled = true;
    try {
      await saveLog(this.api, id, downloadOf(id, chosen, { isWhole, hasTimes }), signal);
      this.close();
      this.on.done();
    } catch (error) {
      if (error.name !== "AbortError") this.on.error(error);
    } finally {
      for (const button of this.buttons) button.disabled = false;
    }
  }
}
