// The keys of the waterfall, and the list of them.

const KEYS = [
  ["↑ ↓ or j k", "previous, next row"],
  ["← →", "fold, unfold"],
  ["Home End PgUp PgDn", "far away"],
  ["Enter", "open"],
  ["[ ]", "previous, next exchange"],
  ["e  E", "next, previous error"],
  ["w", "next waste"],
  ["/", "find; Enter for the next"],
  ["z  0", "zoom to the row, show all"],
  ["+ −", "zoom; Shift ← → moves along"],
  ["l", "copy a link to the row"],
  ["Ctrl + wheel, drag", "zoom"],
];

class Keyboard {
  constructor(viewer) {
    this.viewer = viewer;
    this.help = el("dl", { class: "help", id: "keys", hidden: true });
    for (const [keys, words] of KEYS) this.help.append(el("div", {}, el("dt", {}, keys), el("dd", {}, words)));
    const attributes = { type: "button", "aria-expanded": "false", "aria-controls": "keys", title: "Keys (?)" };
    this.helpButton = el("button", attributes, "Keys");
    this.helpButton.addEventListener("click", () => this.showHelp(this.help.hidden));
  }

  showHelp(isShown) {
    this.help.hidden = !isShown;
    this.helpButton.setAttribute("aria-expanded", String(isShown));
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("[role=tablist]")) return;
    if (event.key === "?") this.showHelp(this.help.hidden);
    else if (event.key === "Escape" && !this.help.hidden) this.showHelp(false);
    else if (event.shiftKey && event.key.startsWith("Arrow")) this.keyPan(event.key);
    else if (!this.keyAnywhere(event.key) && !(event.target === this.viewer.grid && this.keyRow(event.key))) return;
    event.preventDefault();
    event.stopPropagation();
  }

  keyPan(key) {
    const { time } = this.viewer;
    if (key === "ArrowLeft") time.moveBy(-0.2 * time.span());
    if (key === "ArrowRight") time.moveBy(0.2 * time.span());
  }

  /** Keys that work wherever the focus is in the viewer. */
  keyAnywhere(key) {
    const { viewer } = this;
    const { time } = viewer;
    const actions = {
      e: () => viewer.nextError(1),
      E: () => viewer.nextError(-1),
      w: () => viewer.nextWaste(),
      "[": () => viewer.stepExchange(-1),
      "]": () => viewer.stepExchange(1),
      z: () => time.zoomTo(viewer.current()),
      0: () => time.zoomAll(),
      "+": () => time.zoomBy(ZOOM_IN),
      "=": () => time.zoomBy(ZOOM_IN),
      "-": () => time.zoomBy(ZOOM_OUT),
      "/": () => viewer.toolbar.find.focus(),
      l: () => viewer.copyLink(),
    };
    if (!Object.hasOwn(actions, key)) return false;
    if (viewer.model) actions[key]();
    return true;
  }

  /** Keys that move from row to row. */
  keyRow(key) {
    const { viewer } = this;
    const { rows, places } = viewer.outline;
    const place = places.get(viewer.selected) ?? -1;
    const page = Math.max(1, Math.floor(viewer.room() / viewer.rowPx) - 1);
    const moves = {
      ArrowDown: 1,
      j: 1,
      ArrowUp: -1,
      k: -1,
      PageDown: page,
      PageUp: -page,
      Home: -Infinity,
      End: Infinity,
    };
    if (Object.hasOwn(moves, key)) {
      const to = Math.max(0, Math.min(rows.length - 1, place + moves[key]));
      if (rows[to]) viewer.select(rows[to]);
      return true;
    }
    const node = rows[place];
    if (!node) return false;
    if (key === "ArrowRight") this.keyUnfold(node, place);
    else if (key === "ArrowLeft") this.keyFold(node);
    else if (key === "Enter" || key === " ") viewer.enter(node);
    else return false;
    return true;
  }

  keyUnfold(node, place) {
    if (node.row.isOpen) this.viewer.select(this.viewer.outline.rows[place + 1]);
    else if (node.row.canOpen) this.viewer.fold(node, false);
  }

  keyFold(node) {
    const above = this.viewer.outline.shownAbove(node);
    if (node.row.isOpen) this.viewer.fold(node, true);
    else if (above) this.viewer.select(above);
  }
}
