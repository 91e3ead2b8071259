// The right side: what was said and done in the open exchange, and the tree of delegations.

const STATE_MS = 120; // keys that are held down load only what they stop at
const BATCH = 150; // pieces that are drawn at a time
const PART_MS = 500; // a part that is selected is only worth an address in the URL
const ENDINGS = {
  failed: "failed",
  aborted: "aborted",
  unfinished: "unfinished",
  unanswered: "no answer",
  answered: "",
};
const LINKS = {
  missing: "session missing",
  resumed: "resumed again",
  cycle: "leads back: cut here",
  elsewhere: "belongs to another session",
};
const AWAY = {
  missing: "The index does not have its session.",
  elsewhere: "Its session belongs to another one, and has a timeline of its own.",
};

class Detail {
  constructor(parent) {
    this.parent = parent;
    this.tab = "transcript";
    this.folds = new Map();
    this.pieces = new Map();
    this.back = [];
    this.state = null;
    this.want = null;
    this.line = new Line("detail", (message) => this.hear(message));
    this.narrow = window.matchMedia(NARROW);
    this.onNarrow = () => this.drawTabs();
    this.narrow.addEventListener("change", this.onNarrow);
    this.make();
  }

  leave() {
    this.line.close();
    this.narrow.removeEventListener("change", this.onNarrow);
    clearTimeout(this.telling);
    this.root.remove();
  }

  make() {
    this.tabs = el("div", { class: "tabs", role: "tablist", "aria-label": "Exchange" });
    for (const [name, words] of [
      ["transcript", "Transcript"],
      ["delegations", "Delegations"],
    ]) {
      const id = `tab-${name}`;
      const attributes = { type: "button", role: "tab", id, "data-tab": name, "aria-controls": `panel-${name}` };
      this.tabs.append(el("button", { ...attributes, onclick: () => this.showTab(name) }, words));
    }
    this.tabs.addEventListener("keydown", (event) => stepTabs(event, this.tabs));
    this.headBox = el("div", { class: "head" });
    this.list = el("div", { class: "pieces" });
    this.scroller = el(
      "div",
      { class: "scroller", tabindex: "0", role: "region", "aria-label": "What was said" },
      this.list,
    );
    this.transcript = el(
      "div",
      { class: "panel", role: "tabpanel", id: "panel-transcript" },
      this.headBox,
      this.scroller,
    );
    this.tree = el("div", { class: "panel delegations", role: "tabpanel", id: "panel-delegations" });
    this.body = el("div", { class: "body" }, this.transcript, this.tree);
    this.root = el("div", { class: "trace detail" }, this.tabs, this.body);
    this.root.addEventListener("keydown", (event) => this.key(event));
    this.list.addEventListener("click", (event) => this.click(event));
    this.parent.appendChild(this.root);
    this.drawTabs();
  }

  // --- Data --------------------------------------------------------------------------------------------------------

  take(payload, setState) {
    this.setState = setState;
    followTheme(this.root, this.parent.host || this.parent);
    if (!payload) return;
    const isNew = this.line.view !== payload.view;
    this.line.view = payload.view;
    if (isNew) this.begin(payload);
    this.payload = payload;
    if (isNew) this.line.say("hello");
    if (payload.growth) this.line.say("growth", { growth: payload.growth });
    this.draw();
  }

  begin(payload) {
    this.state = null;
    this.about = null;
    this.back = [];
    this.folds.clear();
    this.want = { exchange: payload.opened.exchange, part: payload.opened.part };
    this.wanted = [...payload.opened.show_all];
    this.told = JSON.stringify(payload.opened);
    this.shouldScroll = true;
    this.drawTree();
  }

  hear(message) {
    if (message.type === "state") {
      const { head, sessions, marks, tab, about } = message;
      this.state = { head, sessions, marks, clock: new Clock(head.tz) };
      if (about?.id === this.want.exchange) this.about = about;
      if (this.narrow.matches && tab !== this.tab) this.setTab(tab);
      if (this.payload.growth) this.line.say("growth", { growth: this.payload.growth });
      this.drawTree();
      this.draw();
    }
    if (message.type === "tab") this.setTab(message.tab);
    if (message.type === "open") this.open(message);
  }

