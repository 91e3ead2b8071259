// The pieces of a transcript: prompt, reasoning, answers, tool calls, what ended badly.

const TOKEN_WORDS = {
  input: "input",
  output: "output",
  reasoning: "reasoning",
  cache_read: "cache read",
  cache_write: "cache write",
};
const MOMENTS_SAID = ["prompt", "file", "error", "retry"]; // have no end to be known
const UNTOLD = { prompt: "Empty prompt", file: "What was attached is not known" };
const STATUS_WORDS = { failed: "failed", unfinished: "unfinished", restarted: "restarted", unknown: "" };

/** Draw a piece. `ask` has what a piece may ask for: clock, origin, marks, isOpen, setOpen, showAll, openSession. */
function drawPiece(piece, ask) {
  const kind = kindOf(piece.kind);
  const isBad = piece.status === "failed" || kind === "error" || kind === "retry";
  const box = el("div", { class: `piece p-${kind}${isBad ? " failed" : ""}`, "data-id": piece.id, tabindex: "-1" });
  const make = { prompt: drawPrompt, file: drawPrompt, text: drawAnswer, error: drawError, retry: drawError }[kind];
  box.append(...(make || drawLine)(piece, ask, isBad));
  return box;
}

function drawPrompt(piece, ask) {
  return [
    el(
      "div",
      { class: "who" },
      icon(piece.kind === "file" ? "file" : "prompt"),
      NAMES[kindOf(piece.kind)][0],
      facts(piece, ask),
    ),
    piece.text ? longText(piece, ask, "text", (text) => el("div", { class: "plain", dir: "auto" }, text)) : null,
    attachments(piece) || (piece.text ? null : nothing(piece, mention(piece) || UNTOLD[piece.kind])),
    about(piece, ask),
  ].filter(Boolean);
}

/** Whom a prompt mentions: that has no text of its own. */
function mention(piece) {
  return piece.name === "agent" && piece.title ? `@${oneLine(piece.title)}` : "";
}

/** What stands where there is no text: it is gone, or still being written, or there never was one. */
function nothing(piece, words) {
  if (piece.flags & FLAG.deleted) return el("p", { class: "nothing" }, "Deleted in OpenCode: what it said is gone");
  const isOpen = !isMissing(piece.start_ms) && isMissing(piece.end_ms) && !MOMENTS_SAID.includes(piece.kind);
  return el("p", { class: "nothing" }, isOpen ? "Nothing of it is recorded so far" : words);
}

function drawAnswer(piece, ask) {
  const text = piece.text ? longText(piece, ask, "text", prose, 80) : nothing(piece, "Empty answer");
  return [el("div", { class: "who" }, icon("text"), "Answer", facts(piece, ask)), text, about(piece, ask)];
}

function drawError(piece, ask) {
  const name = oneLine(piece.title || piece.name) || NAMES[kindOf(piece.kind)][0];
  return [
    el("div", { class: "who" }, icon(kindOf(piece.kind)), el("strong", {}, name), facts(piece, ask)),
    piece.text ? longText(piece, ask, "text", verbatim) : null,
    piece.input ? fold("As recorded", () => longText(piece, ask, "input", json)) : null,
    about(piece, ask),
  ].filter(Boolean);
}

/** Everything else is one line that opens. */
function drawLine(piece, ask, isBad) {
  const kind = kindOf(piece.kind);
  const isOpen = ask.isOpen(piece, isBad);
  const own = kind === "delegation" ? ask.agent(piece.id) || piece.name : piece.name;
  const name = ["tool", "delegation", "other"].includes(kind) ? oneLine(own) : NAMES[kind][0];
  const title = oneLine(piece.title) || firstLine(piece);
  const button = el(
    "button",
    { type: "button", class: "line", "aria-expanded": String(isOpen) },
    el("span", { class: isOpen ? "twist open" : "twist" }),
    icon(isBad ? "error" : kind),
    el("span", { class: "name" }, name),
    el("span", { class: "title" }, title),
    facts(piece, ask),
  );
  button.addEventListener("click", () => ask.setOpen(piece.id, !isOpen));
  return isOpen ? [button, drawBody(piece, ask)] : [button];
}

/** What a folded piece begins with. */
function firstLine(piece) {
  if (piece.kind === "reasoning" || piece.kind === "compaction")
    return short((piece.text || "").slice(0, 400), 200).replace(/\*\*/g, "");
  return "";
}

function drawBody(piece, ask) {
  const body = el("div", { class: "piece-body" });
  if (piece.kind === "reasoning")
    body.append(piece.text ? longText(piece, ask, "text", prose, 60) : nothing(piece, "Empty reasoning"));
  else if (piece.text && piece.text.length < 80 && !piece.text.includes("\n"))
    body.append(el("p", { class: "problem" }, piece.text));
  else if (piece.text) body.append(section("", longText(piece, ask, "text", verbatim)));
  if (piece.diff) body.append(section(piece.status === "ok" ? "Changes" : "Changes that were asked for", diffBox(piece, ask)));
  if (piece.input)
    body.append(
      piece.diff
        ? fold("Input", () => longText(piece, ask, "input", json))
        : section("Input", longText(piece, ask, "input", json)),
    );
  if (piece.output)
    body.append(section("Output", longText(piece, ask, "output", verbatim), copyButton(piece.output)));
  else if (piece.kind === "tool" && piece.status === "ok")
    body.append(section("Output", nothing(piece, "Nothing")));
  const files = attachments(piece);
  if (files) body.append(files);
  if (ask.away(piece.id)) body.append(el("p", { class: "nothing" }, ask.away(piece.id)));
  else if (piece.child_session_id) {
    const open = el("button", { type: "button", class: "go" }, "Open the child session", " →");
    open.addEventListener("click", () => ask.openSession(piece.child_session_id));
    body.append(open);
  }
  body.append(about(piece, ask));
  return body;
}

