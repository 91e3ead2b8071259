// The whole session in one strip: exchanges and what is in them, a lane per depth of delegation, errors on top.

const LANE_PX = 7;
const TOP_PX = 9; // room for the triangles of errors
const FIRST_LANE_PX = 16;
const MOST_LANES = 5;
const GRIP_PX = 5;

class Minimap {
  /** @param {object} viewer Gives model, axis and view; takes zoom and open. */
  constructor(viewer) {
    this.viewer = viewer;
    this.canvas = el("canvas", { role: "img" });
    this.shade = [el("div", { class: "shade" }), el("div", { class: "shade" })];
    this.frame = el("div", { class: "frame" });
    this.element = el("div", { class: "map" }, this.canvas, ...this.shade, this.frame);
    this.element.addEventListener("pointerdown", (event) => this.press(event));
    this.element.addEventListener("dblclick", () => viewer.time.zoomAll());
    this.element.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.element.addEventListener("pointermove", (event) => this.point(event));
  }

  /** Draw everything but the frame; only when data, axis, size or theme change. */
  draw() {
    const { model, time } = this.viewer;
    const { axis } = time;
    const lanes = this.lanes(model);
    this.width = Math.max(1, this.element.clientWidth);
    const height = TOP_PX + FIRST_LANE_PX + (lanes.length ? lanes.length * (LANE_PX + 2) + 2 : 0) + 3;
    const scale = window.devicePixelRatio || 1;
    this.element.style.height = `${height}px`;
    this.canvas.width = Math.round(this.width * scale);
    this.canvas.height = Math.round(height * scale);
    const pen = this.canvas.getContext("2d");
    pen.scale(scale, scale);
    const x = (time) => (axis.place(time) / axis.end) * this.width;
    this.colours = new Map();
    this.drawGaps(pen, axis, height);
    this.drawExchanges(pen, x, model);
    lanes.forEach((calls, lane) => this.drawCalls(pen, x, calls, lane));
    this.drawErrors(pen, x, model);
    this.canvas.setAttribute("aria-label", this.words(model));
    this.move();
  }

  words(model) {
    const { error = 0, delegation = 0 } = model.counts;
    const what = [
      counted(model.roots.length, "exchange"),
      counted(delegation, "delegation"),
      counted(error, "error"),
    ];
    return `The whole session: ${what.join(", ")}. Drag to zoom, click to open an exchange, double click to show all.`;
  }

  lanes(model) {
    const lanes = [];
    const look = (node, depth) => {
      const inner = node.kind === "delegation" ? depth + 1 : depth;
      if (inner > depth && node.start !== null) (lanes[Math.min(depth, MOST_LANES - 1)] ||= []).push(node);
      for (const child of node.children) look(child, inner);
    };
    for (const root of model.roots) look(root, 0);
    return lanes;
  }

  colour(name) {
    if (!this.colours.has(name)) this.colours.set(name, this.resolve(name));
    return this.colours.get(name);
  }

  /** A canvas does not know `light-dark()`: let an element work it out. */
  resolve(name) {
    this.frame.style.outlineColor = `var(--${name})`;
    const colour = getComputedStyle(this.frame).outlineColor;
    this.frame.style.outlineColor = "";
    return colour;
  }

  drawGaps(pen, axis, height) {
    pen.strokeStyle = this.colour("line-strong");
    pen.lineWidth = 1;
    pen.setLineDash([2, 3]);
    for (const { from, to } of axis.gaps(0, axis.end)) {
      const at = Math.round(((from + to) / 2 / axis.end) * this.width) + 0.5;
      if (((to - from) / axis.end) * this.width < 2) continue;
      pen.beginPath();
      pen.moveTo(at, TOP_PX - 3);
      pen.lineTo(at, height - 2);
      pen.stroke();
    }
    pen.setLineDash([]);
  }

  drawExchanges(pen, x, model) {
    pen.fillStyle = this.colour("block");
    for (const node of model.roots) {
      if (node.start === null) continue;
      const left = x(node.start);
      pen.fillRect(left, TOP_PX, Math.max(2, x(node.end ?? node.start) - left), FIRST_LANE_PX);
    }
    const byKind = new Map();
    for (const root of model.roots) {
      for (const leaf of model.leaves(root)) {
        if (leaf.start === null || leaf.kind === "delegation") continue;
        const kind = leaf.isFailed ? "error" : leaf.kind;
        if (!byKind.has(kind)) byKind.set(kind, []);
        byKind.get(kind).push(leaf);
      }
    }
    const order = ["step", "other", "compaction", "file", "text", "reasoning", "patch", "tool", "retry", "error"];
    for (const kind of order) {
      pen.fillStyle = this.colour(kind === "step" ? "k-model" : `k-${kind}`);
      for (const { start, end } of byKind.get(kind) || []) {
        const left = x(start);
        pen.fillRect(left, TOP_PX + 3, Math.max(1, x(Math.max(end ?? start, start)) - left), FIRST_LANE_PX - 6);
      }
    }
  }