  /** The viewer opened something: show it, load it if need be, and let Python know. */
  open({ exchange, part, about, isAsked }) {
    const isOther = exchange !== this.want.exchange;
    if (this.going && isOther && this.want.exchange) this.back.push({ ...this.want, number: this.about?.number });
    this.going = false;
    if (isOther) {
      this.wanted = [];
      this.scroller.scrollTop = 0;
    }
    this.want = { exchange, part };
    this.about = about;
    if (part && isAsked && !this.isShort(part)) this.folds.set(part, true);
    this.shouldScroll = true;
    this.tell(!isOther ? PART_MS : isAsked ? 0 : STATE_MS);
    this.draw();
  }

  isShort(id) {
    const piece = this.payload.pieces.find((one) => one.id === id);
    return piece && piece.kind === "step";
  }

  /** Let Python know what is open, once things have come to rest. */
  tell(wait) {
    clearTimeout(this.telling);
    this.telling = setTimeout(() => {
      const opened = { exchange: this.want.exchange, part: this.want.part, show_all: this.wanted };
      const text = JSON.stringify(opened);
      if (text === this.told) return;
      this.told = text;
      this.setState("opened", opened);
    }, wait);
  }

  // --- Asking ------------------------------------------------------------------------------------------------------

  ask() {
    return {
      clock: this.state?.clock || new Clock("UTC"),
      origin: this.state ? this.state.head.origin_ms : null,
      marks: (id) => (this.state?.marks || []).filter((mark) => mark.events.includes(id)),
      link: (id) => LINKS[this.called(id)?.link] || null,
      away: (id) => AWAY[this.called(id)?.link] || null,
      agent: (id) => this.called(id)?.agent || null,
      isOpen: (piece, isBad) => this.folds.get(piece.id) ?? (isBad && piece.kind !== "step"),
      isWhole: (id) => this.payload.shown.includes(id),
      setOpen: (id, isOpen) => this.setOpen(id, isOpen),
      showAll: (id) => this.showAll(id),
      openSession: (id) => this.openSession(id),
    };
  }

  /** The session that a call leads to. */
  called(id) {
    return (this.state?.sessions || []).find((session) => session.event === id);
  }

  setOpen(id, isOpen) {
    this.folds.set(id, isOpen);
    this.choose(id);
    this.draw();
    this.list.querySelector(`[data-id="${CSS.escape(id)}"] > .line`)?.focus({ preventScroll: true });
  }

  showAll(id) {
    if (!this.wanted.includes(id)) this.wanted = [...this.wanted, id];
    this.tell(0);
  }

  openSession(id) {
    this.going = true;
    this.setTab("transcript");
    if (this.narrow.matches) this.line.say("tab", { tab: "transcript" });
    this.line.say("session", { session: id });
  }

  goBack() {
    const { exchange, part } = this.back.pop();
    this.line.say("select", { exchange, part, isAsked: true });
  }

  /** Select a piece here and in the viewer. */
  choose(id) {
    if (this.want.part === id) return;
    this.want = { ...this.want, part: id };
    this.line.say("select", { exchange: this.want.exchange, part: id, isAsked: false });
    this.tell(PART_MS);
    this.drawSelection();
  }

  click(event) {
    const piece = event.target.closest(".piece");
    if (!piece || event.target.closest("button") || String(window.getSelection())) return;
    this.choose(piece.dataset.id);
  }

  key(event) {
    const { key } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("[role=tablist]")) return;
    if (key === "j" || key === "k") this.stepPiece(key === "j" ? 1 : -1);
    else if (key === "[" || key === "]") this.line.say("step", { by: key === "]" ? 1 : -1 });
    else if (key === "e" || key === "E") this.line.say("error", { by: key === "e" ? 1 : -1 });
    else if (key === "l") this.line.say("link");
    else if (key === "Enter" && event.target === this.scroller) this.toggleChosen();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  stepPiece(by) {
    const { pieces } = this.payload;
    const place = pieces.findIndex((piece) => piece.id === this.want.part);
    const next = pieces[Math.min(Math.max(place + by, 0), pieces.length - 1)];
    if (!next) return;
    this.choose(next.id);
    this.scrollTo(next.id);
  }

