// The list of sandboxes: asked for every two seconds while it is seen, filtered here.

import { age, expiry } from "./time.js";

const EVERY = 2000;
// More rows than a person reads would only make the page slow.
const MAX_ROWS = 500;

function textOf(sandbox) {
  const metadata = Object.entries(sandbox.metadata ?? {}).map(([key, value]) => `${key}=${value}`);
  return [sandbox.id, sandbox.status?.state, imageOf(sandbox), ...metadata].join(" ").toLowerCase();
}

export function imageOf(sandbox) {
  return sandbox.image?.uri ?? (sandbox.snapshotId ? `snapshot ${sandbox.snapshotId}` : "–");
}

export function isShown(sandbox, text, state) {
  if (state !== "" && sandbox.status?.state !== state) return false;
  const haystack = textOf(sandbox);
  return text.toLowerCase().split(/\s+/).every((word) => haystack.includes(word));
}

export class List {
  #timer = null;
  #stop = null;
  #rows = new Map();
  #items = [];
  #isCut = false;
  #isActive = false;

  constructor(root, api, { onError }) {
    this.root = root;
    this.api = api;
    this.onError = onError;
    this.body = root.querySelector("tbody");
    this.filter = root.querySelector("#filter");
    this.state = root.querySelector("#state");
    this.count = root.querySelector("#count");
    this.problem = root.querySelector("#list-problem");
    this.filter.addEventListener("input", () => this.draw());
    this.state.addEventListener("change", () => this.draw());
    document.addEventListener("visibilitychange", () => document.hidden || this.#poll());
    setInterval(() => this.#isActive && !document.hidden && this.#tick(), 1000);
  }

  start() {
    this.#isActive = true;
    this.#poll();
  }

  stop() {
    this.#isActive = false;
    clearTimeout(this.#timer);
    this.#stop?.abort();
  }

  async #poll() {
    clearTimeout(this.#timer);
    this.#stop?.abort();
    if (!this.#isActive || document.hidden) return;
    const stop = new AbortController();
    this.#stop = stop;
    try {
      const { items, isCut } = await this.api.sandboxes(stop.signal);
      this.#items = items.sort((one, other) => (other.createdAt ?? "").localeCompare(one.createdAt ?? ""));
      this.#isCut = isCut;
      this.problem.hidden = true;
      this.draw();
    } catch (error) {
      if (stop.signal.aborted) return;
      if (error.isUnauthorized) return void this.onError(error);
      this.problem.textContent = `The list is not up to date: ${error.status === undefined ? "the gateway cannot be reached" : error.message}`;
      this.problem.hidden = false;
    }
    this.#timer = setTimeout(() => this.#poll(), EVERY);
  }

  draw() {
    const states = [...new Set(this.#items.map((it) => it.status?.state ?? ""))].sort();
    const known = [...this.state.options].slice(1).map((it) => it.value);
    for (const state of states) if (!known.includes(state) && state !== "") this.state.append(new Option(state, state));
    const shown = this.#items.filter((it) => isShown(it, this.filter.value, this.state.value));
    const seen = new Set();
    let before = this.body.firstChild;
    for (const sandbox of shown.slice(0, MAX_ROWS)) {
      seen.add(sandbox.id);
      let row = this.#rows.get(sandbox.id);
      if (row === undefined) this.#rows.set(sandbox.id, (row = this.#row(sandbox.id)));
      this.#fill(row, sandbox);
      // A row that stands where it should is left there: it keeps the focus.
      if (row.element === before) before = before.nextSibling;
      else this.body.insertBefore(row.element, before);
    }
    for (const [id, row] of this.#rows) {
      if (seen.has(id)) continue;
      row.element.remove();
      this.#rows.delete(id);
    }
    const cut = shown.length > MAX_ROWS ? `, the first ${MAX_ROWS} are shown: filter for others` : this.#isCut ? ", there are more" : "";
    this.count.textContent = `${shown.length} of ${this.#items.length} sandboxes${cut}`;
    this.root.querySelector("#empty").hidden = shown.length > 0;
  }

  #row(id) {
    const element = document.createElement("tr");
    // By name: a phone's layout is not a table's, and browsers take the roles away then.
    element.setAttribute("role", "row");
    const cells = {};
    for (const name of ["state", "id", "age", "expiry", "image", "metadata"]) {
      cells[name] = document.createElement("td");
      cells[name].className = `c-${name}`;
      cells[name].setAttribute("role", "cell");
      element.append(cells[name]);
    }
    const link = document.createElement("a");
    link.href = `#/sandbox/${encodeURIComponent(id)}`;
    link.textContent = id;
    cells.id.append(link);
    return { element, cells, sandbox: null };
  }

  #fill(row, sandbox) {
    row.sandbox = sandbox;
    const { cells } = row;
    const state = sandbox.status?.state ?? "?";
    if (cells.state.textContent !== state) {
      const badge = document.createElement("span");
      badge.className = "badge";
      badge.dataset.state = state;
      badge.textContent = state;
      cells.state.replaceChildren(badge);
    }
    cells.state.title = sandbox.status?.message ?? "";
    set(cells.image, imageOf(sandbox));
    const metadata = Object.entries(sandbox.metadata ?? {}).map(([key, value]) => `${key}=${value}`).join("\n");
    if (cells.metadata.dataset.text !== metadata) {
      cells.metadata.dataset.text = metadata;
      cells.metadata.replaceChildren(...(metadata === "" ? [] : metadata.split("\n")).map((pair) => {
        const tag = document.createElement("span");
        tag.className = "tag";
        tag.textContent = pair;
        return tag;
      }));
    }
    this.#times(row);
  }

  #times({ cells, sandbox }) {
    set(cells.age, age(sandbox.createdAt));
    cells.age.title = sandbox.createdAt ?? "";
    set(cells.expiry, expiry(sandbox.expiresAt));
    cells.expiry.title = sandbox.expiresAt ?? "";
  }

  #tick() {
    for (const row of this.#rows.values()) this.#times(row);
  }
}

function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
