// What both components share: text for numbers, icons of the kinds, elements, and the line between the two.
// Text from sessions is untrusted. It only ever becomes a text node or the value of a harmless attribute.

const MISSING = "—";
const FLAG = { copy: 1, deleted: 2, loop: 4, edit: 8, ended: 16, unknown: 32, backwards: 64 };

// --- Numbers, exactly as pages/ui/display.py writes them --------------------------------------------------------

/** Round like Python: to the nearest, an exact half to the even neighbour. */
function even(number) {
  const floor = Math.floor(number);
  const rest = number - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}

/** Write with so many digits after the point, an exact half to the even neighbour. */
function fixed(number, digits) {
  const doubled = number * 2 ** (digits + 1);
  const isHalf = Number.isInteger(doubled) && Math.abs(doubled % 2) === 1; // only then is a tie possible at all
  return isHalf ? (even(number * 10 ** digits) / 10 ** digits).toFixed(digits) : number.toFixed(digits);
}

/** Put commas between thousands. */
function grouped(text) {
  const [whole, rest] = text.split(".");
  return whole.replace(/\B(?=(\d{3})+$)/g, ",") + (rest === undefined ? "" : `.${rest}`);
}

function isMissing(number) {
  return number === null || number === undefined || Number.isNaN(number);
}

/** Write a cost: `$12.09`, `<$0.0001`, `$0`, or a dash if none was recorded. */
function usd(cost, digits = 2) {
  if (isMissing(cost)) return MISSING;
  if (cost === 0) return "$0";
  const sign = cost < 0 ? "-" : "";
  const size = Math.abs(cost);
  if (size < 0.0001) return `${sign}<$0.0001`;
  return `${sign}$${grouped(fixed(size, digits < 4 && size < 0.01 ? 4 : digits))}`;
}

/** Write a number of tokens with three digits: `999`, `1.24K`, `376M`. */
function tokens(number) {
  if (isMissing(number)) return MISSING;
  if (Math.abs(number) < 1000) return fixed(number, 0);
  let size = Math.abs(number);
  let unit = "";
  for (unit of ["K", "M", "G", "T"]) {
    size /= 1000;
    if (size < 999.5) break;
  }
  return `${number < 0 ? "-" : ""}${fixed(size, size < 9.995 ? 2 : size < 99.95 ? 1 : 0)}${unit}`;
}

/** Write a number of things: `12,345`. */
function count(number) {
  return isMissing(number) ? MISSING : grouped(fixed(number, 0));
}