  toggleChosen() {
    const line = this.list.querySelector(`[data-id="${CSS.escape(this.want.part || "")}"] > .line`);
    line?.click();
  }

  // --- Tabs --------------------------------------------------------------------------------------------------------

  showTab(tab) {
    this.setTab(tab);
    this.line.say("tab", { tab });
  }

  setTab(tab) {
    this.tab = tab;
    this.drawTabs();
    if (tab === "transcript") this.scrollWanted();
  }

  drawTabs() {
    const isNarrow = this.narrow.matches;
    const tab = !isNarrow && this.tab === "timeline" ? "transcript" : this.tab;
    this.tabs.hidden = isNarrow;
    for (const one of this.tabs.children) {
      const isChosen = one.dataset.tab === tab;
      one.setAttribute("aria-selected", String(isChosen));
      one.tabIndex = isChosen ? 0 : -1;
    }
    this.transcript.hidden = tab !== "transcript";
    this.tree.hidden = tab !== "delegations";
    for (const [panel, name] of [
      [this.transcript, "transcript"],
      [this.tree, "delegations"],
    ]) {
      if (isNarrow) panel.removeAttribute("aria-labelledby");
      else panel.setAttribute("aria-labelledby", `tab-${name}`);
      panel.setAttribute("aria-label", name === "transcript" ? "Transcript" : "Delegations");
    }
  }

  // --- Transcript --------------------------------------------------------------------------------------------------

  draw() {
    if (!this.payload) return;
    this.drawHead();
    const isHere = this.payload.exchange_id === this.want.exchange;
    this.root.classList.toggle("loading", !isHere);
    if (!this.want.exchange) this.list.replaceChildren(el("p", { class: "nothing" }, "Open an exchange to read it."));
    else if (!isHere) this.drawLoading();
    else this.drawPieces();
    this.drawSelection();
    if (isHere && this.shouldScroll) this.scrollWanted();
  }

  drawLoading() {
    if (this.list.firstChild?.className === "loader") return;
    this.pieces.clear();
    const bars = [70, 95, 88, 40, 92, 60].map((wide) => {
      const bar = el("span");
      bar.style.width = `${wide}%`;
      return bar;
    });
    this.list.replaceChildren(
      el("div", { class: "loader", role: "status", "aria-label": "Loading the transcript" }, ...bars),
    );
  }

  /** Draw what is new or changed; everything else stays as it is, with its focus and what was unfolded in it. */
  drawPieces() {
    const ask = this.ask();
    const before = this.pieces;
    const { from, to } = this.range();
    this.pieces = new Map();
    for (const piece of this.payload.pieces.slice(from, to)) {
      const facts = [ask.isWhole(piece.id), ask.marks(piece.id), ask.link(piece.id), ask.agent(piece.id), ask.origin];
      const text = JSON.stringify([piece, this.folds.get(piece.id), ...facts]);
      const drawn = before.get(piece.id);
      this.pieces.set(piece.id, drawn?.text === text ? drawn : { text, element: drawPiece(piece, ask) });
    }
    const elements = [...this.pieces.values()].map((drawn) => drawn.element);
    const left = this.payload.pieces.length - to;
    if (from > 0) elements.unshift(this.moreButton(`${counted(from, "piece")} before`, { from: from - BATCH, to }));
    if (left > 0) elements.push(this.moreButton(`${counted(left, "more piece")}`, { from, to: to + BATCH }));
    if (!elements.length) elements.push(el("p", { class: "nothing" }, "Nothing was recorded in this exchange."));
    arrange(this.list, elements);
  }

