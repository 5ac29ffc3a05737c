// The screen of one log: joins the stream, the store, the search and the view, and does what its controls say.

import { DownloadMenu } from "./download.js";
import { LineLinks } from "./line-links.js";
import { OlderLines } from "./log-older.js";
import { choices, lineOf, OLDER_LINES, readLog, SKEW } from "./log-read.js";
import { LogStore } from "./log-store.js";
import { LogStream } from "./log-stream.js";
import { LogView } from "./log-view.js";
import { format } from "./route.js";
import { Search } from "./search.js";
import { keepSetting, setting } from "./settings.js";
import { later } from "./time.js";

const FIRST_LINES = 1000;
// How long a search waits for the next letter, in milliseconds.
const TYPED = 80;
const NOT_LOADED = "Older lines were not loaded: ";

const el = (id) => document.getElementById(id);

export class LogPage {
  #stream = null;
  #route = null;
  #newLines = 0;
  #stop = new AbortController();
  #noted = 0;
  #typed = 0;
  // The token behind which the log goes on if its process is started again, what was told, and how often the sandbox was looked at since.
  #ended = null;
  // What the log that is shown was asked for with. What stands in the form counts only when it is applied.
  #chosen = {};

  constructor(api, { onUnauthorized, announce }) {
    this.api = api;
    this.onUnauthorized = onUnauthorized;
    this.announce = announce;
    this.store = new LogStore();
    // What the browser kept may be of another version, or of no one.
    const kept = Number(setting("keep", this.store.maxLines));
    if ([...el("keep").options].some((option) => Number(option.value) === kept)) this.store.keep(kept);
    this.search = new Search(this.store, () => this.#showMatches());
    this.view = new LogView(el("log"), this.store, { onScroll: (at) => this.#scrolled(at), onRows: () => this.#showEdges() });
    this.older = new OlderLines(this.store, {
      read: (params, signal) => readLog(this.api, this.#route.id, { ...this.#chosen, ...params }, signal, this.store.maxSize),
      put: (items, isAll) => this.#putOlder(items, isAll),
      onChange: () => this.view.draw(),
      onEnd: (text) => this.announce(text),
      onError: (error) => (error.isUnauthorized ? this.onUnauthorized() : this.#problem(`${NOT_LOADED}${error.message}`)),
    });
    this.downloads = new DownloadMenu(el("downloads"), api, {
      shown: () => ({ id: this.#route?.id, chosen: this.#chosen, hasTimes: this.view.look.times !== "off" }),
      onDone: () => this.announce("Downloaded"),
      onError: (error) => (error.isUnauthorized ? this.onUnauthorized() : this.#problem(`The download failed: ${error.message}`)),
    });
    this.lines = new LineLinks(this.store, {
      onLink: ({ id, time }) => {
        this.#route = { ...this.#route, line: id, at: time };
        // Replaced, not set: the page stays as it is.
        history.replaceState(null, "", format(this.#route));
        this.showLine(id);
      },
      announce,
    });
    this.#controls();
  }

  #controls() {
    el("times").value = this.view.look.times = setting("times", "local");
    el("wrap").checked = setting("wrap", matchMedia("(max-width: 640px)").matches);
    el("keep").value = String(this.store.maxLines);
    this.#wrap();
    el("times").addEventListener("change", () => {
      this.view.look.times = el("times").value;
      keepSetting("times", el("times").value);
      this.view.redraw();
    });
    el("wrap").addEventListener("change", () => {
      keepSetting("wrap", el("wrap").checked);
      this.#wrap();
    });
    el("keep").addEventListener("change", () => {
      this.store.keep(Number(el("keep").value));
      keepSetting("keep", this.store.maxLines);
    });
    el("choices").addEventListener("submit", (event) => {
      event.preventDefault();
      el("options").open = false;
      const target = format({ id: this.#route.id, command: el("command").value.trim(), container: el("container").value });
      if (target === location.hash) this.#start();
      else location.hash = target;
    });
    el("streams").addEventListener("change", () => this.#start());
    el("search").addEventListener("input", () => {
      // The letter is shown first.
      clearTimeout(this.#typed);
      this.#typed = setTimeout(() => this.#find(), TYPED);
    });
    el("search").addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      if (this.search.query !== el("search").value) this.#find();
      this.match(event.shiftKey ? -1 : 1);
    });
    el("next-match").addEventListener("click", () => this.match(1));
    el("previous-match").addEventListener("click", () => this.match(-1));
    el("follow").addEventListener("click", () => this.follow(!this.view.isFollowing));
    el("new-lines").addEventListener("click", () => this.follow(true));
    el("to-top").addEventListener("click", () => this.older.stop() || this.toTop());
    // Any other key ends the way to the first line, and Escape does nothing else then.
    document.addEventListener("keydown", (event) => {
      const isButton = event.target === el("to-top") && ["Enter", " "].includes(event.key);
      if (isButton || ["g", "Shift", "Control", "Alt", "Meta"].includes(event.key)) return;
      if (this.older.stop() && event.key === "Escape") event.stopPropagation();
    }, true);
  }

  #wrap() {
    el("log").classList.toggle("wrap", el("wrap").checked);
    this.view.forgetWidth();
    this.view.redraw();
  }

  open(route) {
    const isOther = this.#route?.id !== route.id;
    this.#route = route;
    if (isOther) {
      this.downloads.abort();
      this.setSandbox({ id: route.id });
    }
    el("command").value = route.command;
    if (isOther) {
      el("container-field").hidden = el("instance-field").hidden = true;
      el("container").replaceChildren(new Option("sandbox", ""));
      for (const id of ["grep", "search"]) el(id).value = "";
      for (const id of ["invert", "instance", "restarts"]) el(id).checked = false;
      el("streams").value = "";
      this.search.set("");
    }
    this.#start();
    if (isOther) this.#containers();
    el("log").focus({ preventScroll: true });
  }

  close() {
    this.#stop.abort();
    this.downloads.abort();
    this.older.reset(false);
    this.#stream?.stop();
    this.#stream = null;
    this.#route = null;
    this.store.clear();
    this.view.redraw();
  }

  // Shows another line of the log that is open, or false if it is not held.
  showLine(line) {
    const number = this.store.find(line);
    if (number === null) return false;
    this.older.stop();
    this.follow(false);
    this.view.look.linked = number;
    this.view.redraw();
    this.view.to(number);
    return true;
  }

  get route() {
    return this.#route;
  }

  async #containers() {
    const { id, container } = this.#route;
    try {
      const names = await this.api.containers(id, this.#stop.signal);
      if (names.length === 0 || this.#route?.id !== id) return;
      el("container").replaceChildren(...names.map((name) => new Option(name, name === "sandbox" ? "" : name)));
      el("container").value = container;
      el("container-field").hidden = el("instance-field").hidden = false;
    } catch (error) {
      if (error.isUnauthorized) this.onUnauthorized();
    }
  }

  async #start(isTail = false) {
    this.#stop.abort();
    this.#stop = new AbortController();
    this.#stream?.stop();
    this.#chosen = choices(this.#route, el);
    this.store.clear();
    this.search.set(el("search").value);
    this.search.current = this.#ended = null;
    this.view.look.query = this.search.query;
    this.view.look.linked = this.view.look.current = null;
    this.view.forgetWidth();
    this.view.redraw();
    this.#newLines = 0;
    this.older.reset(Boolean(this.#route.command));
    this.downloads.close();
    this.#problem("");
    this.#problem("", "log-note");
    this.follow(true);
    const { line, at } = this.#route;
    if (line && at && !isTail && (await this.#openAt(line, at))) return;
    this.#follow({ tail: FIRST_LINES });
    if (line && !isTail && !at) this.#problem("This link does not tell the line's time: the newest lines are shown.", "log-note");
  }

  // The lines up to the linked one first, then what is newer.
  async #openAt(line, at) {
    const signal = this.#stop.signal;
    this.#state("waiting", "looking for the line");
    try {
      const isCommand = Boolean(this.#route.command);
      const params = { ...this.#chosen, ...(isCommand ? {} : { until: later(at, SKEW), tail: 4 * OLDER_LINES }) };
      const { items, isCut } = await readLog(this.api, this.#route.id, params, signal, this.store.maxSize);
      if (signal.aborted) return true;
      const linked = lineOf(items, line, isCommand);
      if (linked === null) {
        const why = isCut ? "There is too much at the time of the linked line to load it." : "The linked line is no longer in this log, or the choices leave it out.";
        this.#problem(`${why} These are the newest lines.`, "log-note");
        return false;
      }
      this.store.append(items);
      this.search.grew();
      this.showLine(linked.id);
      this.#follow({ after: items.at(-1).id });
      return true;
    } catch (error) {
      if (!signal.aborted) this.#failed(error);
      return true;
    }
  }

  // `ended` is what has ended before, if only that is asked for which may have begun since.
  #follow(first, ended = null) {
    this.#stream?.stop();
    const stream = new LogStream(this.api, this.#route.id, this.#chosen, {
      onItems: (items) => this.#stream === stream && this.#add(items),
      onState: (state) => this.#stream === stream && this.#streamState(state),
      onError: (error) => this.#stream === stream && this.#failed(error),
    });
    this.#stream = stream;
    this.#ended = ended;
    if (ended === null) this.#state("waiting", "connecting");
    stream.run(first);
  }

  #add(items) {
    this.view.hold();
    const dropped = this.store.append(items);
    if (dropped > 0) this.older.hasMore = true;
    this.search.grew();
    if (!this.view.isFollowing) {
      this.#newLines += items.filter((item) => item.kind === "line").length;
      this.#showNew();
    }
    // The first lines are shown at once.
    if (this.store.length === items.length) this.view.draw();
    else this.view.drawSoon();
  }

  #streamState({ kind, text, isBack, last }) {
    const isNew = el("connection").textContent !== text;
    this.#state(kind, text);
    if (last) this.#ended = { after: last, end: text, looks: 0, isAsked: false };
    else if (kind === "ended" && this.#ended !== null) this.#ended.isAsked = false;
    else if (kind === "live" || kind === "failed") this.#ended = null;
    if (kind === "failed") this.#problem(text);
    // A break is told at its place in the log too.
    if (isBack) this.#add([{ kind: "note", id: null, time: null, text: "reconnected: continued behind the last line" }]);
    if (isNew && (kind !== "live" || isBack)) this.announce(text);
  }

  #state(kind, text) {
    el("connection").dataset.kind = kind;
    el("connection").textContent = text;
  }

  setSandbox(sandbox) {
    el("log-state").textContent = sandbox.status?.state ?? "";
    el("log-state").dataset.state = sandbox.status?.state ?? "";
    const name = sandbox.metadata?.name;
    el("log-title").textContent = name ? `${name} · ${sandbox.id}` : sandbox.id;
    this.#goOn(sandbox.status?.state === "Running");
  }

  // Somebody, or a kubelet, may start again what has ended. The state does not tell for sure: of a short run it says nothing, and
  // on Kubernetes it is that of the pod. So it is asked for behind that end: at every second look where something runs, else now and
  // then.
  #goOn(isRunning) {
    const ended = this.#ended;
    if (ended === null || ended.isAsked || this.#route.command || this.#chosen.previous) return;
    ended.looks += 1;
    if (ended.looks % (isRunning ? 2 : 10) !== 0) return;
    ended.isAsked = true;
    this.#follow({ after: ended.after, end: ended.end }, ended);
  }

  #failed(error) {
    if (error.isUnauthorized) return this.onUnauthorized();
    this.#state("failed", "failed");
    return this.#problem(error instanceof TypeError ? "The gateway cannot be reached." : error.message);
  }

  #problem(text, id = "log-problem") {
    el(id).textContent = text;
    el(id).hidden = text === "";
  }

  follow(isOn) {
    // The newest lines are not held: they are asked for.
    if (isOn && this.store.droppedNew > 0) return void this.#start(true);
    this.view.isFollowing = isOn;
    el("follow").setAttribute("aria-pressed", String(isOn));
    if (isOn) {
      // What it puts in front may push out the newest lines.
      this.older.cancel();
      this.#newLines = 0;
      this.#showNew();
    } else {
      this.view.hold();
    }
    this.view.draw();
  }

  toTop() {
    this.follow(false);
    this.view.to(this.store.first, 0);
    this.#older(true);
    if (this.older.isLoadingAll) this.announce("Loading older lines up to the first one. Escape stops.");
  }

  #older(isAll) {
    // What went wrong with that before is over.
    if (el("log-problem").textContent.startsWith(NOT_LOADED)) this.#problem("");
    this.older.load(isAll);
  }

  step(lines) {
    this.follow(false);
    el("log").scrollTop += lines * 18;
  }

  #scrolled({ isTop, isBottom, isUser }) {
    if (isUser) this.older.stop();
    if (isBottom && this.store.droppedNew === 0) {
      // Who has paused at the end by a key stays paused, whatever moves there.
      if (isUser && !this.view.isFollowing) this.follow(true);
    } else if (isBottom) {
      this.#newer();
    } else if (this.view.isFollowing) this.follow(false);
    if (isTop) this.#older(false);
  }

  #showNew() {
    const button = el("new-lines");
    button.hidden = this.view.isFollowing || (this.#newLines === 0 && this.store.droppedNew === 0);
    const count = this.#newLines;
    button.textContent = this.store.droppedNew > 0 ? "Jump to the newest lines" : `${count.toLocaleString("en")} new ${count === 1 ? "line" : "lines"}`;
    // Not for each line: a screen reader would speak of nothing else.
    if (!button.hidden && Date.now() - this.#noted > 15_000) {
      this.#noted = Date.now();
      this.announce(button.textContent);
    }
  }

  #showEdges() {
    const { store } = this;
    const isAtTop = store.length > 0 && this.view.position - store.first < 3 && !this.view.isFollowing;
    const loading = this.older.isLoading || isAtTop ? this.older.text : "";
    const gone = store.droppedOld > 0 ? `${store.droppedOld.toLocaleString("en")} older lines were let go to bound memory. At the top they are loaded again.` : "";
    const text = loading || gone;
    if (el("older").textContent !== text) el("older").textContent = text;
    el("older").hidden = text === "";
    const act = this.older.isLoadingAll ? "Stop" : "Top";
    if (el("to-top").textContent !== act) {
      el("to-top").textContent = act;
      el("to-top").title = act === "Stop" ? "Esc: what was loaded stays" : "g: loads older lines up to the first one";
    }
  }

  // Lines in front of the first one held; how many were let go for them.
  #putOlder(items, isAll) {
    this.view.hold();
    const dropped = this.store.prepend(items);
    if (dropped > 0) this.#detach();
    this.search.restart();
    this.#showNew();
    // On the way to the first line the oldest one is shown, else what is read stays where it is.
    if (isAll) this.view.to(this.store.first, 0);
    return dropped;
  }

  // The newest lines were let go for older ones: the stream would leave a hole.
  #detach() {
    this.#stream?.stop();
    this.#stream = this.#ended = null;
    this.#state("waiting", "not following: newer lines are not held");
  }

  // Goes on behind the last line that is held.
  #newer() {
    const edge = this.store.edge(false);
    if (this.#stream !== null || edge === null) return;
    this.store.droppedNew = 0;
    this.#follow({ after: edge.id });
  }

  #find() {
    clearTimeout(this.#typed);
    this.view.look.current = this.search.current = null;
    this.search.set(el("search").value);
    this.view.look.query = this.search.query;
    this.view.redraw();
  }

  #showMatches() {
    const { matches, query } = this.search;
    const at = this.search.current === null ? -1 : matches.indexOf(this.search.current);
    const count = matches.length.toLocaleString("en");
    el("matches").textContent = query === "" ? "" : at === -1 ? `${count} lines` : `${(at + 1).toLocaleString("en")} of ${count}`;
  }

  match(way) {
    const from = this.search.current ?? (way > 0 ? Math.floor(this.view.position) - 1 : Math.floor(this.view.position));
    const number = this.search.step(from, way);
    if (number === null) return;
    this.older.stop();
    this.follow(false);
    this.view.look.current = number;
    this.view.redraw();
    this.view.to(number);
    this.#showMatches();
    this.announce(`Match ${el("matches").textContent}`);
  }

  // For the keyboard: the match or linked line that is shown, or the one in the middle.
  linkLine() {
    const { current, linked } = this.view.look;
    this.lines.link(this.store.get(current ?? linked ?? Math.min(this.store.end - 1, Math.floor(this.view.position))));
  }

  // Whether it was open.
  closeMenu() {
    return this.lines.close();
  }
}
