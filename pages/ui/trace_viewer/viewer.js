// The waterfall: a virtual treegrid with one time axis, a minimap, and the keys that move through it.

const LEAST_VIEW_MS = 20;
const OVERSCAN_ROWS = 6;
const ZOOM_MS = 160;
const SETTLE_MS = 140; // keys that are held down open only what they stop at
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

class Viewer {
  constructor(parent) {
    this.parent = parent;
    this.folded = new Map();
    this.hidden = new Set();
    this.needle = "";
    this.isFolding = true;
    this.view = { from: 0, to: 1 };
    this.drawn = new Map();
    this.tab = "timeline";
    this.line = new Line("viewer", (message) => this.hear(message));
    this.narrow = window.matchMedia(NARROW);
    this.still = window.matchMedia("(prefers-reduced-motion: reduce)");
    this.onNarrow = () => this.resize();
    this.narrow.addEventListener("change", this.onNarrow);
    this.make();
    this.resizer = new ResizeObserver(() => this.resize());
    this.resizer.observe(this.grid);
  }

  leave() {
    this.line.close();
    this.resizer.disconnect();
    this.narrow.removeEventListener("change", this.onNarrow);
    cancelAnimationFrame(this.frame);
    clearTimeout(this.settling);
    this.root.remove();
  }

  // --- Elements that stay ----------------------------------------------------------------------------------------

  make() {
    this.minimap = new Minimap(this);
    this.makeGrid();
    this.body = el("div", { class: "body" }, this.makeTools(), this.minimap.element, this.grid, this.makeFoot());
    this.live = el("div", { class: "unseen", role: "status", "aria-live": "polite" });
    this.root = el("div", { class: "trace viewer" }, this.makeTabs(), this.body, this.live);
    this.root.addEventListener("keydown", (event) => this.key(event));
    this.parent.appendChild(this.root);
  }

  makeTabs() {
    this.tabs = el("div", { class: "tabs", role: "tablist", "aria-label": "Session" });
    for (const [name, words] of [
      ["timeline", "Timeline"],
      ["transcript", "Transcript"],
      ["delegations", "Delegations"],
    ]) {
      const tab = el(
        "button",
        { type: "button", role: "tab", "data-tab": name, onclick: () => this.showTab(name) },
        words,
      );
      this.tabs.append(tab);
    }
    this.tabs.addEventListener("keydown", (event) => stepTabs(event, this.tabs));
    return this.tabs;
  }

  makeTools() {
    const axis = (isFolding, words, title) =>
      el(
        "button",
        { type: "button", title, "aria-pressed": "false", onclick: () => this.setFolding(isFolding) },
        words,
      );
    this.axisButtons = [
      axis(true, "Active time", "Idle time is folded"),
      axis(false, "Wall clock", "Idle time as long as it was"),
    ];
    this.find = el("input", { type: "search", placeholder: "Find   /", "aria-label": "Find in the timeline" });
    this.find.addEventListener("input", () => this.search());
    this.find.addEventListener("keydown", (event) => this.findKey(event));
    this.found = el("span", { class: "found" });
    this.errorButton = el("button", { type: "button", class: "bad", onclick: () => this.nextError(1) });
    this.wasteButton = el("button", { type: "button", onclick: () => this.nextWaste() });
    this.newButton = el("button", { type: "button", class: "new", onclick: () => this.showNewest() });
    const zoom = (words, name, factor) =>
      el(
        "button",
        { type: "button", class: "square", "aria-label": name, title: name, onclick: () => this.zoomBy(factor) },
        words,
      );
    const all = el("button", { type: "button", title: "Show all (0)", onclick: () => this.zoomAll() }, "All");
    this.legend = el("div", { class: "legend", role: "group", "aria-label": "Show kinds" });
    const first = el(
      "div",
      { class: "line" },
      el("div", { class: "joined", role: "group", "aria-label": "Time axis" }, ...this.axisButtons),
      el(
        "div",
        { class: "joined", role: "group", "aria-label": "Zoom" },
        zoom("−", "Zoom out", 1.6),
        zoom("+", "Zoom in", 0.625),
        all,
      ),
      this.newButton,
      el("span", { class: "space" }),
      this.wasteButton,
      this.errorButton,
      el("span", { class: "finder" }, this.find, this.found),
    );
    return el("div", { class: "tools" }, first, this.legend);
  }

  makeGrid() {
    this.ticks = el("div", { class: "ticks" });
    this.pointerTime = el("div", { class: "pointer-time" });
    this.splitter = el("div", { class: "splitter", "aria-hidden": "true" });
    this.headLane = el("div", { class: "cell lane", role: "columnheader", "aria-label": "Time axis" });
    this.headLane.append(this.ticks, this.pointerTime);
    const head = el(
      "div",
      { class: "row head", role: "row", "aria-rowindex": "1" },
      el("div", { class: "cell label", role: "columnheader" }, "Exchange, step, event", this.splitter),
      this.headLane,
      el("div", { class: "cell number", role: "columnheader" }, "Time"),
      el("div", { class: "cell number cost", role: "columnheader" }, "Cost"),
    );
    this.back = el("div", { class: "back", "aria-hidden": "true" });
    this.marquee = el("div", { class: "marquee" });
    this.pointer = el("div", { class: "pointer" });
    this.front = el("div", { class: "front", "aria-hidden": "true" }, this.marquee, this.pointer);
    this.rowsBox = el("div", { class: "rows", role: "rowgroup" });
    this.grid = el(
      "div",
      {
        class: "grid",
        role: "treegrid",
        tabindex: "0",
        "aria-label": "Timeline of the session",
        "aria-colcount": "4",
      },
      el("div", { class: "head-box", role: "rowgroup" }, head),
      this.back,
      this.front,
      this.rowsBox,
    );
    this.head = head;
    this.listen();
  }

