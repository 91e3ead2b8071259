// The session tree as the viewer holds it: records by id, and the tree of rows that is built from them.

/** Read one column of an Arrow frame into a plain array. */
function column(frame, name) {
  const vector = frame.getChild(name);
  const values = new Array(frame.numRows);
  for (let row = 0; row < values.length; row += 1) values[row] = vector.get(row);
  return values;
}

/** Read a frame into records, one object a row. */
function records(frame, names) {
  const columns = names.map((name) => column(frame, name));
  const rows = new Array(frame.numRows);
  for (let row = 0; row < rows.length; row += 1) {
    const record = {};
    for (let place = 0; place < names.length; place += 1) record[names[place]] = columns[place][row];
    rows[row] = record;
  }
  return rows;
}

const EVENT_COLUMNS = [
  ...["id", "exchange", "parent", "kind", "name", "label", "start_ms", "end_ms", "status"],
  ...["tokens", "cost_usd", "flags"],
];
const EXCHANGE_COLUMNS = [
  ...["id", "session", "number", "kind", "status", "start_ms", "end_ms", "tools", "delegations", "steps", "errors"],
  ...["tokens", "cost_usd", "is_fork_copy", "label"],
];

function known(number) {
  return isMissing(number) ? null : Number(number);
}

class Model {
  constructor(payload) {
    this.head = payload.head;
    this.sessions = payload.sessions;
    this.setMarks(payload.marks);
    this.events = new Map();
    this.exchanges = new Map();
    const exchangeIds = column(payload.exchanges, "id");
    for (const row of records(payload.exchanges, EXCHANGE_COLUMNS)) {
      this.putExchange({ ...row, session_id: this.sessions[row.session].session_id });
    }
    const eventIds = column(payload.events, "id");
    for (const row of records(payload.events, EVENT_COLUMNS)) {
      const parent_id = row.parent < 0 ? null : eventIds[row.parent];
      this.putEvent({ ...row, exchange_id: exchangeIds[row.exchange], parent_id });
    }
    this.build();
  }

  setMarks(marks) {
    this.marks = marks.map((mark) => ({ ...mark, text: short(mark.text) }));
  }

  putExchange(row) {
    const node = this.exchanges.get(row.id) || { type: "exchange", key: `x:${row.id}`, kind: "exchange", id: row.id };
    this.putShared(node, row);
    node.sessionId = row.session_id;
    node.number = row.number;
    node.what = row.kind;
    node.tools = row.tools;
    node.delegations = row.delegations;
    node.errors = row.errors;
    node.flags = row.is_fork_copy ? FLAG.copy : 0;
    node.asked = oneLine(row.label);
    this.exchanges.set(row.id, node);
  }

  putEvent(row) {
    const node = this.events.get(row.id) || { type: "event", key: row.id, kind: kindOf(row.kind), id: row.id };
    this.putShared(node, row);
    node.exchangeId = row.exchange_id;
    node.parentId = row.parent_id;
    node.name = row.name || "";
    node.label = oneLine(row.label);
    node.flags = row.flags;
    node.isFailed = row.status === "failed" || node.kind === "error" || node.kind === "retry";
    this.events.set(row.id, node);
  }

  putShared(node, row) {
    node.status = row.status;
    node.start = known(row.start_ms);
    node.end = known(row.end_ms);
    node.tokens = known(row.tokens);
    node.cost = known(row.cost_usd);
  }

  /** Take what a running session has gained. Returns how many events are new. */
  grow(growth) {
    const before = this.events.size;
    growth.exchanges.forEach((row) => this.putExchange(row));
    growth.events.forEach((row) => this.putEvent(row));
    if (growth.sessions.length) this.sessions = growth.sessions;
    if (growth.marks) this.setMarks(growth.marks);
    this.head = { ...this.head, is_running: growth.is_running };
    this.build();
    return this.events.size - before;
  }

  /** Make the tree anew: exchanges, their events, child sessions below the calls that started them. */
  build() {
    this.roots = [];
    for (const node of this.exchanges.values()) {
      node.children = [];
      node.label = node.asked;
    }
    for (const node of this.events.values()) {
      node.children = [];
      node.link = null;
    }
    for (const node of this.events.values()) {
      node.exchange = this.exchanges.get(node.exchangeId);
      const above = node.parentId === null ? undefined : this.events.get(node.parentId);
      (above || node.exchange)?.children.push(node);
      if (node.kind === "prompt" && node.exchange && !node.exchange.label) node.exchange.label = node.label;
    }
    this.hangSessions();
    this.number();
    this.hangMarks();
    this.tellLive();
  }

