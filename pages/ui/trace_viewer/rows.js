// What one row of the waterfall looks like. Pure drawing: from a node and the viewer's state to elements.

const LEAST_BAR_PX = 3;
const UNKNOWN_PX = 12;
const KINDS_WITH_COST = ["exchange", "step", "delegation", "compaction"];
// That such a thing took no time says nothing: OpenCode 1.1 stamps an answer when it ends, twice.
const MOMENTS = ["prompt", "text", "file", "patch", "error", "retry", "other"];
const BAR_RANK = {
  step: 0,
  other: 1,
  compaction: 1,
  file: 1,
  text: 2,
  reasoning: 3,
  patch: 4,
  tool: 5,
  delegation: 6,
};
const COMPOSED = { step: "k-model", delegation: "k-delegation-pale" }; // paler, where they only surround the rest
const EXCHANGE_WORDS = { failed: "failed", aborted: "aborted", unfinished: "unfinished", unanswered: "no answer" };
const LINK_WORDS = {
  missing: "its session is missing",
  resumed: "resumes a session above",
  cycle: "leads back to a session above",
  elsewhere: "its session belongs to another one",
};

/** What a row is called, in words. */
function rowName(node) {
  if (node.type === "exchange") return `Exchange ${node.number}`;
  if (node.type === "session") return "Child session";
  if (node.kind === "other") return node.name || "Other";
  return NAMES[node.kind][0];
}

/** The name that stands before the text: of a call's tool, of the agent that a delegation went to. */
function rowTitle(node) {
  if (node.type === "exchange") return String(node.number);
  if (node.kind === "delegation") return oneLine(node.link?.agent || node.name);
  return ["tool", "error", "retry", "other"].includes(node.kind) ? oneLine(node.name) : "";
}

