// What part of the time axis is shown, and how it changes: zooming, moving along, folding of idle time.

const LEAST_VIEW_MS = 20;
const ZOOM_MS = 160;

class Timescale {
  constructor(viewer) {
    this.viewer = viewer;
    this.isFolding = true;
    this.view = { from: 0, to: 1 };
    this.still = window.matchMedia("(prefers-reduced-motion: reduce)");
  }

  /** Lay out the axis anew, its folded gaps as wide as they were, if they were. */
  makeAxis(gap = null) {
    this.axis = new Axis(this.viewer.model.spans(), this.isFolding, gap);
    this.newest = this.axis.time(this.axis.end);
  }

  /** Remember what is shown, by times: places on the axis move when it is laid out anew. */
  keep() {
    const { axis, view } = this;
    return { from: axis.time(view.from), to: axis.time(view.to), isWhole: this.isWhole(), gap: axis.gap };
  }

  restore({ from, to, isWhole, gap }) {
    this.makeAxis(gap);
    this.view = isWhole ? this.whole() : { from: this.axis.place(from), to: this.axis.place(to) };
  }

  span() {
    return this.view.to - this.view.from;
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
    const start = this.viewer.current()?.start ?? null;
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
    this.viewer.drawTime();
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
      const part = Math.min(1, Math.max(0, now - begin) / ZOOM_MS); // a frame may have begun before the key
      const eased = 1 - (1 - part) ** 3;
      this.setView(from + (target.from - from) * eased, to + (target.to - to) * eased);
      if (part < 1) this.moving = requestAnimationFrame(step);
    };
    this.moving = requestAnimationFrame(step);
  }

  moveBy(by) {
    this.show(this.view.from + by, this.view.to + by);
  }

  moveTo(at) {
    this.animate({ from: at - this.span() / 2, to: at + this.span() / 2 });
  }

  isOverview() {
    return this.span() > this.axis.end * 0.5;
  }

  /** If the bar of a row lies outside of what is shown: show a whole exchange, or without one move along. */
  showTimeOf(node, exchange) {
    const start = node.start ?? node.at;
    if (start === null) return;
    const at = this.axis.place(start);
    if (at >= this.view.from && at <= this.view.to) return;
    const around = exchange && this.around(exchange);
    if (around) this.animate(around);
    else this.moveTo(at);
  }

  /** What drawing a row needs: where times are, in pixels. */
  space() {
    const { model, ruler } = this.viewer;
    const scale = ruler.laneWidth / this.span();
    const place = (at) => (at - this.view.from) * scale;
    return {
      width: ruler.laneWidth,
      place,
      x: (time) => place(this.axis.place(time)),
      leaves: (node) => model.leaves(node),
      gapBefore: (node) => this.gapBefore(node),
      newest: this.newest,
    };
  }

  /** The folded idle time that ends where a row begins. */
  gapBefore(node) {
    if (node.start === null) return null;
    const { segments } = this.axis;
    const place = this.axis.find("start", node.start);
    const { start } = segments[place];
    if (place === 0 || Math.abs(start - node.start) > 0.5) return null;
    return { from: segments[place - 1].to, ms: start - segments[place - 1].end };
  }
}
