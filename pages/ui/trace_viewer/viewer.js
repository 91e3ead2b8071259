// The waterfall: a virtual treegrid with one time axis, a minimap, and the keys that move through it.

const TABS = [
  ["timeline", "Timeline"],
  ["transcript", "Transcript"],
  ["delegations", "Delegations"],
];
const OVERSCAN_ROWS = 6;
const SETTLE_MS = 140; // keys that are held down open only what they stop at

class Viewer {
  constructor(parent) {
    this.parent = parent;
    this.drawn = new Map(); // key of a row to its element
    this.tab = "timeline";
    this.unseen = 0; // events that came since the reader last looked at the newest
    this.outline = new Outline(this);
    this.time = new Timescale(this);
    this.ruler = new Ruler(this);
    this.toolbar = new Toolbar(this);
    this.minimap = new Minimap(this);
    this.mouse = new Mouse(this);
    this.keyboard = new Keyboard(this);
    this.line = new Line("viewer", (message) => this.hear(message));
    this.narrow = window.matchMedia(NARROW);
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
    this.makeTabs();
    this.makeGrid();
    this.foot = el("div", { class: "about", "aria-hidden": "true" });
    const foot = el("div", { class: "foot" }, this.foot, this.keyboard.helpButton, this.keyboard.help);
    this.body = el("div", { class: "body" }, this.toolbar.element, this.minimap.element, this.grid, foot);
    this.live = el("div", { class: "unseen", role: "status", "aria-live": "polite" });
    this.root = el("div", { class: "trace viewer" }, this.tabs, this.body, this.live);
    this.root.addEventListener("keydown", (event) => this.keyboard.key(event));
    this.parent.appendChild(this.root);
  }

  makeTabs() {
    const tab = ([name, words]) => {
      const attributes = { type: "button", role: "tab", "data-tab": name, onclick: () => this.showTab(name) };
      return el("button", attributes, words);
    };
    this.tabs = el("div", { class: "tabs", role: "tablist", "aria-label": "Session" }, ...TABS.map(tab));
    this.tabs.addEventListener("keydown", (event) => stepTabs(event, this.tabs));
  }

