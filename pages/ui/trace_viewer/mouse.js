// Mouse, wheel and fingers on the waterfall.

const WHEEL = 0.002; // how much a step of the wheel zooms
const PINCH = 0.004; // a trackpad reports pinching as a wheel with Ctrl, in smaller steps
const DRAG_PX = 4; // less is a click with a shaky hand
const CLICK_MS = 250; // the click that ends a drag comes at once

class Mouse {
  constructor(viewer) {
    this.viewer = viewer;
    this.hovered = null;
    this.fingers = new Map(); // pointers that touch, and where they are
    this.wasDragged = -Infinity;
    this.splitter = el("div", { class: "splitter", "aria-hidden": "true" });
    this.splitter.addEventListener("pointerdown", (event) => this.pullSplitter(event));
  }

  listen(grid) {
    grid.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    grid.addEventListener("pointerdown", (event) => this.press(event));
    grid.addEventListener("pointermove", (event) => this.hover(event));
    grid.addEventListener("pointerleave", () => this.unhover());
    grid.addEventListener("click", (event) => this.click(event));
    grid.addEventListener("dblclick", (event) => this.viewer.time.zoomTo(this.nodeAt(event)));
  }

  /** The row at a point: by its place, since a row may have been drawn anew between press and release. */
  nodeAt(event) {
    const { model, rowsBox, rowPx, outline } = this.viewer;
    if (!model || event.target.closest(".head")) return null;
    return outline.rows[Math.floor((event.clientY - rowsBox.getBoundingClientRect().top) / rowPx)] || null;
  }

  /** Ctrl and wheel zoom, as does the wheel alone over the axis; Shift or sideways moves along; else it scrolls. */
  wheel(event) {
    const { time, ruler } = this.viewer;
    const isHead = event.target.closest(".head") && ruler.isInLane(event);
    if (event.ctrlKey || event.metaKey || event.altKey || isHead) {
      event.preventDefault();
      const factor = Math.exp(event.deltaY * (event.ctrlKey ? PINCH : WHEEL));
      time.zoomBy(factor, ruler.timeAt(ruler.laneX(event)));
    } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      time.moveBy(((event.deltaX || event.deltaY) / ruler.laneWidth) * time.span());
    }
  }

  /** Drag over the bars: zoom to what was dragged over; with Shift or a finger, move along; two fingers zoom. */
  press(event) {
    const { time, ruler, root } = this.viewer;
    if (event.button !== 0 || !ruler.isInLane(event) || event.target.closest(".splitter")) return;
    if (event.pointerType === "touch") {
      this.touch(event);
      return;
    }
    const start = ruler.laneX(event);
    const { from, to } = time.view;
    const inside = (move) => Math.min(Math.max(ruler.laneX(move), 0), ruler.laneWidth);
    let isDrag = false;
    const drag = (move) => {
      isDrag ||= Math.abs(inside(move) - start) > DRAG_PX;
      if (!isDrag) return;
      const by = ((start - inside(move)) / ruler.laneWidth) * (to - from);
      if (event.shiftKey) time.show(from + by, to + by);
      else ruler.mark(start, inside(move));
      root.classList.toggle("dragging", !event.shiftKey);
    };
    const end = (up) => {
      root.classList.remove("dragging");
      if (!isDrag) return;
      this.wasDragged = performance.now();
      const [left, right] = [start, inside(up)].sort((one, other) => one - other);
      if (!event.shiftKey) time.animate({ from: ruler.timeAt(left), to: ruler.timeAt(right) });
    };
    whilePressed(drag, end);
  }

  touch(event) {
    this.fingers.set(event.pointerId, this.viewer.ruler.laneX(event));
    if (this.fingers.size > 1) return;
    const drag = (move) => this.moveFinger(move);
    const end = (up) => {
      this.fingers.delete(up.pointerId);
      return this.fingers.size > 0;
    };
    whilePressed(drag, end);
  }

  moveFinger(move) {
    if (!this.fingers.has(move.pointerId)) return;
    const { time, ruler } = this.viewer;
    const before = [...this.fingers.values()];
    this.fingers.set(move.pointerId, ruler.laneX(move));
    const now = [...this.fingers.values()];
    if (now.length === 1) {
      time.moveBy(((before[0] - now[0]) / ruler.laneWidth) * time.span());
    } else {
      const ratio = Math.max(8, Math.abs(before[0] - before[1])) / Math.max(8, Math.abs(now[0] - now[1]));
      time.zoomBy(ratio, ruler.timeAt((now[0] + now[1]) / 2));
    }
  }

  click(event) {
    const { viewer } = this;
    const { outline } = viewer;
    const node = this.nodeAt(event);
    if (!node || performance.now() - this.wasDragged < CLICK_MS) return;
    viewer.grid.focus({ preventScroll: true });
    const isOpened = node.row.isOpen && node.key === outline.openKey;
    if (event.target.closest(".twist") && node.row.canOpen) {
      if (isOpened) outline.openKey = null;
      viewer.fold(node, node.row.isOpen);
    } else if (node.type === "exchange" && node.depth === 0 && !isOpened) {
      viewer.open(node, { scroll: false });
    } else {
      viewer.select(node, { wait: 0, isAsked: true });
      if (event.target.closest(".edge")) viewer.time.showTimeOf(node, null);
    }
  }

  hover(event) {
    const { ruler } = this.viewer;
    const node = this.nodeAt(event);
    if (node !== this.hovered) {
      this.hovered = node;
      this.viewer.drawFoot();
    }
    ruler.point(ruler.isInLane(event) ? ruler.laneX(event) : null);
  }

  unhover() {
    this.hovered = null;
    this.viewer.ruler.point(null);
    this.viewer.drawFoot();
  }

  pullSplitter(event) {
    event.preventDefault();
    const { grid, head } = this.viewer;
    const start = event.clientX;
    const before = head.children[0].offsetWidth;
    const pull = (move) => {
      const wide = Math.min(Math.max(before + move.clientX - start, 120), grid.clientWidth - 260);
      grid.style.setProperty("--label", `${wide}px`);
      this.viewer.resize();
    };
    whilePressed(pull, () => {});
  }
}

/** Follow a pointer until it is released; `end` may answer that another one still holds on. */
function whilePressed(drag, end) {
  const stop = (up) => {
    if (end(up)) return;
    window.removeEventListener("pointermove", drag);
    window.removeEventListener("pointerup", stop);
    window.removeEventListener("pointercancel", stop);
  };
  window.addEventListener("pointermove", drag);
  window.addEventListener("pointerup", stop);
  window.addEventListener("pointercancel", stop);
}
