// The head of the bars: round times, the lines below them, where the pointer is.

const TICK_PX = 76; // between two ticks, at least
const LETTER_PX = 6.6; // measuring text would lay out the page at every step of a zoom

class Ruler {
  constructor(viewer) {
    this.viewer = viewer;
    this.laneWidth = 0;
    this.pointerAt = null;
    this.ticks = el("div", { class: "ticks" });
    this.pointerTime = el("div", { class: "pointer-time" });
    this.headLane = el("div", { class: "cell lane", role: "columnheader", "aria-label": "Time axis" });
    this.headLane.append(this.ticks, this.pointerTime);
    this.back = el("div", { class: "back", "aria-hidden": "true" });
    this.marquee = el("div", { class: "marquee" });
    this.pointer = el("div", { class: "pointer" });
    this.front = el("div", { class: "front", "aria-hidden": "true" }, this.marquee, this.pointer);
  }

  laneX(event) {
    return event.clientX - this.headLane.getBoundingClientRect().left;
  }

  isInLane(event) {
    const x = this.laneX(event);
    return x >= 0 && x <= this.laneWidth;
  }

  /** The place on the axis below a point of the lane. */
  timeAt(x) {
    const { from, to } = this.viewer.time.view;
    return from + (x / this.laneWidth) * (to - from);
  }

  /** Mark what is being dragged over. */
  mark(start, end) {
    this.marquee.style.transform = `translateX(${Math.min(start, end)}px)`;
    this.marquee.style.width = `${Math.abs(end - start)}px`;
  }

  /** Show the time under the pointer; null: it is elsewhere. */
  point(x) {
    this.pointerAt = x;
    this.drawPointer();
  }

  drawTicks(space) {
    const { time, model, clock } = this.viewer;
    const { from, to } = time.view;
    const origin = model.head.origin_ms;
    const { step, found } = time.axis.ticks(from, to, (time.span() / this.laneWidth) * TICK_PX, clock, origin);
    const labels = [];
    let day = null;
    let free = 0; // where there is room for the next label
    for (const tick of found) {
      const x = space.place(tick.at);
      const fits = (text) => x >= free && x + LETTER_PX * text.length + 8 <= space.width;
      const words = this.tickWords(tick.time, step, day).find(fits);
      if (!words) continue;
      labels.push(this.placed("tick", x, words));
      free = x + LETTER_PX * words.length + 12;
      day = origin === null ? null : clock.day(origin + tick.time);
    }
    const lines = found.map((tick) => this.placed("tick-line", space.place(tick.at)));
    this.ticks.replaceChildren(...labels);
    this.back.replaceChildren(...lines, ...time.axis.gaps(from, to).map((gap) => this.drawGap(gap, space)));
  }

  placed(kind, x, words = "") {
    const made = el("span", { class: kind }, words);
    made.style.transform = `translateX(${x.toFixed(1)}px)`;
    return made;
  }

  drawGap(gap, space) {
    const left = space.place(gap.from);
    const made = this.placed("gap", left);
    const wide = space.place(gap.to) - left;
    made.style.width = `${wide.toFixed(1)}px`;
    made.hidden = wide < 2;
    return made;
  }

  /** What a tick may say, longest first: the day where it changes, and the time. */
  tickWords(at, step, before) {
    const { model, clock, time } = this.viewer;
    const origin = model.head.origin_ms;
    if (origin === null) return [`+${duration(at)}`];
    const day = clock.day(origin + at);
    if (step >= 86_400_000) return [day];
    const text = clock.time(origin + at, step);
    const hasDays = clock.day(origin + time.axis.time(0)) !== clock.day(origin + time.newest);
    return hasDays && day !== before ? [`${day} ${text}`, text] : [text];
  }

  drawPointer() {
    const { root, model, time, clock } = this.viewer;
    root.classList.toggle("pointing", this.pointerAt !== null && Boolean(model));
    if (this.pointerAt === null || !model) return;
    const at = time.axis.time(this.timeAt(this.pointerAt));
    const origin = model.head.origin_ms;
    const isFine = time.span() / this.laneWidth < 20;
    const isRight = this.pointerAt > this.laneWidth - 70;
    this.pointerTime.textContent = origin === null ? `+${duration(at)}` : clock.time(origin + at, isFine ? 1 : 1000);
    this.pointer.style.transform = `translateX(${this.pointerAt}px)`;
    this.pointerTime.style.transform = `translateX(${this.pointerAt}px)${isRight ? " translateX(-100%)" : ""}`;
  }
}
