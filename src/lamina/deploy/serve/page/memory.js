/* The picture of memory: bytes that a stream keeps against its seconds, both on log scales. */
const SECONDS = [1, 10, 60, 600, 3600, 10800];
const TIMES = {1: "1 s", 10: "10 s", 60: "1 min", 600: "10 min", 3600: "1 h", 10800: "3 h"};
const SVG = "http://www.w3.org/2000/svg";

/* Three digits and a unit. */
export function bytes(n) {
  const [size, unit] = n < 1e3 ? [n, "B"] : n < 1e6 ? [n / 1e3, "kB"] : n < 1e9 ? [n / 1e6, "MB"] : [n / 1e9, "GB"];
  return `${Number(size.toPrecision(3))} ${unit}`;
}

/* How long a stream is. */
export function time(seconds) {
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds % 3600 / 60)} min`;
}

/* Rows of the table that says the same. */
export function rows(body, about) {
  for (const s of SECONDS) {
    const row = body.insertRow();
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = TIMES[s];
    row.append(head);
    row.insertCell().textContent = bytes(about.state_bytes);
    row.insertCell().textContent = about.cache_bytes ? bytes(about.cache_bytes * s) : "not known for this model";
  }
}

/* Draws into the place; returns what moves the mark of now, which is also drawn anew when the place changes its width. */
export function picture(place, about) {
  let seconds = 0, move = () => {};
  const draw = () => { move = drawn(place, about); move(seconds); };
  new ResizeObserver(draw).observe(place);
  draw();
  return (now) => { seconds = now; move(now); };
}

function drawn(place, about) {
  const width = place.clientWidth, height = place.clientHeight, left = 64, right = 16, top = 28, bottom = 44;
  const cache = about.cache_bytes;
  const all = [about.state_bytes, ...(cache ? [cache, cache * SECONDS.at(-1)] : [about.state_bytes * 10])].map(Math.log10);
  const [low, high] = [Math.floor(Math.min(...all)), Math.ceil(Math.max(...all))];
  const x = (s) => left + (width - left - right) * Math.log10(Math.max(1, s)) / Math.log10(SECONDS.at(-1));
  const y = (b) => height - bottom - (height - top - bottom) * (Math.log10(b) - low) / (high - low);
  const svg = node("svg", {viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true"});
  for (let power = low; power <= high; power++) {
    if ((power - low) % (high - low > 5 ? 2 : 1)) continue;
    const at = y(10 ** power);
    svg.append(node("line", {class: "rule", x1: left, x2: width - right, y1: at, y2: at}));
    svg.append(node("text", {x: left - 8, y: at + 4, "text-anchor": "end"}, bytes(10 ** power)));
  }
  for (const s of SECONDS) {
    svg.append(node("line", {class: "rule", x1: x(s), x2: x(s), y1: top, y2: height - bottom}));
    if (width < 500 && s === 3600) continue;  // no room before 3 h
    const anchor = s === SECONDS.at(-1) ? "end" : "middle";
    svg.append(node("text", {x: x(s), y: height - bottom + 18, "text-anchor": anchor}, TIMES[s]));
  }
  const middle = (left + width - right) / 2;
  svg.append(node("text", {x: middle, y: height - 6, "text-anchor": "middle"}, "Length of the stream (log scale)"));
  svg.append(node("text", {x: 0, y: 12}, "State of one stream (log scale)"));
  const end = SECONDS.at(-1), mine = y(about.state_bytes);
  const now = node("line", {class: "now", y1: top, y2: height - bottom});
  svg.append(now);
  if (cache) {
    svg.append(node("path", {class: "theirs", d: `M${x(1)} ${y(cache)}L${x(end)} ${y(cache * end)}`}));
    svg.append(node("text", {class: "name", x: x(end) - 8, y: y(cache * end) + (width < 500 ? -8 : 4), "text-anchor": "end", dx: width < 500 ? 0 : -56}, "full cache"));
  }
  svg.append(node("path", {class: "mine", d: `M${x(1)} ${mine}L${x(end)} ${mine}`}));
  const below = mine + 18 < height - bottom ? 18 : -8;
  svg.append(node("text", {class: "name", x: x(end), y: mine + below, "text-anchor": "end"}, `${about.model}, ${bytes(about.state_bytes)}`));
  const dots = [node("circle", {class: "dot", r: 5, cy: mine})];
  if (cache) dots.unshift(node("circle", {class: "dot full", r: 5}));
  svg.append(...dots);
  place.replaceChildren(svg);
  return (seconds) => {
    for (const mark of [now, ...dots]) mark.setAttribute("visibility", seconds >= 1 ? "visible" : "hidden");
    const at = x(Math.min(seconds, end));
    now.setAttribute("x1", at);
    now.setAttribute("x2", at);
    for (const dot of dots) dot.setAttribute("cx", at);
    if (cache) dots[0].setAttribute("cy", y(cache * Math.max(1, Math.min(seconds, end))));
  };
}

function node(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text) made.textContent = text;
  return made;
}