  makeFoot() {
    this.foot = el("div", { class: "about", "aria-hidden": "true" });
    this.help = el("dl", { class: "help", id: "keys", hidden: true });
    for (const [keys, words] of KEYS) this.help.append(el("div", {}, el("dt", {}, keys), el("dd", {}, words)));
    const toggle = el(
      "button",
      { type: "button", "aria-expanded": "false", "aria-controls": "keys", title: "Keys (?)" },
      "Keys",
    );
    toggle.addEventListener("click", () => this.showHelp(this.help.hidden));
    this.helpButton = toggle;
    return el("div", { class: "foot" }, this.foot, toggle, this.help);
  }

  showHelp(isShown) {
    this.help.hidden = !isShown;
    this.helpButton.setAttribute("aria-expanded", String(isShown));
  }

  listen() {
    const { grid } = this;
    grid.addEventListener("scroll", () => this.schedule(), { passive: true });
    grid.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    grid.addEventListener("pointerdown", (event) => this.press(event));
    grid.addEventListener("pointermove", (event) => this.hover(event));
    grid.addEventListener("pointerleave", () => this.unhover());
    grid.addEventListener("click", (event) => this.click(event));
    grid.addEventListener("dblclick", (event) => {
      const node = this.nodeAt(event);
      if (node) this.zoomTo(node);
    });
    this.splitter.addEventListener("pointerdown", (event) => this.pullSplitter(event));
  }

  // --- Data ------------------------------------------------------------------------------------------------------

  /** Take the payload of a run. The same version again changes nothing; another one keeps what the reader sees. */
  take(payload) {
    const isOther = followTheme(this.root, this.parent.host || this.parent);
    const isSame = Boolean(this.model) && payload?.view === this.line.view;
    if (!payload || (isSame && payload.version === this.version)) {
      if (this.model && isOther) this.redraw({ map: true });
      return;
    }
    const kept = isSame ? this.keep() : null;
    this.version = payload.version;
    this.link = payload.link;
    this.line.view = payload.view;
    this.model = new Model(payload);
    this.clock = new Clock(payload.head.tz);
    this.serial = null;
    if (isSame) {
      this.restore(kept);
    } else {
      this.begin(payload.opened);
    }
    this.tellState();
  }

  begin(opened) {
    this.folded.clear();
    this.hidden.clear();
    this.selected = null;
    this.openKey = null;
    this.unseen = 0;
    this.makeAxis(null);
    this.view = this.whole();
    this.grid.scrollTop = 0;
    const start = this.findOpened(opened);
    if (start) {
      const exchange = this.model.outermost(start);
      if (exchange) this.setOpen(exchange);
      this.unfoldTo(start);
      this.selected = start.key;
      if (exchange && (opened.exchange || this.model.roots.length === 1))
        this.view = this.around(exchange) || this.view;
    }
    this.resize();
    if (start) this.reveal(start);
    if (start) this.tellOpen(start, 0);
  }

  /** What the URL names; else the first exchange. */
  findOpened(opened) {
    const { model } = this;
    const part = opened.part && model.byKey.get(opened.part);
    const exchange = opened.exchange && model.rowOf(model.exchanges.get(opened.exchange));
    return part || exchange || model.roots[0] || null;
  }

  /** Remember what the reader sees, by ids and times. */
  keep() {
    const top = this.rows[Math.floor(this.grid.scrollTop / this.rowPx)];
    return {
      from: this.axis.time(this.view.from),
      to: this.axis.time(this.view.to),
      isWhole: this.isWhole(),
      top: top?.key,
      into: this.grid.scrollTop % this.rowPx,
      gap: this.axis.gap,
    };
  }

  restore(kept) {
    this.makeAxis(kept.gap);
    this.view = kept.isWhole ? this.whole() : { from: this.axis.place(kept.from), to: this.axis.place(kept.to) };
    this.flatten();
    const top = this.rows.findIndex((node) => node.key === kept.top);
    this.sizeRows();
    if (top >= 0) this.grid.scrollTop = top * this.rowPx + kept.into;
    this.redraw({ map: true, tools: true });
  }

  /** Take new events without touching scroll, zoom, selection or focus. */
  grow(growth) {
    if (!this.model || growth.serial === this.serial || !this.isFor(growth)) return;
    this.serial = growth.serial;
    const kept = this.keep();
    this.unseen += this.model.grow(growth);
    this.restore(kept);
    this.tellState();
  }

  /** Growth of an older payload would bring back what is over. */
  isFor(growth) {
    return growth.version === undefined || growth.version === this.version;
  }

  hear(message) {
    if (message.type === "hello") this.tellState(true);
    if (message.type === "growth") this.grow(message.growth);
    if (message.type === "tab") this.showTab(message.tab, false);
    if (message.type === "select") this.selectFrom(message);
    if (message.type === "step") this.stepExchange(message.by);
    if (message.type === "session") this.goSession(message.session);
    if (message.type === "error") this.nextError(message.by);
    if (message.type === "link") this.copyLink();
  }

  /** Tell the detail side what it cannot know: sessions, marks, zone, what is open. */
  tellState(withOpen = false) {
    if (!this.model) return;
    const { head, sessions, marks } = this.model;
    this.line.say("state", { head, sessions, marks, tab: this.tab });
    if (withOpen && this.selected) this.tellOpen(this.model.byKey.get(this.selected), 0);
  }

  tellOpen(node, wait, isAsked = false) {
    clearTimeout(this.settling);
    if (!node) return;
    const say = () => {
      const exchange = node.type === "exchange" ? node : node.exchange;
      if (!exchange) return;
      const part = node.type === "event" ? node.id : null;
      this.line.say("open", { exchange: exchange.id, part, about: this.about(exchange), isAsked });
    };
    if (wait) this.settling = setTimeout(say, wait);
    else say();
  }