  drawCalls(pen, x, calls, lane) {
    const top = TOP_PX + FIRST_LANE_PX + 2 + lane * (LANE_PX + 2);
    pen.fillStyle = this.colour("k-delegation-soft");
    pen.strokeStyle = this.colour("k-delegation");
    for (const { start, end } of calls) {
      const left = x(start);
      const wide = Math.max(3, x(Math.max(end ?? start, start)) - left);
      pen.fillRect(left, top, wide, LANE_PX);
      if (wide > 4) pen.strokeRect(left + 0.5, top + 0.5, wide - 1, LANE_PX - 1);
    }
  }

  drawErrors(pen, x, model) {
    pen.fillStyle = this.colour("error");
    let last = -9;
    for (const node of model.all) {
      if (!node.isFailed || node.at === null) continue;
      const at = x(node.start ?? node.at);
      if (Math.abs(at - last) < 2) continue;
      last = at;
      pen.beginPath();
      pen.moveTo(at - 4, 0);
      pen.lineTo(at + 4, 0);
      pen.lineTo(at, 7);
      pen.fill();
    }
  }

  /** Put the frame where the view is. */
  move() {
    const { axis, view } = this.viewer.time;
    const left = Math.max(0, (view.from / axis.end) * this.width);
    const right = Math.min(this.width, (view.to / axis.end) * this.width);
    const wide = Math.max(4, right - left);
    this.at = { left, right: left + wide };
    this.isWhole = wide > this.width - 3;
    this.frame.style.transform = `translateX(${left}px)`;
    this.frame.style.width = `${wide}px`;
    this.shade[0].style.width = `${left}px`;
    this.shade[1].style.width = `${Math.max(0, this.width - left - wide)}px`;
    this.element.classList.toggle("whole", this.isWhole);
  }

  where(event) {
    return event.clientX - this.element.getBoundingClientRect().left;
  }

  place(x) {
    return (x / this.width) * this.viewer.time.axis.end;
  }

  /** What a press at a point would do: pull an edge of the frame, move it, or draw a new one. */
  grip(x) {
    if (this.isWhole) return "new";
    if (Math.abs(x - this.at.left) <= GRIP_PX) return "left";
    if (Math.abs(x - this.at.right) <= GRIP_PX) return "right";
    return x > this.at.left && x < this.at.right ? "move" : "new";
  }

  point(event) {
    const cursors = { left: "ew-resize", right: "ew-resize", move: "grab", new: "crosshair" };
    this.element.style.cursor = cursors[this.grip(this.where(event))];
  }

  press(event) {
    if (event.button !== 0) return;
    const start = this.where(event);
    const grip = this.grip(start);
    const { time } = this.viewer;
    const from = { ...time.view };
    let moved = false;
    this.element.setPointerCapture(event.pointerId);
    const drag = (move) => {
      const x = this.where(move);
      moved ||= Math.abs(x - start) > 3;
      if (!moved) return;
      const by = this.place(x - start);
      if (grip === "move") time.show(from.from + by, from.to + by);
      else if (grip === "left") time.show(Math.min(from.from + by, from.to), from.to);
      else if (grip === "right") time.show(from.from, Math.max(from.to + by, from.from));
      else time.show(this.place(Math.min(start, x)), this.place(Math.max(start, x)));
    };
    const end = () => {
      this.element.removeEventListener("pointermove", drag);
      this.element.removeEventListener("pointerup", end);
      this.element.removeEventListener("pointercancel", end);
      if (!moved) this.viewer.openAt(time.axis.time(this.place(start)));
    };
    this.element.addEventListener("pointermove", drag);
    this.element.addEventListener("pointerup", end);
    this.element.addEventListener("pointercancel", end);
  }

  wheel(event) {
    event.preventDefault();
    this.viewer.time.zoomBy(Math.exp(event.deltaY * 0.002), this.place(this.where(event)));
  }
}
