// Draws bars of shares. Names are untrusted: they only ever become text.

function element(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function drawn(bar) {
  const line = element("div", "bar");
  line.append(element("span", "title", bar.title));
  const total = bar.shares.reduce((sum, share) => sum + share.size, 0);
  if (!(total > 0)) {
    line.append(element("span", "empty", bar.empty));
    return line;
  }
  const track = element("span", "track");
  track.setAttribute("aria-hidden", "true");
  const legend = element("ul", "legend");
  for (const share of bar.shares) {
    if (!(share.size > 0)) continue;
    const piece = element("span", `piece c${share.colour}`);
    piece.style.flexGrow = String(share.size / total);
    piece.title = `${share.name}: ${share.text}`;
    track.append(piece);
    const entry = element("li", "entry");
    const swatch = element("span", `swatch c${share.colour}`);
    swatch.setAttribute("aria-hidden", "true");
    entry.append(swatch, element("span", "name", share.name), element("span", "value", share.text));
    legend.append(entry);
  }
  line.append(track, legend);
  return line;
}

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".bars");
  root.replaceChildren(...data.bars.map(drawn));
}
