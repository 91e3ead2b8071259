// Above the waterfall: which axis, zoom, what went wrong, find, and the kinds as legend and switches.

const ZOOM_IN = 0.625;
const ZOOM_OUT = 1.6;

class Toolbar {
  constructor(viewer) {
    this.viewer = viewer;
    this.needle = "";
    this.kinds = new Map(); // kind to its button
    this.makeAxisButtons();
    this.makeFinder();
    this.errorButton = this.button("", "Next error (e)", () => viewer.nextError(1), "bad");
    this.wasteButton = this.button("", "Next loop or waste (w)", () => viewer.nextWaste());
    this.newButton = this.button("", "Show the newest", () => viewer.showNewest(), "new");
    this.legend = el("div", { class: "legend", role: "group", "aria-label": "Show kinds" });
    const line = el("div", { class: "line" }, ...this.axisGroups(), this.newButton, el("span", { class: "space" }));
    line.append(this.wasteButton, this.errorButton, el("span", { class: "finder" }, this.find, this.found));
    this.element = el("div", { class: "tools" }, line, this.legend);
  }

  button(words, title, onclick, kind = null) {
    return el("button", { type: "button", class: kind, title, onclick }, words);
  }

  makeAxisButtons() {
    const { viewer } = this;
    this.axisButtons = [
      this.button("Active time", "Idle time is folded", () => viewer.setFolding(true)),
      this.button("Wall clock", "Idle time as long as it was", () => viewer.setFolding(false)),
    ];
    this.zoomButtons = [
      this.button("−", "Zoom out (−)", () => viewer.time.zoomBy(ZOOM_OUT), "square"),
      this.button("+", "Zoom in (+)", () => viewer.time.zoomBy(ZOOM_IN), "square"),
      this.button("All", "Show all (0)", () => viewer.time.zoomAll()),
    ];
    this.zoomButtons[0].setAttribute("aria-label", "Zoom out");
    this.zoomButtons[1].setAttribute("aria-label", "Zoom in");
  }

  axisGroups() {
    return [
      el("div", { class: "joined", role: "group", "aria-label": "Time axis" }, ...this.axisButtons),
      el("div", { class: "joined", role: "group", "aria-label": "Zoom" }, ...this.zoomButtons),
    ];
  }

  makeFinder() {
    this.find = el("input", { type: "search", placeholder: "Find   /", "aria-label": "Find in the timeline" });
    this.find.addEventListener("input", () => this.search());
    this.find.addEventListener("keydown", (event) => this.findKey(event));
    this.found = el("span", { class: "found" });
  }

  draw() {
    const { model, unseen, time } = this.viewer;
    this.axisButtons[0].setAttribute("aria-pressed", String(time.isFolding));
    this.axisButtons[1].setAttribute("aria-pressed", String(!time.isFolding));
    this.errorButton.replaceChildren(icon("error"), model.failed ? counted(model.failed, "error") : "No errors");
    this.errorButton.disabled = model.failed === 0;
    this.wasteButton.replaceChildren(icon("loop"), `Waste ${count(model.marks.length)}`);
    this.wasteButton.hidden = model.marks.length === 0;
    this.newButton.replaceChildren(el("span", { class: "pulse" }), unseen ? `${count(unseen)} new` : "running");
    this.newButton.hidden = !model.head.is_running && !unseen;
    this.newButton.disabled = !unseen;
    const kinds = Object.keys(NAMES).filter((kind) => model.counts[kind]);
    arrange(
      this.legend,
      kinds.map((kind) => this.kindButton(kind)),
    );
  }

  /** The switch of a kind; the same element for good, so that it keeps the focus. */
  kindButton(kind) {
    const { model, outline } = this.viewer;
    const [one, many] = NAMES[kind];
    const number = model.counts[kind];
    const isOne = number === 1 && !model.head.is_partial;
    if (!this.kinds.has(kind)) {
      this.kinds.set(
        kind,
        this.button("", `Show or hide: ${many}`, () => this.viewer.toggleKind(kind), `k-${kind}`),
      );
    }
    const button = this.kinds.get(kind);
    button.setAttribute("aria-pressed", String(!outline.hidden.has(kind)));
    const howMany = model.head.is_partial ? null : el("span", { class: "how-many" }, count(number));
    button.replaceChildren(...[icon(kind), isOne ? one : many, howMany].filter(Boolean));
    return button;
  }

  search() {
    this.needle = this.find.value.trim().toLowerCase();
    if (!this.viewer.model) return;
    this.drawFound();
    this.viewer.redraw();
  }

  /** Say how many rows match, and which of them is selected. */
  drawFound() {
    const { model, selected, root } = this.viewer;
    const matches = this.needle ? model.all.filter((node) => this.matches(node)) : [];
    const place = matches.findIndex((node) => node.key === selected);
    const words = place >= 0 ? `${count(place + 1)} of ${count(matches.length)}` : count(matches.length);
    const none = model.head.is_partial ? "none open" : "none";
    this.found.textContent = !this.needle ? "" : matches.length ? words : none;
    root.classList.toggle("nothing-found", Boolean(this.needle) && !matches.length);
  }

  matches(node) {
    if (node.type === "event" && rowTitle(node).toLowerCase().includes(this.needle)) return true;
    return rowText(node).toLowerCase().includes(this.needle);
  }

  findKey(event) {
    event.stopPropagation(); // Streamlit's own keys would take letters typed here
    if (event.key === "Enter") this.nextFound(event.shiftKey ? -1 : 1);
    else if (event.key === "Escape") this.stop();
    else if (event.key === "ArrowDown") this.viewer.grid.focus({ preventScroll: true });
    else return;
    event.preventDefault();
  }

  nextFound(by) {
    if (!this.needle) return;
    const node = this.viewer.next((one) => this.matches(one), by);
    if (node) this.viewer.jump(node, { wait: SETTLE_MS });
    this.drawFound();
    this.viewer.live.textContent = node ? `${rowName(node)}: ${rowText(node)}` : "Nothing found";
  }

  stop() {
    this.find.value = "";
    this.search();
    this.viewer.grid.focus({ preventScroll: true });
  }
}
