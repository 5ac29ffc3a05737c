// Links to lines: by a click on a line's time, or for the line that is shown by the keyboard.

const el = (id) => document.getElementById(id);

const hasLink = (item) => Boolean(item?.id) && item.time !== null;

export class LineLinks {
  // `onLink(item)` shows the line and puts its link into the address.
  constructor(store, { onLink, announce }) {
    this.store = store;
    this.onLink = onLink;
    this.announce = announce;
    el("log").addEventListener("click", (event) => this.#clicked(event.target));
    el("copy-link").addEventListener("click", () => {
      navigator.clipboard?.writeText(location.href).then(() => announce("Link copied"), () => {});
      this.close();
    });
  }

  #clicked(target) {
    el("line-menu").hidden = true;
    if (!target.closest(".time, .stream")) return;
    const item = this.store.get(Number(target.closest(".row").dataset.number));
    if (hasLink(item)) this.#show(item);
  }

  // For the keyboard.
  link(item) {
    if (!hasLink(item)) return this.announce("This line has no link");
    this.#show(item);
    return el("copy-link").focus({ preventScroll: true });
  }

  // Whether the menu was open.
  close() {
    const wasOpen = !el("line-menu").hidden;
    el("line-menu").hidden = true;
    if (wasOpen) el("log").focus({ preventScroll: true });
    return wasOpen;
  }

  #show(item) {
    this.onLink(item);
    el("line-menu").hidden = false;
  }
}