  hangSessions() {
    const bySession = new Map();
    for (const node of this.exchanges.values()) {
      if (!bySession.has(node.sessionId)) bySession.set(node.sessionId, []);
      bySession.get(node.sessionId).push(node);
    }
    this.bySession = bySession;
    this.sessionRows = new Map();
    this.sessions.forEach((session, place) => {
      const own = bySession.get(session.session_id) || [];
      const call = session.event === null ? undefined : this.events.get(session.event);
      if (call) call.link = session;
      if (place > 0 && session.link !== "ok") return;
      this.sessionRows.set(session.session_id, session);
      for (const node of own) node.session = session;
      if (place === 0) this.roots.push(...own);
      else if (!call) this.roots.push(this.loose(session, own));
      else if (own.length === 1) call.children.push(...own[0].children);
      else call.children.push(...own);
    });
  }

  /** A child session that no recorded call started stands by itself, and says so. */
  loose(session, own) {
    const node = { type: "session", key: `s:${session.session_id}`, kind: "delegation", name: session.agent || "" };
    Object.assign(node, { id: session.session_id, label: oneLine(session.title), children: own, link: session });
    Object.assign(node, { start: known(session.started_ms), end: known(session.ended_ms), status: session.status });
    return Object.assign(node, {
      tokens: session.own_tokens,
      cost: session.own_cost_usd,
      flags: 0,
      exchange: own[0],
    });
  }

  /** Number all rows in reading order, and sum up what lies below each. */
  number() {
    this.all = [];
    this.byKey = new Map();
    this.counts = {};
    this.failed = 0;
    for (const root of this.roots) this.visit(root, null, 0, { at: null });
    if (this.head.is_partial) this.failed = [...this.exchanges.values()].reduce((sum, node) => sum + node.errors, 0);
  }

  /** Whether errors lie in an exchange whose events have not come. */
  hidesErrors(node) {
    return this.head.is_partial && node.type === "exchange" && node.errors > 0 && !node.children.length;
  }

  visit(node, parent, depth, last) {
    node.parent = parent;
    node.depth = depth;
    node.order = this.all.length;
    node.leaves = null;
    node.below = { errors: 0, tools: 0 };
    this.all.push(node);
    this.byKey.set(node.key, node);
    if (node.start !== null) last.at = node.start;
    node.at = last.at; // where it stands in the order, if its own time is unknown
    if (node.type === "event") this.counts[node.kind] = (this.counts[node.kind] || 0) + 1;
    if (node.isFailed) this.failed += 1;
    for (const child of node.children) {
      this.visit(child, node, depth + 1, last);
      node.below.errors += child.below.errors + (child.isFailed ? 1 : 0);
      node.below.tools += child.below.tools + (child.kind === "tool" ? 1 : 0);
    }
    if (node.end !== null && (node.start === null || node.end >= node.start)) last.at = node.end;
  }

  /** What has no end yet may still work, but only in the last exchange of its session. */
  tellLive() {
    for (const node of this.all) {
      const exchange = node.type === "exchange" ? node : node.exchange;
      const last = exchange && this.bySession.get(exchange.sessionId).at(-1);
      node.isLive = this.head.is_running && node.status === "unfinished" && exchange === last;
    }
  }

  hangMarks() {
    for (const node of this.all) node.marks = null;
    for (const mark of this.marks) {
      const nodes = mark.events.map((id) => this.events.get(id)).filter(Boolean);
      const row = this.rowOf(this.exchanges.get(mark.exchange_id));
      for (const node of new Set(row ? [row, ...nodes] : nodes)) (node.marks ||= []).push(mark);
    }
  }

  /** The row that stands for an exchange: its own, or the call whose only exchange it is. */
  rowOf(exchange) {
    if (!exchange) return null;
    if (this.byKey.get(exchange.key) === exchange) return exchange;
    return exchange.session ? this.events.get(exchange.session.event) || null : null;
  }

  /** The exchange of the picked session in which a row lies. */
  outermost(node) {
    let above = node;
    while (above.parent) above = above.parent;
    return above.type === "exchange" ? above : null;
  }

  /** Every stretch of time in which something was recorded. */
  spans() {
    const spans = [];
    for (const node of this.all) {
      if (node.start === null || node.type === "session") continue;
      if (node.type === "exchange" && node.children.length) spans.push([node.start, node.start]);
      else spans.push([node.start, node.end !== null && node.end > node.start ? node.end : node.start]);
    }
    return spans;
  }

  /** Leaves whose bars a folded row shows in small. */
  leaves(node) {
    const found = [];
    const look = (below) => {
      for (const child of below.children) {
        if (child.kind !== "exchange" && child.kind !== "prompt") found.push(child);
        if (child.kind !== "delegation") look(child);
      }
    };
    look(node);
    return found;
  }
}
