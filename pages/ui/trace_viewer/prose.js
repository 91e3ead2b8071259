// Text for reading: answers with a little Markdown, JSON, diffs. Built element by element; links and images stay text.

const LONGEST_MARKED = 20_000; // a longer paragraph is shown as it is: nobody formats that much by hand
const CHUNK = 8_000; // long text is laid out piece by piece, as it comes into sight
const INLINE = new RegExp(
  [
    "(?<ticks>`{1,3})(?<code>[^`\\n]+)\\k<ticks>",
    "(?<image>!?)\\[(?<words>[^\\]\\n]{0,400})\\]\\((?<target>[^()\\s]{0,2000}(?:\\([^()\\s]{0,200}\\))?[^()\\s]{0,2000})\\)",
    "\\*\\*(?<bold>[^\\s*](?:[^*\\n]{0,2000}[^\\s*])?)\\*\\*",
    "(?<![\\w*])\\*(?<italic>[^\\s*](?:[^*\\n]{0,2000}[^\\s*])?)\\*(?![\\w*])",
    "(?<![\\w_])_(?<under>[^\\s_](?:[^_\\n]{0,2000}[^\\s_])?)_(?![\\w_])",
  ].join("|"),
  "g",
);

const FENCE = /^\s*(`{3,}(?=[^`]*$)|~{3,})\s*([\w+#.-]*)/; // "```npm test``` runs it" is a line with code in it

/** Turn an answer into elements: fences, headings, lists, quotes, rules, tables as they are, paragraphs. */
function prose(text) {
  const box = el("div", { class: "prose", dir: "auto" });
  const lines = text.replace(/\r\n?/g, "\n").split("\n");
  for (let at = 0; at < lines.length;) at = block(box, lines, at);
  return box;
}

/** Add the block that begins at a line. Returns where the next one begins. */
function block(box, lines, at) {
  const line = lines[at];
  if (!line.trim()) return at + 1;
  const fence = FENCE.exec(line);
  if (fence) return fenced(box, lines, at, fence);
  const heading = /^(#{1,6})\s+(.*)$/.exec(line);
  if (heading) {
    box.append(el("p", { class: `heading h${heading[1].length}` }, ...inline(heading[2])));
    return at + 1;
  }
  if (/^\s*([-*_])(\s*\1){2,}\s*$/.test(line)) {
    box.append(el("hr"));
    return at + 1;
  }
  if (/^\s*([-*+]|\d{1,9}[.)])\s+\S/.test(line)) return list(box, lines, at);
  if (/^\s*>/.test(line)) return while_(lines, at, /^\s*>/, (some) => box.append(quote(some)));
  if (/^\s*\|/.test(line))
    return while_(lines, at, /^\s*\|/, (some) => box.append(el("pre", { class: "table" }, some.join("\n"))));
  const plain = /^(?!\s*$|\s*(```|~~~|>|\|)|#{1,6}\s|\s*([-*+]|\d{1,9}[.)])\s+\S)/;
  return while_(lines, at, plain, (some) => box.append(paragraph(some)));
}

/** Take the lines that fit a pattern, the first in any case. */
function while_(lines, at, pattern, add) {
  let end = at + 1;
  while (end < lines.length && pattern.test(lines[end])) end += 1;
  add(lines.slice(at, end));
  return end;
}

function paragraph(lines) {
  const made = el("p");
  lines.forEach((line, place) => made.append(...(place ? [el("br")] : []), ...inline(line)));
  return made;
}

function quote(lines) {
  return el("blockquote", {}, paragraph(lines.map((line) => line.replace(/^\s*>\s?/, ""))));
}

function fenced(box, lines, at, [, marks, language]) {
  const close = new RegExp(`^\\s*${marks[0]}{${marks.length},}\\s*$`);
  let end = at + 1;
  while (end < lines.length && !close.test(lines[end])) end += 1;
  box.append(codeBlock(lines.slice(at + 1, end).join("\n"), language));
  return end + 1;
}

function list(box, lines, at) {
  const item = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
  const open = []; // lists that are open, by how far they are indented
  let end = at;
  for (; end < lines.length; end += 1) {
    const found = item.exec(lines[end]);
    if (!found && open.length && /^\s+\S/.test(lines[end]) && !FENCE.test(lines[end])) {
      open[open.length - 1].last.append(el("br"), ...inline(lines[end].trim()));
      continue;
    }
    if (!found) break;
    const indent = found[1].replace(/\t/g, "    ").length;
    while (open.length > 1 && indent < open[open.length - 1].indent) open.pop();
    const isOrdered = /\d/.test(found[2]);
    const isDeeper = open.length > 0 && indent > open[open.length - 1].indent + 1 && open.length < 8;
    // a dash among numbers is none of them: it begins another list
    const isOther = open.length > 0 && !isDeeper && isOrdered !== open[open.length - 1].isOrdered;
    if (isOther) open.pop();
    if (!open.length || isDeeper || isOther) {
      const made = el(isOrdered ? "ol" : "ul");
      (open.length ? open[open.length - 1].last : box).append(made);
      open.push({ indent, made, isOrdered, last: null });
    }
    const task = /^\[([ xX])\]\s+(.*)$/.exec(found[3]);
    const number = isOrdered ? { value: parseInt(found[2], 10) } : {}; // as written, which may leave some out
    const row = el("li", number, ...(task ? [task[1] === " " ? "☐ " : "☑ ", ...inline(task[2])] : inline(found[3])));
    open[open.length - 1].made.append(row);
    open[open.length - 1].last = row;
  }
  return end;
}

/** Code, bold and italic inside a line; a link is its words and its target, never an anchor. */
function inline(text, depth = 0) {
  if (text.length > LONGEST_MARKED || depth > 3) return [text];
  const made = [];
  let from = 0;
  for (const match of text.matchAll(INLINE)) {
    made.push(text.slice(from, match.index));
    made.push(...marked(match.groups, depth));
    from = match.index + match[0].length;
  }
  made.push(text.slice(from));
  return made.filter((piece) => piece !== "");
}

function marked(groups, depth) {
  if (groups.code !== undefined) return [el("code", {}, groups.code)];
  if (groups.bold !== undefined) return [el("strong", {}, ...inline(groups.bold, depth + 1))];
  if (groups.words !== undefined) {
    const words = groups.image ? `[image: ${groups.words}]` : groups.words;
    return [
      words,
      groups.target && groups.target !== groups.words ? el("span", { class: "target" }, ` (${groups.target})`) : "",
    ];
  }
  return [el("em", {}, ...inline(groups.italic ?? groups.under, depth + 1))];
}

/** Code with its language and a button to copy it. */
function codeBlock(text, language = "") {
  return el(
    "div",
    { class: "code" },
    el("div", { class: "code-head" }, el("span", {}, language), copyButton(text)),
    verbatim(text),
  );
}

/** Text exactly as it is. Long text is cut into blocks that the browser lays out only when they come into sight. */
function verbatim(text) {
  const box = el("div", { class: "verbatim", dir: "auto" });
  for (let at = 0; at < text.length;) {
    let end = Math.min(text.length, at + CHUNK);
    const line = text.lastIndexOf("\n", end);
    if (end < text.length) end = line > at ? line + 1 : between(text, end);
    const isLast = end >= text.length;
    const chunk = text.slice(at, !isLast && text[end - 1] === "\n" ? end - 1 : end);
    box.append(el("div", { class: text.length > CHUNK ? "chunk" : null }, chunk));
    at = end;
  }
  return box;
}

function copyButton(text, words = "Copy", label = "") {
  const button = el("button", { type: "button", class: "copy", title: label || "Copy", "aria-label": label || null });
  button.append(icon("copy"), words);
  button.addEventListener("click", async (event) => {
    event.stopPropagation();
    const isCopied = await copyText(text);
    button.replaceChildren(icon(isCopied ? "check" : "copy"), isCopied ? "Copied" : "Not allowed");
    setTimeout(() => button.replaceChildren(icon("copy"), words), 1500);
  });
  return button;
}

// --- JSON --------------------------------------------------------------------------------------------------------

/** A number that JavaScript cannot hold, as it is written: ids often have more than 16 digits. */
class Exact {
  constructor(written) {
    this.written = written;
  }
}

/** Keep a number as it is written; throws in browsers that do not tell how that is. */
function exact(name, value, context) {
  if (typeof value !== "number" || (Number.isInteger(value) && Number.isSafeInteger(value))) return value;
  return new Exact(context.source);
}

/** Show JSON as fields, nested values folded; what is not JSON (cut off, say) as it is. */
function json(text) {
  let value;
  try {
    value = JSON.parse(text, exact);
  } catch {
    return verbatim(text);
  }
  if (value instanceof Exact) return verbatim(value.written);
  if (value === null || typeof value !== "object") return verbatim(typeof value === "string" ? value : text);
  return fields(value);
}

function fields(value) {
  const list = el("dl", { class: "fields" });
  const entries = Array.isArray(value) ? value.map((one, place) => [String(place), one]) : Object.entries(value);
  for (const [name, one] of entries.slice(0, 500)) list.append(el("dt", {}, name), el("dd", {}, jsonValue(one)));
  if (entries.length > 500) list.append(el("dt", {}, "…"), el("dd", {}, `${count(entries.length - 500)} more`));
  return list;
}

function jsonValue(value) {
  if (typeof value === "string")
    return value.length > 400 || value.includes("\n")
      ? clamped(value)
      : el("span", { class: "json-text" }, value || '""');
  if (value instanceof Exact) return el("span", { class: "json-plain" }, value.written);
  if (value === null || typeof value !== "object") return el("span", { class: "json-plain" }, String(value));
  const entries = Array.isArray(value) ? value : Object.keys(value);
  if (!entries.length) return el("span", { class: "json-plain" }, Array.isArray(value) ? "[]" : "{}");
  const words = Array.isArray(value)
    ? counted(entries.length, "item")
    : entries.slice(0, 5).join(", ") + (entries.length > 5 ? ", …" : "");
  return fold(words, () => fields(value), "inner");
}

/** A button that shows what is below it, made only when asked for. */
function fold(words, make, kind = "", isOpen = false) {
  const button = el(
    "button",
    { type: "button", class: `fold ${kind}`, "aria-expanded": "false" },
    el("span", { class: "twist" }),
    words,
  );
  const box = el("div", { class: "folded" }, button);
  const set = (isShown) => {
    button.setAttribute("aria-expanded", String(isShown));
    button.firstChild.classList.toggle("open", isShown);
    if (isShown) box.append(el("div", { class: "fold-body" }, make()));
    else if (box.lastChild !== button) box.lastChild.remove();
  };
  button.addEventListener("click", (event) => {
    event.stopPropagation();
    set(button.getAttribute("aria-expanded") !== "true");
  });
  if (isOpen) set(true);
  return box;
}

/** Long text with its first lines in sight and a button for the rest. */
function clamped(text, { make = verbatim, more = null, bytes = null, lines = 14 } = {}) {
  const box = el("div", { class: "clamped" });
  const isLong = text.length > lines * 110 || countLines(text, lines + 4) > lines + 2;
  const shown = make(isLong && make === verbatim && text.length > 20_000 ? text.slice(0, between(text, 20_000)) : text);
  box.append(shown);
  if (!isLong && !more) return box;
  if (isLong) {
    box.style.setProperty("--lines", lines);
    box.classList.add("short");
  }
  const button = el("button", { type: "button", class: "more" }, `Show all${bytes ? ` · ${size(bytes)}` : ""}`);
  button.addEventListener("click", (event) => {
    event.stopPropagation();
    if (more) {
      button.textContent = "Loading…";
      button.disabled = true;
      more();
      return;
    }
    box.classList.remove("short");
    box.replaceChildren(make(text));
  });
  box.append(button);
  return box;
}

function countLines(text, most) {
  let found = 0;
  for (let at = text.indexOf("\n"); at >= 0 && found < most; at = text.indexOf("\n", at + 1)) found += 1;
  return found;
}

// --- Diffs -------------------------------------------------------------------------------------------------------

/**
 * Show a unified diff with line numbers; the part of a changed line that differs stands out. A file begins with
 * `Index: ` and its name: `--- ` and `+++ ` would also be a comment of SQL that is removed, and an increment that is added.
 */
function diff(text) {
  const box = el("div", { class: "diff", role: "group", "aria-label": "Changes" });
  const lines = text.replace(/\r\n/g, "\n").replace(/\n$/, "").split("\n");
  const state = { old: 0, now: 0 };
  for (let at = 0; at < lines.length;) {
    const removed = run(lines, at, "-");
    const added = run(lines, at + removed.length, "+");
    if (removed.length && removed.length === added.length) {
      const pairs = removed.map((line, place) => differing(line.slice(1), added[place].slice(1)));
      removed.forEach((line, place) => box.append(diffLine(line, state, pairs[place][0])));
      added.forEach((line, place) => box.append(diffLine(line, state, pairs[place][1])));
      at += removed.length + added.length;
    } else {
      box.append(diffLine(lines[at], state, null));
      at += 1;
    }
  }
  return box;
}

/** The lines from here on that begin with a sign. */
function run(lines, at, sign) {
  const found = [];
  while (at < lines.length && lines[at].startsWith(sign)) {
    found.push(lines[at]);
    at += 1;
  }
  return found;
}

/** Where two versions of a line differ: [from, to] in each. */
function differing(old, now) {
  let from = 0;
  const most = Math.min(old.length, now.length);
  while (from < most && old[from] === now[from]) from += 1;
  let back = 0;
  while (back < most - from && old[old.length - 1 - back] === now[now.length - 1 - back]) back += 1;
  return [
    [from, old.length - back],
    [from, now.length - back],
  ];
}

function diffLine(line, state, part) {
  const hunk = /^@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@(.*)$/.exec(line);
  if (hunk) {
    state.old = Number(hunk[1]);
    state.now = Number(hunk[2]);
  }
  if (line.startsWith("@@")) {
    const words = hunk ? hunk[3].trim() : line.replace(/@@/g, "").trim();
    return el("div", { class: "d-hunk" }, words ? `⋯ ${words}` : "⋯");
  }
  if (line.startsWith("Index: ")) {
    Object.assign(state, { old: 0, now: 0 });
    return el("div", { class: "d-file" }, line.slice(7));
  }
  const sign = line[0] === "+" || line[0] === "-" ? line[0] : " ";
  const numbers = [sign === "+" ? "" : state.old || "", sign === "-" ? "" : state.now || ""];
  if (sign !== "+") state.old += state.old ? 1 : 0;
  if (sign !== "-") state.now += state.now ? 1 : 0;
  const text = /^[-+ ]/.test(line) ? line.slice(1) : line; // a patch has lines of its own: "*** Move to: …"
  const whole = part && part[1] > part[0] && part[1] - part[0] < text.length;
  const shown = whole
    ? [text.slice(0, part[0]), el("b", {}, text.slice(part[0], part[1])), text.slice(part[1])]
    : [text];
  const kind = { "+": "d-add", "-": "d-cut", " ": "d-same" }[sign];
  const spoken = { "+": "added ", "-": "removed ", " ": "" }[sign];
  const hasNumbers = Boolean(state.old || state.now);
  return el(
    "div",
    { class: kind },
    hasNumbers ? el("span", { class: "d-number", "aria-hidden": "true" }, String(numbers[0])) : null,
    hasNumbers ? el("span", { class: "d-number", "aria-hidden": "true" }, String(numbers[1])) : null,
    el("span", { class: "d-sign", "aria-hidden": "true" }, sign),
    el("span", { class: "d-text" }, spoken ? el("span", { class: "unseen" }, spoken) : null, ...shown),
  );
}