  /** What the transcript's heading says of an exchange. */
  about(exchange) {
    const { model } = this;
    const { session } = exchange;
    const path = [];
    const row = model.rowOf(exchange);
    for (let above = row === exchange ? row.parent : row; above; above = above.parent) {
      if (above.type === "event" && above.kind === "delegation")
        path.unshift({ name: rowTitle(above), text: above.label });
      if (above.type === "exchange") path.unshift({ name: `Exchange ${above.number}`, text: "" });
    }
    const { id, number, label, status, what, start, end, tokens: total, cost, tools, delegations, errors } = exchange;
    const among = (model.bySession.get(exchange.sessionId) || []).length;
    return {
      id,
      number,
      among,
      label,
      status,
      what,
      start,
      end,
      tokens: total,
      cost,
      tools,
      delegations,
      errors,
      path,
      session,
    };
  }

  // --- Which rows there are --------------------------------------------------------------------------------------

  isFolded(node) {
    if (this.folded.has(node.key)) return this.folded.get(node.key);
    if (node.key === this.openKey) return false;
    return node.kind === "exchange" || node.kind === "delegation";
  }

  /** Children that are shown: those of a hidden kind give way to their own children. */
  shownChildren(node) {
    if (!this.hidden.size) return node.children;
    const shown = [];
    for (const child of node.children) {
      if (!this.isHidden(child)) shown.push(child);
      else if (child.kind !== "delegation") shown.push(...this.shownChildren(child));
    }
    return shown;
  }

  isHidden(node) {
    return node.type === "event" && this.hidden.has(node.kind);
  }

  flatten() {
    this.rows = [];
    this.places = new Map();
    const walk = (nodes, level) => {
      nodes.forEach((node, place) => {
        const children = this.shownChildren(node);
        const isOpen = children.length > 0 && !this.isFolded(node);
        node.row = { level, position: place + 1, among: nodes.length, canOpen: children.length > 0, isOpen };
        this.places.set(node.key, this.rows.length);
        this.rows.push(node);
        if (isOpen) walk(children, level + 1);
      });
    };
    walk(this.model.roots, 0);
  }

  /** Fold or unfold a row, and keep it where it is on the screen. */
  fold(node, isFolded) {
    this.folded.set(node.key, isFolded);
    this.reflow(node);
  }

  reflow(anchor) {
    const before = this.places.get(anchor.key);
    const shift = before * this.rowPx - this.grid.scrollTop;
    this.flatten();
    this.sizeRows();
    const now = this.places.get(anchor.key);
    if (now !== undefined && before !== undefined) this.grid.scrollTop = now * this.rowPx - shift;
    if (this.selected && !this.places.has(this.selected)) this.selectShown(this.model.byKey.get(this.selected));
    this.redraw();
  }

  /** The selected row was folded away: select what it was folded into. */
  selectShown(node) {
    let shown = node;
    while (shown && !this.places.has(shown.key)) shown = shown.parent;
    if (shown) this.select(shown, { scroll: false });
  }

  unfoldTo(node) {
    for (let above = node.parent; above; above = above.parent) {
      if (this.isFolded(above)) this.folded.set(above.key, false);
    }
    this.hidden.delete(node.kind);
  }

  setFolding(isFolding) {
    if (isFolding === this.isFolding) return;
    const kept = this.keep();
    this.isFolding = isFolding;
    this.restore(kept);
  }

  toggleKind(kind) {
    const kept = this.keep();
    if (!this.hidden.delete(kind)) this.hidden.add(kind);
    this.restore(kept);
    if (this.selected && !this.places.has(this.selected)) this.selectShown(this.model.byKey.get(this.selected));
  }

  // --- Selection and opening -------------------------------------------------------------------------------------

  select(node, { scroll = true, wait = SETTLE_MS, tell = true, isAsked = false } = {}) {
    this.selected = node.key;
    this.newest = null;
    if (scroll) this.reveal(node);
    if (tell) this.tellOpen(node, wait, isAsked);
    this.drawSelection();
    this.schedule();
  }

  /** Scroll as little as needed to show a row. */
  reveal(node) {
    const place = this.places.get(node.key);
    if (place === undefined) return;
    const top = place * this.rowPx;
    const room = this.grid.clientHeight - this.headPx;
    if (top < this.grid.scrollTop) this.grid.scrollTop = top - this.rowPx;
    else if (top + this.rowPx > this.grid.scrollTop + room) this.grid.scrollTop = top - room + 2 * this.rowPx;
  }

  /** Go to a row wherever it hides: unfold, scroll to the middle, show its time. */
  jump(node, options = {}) {
    const exchange = this.model.outermost(node);
    if (exchange && node !== exchange) this.setOpen(exchange);
    this.unfoldTo(node);
    this.flatten();
    this.sizeRows();
    const top = this.places.get(node.key) * this.rowPx;
    const room = this.grid.clientHeight - this.headPx;
    if (top < this.grid.scrollTop || top + this.rowPx > this.grid.scrollTop + room) {
      this.grid.scrollTop = top - room / 2;
    }
    this.select(node, { scroll: false, ...options });
    this.redraw({ tools: true });
    if (node.type === "exchange" && node === exchange) return;
    this.showTimeOf(node, exchange);
  }

  /** If the bar of a row lies outside of what is shown, show its exchange; if it would be a dot there, move along. */
  showTimeOf(node, exchange) {
    const start = node.start ?? node.at;
    if (start === null) return;
    const at = this.axis.place(start);
    if (at >= this.view.from && at <= this.view.to) return;
    const around = exchange && this.around(exchange);
    if (around && this.isOverview()) this.animate(around);
    else this.moveTo(at);
  }

  moveTo(at) {
    const half = (this.view.to - this.view.from) / 2;
    this.animate({ from: at - half, to: at + half });
  }