/** Write a number with its noun: `1 tool`, `12 tools`. */
function counted(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/** Write a number of bytes: `812 B`, `1.24 KB`. */
function size(number) {
  if (isMissing(number)) return MISSING;
  const text = tokens(number);
  return /\d$/.test(text) ? `${text} B` : `${text.slice(0, -1)} ${text.slice(-1)}B`;
}

/** Write a duration: `12 ms`, `1.2 s`, `48 s`, `2m 10s`, `1h 04m`, `3d 4h`. */
function duration(ms) {
  if (isMissing(ms)) return MISSING;
  if (ms < 1000) return `${fixed(ms, 0)} ms`;
  if (ms < 9950) return `${fixed(ms / 1000, 1)} s`;
  const seconds = even(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  const two = (number) => String(number).padStart(2, "0");
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ${two(seconds % 60)}s`;
  const minutes = even(ms / 60_000);
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)}h ${two(minutes % 60)}m`;
  const hours = even(ms / 3_600_000);
  return `${Math.floor(hours / 24)}d ${hours % 24}h`;
}

/** Writes moments in one time zone. */
class Clock {
  constructor(zone) {
    const options = { hourCycle: "h23", year: "numeric", month: "short", day: "numeric" };
    Object.assign(options, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
    try {
      this.format = new Intl.DateTimeFormat("en-US", { ...options, timeZone: zone });
    } catch {
      this.format = new Intl.DateTimeFormat("en-US", { ...options, timeZone: "UTC" });
    }
  }

  parts(epochMs) {
    const found = {};
    for (const part of this.format.formatToParts(epochMs)) found[part.type] = part.value;
    found.ms = String(((Math.floor(epochMs) % 1000) + 1000) % 1000).padStart(3, "0");
    return found;
  }

  /** Write the time of day, as fine as a step of the axis asks for. */
  time(epochMs, stepMs = 1000) {
    const { hour, minute, second, ms } = this.parts(epochMs);
    if (stepMs >= 60_000) return `${hour}:${minute}`;
    return stepMs >= 1000 ? `${hour}:${minute}:${second}` : `${hour}:${minute}:${second}.${ms}`;
  }

  day(epochMs) {
    const { month, day } = this.parts(epochMs);
    return `${month} ${day}`;
  }

  moment(epochMs, stepMs = 1000) {
    const { month, day, year } = this.parts(epochMs);
    return `${month} ${day}, ${year} ${this.time(epochMs, stepMs)}`;
  }

  /** How far local time is ahead of UTC, to find round local times. */
  offset(epochMs) {
    const { year, month, day, hour, minute, second } = this.parts(epochMs);
    return Date.parse(`${month} ${day}, ${year} ${hour}:${minute}:${second} UTC`) - Math.floor(epochMs / 1000) * 1000;
  }
}

// --- Elements ----------------------------------------------------------------------------------------------------

/** Make an element. Strings among the children become text nodes; nothing is ever parsed as HTML. */
function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") made.className = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** Make the children of an element these, in this order, without touching those that are in place already. */
function arrange(parent, children) {
  const wanted = new Set(children);
  let at = parent.firstChild;
  for (const child of children) {
    while (at && !wanted.has(at)) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
    if (child === at) at = at.nextSibling;
    else parent.insertBefore(child, at);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

/** Arrow keys move between tabs, as everywhere. */
function stepTabs(event, list) {
  const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!by) return;
  const tabs = [...list.children];
  const place = tabs.findIndex((tab) => tab.getAttribute("aria-selected") === "true");
  const next = tabs[(place + by + tabs.length) % tabs.length];
  next.click();
  next.focus();
  event.preventDefault();
  event.stopPropagation();
}

const ICONS = {
  prompt: "M2.5 3.5h11v7h-6l-3 3v-3h-2z",
  reasoning: "M8 1.8a4.3 4.3 0 0 0-2.4 7.8v1.6h4.8V9.6A4.3 4.3 0 0 0 8 1.8zM6.3 13.8h3.4",
  text: "M2.5 4h11M2.5 8h11M2.5 12h6.5",
  tool: "M2.5 4l4 4-4 4M8.5 12.5h5",
  delegation: "M3.5 2v5.5a3 3 0 0 0 3 3h6.5M9.8 7l3.5 3.5L9.8 14",
  step: "M2 8h12",
  retry: "M13 8a5 5 0 1 1-1.5-3.6M13.2 1.8v3.4H9.8",
  error: "M5.4 1.8h5.2l3.6 3.6v5.2l-3.6 3.6H5.4l-3.6-3.6V5.4zM5.6 5.6l4.8 4.8M10.4 5.6l-4.8 4.8",
  compaction: "M8 1.5v4M5.9 3.6L8 5.7l2.1-2.1M8 14.5v-4M5.9 12.4L8 10.3l2.1 2.1M2.5 8h11",
  file: "M3.8 1.8h5.4l3 3v9.4H3.8zM9.2 1.8v3h3",
  patch: "M8 2v7M4.5 5.5h7M4.5 13h7",
  other: "M8 5.2a2.8 2.8 0 1 0 .01 0z",
  loop: "M2.5 7.5a4.5 4.5 0 0 1 8-2.3M13.5 8.5a4.5 4.5 0 0 1-8 2.3M10.8 2v3.4H7.4M5.2 14v-3.4h3.4",
  edit: "M2.5 5h9M9 2.5L11.5 5 9 7.5M13.5 11h-9M7 8.5L4.5 11 7 13.5",
  ended: "M8 1.8l6.4 11.9H1.6zM8 6v3.8M8 11.4v.6",
  copy: "M5.5 5.5h8v8h-8zM3.5 10.5h-1v-8h8v1",
  check: "M3 8.5l3.2 3.2L13 4.8",
};

const NAMES = {
  prompt: ["Prompt", "Prompts"],
  reasoning: ["Reasoning", "Reasoning"],
  text: ["Answer", "Answers"],
  tool: ["Tool call", "Tools"],
  delegation: ["Delegation", "Delegations"],
  step: ["Step", "Steps"],
  retry: ["Retry", "Retries"],
  error: ["Error", "Errors"],
  compaction: ["Compaction", "Compactions"],
  file: ["File", "Files"],
  patch: ["Patch", "Patches"],
  other: ["Other", "Other"],
};

function kindOf(kind) {
  return Object.hasOwn(NAMES, kind) ? kind : "other";
}

/** Draw an icon; with a title it is read out, without it is decoration. */
function icon(name, title = "") {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("class", `icon i-${name}`);
  if (title) {
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", title);
  } else {
    svg.setAttribute("aria-hidden", "true");
  }
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** Drop the invisible marks that turn the direction of text: they would reorder what stands around a label. */
function oneLine(text) {
  return (text || "")
    .replace(/[\u202a-\u202e\u2066-\u2069\u200e\u200f]/g, "")
    .replace(/\s+/g, " ")
    .trim();
}

/** One line of limited length. */
function short(text, limit = 160) {
  const line = oneLine(text);
  return line.length > limit ? `${line.slice(0, between(line, limit - 1))}…` : line;
}

/** The place itself, or the one before where it is inside a character that JavaScript counts as two. */
function between(text, at) {
  return at > 0 && text.codePointAt(at - 1) > 0xffff ? at - 1 : at;
}

/** Text with every occurrence of a lower-case needle marked. */
function highlighted(text, needle) {
  if (!needle) return [text];
  const pieces = [];
  const lower = text.toLowerCase();
  let from = 0;
  for (let at = lower.indexOf(needle); at >= 0; at = lower.indexOf(needle, from)) {
    pieces.push(text.slice(from, at), el("mark", {}, text.slice(at, at + needle.length)));
    from = at + needle.length;
  }
  pieces.push(text.slice(from));
  return pieces;
}

/** Follow Streamlit's theme: its colours are variables, ours need to know which side they are on. */
function followTheme(root, host) {
  const [red, green, blue] = rgb(getComputedStyle(host).getPropertyValue("--st-background-color"));
  const scheme = 0.3 * red + 0.6 * green + 0.1 * blue < 128 ? "dark" : "light";
  const isOther = root.style.colorScheme !== scheme;
  root.style.colorScheme = scheme;
  return isOther;
}

function rgb(colour) {
  const text = colour.trim();
  const short = /^#([0-9a-f])([0-9a-f])([0-9a-f])$/i.exec(text);
  if (short) return short.slice(1).map((digit) => parseInt(digit + digit, 16));
  const long = /^#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})/i.exec(text);
  if (long) return long.slice(1).map((digits) => parseInt(digits, 16));
  const numbers = text.match(/[\d.]+/g);
  return numbers && numbers.length >= 3 ? numbers.slice(0, 3).map(Number) : [255, 255, 255];
}

/** Copy text. Returns whether the browser let us. */
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

/** The line between viewer and detail: events on the window, heard only by the other half of the same view. */
class Line {
  constructor(side, hear) {
    this.side = side;
    this.view = null;
    this.listener = (event) => {
      const { view, from } = event.detail || {};
      if (view === this.view && from !== this.side) hear(event.detail);
    };
    window.addEventListener(LINE, this.listener);
  }

  say(type, more = {}) {
    window.dispatchEvent(new CustomEvent(LINE, { detail: { ...more, type, view: this.view, from: this.side } }));
  }

  close() {
    window.removeEventListener(LINE, this.listener);
  }
}

const LINE = "opencode-trace";
const NARROW = "(max-width: 799.98px)";

/** One instance per place in the page; Streamlit calls again with every rerun and theme switch. */
function mounted(views, parent, Component) {
  let view = views.get(parent);
  if (!view) {
    view = new Component(parent);
    views.set(parent, view);
  }
  view.calls = (view.calls || 0) + 1;
  const call = view.calls;
  // Streamlit may clean up an older call after a newer one was made.
  const leave = () => {
    if (view.calls !== call) return;
    view.leave();
    views.delete(parent);
  };
  return { view, leave };
}