  makeGrid() {
    const { ruler } = this;
    this.head = el(
      "div",
      { class: "row head", role: "row", "aria-rowindex": "1" },
      el("div", { class: "cell label", role: "columnheader" }, "Exchange, step, event", this.mouse.splitter),
      ruler.headLane,
      el("div", { class: "cell number", role: "columnheader" }, "Time"),
      el("div", { class: "cell number cost", role: "columnheader" }, "Cost"),
    );
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
      el("div", { class: "head-box", role: "rowgroup" }, this.head),
      ruler.back,
      ruler.front,
      this.rowsBox,
    );
    this.grid.addEventListener("scroll", () => this.schedule(), { passive: true });
    this.mouse.listen(this.grid);
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
    this.outline.begin();
    this.selected = null;
    this.shownId = null; // the exchange that the transcript shows
    this.awaited = this.model.byKey.has(opened.part) ? null : opened.part; // comes with the growth, if at all
    this.mouse.hovered = null;
    this.unseen = 0;
    this.time.makeAxis();
    this.time.view = this.time.whole();
    this.grid.scrollTop = 0;
    const start = this.findOpened(opened);
    if (start) {
      const exchange = this.model.outermost(start);
      if (exchange) this.outline.setOpen(exchange);
      this.outline.unfoldTo(start);
      this.selected = start.key;
      if (exchange && (opened.exchange || this.model.roots.length === 1))
        this.time.view = this.time.around(exchange) || this.time.view;
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

  /** Remember what the reader sees: the first row in sight by its key, the axis by times. */
  keep() {
    const place = Math.floor(this.grid.scrollTop / this.rowPx);
    return { top: this.outline.rows[place]?.key, into: this.grid.scrollTop % this.rowPx, time: this.time.keep() };
  }

  restore({ top, into, time }) {
    this.time.restore(time);
    this.outline.flatten();
    this.sizeRows();
    const place = this.outline.places.get(top);
    if (place !== undefined) this.grid.scrollTop = place * this.rowPx + into;
    this.redraw({ map: true, tools: true });
  }

  /** Take new events without touching scroll, zoom, selection or focus. */
  grow(growth) {
    if (growth.serial === this.serial || !this.isFor(growth)) return;
    this.serial = growth.serial;
    const kept = this.keep();
    const came = this.model.grow(growth);
    if (!this.model.head.is_partial) this.unseen += came;
    this.restore(kept);
    this.tellState();
    const awaited = this.model.byKey.get(this.awaited);
    if (awaited) this.jump(awaited, { wait: 0, isAsked: true });
  }

  /** Growth of an older payload would bring back what is over. */
  isFor(growth) {
    return growth.version === undefined || growth.version === this.version;
  }

  hear(message) {
    const actions = {
      hello: () => this.tellState(true),
      growth: () => this.grow(message.growth),
      tab: () => this.showTab(message.tab, false),
      select: () => this.selectFrom(message),
      step: () => this.stepExchange(message.by),
      session: () => this.goSession(message.session),
      error: () => this.nextError(message.by),
      link: () => this.copyLink(),
    };
    if (this.model && Object.hasOwn(actions, message.type)) actions[message.type]();
  }

  /** Tell the detail side what it cannot know: sessions, marks, zone, how the exchange that it shows stands now. */
  tellState(withOpen = false) {
    const { head, sessions, marks } = this.model;
    const shown = this.model.exchanges.get(this.shownId);
    this.line.say("state", { head, sessions, marks, tab: this.tab, about: shown ? this.about(shown) : null });
    if (withOpen) this.tellOpen(this.current(), 0);
  }

  tellOpen(node, wait, isAsked = false) {
    clearTimeout(this.settling);
    if (!node) return;
    const say = () => {
      const exchange = node.type === "exchange" ? node : node.exchange;
      if (!exchange) return;
      this.sayOpen(exchange, node.type === "event" ? node.id : null, isAsked);
    };
    if (wait) this.settling = setTimeout(say, wait);
    else say();
  }

  sayOpen(exchange, part, isAsked) {
    this.shownId = exchange.id;
    this.line.say("open", { exchange: exchange.id, part, about: this.about(exchange), isAsked });
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
    const among = (model.bySession.get(exchange.sessionId) || []).length;
    const { id, number, start, end, tools, delegations, errors } = exchange;
    const status = exchange.isLive ? "running" : exchange.status;
    const [isFirst, isLast] = [-1, 1].map((by) => !this.exchangeBeside(row, by));
    const sums = { tools, delegations, errors, tokens: exchange.tokens, cost: exchange.cost };
    return { id, number, among, status, start, end, path, session, isFirst, isLast, ...sums };
  }

  // --- Folding ---------------------------------------------------------------------------------------------------

  /** Fold or unfold a row, and keep it where it is on the screen. */
  fold(node, isFolded) {
    this.outline.folded.set(node.key, isFolded);
    this.reflow(node);
  }

  /** List the rows anew, and keep one of them where it is on the screen. */
  reflow(anchor) {
    const before = this.outline.places.get(anchor.key);
    const shift = before * this.rowPx - this.grid.scrollTop;
    this.outline.flatten();
    this.sizeRows();
    const now = this.outline.places.get(anchor.key);
    if (now !== undefined && before !== undefined) this.grid.scrollTop = now * this.rowPx - shift;
    this.selectShown();
    this.redraw();
  }

  /** If the selected row was folded away or hidden, select what it lies in. */
  selectShown() {
    const node = this.current();
    if (!node || this.outline.places.has(node.key)) return;
    const above = this.outline.shownAbove(node);
    if (above) this.select(above, { scroll: false });
  }

  setFolding(isFolding) {
    if (isFolding === this.time.isFolding) return;
    const kept = this.keep();
    this.time.isFolding = isFolding;
    this.restore(kept);
  }

  toggleKind(kind) {
    const kept = this.keep();
    if (!this.outline.hidden.delete(kind)) this.outline.hidden.add(kind);
    this.restore(kept);
    this.selectShown();
  }

  // --- Selection and opening -------------------------------------------------------------------------------------

  select(node, { scroll = true, wait = SETTLE_MS, tell = true, isAsked = false } = {}) {
    this.selected = node.key;
    this.awaited = null;
    if (scroll) this.reveal(node);
    if (tell) this.tellOpen(node, wait, isAsked);
    this.drawSelection();
    this.schedule();
  }

  /** Height of the rows in sight. */
  room() {
    return this.grid.clientHeight - this.head.offsetHeight;
  }

  isInSight(top) {
    return top >= this.grid.scrollTop && top + this.rowPx <= this.grid.scrollTop + this.room();
  }

  /** Scroll as little as needed to show a row and a neighbour. */
  reveal(node) {
    const place = this.outline.places.get(node.key);
    const top = place * this.rowPx;
    if (place === undefined || this.isInSight(top)) return;
    this.grid.scrollTop = top < this.grid.scrollTop ? top - this.rowPx : top - this.room() + 2 * this.rowPx;
  }

  /** Go to a row wherever it hides: unfold, scroll to the middle, show its time. */
  jump(node, options = {}) {
    const exchange = this.model.outermost(node);
    const isOther = exchange && exchange.key !== this.outline.openKey;
    if (exchange && node !== exchange) this.outline.setOpen(exchange);
    this.outline.unfoldTo(node);
    this.outline.flatten();
    this.sizeRows();
    const top = this.outline.places.get(node.key) * this.rowPx;
    if (!this.isInSight(top)) this.grid.scrollTop = top - this.room() / 2;
    this.select(node, { scroll: false, ...options });
    this.redraw({ tools: true });
    if (node !== exchange) this.time.showTimeOf(node, isOther || this.time.isOverview() ? exchange : null);
  }

  /** Open an exchange: unfold it, zoom to it, show its transcript. */
  open(exchange, options = {}) {
    this.outline.setOpen(exchange);
    this.reflow(exchange);
    this.select(exchange, { wait: 0, isAsked: true, ...options });
    const around = this.time.around(exchange);
    if (around) this.time.animate(around);
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
      if (node.row.canOpen && this.outline.isFolded(node)) this.fold(node, false);
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
    if (this.outline.isFolded(node)) this.fold(node, false);
    this.sayOpen(exchange, null, true);
  }

  /** The exchange of the picked session before or behind the one in which a row lies; without a row the first one. */
  exchangeBeside(node, by) {
    const exchanges = this.model.roots.filter((root) => root.type === "exchange");
    const now = node && this.model.outermost(node);
    return exchanges[now ? exchanges.indexOf(now) + by : 0];
  }

  stepExchange(by) {
    const found = this.exchangeBeside(this.current(), by);
    if (found) this.open(found);
  }

  /** The next of some rows behind the selected one; round the end if there is none. */
  next(isWanted, by) {
    const { all } = this.model;
    const from = this.current()?.order ?? (by > 0 ? -1 : all.length);
    for (let step = 1; step <= all.length; step += 1) {
      const node = all[(from + by * step + all.length * (step + 1)) % all.length];
      if (isWanted(node)) return node;
    }
    return null;
  }

  nextError(by) {
    const node = this.next((one) => one.isFailed || this.model.hidesErrors(one), by);
    if (node?.type === "exchange" && node.depth === 0) this.open(node);
    else if (node) this.jump(node, { wait: 0, isAsked: true });
    else this.announce("No errors in this session");
  }

  nextWaste() {
    const isMarked = (one) => one.type === "event" || one.marks.some((mark) => !mark.events.length);
    const node = this.next((one) => one.marks !== null && isMarked(one), 1);
    if (node) this.jump(node, { wait: 0, isAsked: true });
    else this.announce("No loops or waste found");
  }

  current() {
    return this.model?.byKey.get(this.selected) || null;
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

  // --- Tabs of a narrow screen -----------------------------------------------------------------------------------

  showTab(tab, tell = true) {
    if (!this.body.hidden) this.scrolled = this.grid.scrollTop; // a hidden element forgets
    const isBack = this.body.hidden;
    this.tab = tab;
    this.drawTabs();
    if (isBack && !this.body.hidden) this.grid.scrollTop = this.scrolled;
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
    this.ruler.laneWidth = Math.max(1, this.ruler.headLane.clientWidth);
    this.outline.flatten();
    this.sizeRows();
    this.redraw({ map: true, tools: true });
  }

  sizeRows() {
    this.rowsBox.style.height = `${this.outline.rows.length * this.rowPx}px`;
    this.grid.setAttribute("aria-rowcount", String(this.outline.rows.length + 1));
  }

  /** Draw all that is in sight anew. */
  redraw({ map = false, tools = false } = {}) {
    if (!this.ruler.laneWidth) return;
    this.drawn.clear();
    if (tools) this.toolbar.draw();
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

  /** The rows in sight, the selected one wherever it is, and nothing else. */
  drawRows() {
    if (!this.model || !this.ruler.laneWidth || this.body.hidden) return;
    const first = Math.max(0, Math.floor(this.grid.scrollTop / this.rowPx) - OVERSCAN_ROWS);
    const room = Math.ceil(this.grid.clientHeight / this.rowPx) + 2 * OVERSCAN_ROWS;
    const wanted = [];
    for (let place = first; place < Math.min(this.outline.rows.length, first + room); place += 1) wanted.push(place);
    const chosen = this.outline.places.get(this.selected);
    if (chosen !== undefined && chosen < first) wanted.unshift(chosen);
    if (chosen !== undefined && chosen >= first + room) wanted.push(chosen);
    this.putRows(wanted);
    this.drawSelection();
  }

  putRows(wanted) {
    const space = this.time.space();
    const keep = new Set(wanted.map((place) => this.outline.rows[place].key));
    for (const key of this.drawn.keys()) if (!keep.has(key)) this.drawn.delete(key);
    for (const place of wanted) {
      const node = this.outline.rows[place];
      if (this.drawn.has(node.key)) continue;
      const row = drawRow(node, this.rowState(node, place));
      row.style.transform = `translateY(${place * this.rowPx}px)`;
      placeBar(row, node, space);
      this.drawn.set(node.key, row);
    }
    arrange(
      this.rowsBox,
      wanted.map((place) => this.drawn.get(this.outline.rows[place].key)),
    );
  }

  rowState(node, index) {
    return { ...node.row, index, needle: this.toolbar.needle };
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
    if (!this.mouse.hovered) this.drawFoot();
  }

  /** Everything that moves with the view. */
  drawTime() {
    if (!this.ruler.laneWidth) return;
    const space = this.time.space();
    for (const [key, row] of this.drawn) placeBar(row, this.model.byKey.get(key), space);
    this.ruler.drawTicks(space);
    this.minimap.move();
    this.ruler.drawPointer();
  }

  /** One line about the row under the pointer, else the selected one. */
  drawFoot() {
    const node = this.mouse.hovered || this.current();
    const parts = node ? rowFacts(node, this.clock, this.model.head.origin_ms) : [];
    this.foot.replaceChildren(...parts.flatMap((part, place) => (place ? [" · ", part] : [part])));
  }

  /** Show the end, where new events come in; the zoom stays as wide as it is. */
  showNewest() {
    this.unseen = 0;
    const last = this.model.outermost(this.model.all[this.model.all.length - 1]);
    if (last) {
      this.outline.folded.set(last.key, false);
      this.outline.flatten();
      this.sizeRows();
    }
    this.grid.scrollTop = this.outline.rows.length * this.rowPx;
    const { to } = this.time.whole();
    this.time.show(to - this.time.span(), to);
    this.redraw({ tools: true });
  }
}

const viewers = new WeakMap();

export default function ({ data, parentElement }) {
  const { view, leave } = mounted(viewers, parentElement, Viewer);
  view.take(data);
  return leave;
}
