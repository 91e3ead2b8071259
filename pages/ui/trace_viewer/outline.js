// Which rows there are: the tree without what is folded away and without the kinds that are hidden.

class Outline {
  constructor(viewer) {
    this.viewer = viewer;
    this.rows = [];
    this.places = new Map(); // key of a row to its place
    this.begin();
  }

  /** Forget what was folded and hidden by hand. */
  begin() {
    this.folded = new Map(); // key to whether; what is not in here is as it is by default
    this.hidden = new Set(); // kinds
    this.openKey = null;
  }

  isFolded(node) {
    if (this.folded.has(node.key)) return this.folded.get(node.key);
    if (node.key === this.openKey) return false;
    return node.kind === "exchange" || node.kind === "delegation";
  }

  /** Children that are shown: those of a hidden kind give way to their own children. */
  shownChildren(node) {
    if (!this.hidden.size) return node.children;
    const shown = [];
    for (const child of node.children) {
      if (!this.isHidden(child)) shown.push(child);
      else if (child.kind !== "delegation") shown.push(...this.shownChildren(child));
    }
    return shown;
  }

  isHidden(node) {
    return node.type === "event" && this.hidden.has(node.kind);
  }

  /** List the rows anew, each with its place among its siblings. */
  flatten() {
    this.rows = [];
    this.places = new Map();
    const walk = (nodes, level) => {
      nodes.forEach((node, place) => {
        const children = this.shownChildren(node);
        const isOpen = children.length > 0 && !this.isFolded(node);
        node.row = { level, position: place + 1, among: nodes.length, canOpen: children.length > 0, isOpen };
        this.places.set(node.key, this.rows.length);
        this.rows.push(node);
        if (isOpen) walk(children, level + 1);
      });
    };
    walk(this.viewer.model.roots, 0);
  }

  /** The nearest row above that is shown. */
  shownAbove(node) {
    let above = node.parent;
    while (above && !this.places.has(above.key)) above = above.parent;
    return above;
  }

  /** Make sure that a row is shown: unfold what it lies in, show its kind. */
  unfoldTo(node) {
    for (let above = node.parent; above; above = above.parent) {
      if (this.isFolded(above)) this.folded.set(above.key, false);
    }
    this.hidden.delete(node.kind);
  }

  /** One exchange is open at a time, besides those that were unfolded by hand. */
  setOpen(exchange) {
    this.openKey = exchange.key;
    if (this.folded.get(exchange.key) === true) this.folded.delete(exchange.key);
  }
}
