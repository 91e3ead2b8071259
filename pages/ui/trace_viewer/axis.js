// Time on screen: idle time folded or not, round times for ticks.

const STEPS_MS = [
  1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 10e3, 15e3, 30e3, 60e3, 120e3, 300e3, 600e3, 900e3,
];
STEPS_MS.push(1800e3, 3600e3, 7200e3, 10800e3, 21600e3, 43200e3, 86400e3, 172800e3, 604800e3, 2592000e3);
const LEAST_IDLE_MS = 2000; // shorter pauses are never folded
const GAPS_SHARE = 0.15; // of the axis, all folded gaps together
const GAP_SHARE = 0.03; // one folded gap
const LEAST_GAP_MS = 20; // where only moments are recorded, as of a prompt that failed

class Axis {
  /**
   * @param {number[][]} spans Stretches of time with something in them.
   * @param {boolean} isFolding Whether idle time between them is folded.
   * @param {number|null} gap Width of a folded gap, to stay as it was when a session grows.
   */
  constructor(spans, isFolding, gap = null) {
    const busy = union(spans, LEAST_IDLE_MS);
    if (!busy.length) busy.push([0, 1]);
    this.gap = gap ?? gapWidth(busy);
    const merged = isFolding ? union(busy, this.gap) : [[busy[0][0], busy[busy.length - 1][1]]];
    this.segments = [];
    let at = 0;
    for (const [start, end] of merged) {
      const last = this.segments[this.segments.length - 1];
      if (last) at = last.to + this.gap;
      this.segments.push({ start, end, from: at, to: at + (end - start) });
    }
    this.end = Math.max(this.segments[this.segments.length - 1].to, 1);
  }

  /** Index of the last segment that begins at or before a value. */
  find(field, value) {
    let low = 0;
    let high = this.segments.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.segments[middle][field] <= value) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  place(time) {
    const place = this.find("start", time);
    const { start, end, from, to } = this.segments[place];
    const next = this.segments[place + 1];
    if (time <= end || !next) return from + (time - start);
    return to + ((time - end) / (next.start - end)) * (next.from - to);
  }

  time(place) {
    const found = this.find("from", place);
    const { start, end, from, to } = this.segments[found];
    const next = this.segments[found + 1];
    if (place <= to || !next) return start + (place - from);
    return end + ((place - to) / (next.from - to)) * (next.start - end);
  }

  /** The folded stretches that lie in a part of the axis. */
  gaps(from, to) {
    const found = [];
    for (let place = this.find("from", from); place < this.segments.length - 1; place += 1) {
      const { end, to: left } = this.segments[place];
      const next = this.segments[place + 1];
      if (left > to) break;
      if (next.from >= from) found.push({ from: left, to: next.from, ms: next.start - end });
    }
    return found;
  }

  /** Where work begins again, and round local times, in a part of the axis, at least so far from each other. */
  ticks(from, to, least, clock, origin) {
    const step = STEPS_MS.find((size) => size >= least) || STEPS_MS[STEPS_MS.length - 1];
    const found = [];
    const add = (tick) => {
      const last = found[found.length - 1];
      if (!last || tick.at - last.at >= least * 0.8) found.push(tick);
      else if (tick.isStart && !last.isStart) found[found.length - 1] = tick;
    };
    for (let place = this.find("from", from); place < this.segments.length; place += 1) {
      const segment = this.segments[place];
      if (segment.from > to) break;
      if (segment.from >= from) add({ at: segment.from, time: segment.start, isStart: true });
      const first = Math.max(segment.start, this.time(Math.max(from, segment.from)));
      const last = Math.min(place === this.segments.length - 1 ? Infinity : segment.end, this.time(to));
      const shift = origin === null ? 0 : origin + clock.offset(origin + first);
      for (let at = Math.ceil((first + shift) / step) * step - shift; at <= last; at += step) {
        add({ at: this.place(at), time: at, isStart: false });
      }
    }
    return { step, found };
  }
}

/** Join stretches of time that are no further apart than so much. */
function union(spans, apart) {
  const sorted = spans.slice().sort((one, other) => one[0] - other[0]);
  const joined = [];
  for (const [start, end] of sorted) {
    const last = joined[joined.length - 1];
    if (last && start - last[1] <= apart) last[1] = Math.max(last[1], end);
    else joined.push([start, end]);
  }
  return joined;
}

function gapWidth(busy) {
  const active = busy.reduce((sum, [start, end]) => sum + end - start, 0);
  const share = Math.min(GAP_SHARE, GAPS_SHARE / Math.max(1, busy.length - 1));
  return Math.max(active * share, LEAST_GAP_MS);
}