function section(words, content, ...more) {
  return el(
    "div",
    { class: "section" },
    words ? el("div", { class: "section-head" }, el("span", {}, words), ...more) : null,
    content,
  );
}

function diffBox(piece, ask) {
  const made = () => diff(piece.diff);
  const isWhole = ask.isWhole(piece.id);
  const hasLines = piece.diff.split("\n").some((line) => line && !line.startsWith("Index: ")); // else no more is known
  const isMore = piece.is_diff_cut && hasLines && !isWhole;
  const isLong = !isWhole && countLines(piece.diff, 70) > 60;
  const more = isMore ? () => ask.showAll(piece.id) : null;
  const shown = isLong || isMore ? clamped(piece.diff, { make: made, lines: 40, more }) : made();
  return piece.is_diff_cut && !isMore ? el("div", {}, shown, lost(piece.input_bytes)) : shown;
}

/** Text of a piece: cut by the server, or only folded here because it is long. */
function longText(piece, ask, field, make, lines = 14) {
  const text = piece[field];
  const bytes = piece[`${field}_bytes`];
  const isShorter = bytes > utf8Length(text);
  const isWhole = ask.isWhole(piece.id);
  if (isWhole || (!isShorter && !piece.is_cut)) {
    const shown = isWhole ? make(text) : clamped(text, { make, bytes, lines });
    return piece.is_lost && isShorter ? el("div", {}, shown, lost(bytes)) : shown;
  }
  return clamped(text, { make, bytes, lines, more: piece.is_cut && isShorter ? () => ask.showAll(piece.id) : null });
}

function lost(bytes) {
  return el("p", { class: "nothing" }, `The index keeps only part of this text; recorded were ${size(bytes)}.`);
}

function utf8Length(text) {
  return new TextEncoder().encode(text).length;
}

function attachments(piece) {
  if (!piece.attachments.length) return null;
  const list = el("ul", { class: "files", "aria-label": "Attachments" });
  for (const { name, mime, size_bytes } of piece.attachments) {
    const facts = [mime, isMissing(size_bytes) ? null : size(size_bytes)].filter(Boolean).join(", ");
    list.append(
      el("li", {}, icon("file"), el("span", {}, oneLine(name) || "unnamed"), facts ? el("small", {}, facts) : null),
    );
  }
  return list;
}

/** The few numbers at the end of a piece's first line. */
function facts(piece, ask) {
  const ms =
    !isMissing(piece.start_ms) && !isMissing(piece.end_ms) && piece.end_ms >= piece.start_ms
      ? piece.end_ms - piece.start_ms
      : null;
  const words = [ask.link(piece.id), STATUS_WORDS[piece.status] || null];
  if (piece.kind === "step" && piece.tokens) words.push(`${tokens(piece.tokens.total)} tokens`);
  if (!isMissing(piece.cost_usd)) words.push(usd(piece.cost_usd, 4));
  if (ms && piece.kind !== "prompt") words.push(duration(ms));
  else if (piece.kind === "prompt" && !isMissing(piece.start_ms) && ask.origin !== null)
    words.push(ask.clock.time(ask.origin + piece.start_ms));
  if (piece.flags & FLAG.copy) words.push("copy");
  if (piece.flags & FLAG.deleted) words.push("deleted");
  const marks = ask.marks(piece.id);
  const sign = marks.length
    ? el("span", { class: "sign waste" }, icon(marks[0].kind, marks.map((mark) => mark.text).join("; ")))
    : null;
  return el("span", { class: "facts" }, sign, words.filter(Boolean).join(" · "));
}

/** Everything else that is known, for the selected piece and opened lines: when, tokens by kind, ids to copy. */
function about(piece, ask) {
  const box = el("div", { class: "about" });
  for (const mark of ask.marks(piece.id))
    box.append(el("p", { class: "waste-note" }, icon(mark.kind), `${mark.text}${markCost(mark)}`));
  const words = [];
  if (isMissing(piece.start_ms)) words.push("time unknown");
  else if (ask.origin !== null) words.push(ask.clock.moment(ask.origin + piece.start_ms, 1));
  if (isMissing(piece.end_ms) && !isMissing(piece.start_ms) && !MOMENTS_SAID.includes(piece.kind))
    words.push("end unknown");
  if (piece.flags & FLAG.backwards) words.push("the clock went back here");
  for (const [name, what] of Object.entries(TOKEN_WORDS)) {
    if (piece.tokens && !isMissing(piece.tokens[name])) words.push(`${what} ${tokens(piece.tokens[name])}`);
  }
  box.append(el("p", {}, words.join(" · ")));
  const ids = el("div", { class: "ids" });
  if (piece.text && ["prompt", "reasoning", "text"].includes(piece.kind))
    ids.append(copyButton(piece.text, "Text", "Copy the text"));
  for (const { label, value } of piece.ids)
    ids.append(copyButton(value, `${label} ${value}`, `Copy ${label} ${value}`));
  box.append(ids);
  return box;
}

function markCost(mark) {
  const parts = [];
  if (!isMissing(mark.cost_usd)) parts.push(usd(mark.cost_usd, 4));
  if (!isMissing(mark.tokens)) parts.push(`${tokens(mark.tokens)} tokens`);
  return parts.length ? `: ${parts.join(", ")}` : "";
}