  isOverview() {
    return this.view.to - this.view.from > this.axis.end * 0.5;
  }

  /** One exchange is open at a time, besides those that were unfolded by hand. */
  setOpen(exchange) {
    this.openKey = exchange.key;
    if (this.folded.get(exchange.key) === true) this.folded.delete(exchange.key);
  }

  /** Open an exchange: unfold it, zoom to it, show its transcript. */
  open(exchange, options = {}) {
    this.setOpen(exchange);
    this.reflow(exchange);
    this.select(exchange, { wait: 0, isAsked: true, ...options });
    const around = this.around(exchange);
    if (around) this.animate(around);
  }

  openAt(time) {
    const near = (node) => {
      if (node.start === null || node.type !== "exchange") return Infinity;
      const end = node.end ?? node.start;
      return time < node.start ? node.start - time : time > end ? time - end : 0;
    };
    const found = this.model.roots.reduce(
      (best, node) => (near(node) < near(best) ? node : best),
      this.model.roots[0],
    );
    if (found) this.open(found);
  }

  /** Enter, or a click on a row that is selected already. */
  enter(node) {
    if (node.type === "exchange" && node.depth === 0) this.open(node);
    else {
      if (node.row.canOpen && this.isFolded(node)) this.fold(node, false);
      this.select(node, { wait: 0, isAsked: true });
    }
    if (this.narrow.matches && node.type === "event") this.showTab("transcript");
  }

  /** The transcript was clicked: show where that is. */
  selectFrom({ exchange, part, isAsked }) {
    const node = (part && this.model.byKey.get(part)) || this.model.rowOf(this.model.exchanges.get(exchange));
    if (!node) return;
    if (node.type === "exchange" && node.depth === 0 && isAsked) this.open(node);
    else this.jump(node, { wait: 0, tell: Boolean(isAsked), isAsked });
  }

  /** Show a session of the tree: the call that started it, and its first exchange in the transcript. */
  goSession(id) {
    const exchange = (this.model.bySession.get(id) || [])[0];
    const node = this.model.rowOf(exchange);
    if (!node) {
      this.announce("Nothing was recorded in this session");
      return;
    }
    this.jump(node, { tell: false });
    if (this.isFolded(node)) this.fold(node, false);
    this.line.say("open", { exchange: exchange.id, part: null, about: this.about(exchange), isAsked: true });
  }

  stepExchange(by) {
    const { roots } = this.model;
    const now = this.selected && this.model.outermost(this.model.byKey.get(this.selected));
    const place = now ? roots.indexOf(now) + by : by > 0 ? 0 : roots.length - 1;
    let found = roots[place];
    if (found && found.type !== "exchange") found = null;
    if (found) this.open(found);
  }

  /** The next of some rows behind the selected one; round the end if there is none. */
  next(isWanted, by) {
    const { all } = this.model;
    const from = this.selected ? this.model.byKey.get(this.selected).order : by > 0 ? -1 : all.length;
    for (let step = 1; step <= all.length; step += 1) {
      const node = all[(from + by * step + all.length * (step + 1)) % all.length];
      if (isWanted(node)) return node;
    }
    return null;
  }

  nextError(by) {
    const node = this.next((one) => one.isFailed, by);
    if (node) this.jump(node, { wait: 0, isAsked: true });
    else this.announce("No errors in this session");
  }

  nextWaste() {
    const node = this.next(
      (one) => one.marks !== null && (one.type === "event" || one.marks.some((m) => !m.events.length)),
      1,
    );
    if (node) this.jump(node, { wait: 0, isAsked: true });
    else this.announce("No loops or waste found");
  }

  // --- Find --------------------------------------------------------------------------------------------------------

  search() {
    this.needle = this.find.value.trim().toLowerCase();
    this.drawFound();
    this.redraw();
  }

  /** Say how many rows match, and which of them is selected. */
  drawFound() {
    const matches = this.needle ? this.model.all.filter((node) => this.matches(node)) : [];
    const place = matches.findIndex((node) => node.key === this.selected);
    const words = place >= 0 ? `${count(place + 1)} of ${count(matches.length)}` : count(matches.length);
    this.found.textContent = !this.needle ? "" : matches.length ? words : "none";
    this.root.classList.toggle("nothing-found", Boolean(this.needle) && !matches.length);
  }

  matches(node) {
    if (node.type === "event" && rowTitle(node).toLowerCase().includes(this.needle)) return true;
    return rowText(node).toLowerCase().includes(this.needle);
  }

  findKey(event) {
    event.stopPropagation(); // Streamlit's own keys would take letters typed here
    if (event.key === "Enter" && this.needle) {
      const node = this.next((one) => this.matches(one), event.shiftKey ? -1 : 1);
      if (node) this.jump(node, { wait: SETTLE_MS });
      this.drawFound();
      this.live.textContent = node ? `${rowName(node)}: ${rowText(node)}` : "Nothing found";
    } else if (event.key === "Escape") {
      this.find.value = "";
      this.search();
      this.grid.focus({ preventScroll: true });
    } else if (event.key === "ArrowDown") {
      this.grid.focus({ preventScroll: true });
    } else return;
    event.preventDefault();
  }