/** The main text of a row: what tells it from others of its kind. */
function rowText(node) {
  if (node.type === "exchange") return node.label || EXCHANGE_KINDS[node.what] || "No prompt";
  if (node.kind === "step") return isMissing(node.tokens) ? "Step" : `${tokens(node.tokens)} tokens`;
  if (node.kind === "prompt" && node.label === node.exchange?.label) return "Prompt";
  if (node.kind === "reasoning" || node.kind === "text") return node.label.replace(/\*\*|`|^#+ /g, "");
  return node.label;
}

const EXCHANGE_KINDS = {
  compaction: "Compaction",
  shell: "Shell command",
  continuation: "Continued",
  none: "No prompt",
};

/** Say what there is to know about the time and the end of a row, beside its bar. */
function rowNotes(node) {
  const notes = [];
  if (node.type === "exchange") {
    if (node.tools) notes.push(counted(node.tools, "tool"));
    if (node.delegations) notes.push(counted(node.delegations, "delegation"));
    if (node.errors) notes.push(`✕ ${counted(node.errors, "error")}`);
    return notes;
  }
  if (node.link && LINK_WORDS[node.link.link]) notes.push(LINK_WORDS[node.link.link]);
  else if (node.type === "session" && node.link.event === null) notes.push("no call recorded");
  if (node.kind === "delegation" && node.below.tools) notes.push(counted(node.below.tools, "tool"));
  if (node.kind === "delegation" && node.below.errors) notes.push(`✕ ${counted(node.below.errors, "error")}`);
  if (node.isFailed) notes.push(node.kind === "error" || node.kind === "retry" ? "✕" : "✕ failed");
  if (node.status === "unfinished") notes.push(node.isLive ? "running" : "unfinished");
  if (node.status === "restarted") notes.push("restarted");
  if (node.start === null || node.flags & FLAG.unknown) notes.push("time unknown");
  if (node.flags & FLAG.backwards) notes.push("clock went back");
  return notes;
}

/** How long a row took, where that is known. */
function rowDuration(node) {
  if (node.start === null || node.end === null || node.end < node.start) return null;
  return node.end === node.start && MOMENTS.includes(node.kind) ? null : node.end - node.start;
}

/** All that is known of a row, in short: when, how long, what it cost, what was wasted, its text. */
function rowFacts(node, clock, origin) {
  const isNamed = node.type === "event" && node.kind !== "error";
  const parts = [el("b", {}, (isNamed && rowTitle(node)) || rowName(node))];
  if (node.start === null) parts.push("time unknown");
  else if (origin !== null) parts.push(clock.time(origin + node.start, 1));
  const ms = rowDuration(node);
  if (ms !== null) parts.push(duration(ms));
  const below = node.link?.link === "ok" ? node.link : null;
  const used = below ? below.subtree_tokens : node.tokens;
  const spent = below ? below.subtree_cost_usd : node.cost;
  if (!isMissing(used)) parts.push(`${tokens(used)} tokens`);
  if (!isMissing(spent)) parts.push(usd(spent, 4));
  for (const mark of node.marks || []) parts.push(`${mark.text}${wasteCost(mark)}`);
  if (node.label && node.type === "event") parts.push(node.label);
  return parts;
}

/** Small signs behind the text: what ended badly, waste with its price, copies, deletions. */
function rowSigns(node) {
  const signs = [];
  const status = node.type === "exchange" ? node.status : node.link?.link === "ok" ? node.link.status : "";
  const words = node.isLive ? "running" : EXCHANGE_WORDS[status];
  if (words) {
    const isBad = status === "failed";
    signs.push(el("span", { class: isBad ? "sign bad" : "sign" }, isBad ? icon("error") : null, ...signWords(words)));
  }
  if (node.marks) signs.push(wasteSign(node));
  if (node.flags & FLAG.copy)
    signs.push(el("span", { class: "sign", title: "Copied by a fork; not counted again" }, "copy"));
  if (node.flags & FLAG.deleted) signs.push(el("span", { class: "sign", title: "Deleted in OpenCode" }, "deleted"));
  return signs;
}

/** The words of a sign, which give way where there is no room. */
function signWords(words) {
  return words ? [el("span", { class: "words" }, words)] : [];
}

function wasteSign(node) {
  const own = node.marks;
  const words = own.map((mark) => `${mark.text}${wasteCost(mark)}`).join("\n");
  if (node.type !== "exchange" && node.kind !== "delegation")
    return el("span", { class: "sign waste", title: words }, icon(own[0].kind, words));
  const costs = own.map((mark) => mark.cost_usd).filter((cost) => !isMissing(cost));
  const total = costs.length ? ` ${usd(Math.max(...costs), 4)}` : "";
  const kinds = [...new Set(own.map((mark) => mark.kind))];
  return el(
    "span",
    { class: "sign waste", title: words },
    ...kinds.map((kind) => icon(kind, WASTE_WORDS[kind])),
    ...signWords(total.trim()),
  );
}

const WASTE_WORDS = { loop: "Loop", edit: "Edited again after a failure", ended: "Ended without a result" };

function wasteCost(mark) {
  const parts = [];
  if (!isMissing(mark.cost_usd)) parts.push(usd(mark.cost_usd, 4));
  if (!isMissing(mark.tokens)) parts.push(`${tokens(mark.tokens)} tokens`);
  return parts.length ? `: ${parts.join(", ")}` : "";
}

/** Draw a row. Its bar is placed apart, since that changes with every step of a zoom. */
function drawRow(node, state) {
  const isBad = node.isFailed || (node.type === "exchange" && node.status === "failed");
  const classes = ["row", `k-${node.kind}`];
  if (node.type !== "event") classes.push(node.type);
  if (isBad) classes.push("failed");
  if (node.flags & (FLAG.copy | FLAG.deleted)) classes.push("faint");
  const spent = node.link?.link === "ok" ? node.link.subtree_cost_usd : node.cost;
  const cost = KINDS_WITH_COST.includes(node.kind) || !isMissing(spent) ? usd(spent, 4) : "";
  const ms = rowDuration(node);
  return el(
    "div",
    {
      class: classes.join(" "),
      role: "row",
      id: `row-${node.order}`,
      "aria-level": state.level + 1,
      "aria-expanded": state.canOpen ? String(state.isOpen) : null,
      "aria-setsize": state.among,
      "aria-posinset": state.position,
      "aria-rowindex": state.index + 2,
      "aria-selected": "false",
      "data-key": node.key,
    },
    drawLabel(node, state, isBad),
    el("div", {
      class: "cell lane",
      role: "gridcell",
      "aria-label": rowNotes(node).join(", ") || null,
    }),
    el("div", { class: "cell number", role: "gridcell" }, ms === null ? "" : duration(ms)),
    el("div", { class: "cell number cost", role: "gridcell" }, cost),
  );
}

function drawLabel(node, state, isBad) {
  const guides = [];
  const isDeep = state.level > 9; // ten sessions deep there are thirty levels
  for (let level = 0; level < state.level; level += 1)
    guides.push(el("span", { class: isDeep ? "guide narrow" : "guide" }));
  const twist = el("span", { class: state.canOpen ? "twist" : "twist none", "aria-hidden": "true" });
  if (state.isOpen) twist.classList.add("open");
  const title = rowTitle(node);
  const text = highlighted(rowText(node), state.needle);
  return el(
    "div",
    { class: "cell label", role: "gridcell" },
    ...guides,
    twist,
    node.type === "exchange"
      ? null
      : icon(isBad && node.kind !== "retry" ? "error" : kindOf(node.kind), iconTitle(node)),
    title ? el("span", { class: "name" }, ...highlighted(title, state.needle)) : null,
    el("span", { class: "text" }, ...text),
    ...rowSigns(node),
  );
}

function iconTitle(node) {
  return node.isFailed && node.kind !== "error" ? `${rowName(node)}, failed` : rowName(node);
}

/** Put the bar of a row where the view says. */
function placeBar(row, node, space) {
  const cell = row.children[1];
  const start = node.start ?? node.at;
  if (start === null) {
    cell.replaceChildren(caption(node, null, space));
    return;
  }
  const left = space.x(start);
  const isKnown = node.start !== null;
  const isOpenEnd = node.end === null && isKnown && node.status === "unfinished";
  const end = isOpenEnd && node.isLive ? space.newest : Math.max(node.end ?? start, start);
  const right = isKnown ? Math.max(space.x(end), left) : left + UNKNOWN_PX;
  if (right < -1 || left > space.width + 1) {
    const side = left < 0 ? "before" : "after";
    const words = node.type === "event" ? "" : besideEdge(node, side, space);
    cell.replaceChildren(el("div", { class: `edge ${side}` }), words);
    return;
  }
  const shown = { left: Math.max(left, -8), right: Math.min(Math.max(right, left + LEAST_BAR_PX), space.width + 8) };
  const bar = el("div", { class: barClass(node, isKnown, isOpenEnd, right - left) });
  bar.style.transform = `translateX(${shown.left.toFixed(1)}px)`;
  bar.style.width = `${Math.max(LEAST_BAR_PX, shown.right - shown.left).toFixed(1)}px`;
  const isWhole = node.type !== "event" || node.kind === "delegation";
  if (isWhole) bar.style.backgroundImage = composition(node, shown, space);
  const words = caption(node, shown, space);
  cell.replaceChildren(
    ...idleMark(node, words.dataset?.side === "left" ? left - wide(words.textContent) : left, space),
    bar,
    words,
  );
}

/** About how wide small text is: measuring it would lay out every row at every step of a zoom. */
function wide(words) {
  return words.length * 6 + 10;
}

function barClass(node, isKnown, isOpenEnd, px) {
  const classes = ["bar", `b-${node.type === "exchange" ? "exchange" : node.kind}`];
  if (node.isFailed || (node.type === "exchange" && node.status === "failed")) classes.push("failed");
  if (!isKnown) classes.push("unknown");
  if (isOpenEnd) classes.push("endless");
  if (node.status === "restarted") classes.push("restarted");
  if (px < LEAST_BAR_PX) classes.push("point");
  return classes.join(" ");
}

/** The words of a row whose bar is out of sight, where the bar would be looked for. */
function besideEdge(node, side, space) {
  const text = caption(node, null, space);
  if (text)
    text.style.transform =
      side === "before" ? "translateX(14px)" : `translateX(${space.width - 14}px) translateX(-100%)`;
  return text;
}

/** The words beside a bar: right of it, left of it where the right has no room, or none where neither has. */
function caption(node, shown, space) {
  const words = rowNotes(node).join(" · ");
  if (!words) return "";
  const isBad = node.isFailed || (node.type === "exchange" && node.errors > 0);
  const text = el("div", { class: isBad ? "caption bad" : "caption" }, words);
  const { left = 0, right = 0 } = shown || {};
  if (right + wide(words) <= space.width) text.style.transform = `translateX(${(right + 6).toFixed(1)}px)`;
  else if (left >= wide(words)) {
    text.style.transform = `translateX(${(left - 6).toFixed(1)}px) translateX(-100%)`;
    text.dataset.side = "left";
  } else if (node.isFailed && right - left > wide(words) + 12) {
    text.style.transform = `translateX(${Math.max(0, left) + 8}px)`;
    text.classList.add("inside");
  } else if (shown) return "";
  return text;
}

/** The idle time before an exchange, as a dashed mark that ends where its bar or its caption begins. */
function idleMark(node, end, space) {
  const gap = node.type === "exchange" && node.depth === 0 ? space.gapBefore(node) : null;
  if (!gap) return [];
  const words = `${duration(gap.ms)} idle`;
  const begin = Math.max(0, Math.min(space.place(gap.from), end - wide(words) - 20));
  if (end - begin < wide(words)) return [];
  const mark = el("div", { class: "idle" }, el("span", {}, words));
  mark.style.transform = `translateX(${begin.toFixed(1)}px)`;
  mark.style.width = `${(end - begin - 2).toFixed(1)}px`;
  return [mark];
}

/** The bars of what lies inside, as stripes of colour in one gradient: a folded row still shows what happened. */
function composition(node, shown, space) {
  const room = Math.ceil(shown.right - shown.left);
  if (room < 6) return "none";
  node.leaves ||= space.leaves(node);
  const ranks = new Int8Array(room).fill(-1);
  const names = new Array(room);
  for (const leaf of node.leaves) {
    if (leaf.start === null) continue;
    const left = Math.floor(space.x(leaf.start) - shown.left);
    const right = Math.max(left + 1, Math.ceil(space.x(Math.max(leaf.end ?? leaf.start, leaf.start)) - shown.left));
    const rank = leaf.isFailed ? 9 : (BAR_RANK[leaf.kind] ?? 1);
    for (let x = Math.max(0, left); x < Math.min(room, right); x += 1) {
      if (rank < ranks[x]) continue;
      ranks[x] = rank;
      names[x] = leaf.isFailed ? "k-error" : COMPOSED[leaf.kind] || `k-${leaf.kind}`;
    }
  }
  const stops = [];
  for (let x = 0; x < room;) {
    let to = x + 1;
    while (to < room && names[to] === names[x]) to += 1;
    const colour = names[x] ? `var(--${names[x]})` : "transparent";
    stops.push(`${colour} ${x}px ${to}px`);
    x = to;
  }
  return stops.length === 1 && !names[0] ? "none" : `linear-gradient(90deg, ${stops.join(", ")})`;
}