  /** Which pieces are drawn: a long exchange a part at a time, the wanted piece among them. */
  range() {
    const { pieces, exchange_id } = this.payload;
    const wanted = this.want.part ? pieces.findIndex((piece) => piece.id === this.want.part) : -1;
    const isKnown = this.shown?.exchange === exchange_id;
    const isIn = isKnown && (wanted < 0 || (wanted >= this.shown.from && wanted < this.shown.to));
    if (!isIn) {
      const from = Math.max(0, wanted - BATCH / 2);
      this.shown = { exchange: exchange_id, from, to: from + BATCH };
    }
    return { from: this.shown.from, to: Math.min(this.shown.to, pieces.length) };
  }

  moreButton(words, { from, to }) {
    const button = el("button", { type: "button", class: "more" }, `Show ${words}`);
    button.addEventListener("click", () => {
      this.shown = { ...this.shown, from: Math.max(0, from), to };
      this.draw();
    });
    return button;
  }

  drawHead() {
    const { about } = this;
    const text = JSON.stringify([about, this.back, about && this.marksOf(about)]);
    if (text === this.headText) return; // a button that is made anew under the pointer loses its click
    this.headText = text;
    if (!about) {
      this.headBox.replaceChildren();
      return;
    }
    const step = (by, words, name, isEnd) => {
      const attributes = { type: "button", class: "square", title: name, "aria-label": name, disabled: isEnd };
      return el("button", { ...attributes, onclick: () => this.line.say("step", { by }) }, words);
    };
    const back = this.back[this.back.length - 1];
    const first = el(
      "div",
      { class: "head-line" },
      back
        ? el(
            "button",
            { type: "button", class: "go", onclick: () => this.goBack() },
            back.number ? `← Exchange ${back.number}` : "← Back",
          )
        : null,
      el("h2", {}, `Exchange ${about.number}`, el("small", {}, about.among > 1 ? ` of ${count(about.among)}` : "")),
      this.ending(about),
      el("span", { class: "space" }),
      step(-1, "‹", "Previous exchange ([)", about.isFirst),
      step(1, "›", "Next exchange (])", about.isLast),
    );
    this.headBox.replaceChildren(
      ...[first, this.crumbs(about), this.numbers(about), ...this.wastes(about)].filter(Boolean),
    );
  }

  ending(about) {
    const words = ENDINGS[about.status] ?? about.status;
    if (!words) return null;
    const isBad = about.status === "failed";
    return el("span", { class: isBad ? "sign bad" : "sign" }, isBad ? icon("error") : null, words);
  }

  /** Where a child session hangs: the calls that lead to it. */
  crumbs({ path, session }) {
    if (!session || session.depth === 0) return null;
    const names = path.map(({ name, text }) => [short(name, 40), short(text, 60)].filter(Boolean).join(": "));
    const shown = names.length > 4 ? [names[0], "…", ...names.slice(-2)] : names;
    const words = shown.join(" › ");
    return el("p", { class: "crumbs" }, icon("delegation"), words || oneLine(session.title) || "Child session");
  }

  numbers(about) {
    const words = [about.session?.agent, about.session?.model].filter(Boolean).map((name) => short(name, 60));
    if (!isMissing(about.start) && !isMissing(about.end) && about.end >= about.start)
      words.push(duration(about.end - about.start));
    if (about.tools) words.push(counted(about.tools, "tool"));
    if (about.delegations) words.push(counted(about.delegations, "delegation"));
    if (about.errors) words.push(counted(about.errors, "error"));
    words.push(`${tokens(about.tokens)} tokens`, usd(about.cost, 4));
    return el("p", { class: "numbers" }, words.join(" · "));
  }

  marksOf(about) {
    return (this.state?.marks || []).filter((mark) => mark.exchange_id === about.id);
  }

  wastes(about) {
    return this.marksOf(about).map((mark) => el("p", { class: "waste-note" }, icon(mark.kind), `${mark.text}${markCost(mark)}`));
  }