  // --- Keys --------------------------------------------------------------------------------------------------------

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("[role=tablist]")) return;
    if (event.key === "?") this.showHelp(this.help.hidden);
    else if (event.key === "Escape" && !this.help.hidden) this.showHelp(false);
    else if (event.shiftKey && event.key.startsWith("Arrow")) this.keyPan(event.key);
    else if (!this.keyAnywhere(event.key) && !(event.target === this.grid && this.keyRow(event.key))) return;
    event.preventDefault();
    event.stopPropagation();
  }

  keyPan(key) {
    const by = (this.view.to - this.view.from) * 0.2;
    if (key === "ArrowLeft") this.show(this.view.from - by, this.view.to - by);
    if (key === "ArrowRight") this.show(this.view.from + by, this.view.to + by);
  }

  keyAnywhere(key) {
    const actions = {
      e: () => this.nextError(1),
      E: () => this.nextError(-1),
      w: () => this.nextWaste(),
      "[": () => this.stepExchange(-1),
      "]": () => this.stepExchange(1),
      z: () => this.zoomTo(this.current()),
      0: () => this.zoomAll(),
      "+": () => this.zoomBy(0.625),
      "=": () => this.zoomBy(0.625),
      "-": () => this.zoomBy(1.6),
      "/": () => this.find.focus(),
      l: () => this.copyLink(),
    };
    if (!Object.hasOwn(actions, key)) return false;
    actions[key]();
    return true;
  }

  keyRow(key) {
    const place = this.places.get(this.selected) ?? -1;
    const page = Math.max(1, Math.floor((this.grid.clientHeight - this.headPx) / this.rowPx) - 1);
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
      const to = Math.max(0, Math.min(this.rows.length - 1, place + moves[key]));
      if (this.rows[to]) this.select(this.rows[to]);
      return true;
    }
    const node = this.rows[place];
    if (!node) return false;
    if (key === "ArrowRight") this.keyUnfold(node);
    else if (key === "ArrowLeft") this.keyFold(node);
    else if (key === "Enter" || key === " ") this.enter(node);
    else return false;
    return true;
  }

  keyUnfold(node) {
    if (!node.row.canOpen) return;
    if (node.row.isOpen) this.select(this.rows[this.places.get(node.key) + 1]);
    else this.fold(node, false);
  }

  keyFold(node) {
    if (node.row.isOpen) {
      this.fold(node, true);
      return;
    }
    let above = node.parent;
    while (above && !this.places.has(above.key)) above = above.parent;
    if (above) this.select(above);
  }

  current() {
    return this.selected ? this.model.byKey.get(this.selected) : null;
  }

  async copyLink() {
    const node = this.current();
    const exchange = node && this.model.outermost(node);
    const part = node?.type === "event" ? `&part=${encodeURIComponent(node.id)}` : "";
    const number = exchange ? `&exchange=${exchange.number}` : "";
    const isCopied = await copyText(`${window.location.origin}${this.link}${number}${part}`);
    this.announce(isCopied ? "Link copied" : "The browser did not allow copying");
  }

  announce(words) {
    this.live.textContent = words;
    this.root.classList.add("announcing");
    clearTimeout(this.announcing);
    this.announcing = setTimeout(() => this.root.classList.remove("announcing"), 2500);
  }

  // --- Time axis -----------------------------------------------------------------------------------------------

  makeAxis(gap) {
    this.axis = new Axis(this.model.spans(), this.isFolding, gap);
    this.newestTime = this.axis.time(this.axis.end);
    this.gapFor = new Map();
    for (const gap of this.axis.gaps(0, this.axis.end)) this.gapFor.set(gap.to, gap);
  }

  whole() {
    const margin = this.axis.end * 0.01;
    return { from: -margin, to: this.axis.end + margin };
  }

  isWhole() {
    const { from, to } = this.whole();
    return this.view.from <= from + 1 && this.view.to >= to - 1;
  }

  around(node) {
    const times = this.extent(node);
    if (!times) return null;
    const from = this.axis.place(times[0]);
    const to = this.axis.place(times[1]);
    const margin = Math.max((to - from) * 0.03, LEAST_VIEW_MS / 4);
    return { from: from - margin, to: to + margin };
  }

  /** From when to when a row lasted; if that is not known, what lies below it. A resumed child may last far longer. */
  extent(node) {
    let from = node.start;
    let to = node.end;
    const look = (below) => {
      for (const child of below.children) {
        if (child.start !== null && (from === null || child.start < from)) from = child.start;
        const end = child.end ?? child.start;
        if (end !== null && (to === null || end > to)) to = end;
        look(child);
      }
    };
    if (from === null || to === null) look(node);
    return from === null ? null : [from, Math.max(to ?? from, from)];
  }

  zoomTo(node) {
    const around = node && this.around(node);
    if (around) this.animate(around);
  }

  zoomAll() {
    this.animate(this.whole());
  }

  zoomBy(factor, at = null) {
    const { from, to } = this.view;
    const fixedPoint = at ?? this.zoomCentre();
    this.show(fixedPoint - (fixedPoint - from) * factor, fixedPoint + (to - fixedPoint) * factor);
  }

  /** Keys zoom around the selected bar if it can be seen, else around the middle. */
  zoomCentre() {
    const { from, to } = this.view;
    const start = this.current()?.start ?? null;
    const at = start === null ? NaN : this.axis.place(start);
    return at >= from && at <= to ? at : (from + to) / 2;
  }

  /** Show a part of the axis, at least 20 ms of it and never much more than there is. */
  show(from, to) {
    cancelAnimationFrame(this.moving);
    this.setView(from, to);
  }

  setView(from, to) {
    const whole = this.whole();
    const span = Math.min(Math.max(to - from, LEAST_VIEW_MS), whole.to - whole.from);
    const middle = (from + to) / 2;
    const start = Math.min(Math.max(middle - span / 2, whole.from), whole.to - span);
    this.view = { from: start, to: start + span };
    this.drawTime();
  }

  animate(target) {
    cancelAnimationFrame(this.moving);
    if (this.still.matches) {
      this.setView(target.from, target.to);
      return;
    }
    const begin = performance.now();
    const { from, to } = this.view;
    const step = (now) => {
      const part = Math.min(1, (now - begin) / ZOOM_MS);
      const eased = 1 - (1 - part) ** 3;
      this.setView(from + (target.from - from) * eased, to + (target.to - to) * eased);
      if (part < 1) this.moving = requestAnimationFrame(step);
    };
    this.moving = requestAnimationFrame(step);
  }

  // --- Pointer -------------------------------------------------------------------------------------------------

  laneX(event) {
    return event.clientX - this.headLane.getBoundingClientRect().left;
  }

  laneTime(x) {
    return this.view.from + (x / this.laneWidth) * (this.view.to - this.view.from);
  }

  isInLane(event) {
    const x = this.laneX(event);
    return x >= 0 && x <= this.laneWidth;
  }

  /** The row at a point: by its place, since a row may have been drawn anew between press and release. */
  nodeAt(event) {
    if (!this.model || event.target.closest(".head")) return null;
    const place = Math.floor((event.clientY - this.rowsBox.getBoundingClientRect().top) / this.rowPx);
    return this.rows[place] || null;
  }

  wheel(event) {
    const isHead = event.target.closest(".head");
    if (event.ctrlKey || event.metaKey || event.altKey || (isHead && this.isInLane(event))) {
      event.preventDefault();
      this.zoomBy(Math.exp(event.deltaY * (event.ctrlKey ? 0.004 : 0.002)), this.laneTime(this.laneX(event)));
    } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      const by = ((event.deltaX || event.deltaY) / this.laneWidth) * (this.view.to - this.view.from);
      this.show(this.view.from + by, this.view.to + by);
    }
  }

  /** Drag over the bars: zoom to what was dragged over; with Shift or a finger, move along; two fingers zoom. */
  press(event) {
    if (event.button !== 0 || !this.isInLane(event) || event.target.closest(".splitter")) return;
    if (event.pointerType === "touch") {
      this.touch(event);
      return;
    }
    const start = this.laneX(event);
    const { from, to } = this.view;
    let isDrag = false;
    const drag = (move) => {
      const x = Math.min(Math.max(this.laneX(move), 0), this.laneWidth);
      isDrag ||= Math.abs(x - start) > 4;
      if (!isDrag) return;
      if (event.shiftKey) {
        const by = ((start - x) / this.laneWidth) * (to - from);
        this.show(from + by, to + by);
        return;
      }
      this.marquee.style.transform = `translateX(${Math.min(start, x)}px)`;
      this.marquee.style.width = `${Math.abs(x - start)}px`;
      this.root.classList.add("dragging");
    };
    const end = (up) => {
      window.removeEventListener("pointermove", drag);
      window.removeEventListener("pointerup", end);
      this.root.classList.remove("dragging");
      if (!isDrag) return;
      this.wasDragged = performance.now();
      const x = Math.min(Math.max(this.laneX(up), 0), this.laneWidth);
      if (!event.shiftKey)
        this.animate({ from: this.laneTime(Math.min(start, x)), to: this.laneTime(Math.max(start, x)) });
    };
    window.addEventListener("pointermove", drag);
    window.addEventListener("pointerup", end);
  }

  touch(event) {
    this.fingers ||= new Map();
    this.fingers.set(event.pointerId, this.laneX(event));
    if (this.fingers.size > 1) return;
    const drag = (move) => this.moveFinger(move);
    const end = (up) => {
      this.fingers.delete(up.pointerId);
      if (this.fingers.size) return;
      window.removeEventListener("pointermove", drag);
      window.removeEventListener("pointerup", end);
      window.removeEventListener("pointercancel", end);
    };
    window.addEventListener("pointermove", drag);
    window.addEventListener("pointerup", end);
    window.addEventListener("pointercancel", end);
  }

  moveFinger(move) {
    if (!this.fingers.has(move.pointerId)) return;
    const before = [...this.fingers.values()];
    this.fingers.set(move.pointerId, this.laneX(move));
    const now = [...this.fingers.values()];
    const span = this.view.to - this.view.from;
    if (now.length === 1) {
      const by = ((before[0] - now[0]) / this.laneWidth) * span;
      this.show(this.view.from + by, this.view.to + by);
    } else {
      const ratio = Math.max(8, Math.abs(before[0] - before[1])) / Math.max(8, Math.abs(now[0] - now[1]));
      this.zoomBy(ratio, this.laneTime((now[0] + now[1]) / 2));
    }
  }

  click(event) {
    if (performance.now() - (this.wasDragged || -1e3) < 250) return;
    const node = this.nodeAt(event);
    if (!node) return;
    this.grid.focus({ preventScroll: true });
    if (event.target.closest(".twist") && node.row.canOpen) {
      const isOpen = node.row.isOpen;
      if (isOpen && node.key === this.openKey) this.openKey = null;
      this.fold(node, isOpen);
    } else if (node.type === "exchange" && node.depth === 0 && !(node.row.isOpen && node.key === this.openKey)) {
      this.open(node, { scroll: false });
    } else {
      this.select(node, { wait: 0, isAsked: true });
      if (event.target.closest(".edge")) this.showTimeOf(node, null);
    }
  }

  hover(event) {
    const node = this.nodeAt(event);
    if (node !== this.hovered) {
      this.hovered = node;
      this.drawFoot();
    }
    const x = this.laneX(event);
    this.pointerAt = this.isInLane(event) ? x : null;
    this.drawPointer();
  }

  unhover() {
    this.hovered = null;
    this.pointerAt = null;
    this.drawPointer();
    this.drawFoot();
  }

  pullSplitter(event) {
    event.preventDefault();
    const start = event.clientX;
    const before = this.head.children[0].offsetWidth;
    const pull = (move) => {
      const wide = Math.min(Math.max(before + move.clientX - start, 120), this.grid.clientWidth - 260);
      this.grid.style.setProperty("--label", `${wide}px`);
      this.resize();
    };
    const end = () => {
      window.removeEventListener("pointermove", pull);
      window.removeEventListener("pointerup", end);
    };
    window.addEventListener("pointermove", pull);
    window.addEventListener("pointerup", end);
  }

  // --- Tabs of a narrow screen -----------------------------------------------------------------------------------

  showTab(tab, tell = true) {
    this.tab = tab;
    this.drawTabs();
    if (tell) this.line.say("tab", { tab });
  }

  drawTabs() {
    const isNarrow = this.narrow.matches;
    for (const tab of this.tabs.children) {
      const isChosen = tab.dataset.tab === this.tab;
      tab.setAttribute("aria-selected", String(isChosen));
      tab.tabIndex = isChosen ? 0 : -1;
    }
    this.body.hidden = isNarrow && this.tab !== "timeline";
    this.tabs.hidden = !isNarrow;
    if (isNarrow) {
      this.body.setAttribute("role", "tabpanel");
      this.body.setAttribute("aria-label", "Timeline");
    } else {
      this.body.removeAttribute("role");
      this.body.removeAttribute("aria-label");
    }
  }

  // --- Drawing -------------------------------------------------------------------------------------------------

  resize() {
    this.drawTabs();
    if (!this.model || this.body.hidden) return;
    this.rowPx = parseFloat(getComputedStyle(this.grid).getPropertyValue("--row")) || 26;
    this.headPx = this.head.offsetHeight;
    this.laneWidth = Math.max(1, this.headLane.clientWidth);
    this.flatten();
    this.sizeRows();
    this.redraw({ map: true, tools: true });
  }

  sizeRows() {
    this.rowsBox.style.height = `${this.rows.length * this.rowPx}px`;
    this.grid.setAttribute("aria-rowcount", String(this.rows.length + 1));
  }

  /** Draw all that is in sight anew. */
  redraw({ map = false, tools = false } = {}) {
    if (!this.laneWidth) return;
    this.drawn.clear();
    if (tools) this.drawTools();
    this.drawTime();
    if (map) this.minimap.draw();
    this.drawFoot();
    this.drawRows();
  }

  schedule() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.drawRows();
    });
  }

  space() {
    const { from, to } = this.view;
    const scale = this.laneWidth / (to - from);
    const place = (at) => (at - from) * scale;
    return {
      width: this.laneWidth,
      place,
      x: (time) => place(this.axis.place(time)),
      leaves: (node) => this.model.leaves(node),
      gapBefore: (node) => this.gapBefore(node),
      isRunning: this.model.head.is_running,
      newest: this.newestTime,
    };
  }

  gapBefore(node) {
    if (node.start === null) return null;
    const { segments } = this.axis;
    const place = this.axis.find("start", node.start);
    const { start } = segments[place];
    if (place === 0 || Math.abs(start - node.start) > 0.5) return null;
    return { from: segments[place - 1].to, ms: start - segments[place - 1].end };
  }

  /** The rows in sight, the selected one wherever it is, and nothing else. */
  drawRows() {
    if (!this.model || !this.laneWidth || this.body.hidden) return;
    const first = Math.max(0, Math.floor(this.grid.scrollTop / this.rowPx) - OVERSCAN_ROWS);
    const room = Math.ceil(this.grid.clientHeight / this.rowPx) + 2 * OVERSCAN_ROWS;
    const wanted = [];
    for (let place = first; place < Math.min(this.rows.length, first + room); place += 1) wanted.push(place);
    const chosen = this.places.get(this.selected);
    if (chosen !== undefined && chosen < first) wanted.unshift(chosen);
    if (chosen !== undefined && chosen >= first + room) wanted.push(chosen);
    this.putRows(wanted);
    this.drawSelection();
  }

  putRows(wanted) {
    const space = this.space();
    const keep = new Set(wanted.map((place) => this.rows[place].key));
    for (const key of this.drawn.keys()) if (!keep.has(key)) this.drawn.delete(key);
    for (const place of wanted) {
      const node = this.rows[place];
      if (this.drawn.has(node.key)) continue;
      const row = drawRow(node, this.rowState(node, place));
      row.style.transform = `translateY(${place * this.rowPx}px)`;
      placeBar(row, node, space);
      this.drawn.set(node.key, row);
    }
    arrange(
      this.rowsBox,
      wanted.map((place) => this.drawn.get(this.rows[place].key)),
    );
  }

  rowState(node, index) {
    const isRunning = this.model.head.is_running;
    return { ...node.row, index, needle: this.needle, isRunning, idOf: (one) => this.idOf(one) };
  }

  idOf(node) {
    return `row-${node.order}`;
  }

  drawSelection() {
    for (const [key, row] of this.drawn) {
      const isSelected = key === this.selected;
      if ((row.getAttribute("aria-selected") === "true") !== isSelected)
        row.setAttribute("aria-selected", String(isSelected));
    }
    const row = this.drawn.get(this.selected);
    if (row) this.grid.setAttribute("aria-activedescendant", row.id);
    else this.grid.removeAttribute("aria-activedescendant");
    if (!this.hovered) this.drawFoot();
  }

  /** Everything that moves with the view. */
  drawTime() {
    if (!this.laneWidth) return;
    const space = this.space();
    for (const [key, row] of this.drawn) placeBar(row, this.model.byKey.get(key), space);
    this.drawTicks(space);
    this.minimap.move();
    this.drawPointer();
  }

  drawTicks(space) {
    const { from, to } = this.view;
    const origin = this.model.head.origin_ms;
    const least = ((to - from) / this.laneWidth) * 76;
    const { step, found } = this.axis.ticks(from, to, least, this.clock, origin);
    const labels = [];
    const lines = [];
    let day = null;
    let free = 0; // where there is room for the next label
    for (const { at, time } of found) {
      const x = space.place(at);
      const line = el("span", { class: "tick-line" });
      line.style.transform = `translateX(${x.toFixed(1)}px)`;
      lines.push(line);
      const words = this.tickWords(time, step, day).find(
        (text) => x >= free && x + 6.6 * text.length + 8 <= space.width,
      );
      if (!words) continue;
      const label = el("span", { class: "tick" }, words);
      label.style.transform = line.style.transform;
      labels.push(label);
      free = x + 6.6 * words.length + 12;
      day = origin === null ? null : this.clock.day(origin + time);
    }
    for (const gap of this.axis.gaps(from, to)) {
      const left = space.place(gap.from);
      const wide = space.place(gap.to) - left;
      if (wide < 2) continue;
      const band = el("span", { class: "gap" });
      band.style.transform = `translateX(${left.toFixed(1)}px)`;
      band.style.width = `${wide.toFixed(1)}px`;
      lines.push(band);
    }
    this.ticks.replaceChildren(...labels);
    this.back.replaceChildren(...lines);
  }

  /** What a tick may say, longest first: the day where it changes, and the time. */
  tickWords(time, step, before) {
    const origin = this.model.head.origin_ms;
    if (origin === null) return [`+${duration(time)}`];
    const at = origin + time;
    const day = this.clock.day(at);
    if (step >= 86_400_000) return [day];
    const text = this.clock.time(at, step);
    const hasDays = this.clock.day(origin + this.axis.time(0)) !== this.clock.day(origin + this.newestTime);
    return hasDays && day !== before ? [`${day} ${text}`, text] : [text];
  }

  drawPointer() {
    const isShown = this.pointerAt !== null && this.pointerAt !== undefined && this.model;
    this.root.classList.toggle("pointing", Boolean(isShown));
    if (!isShown) return;
    const time = this.axis.time(this.laneTime(this.pointerAt));
    const origin = this.model.head.origin_ms;
    const fine = (this.view.to - this.view.from) / this.laneWidth;
    this.pointer.style.transform = `translateX(${this.pointerAt}px)`;
    this.pointerTime.textContent =
      origin === null ? `+${duration(time)}` : this.clock.time(origin + time, fine < 20 ? 1 : 1000);
    const isRight = this.pointerAt > this.laneWidth - 70;
    this.pointerTime.style.transform = `translateX(${this.pointerAt}px)${isRight ? " translateX(-100%)" : ""}`;
  }

  /** One line about the row under the pointer, else the selected one. */
  drawFoot() {
    const node = this.hovered || this.current();
    if (!node) {
      this.foot.replaceChildren();
      return;
    }
    const origin = this.model.head.origin_ms;
    const parts = [
      el("b", {}, node.type === "event" && node.kind !== "error" ? rowTitle(node) || rowName(node) : rowName(node)),
    ];
    if (node.start === null) parts.push("time unknown");
    else if (origin !== null) parts.push(this.clock.time(origin + node.start, 1));
    const ms = rowDuration(node);
    if (ms !== null) parts.push(duration(ms));
    const below = node.link?.link === "ok" ? node.link : null;
    const spent = below ? below.subtree_cost_usd : node.cost;
    const used = below ? below.subtree_tokens : node.tokens;
    if (!isMissing(used)) parts.push(`${tokens(used)} tokens`);
    if (!isMissing(spent)) parts.push(usd(spent, 4));
    for (const mark of node.marks || []) parts.push(`${mark.text}${wasteCost(mark)}`);
    if (node.label && node.type === "event") parts.push(node.label);
    this.foot.replaceChildren(...parts.flatMap((part, place) => (place ? [" · ", part] : [part])));
  }

  drawTools() {
    const { model } = this;
    this.axisButtons.forEach((button, place) =>
      button.setAttribute("aria-pressed", String((place === 0) === this.isFolding)),
    );
    const kinds = Object.keys(NAMES).filter((kind) => model.counts[kind]);
    this.legend.replaceChildren(...kinds.map((kind) => this.legendButton(kind)));
    const failed = model.all.filter((node) => node.isFailed).length;
    this.errorButton.replaceChildren(icon("error"), failed ? counted(failed, "error") : "No errors");
    this.errorButton.disabled = failed === 0;
    this.errorButton.title = "Next error (e)";
    this.wasteButton.hidden = model.marks.length === 0;
    this.wasteButton.replaceChildren(icon("loop"), `Waste ${count(model.marks.length)}`);
    this.wasteButton.title = "Next loop or waste (w)";
    this.newButton.hidden = !model.head.is_running && !this.unseen;
    this.newButton.replaceChildren(
      el("span", { class: "pulse" }),
      this.unseen ? `${count(this.unseen)} new` : "running",
    );
    this.newButton.disabled = !this.unseen;
  }

  legendButton(kind) {
    const isShown = !this.hidden.has(kind);
    const [one, many] = NAMES[kind];
    const button = el("button", {
      type: "button",
      class: `k-${kind}`,
      "aria-pressed": String(isShown),
      "data-kind": kind,
    });
    button.append(
      icon(kind),
      this.model.counts[kind] === 1 ? one : many,
      el("span", { class: "how-many" }, count(this.model.counts[kind])),
    );
    button.addEventListener("click", () => {
      this.toggleKind(kind);
      this.legend.querySelector(`[data-kind=${kind}]`).focus({ preventScroll: true });
    });
    return button;
  }

  /** Show the end, where new events come in; the zoom stays as wide as it is. */
  showNewest() {
    this.unseen = 0;
    const last = this.model.outermost(this.model.all[this.model.all.length - 1]);
    if (last) {
      this.folded.set(last.key, false);
      this.flatten();
      this.sizeRows();
    }
    this.grid.scrollTop = this.rows.length * this.rowPx;
    const wide = this.view.to - this.view.from;
    const { to } = this.whole();
    this.show(to - wide, to);
    this.redraw({ tools: true });
  }
}

const viewers = new WeakMap();

export default function ({ data, parentElement }) {
  const { view, leave } = mounted(viewers, parentElement, Viewer);
  view.take(data);
  return leave;
}
