// Keys of the page. None of them is taken while something is typed, or with a modifier.

export function isTyping(target) {
  return target.closest?.("input, select, textarea, dialog") !== null;
}

// `keys`: a function for each key. The focus of a field is left with Escape.
export function bind(keys) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (isTyping(event.target)) {
      if (event.key === "Escape" && event.target.closest("dialog") === null) {
        event.target.blur();
        keys.Leave?.();
      }
      return;
    }
    const act = keys[event.key];
    if (act === undefined) return;
    event.preventDefault();
    act();
  });
}