  drawSelection() {
    for (const [id, { element }] of this.pieces) {
      const isChosen = id === this.want?.part;
      if (element.classList.contains("chosen") === isChosen) continue;
      element.classList.toggle("chosen", isChosen);
      if (isChosen) element.setAttribute("aria-current", "true");
      else element.removeAttribute("aria-current");
    }
  }

  scrollWanted() {
    if (!this.payload || this.payload.exchange_id !== this.want.exchange || this.transcript.hidden) return;
    this.shouldScroll = false;
    if (this.want.part) this.scrollTo(this.want.part);
  }

  scrollTo(id) {
    const piece = this.pieces.get(id)?.element;
    if (!piece) return;
    if (this.narrow.matches) {
      piece.scrollIntoView({ block: "center" });
      return;
    }
    const top = piece.offsetTop - this.scroller.offsetTop;
    const { scrollTop, clientHeight } = this.scroller;
    if (top >= scrollTop && top + Math.min(piece.offsetHeight, clientHeight) <= scrollTop + clientHeight) return;
    this.scroller.scrollTop = top - 40;
  }

  // --- Delegations -------------------------------------------------------------------------------------------------

  drawTree() {
    const sessions = this.state?.sessions || [];
    if (sessions.length < 2) {
      this.tree.replaceChildren(el("p", { class: "nothing" }, "This session delegated nothing."));
      return;
    }
    const heads = ["Session", "Started", "Time", "Own cost", "With children"];
    const rows = sessions.map((session) => this.treeRow(session));
    const head = el(
      "tr",
      {},
      ...heads.map((words, place) => el("th", { scope: "col", class: place ? "number" : null }, words)),
    );
    const table = el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows));
    this.tree.replaceChildren(
      el("div", { class: "scroller", tabindex: "0", role: "region", "aria-label": "Delegation tree" }, table),
    );
  }

  treeRow(session) {
    const { clock, head } = this.state;
    const isThere = session.link === "ok" || session.link === "resumed";
    const title = short(session.title) || session.session_id;
    const name = el("button", { type: "button", class: "go", disabled: !isThere && !session.event }, title);
    name.addEventListener("click", () => this.go(session));
    const what = [session.agent, session.model]
      .filter(Boolean)
      .map((name) => short(name, 60))
      .join(" · ");
    const cell = el(
      "td",
      { class: "title" },
      el("div", {}, icon(session.depth ? "delegation" : "prompt"), name, this.treeSign(session)),
      el("small", {}, what),
    );
    cell.style.setProperty("--depth", String(Math.min(session.depth, 12)));
    const ms =
      isMissing(session.started_ms) || isMissing(session.ended_ms) ? null : session.ended_ms - session.started_ms;
    const started =
      isMissing(session.started_ms) || head.origin_ms === null
        ? MISSING
        : clock.time(head.origin_ms + session.started_ms);
    const subtree = session.subtree_cost_usd === session.own_cost_usd ? "" : usd(session.subtree_cost_usd, 4);
    const numbers = [started, duration(ms), usd(session.own_cost_usd, 4), subtree].map((words) =>
      el("td", { class: "number" }, session.link === "ok" ? words : ""),
    );
    return el("tr", { class: session.link === "ok" ? null : "loose" }, cell, ...numbers);
  }

  treeSign(session) {
    const words =
      session.link === "ok"
        ? { ...ENDINGS, running: "running", ok: "", unknown: "" }[session.status]
        : LINKS[session.link];
    const more = session.is_deleted ? "deleted" : session.depth && !session.event ? "no call recorded" : "";
    const text = [words, more].filter(Boolean).join(", ");
    if (!text) return null;
    const isBad = session.link === "ok" && session.status === "failed";
    return el("span", { class: isBad ? "sign bad" : "sign" }, isBad ? icon("error") : null, text);
  }

  go(session) {
    if (session.link === "ok") this.openSession(session.session_id);
    else this.line.say("select", { exchange: null, part: session.event, isAsked: true });
  }
}

const details = new WeakMap();

export default function ({ data, parentElement, setStateValue }) {
  const { view, leave } = mounted(details, parentElement, Detail);
  view.take(data, setStateValue);
  return leave;
}
