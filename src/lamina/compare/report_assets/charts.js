"use strict";
// Draws a chart that report_charts.py or report_lines.py described, in the page's colours and at the page's width.

const DATA = JSON.parse(document.getElementById("report-data").textContent);
const CONFIG = {displayModeBar: false, scrollZoom: false, doubleClick: false, showTips: false, responsive: false};

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
// Plotly reads <b>, <a> and entities in texts; what stands in the data is text and nothing else.
const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const lines = (text) => plain(text).replace(/\n/g, "<br>");
const family = (name) => DATA.families[name] || {colour: css("--quiet"), symbol: "circle"};
const veil = (hex, alpha) => {
  const n = parseInt(hex.slice(1), 16);
  return `rgba(${n >> 16},${(n >> 8) & 255},${n & 255},${alpha})`;
};

function tickText(value, kind) {
  const steps = kind === "bytes" ? [[1e12, " TB"], [1e9, " GB"], [1e6, " MB"], [1e3, " kB"], [1, " B"]]
    : kind === "count" ? [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""]] : [[1, ""]];
  for (const [size, name] of steps) {
    if (Math.abs(value) >= size * 0.999 || size === 1) return Number((value / size).toPrecision(4)) + name;
  }
}

/* Ticks of a log axis: 1, 2, 5 of each decade where there is room, else the decades, else every second or third. */
function logTicks([low, high], room) {
  const within = (v) => Math.log10(v) >= low - 1e-9 && Math.log10(v) <= high + 1e-9;
  const decades = (each, stride) => {
    const found = [];
    for (let k = Math.floor(low); k <= Math.ceil(high); k += 1) {
      if (k % stride === 0) for (const m of each) if (within(m * 10 ** k)) found.push(m * 10 ** k);
    }
    return found;
  };
  const tries = [decades([1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9], 1), decades([1, 2, 3, 5, 7], 1), decades([1, 2, 5], 1),
    decades([1, 3], 1), decades([1], 1), decades([1], 2), decades([1], 3)];
  return tries.find((t) => t.length <= room) || tries[tries.length - 1];
}

function linearTicks([low, high], room) {
  const rough = (high - low) / Math.max(2, room), power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k += 1) found.push(Number((k * step).toPrecision(12)));
  return found;
}

/* A plotly axis from ours, with its own ticks: at most as many as have room. */
function axis(spec, room, more) {
  const base = {
    fixedrange: true, zeroline: false, gridcolor: css("--grid"), linecolor: css("--line"), showline: true,
    tickfont: {color: css("--quiet"), size: 12}, ticks: "outside", ticklen: 4, tickcolor: css("--line"), automargin: false,
  };
  if (spec.names) {
    return {...base, type: "linear", range: [-0.6, spec.names.length - 0.4], tickvals: spec.names.map((_, i) => i),
      ticktext: spec.names.map(plain), ...more};
  }
  const ticks = spec.ticks || (spec.log ? logTicks : linearTicks)(spec.range, room);
  return {...base, type: spec.log ? "log" : "linear", range: spec.range, tickvals: ticks,
    ticktext: ticks.map((v) => tickText(v, spec.kind)), ...more};
}

/* A line that ends well before the right edge carries its label at its own end. */
const early = (spec, line) => share(spec.x, line.x[line.x.length - 1]) < 0.75;

const share = (a, v) => ((a.log ? Math.log10(v) : v) - a.range[0]) / (a.range[1] - a.range[0]);

/* Everything about one drawing of one chart: sizes in pixels and the way from data to pixels. */
function frame(spec, width) {
  const narrow = width < 560;
  const names = (spec.y.names || []).map(textWidth);
  const ends = (spec.lines || []).filter((line) => !early(spec, line)).map((line) => textWidth(line.name));
  const many = narrow || spec.id !== "tradeoff" ? 22 * Math.max(0, (spec.dots || []).length - 8) : 0;
  const height = spec.y.names ? 84 + 34 * spec.y.names.length
    : Math.max((narrow ? 320 : spec.id === "tradeoff" ? 320 : 360) + many, LINE * ends.length + 100);
  const margin = {
    l: spec.y.names ? Math.max(...names) + 16 : spec.y.kind === "bytes" || spec.y.log ? 60 : 48,
    r: ends.length ? Math.max(...ends) + 22 : 16, t: spec.y.title ? 32 : 12, b: 52,
  };
  const w = width - margin.l - margin.r, h = height - margin.t - margin.b;
  const split = spec.aside ? Math.max(0.6, 1 - Math.max(96, textWidth(spec.aside.title) + 16) / w) : 1;
  const main = spec.aside ? split - 14 / w : 1;
  return {
    narrow, height, margin, w, h, main, split,
    x: (v) => share(spec.x, v) * w * main,
    y: (v) => h - share(spec.y, v) * h,
    asideX: (i) => w * (split + (1 - split) * (i + 0.5) / spec.aside.count),
  };
}

function note(f, x, y, text, more) {
  return {xref: "paper", yref: "paper", x: x / f.w, y: 1 - y / f.h, text, showarrow: false, font: {size: FONT, color: css("--ink")},
    xanchor: "center", yanchor: "middle", borderpad: 0, ...more};
}

function drawDots(spec, f, out) {
  const size = f.narrow ? 15 : 18;
  const placed = [];
  for (const d of spec.dots) {
    const look = family(d.family), diameter = Math.max(7, size * Math.sqrt(d.area));
    const x = d.aside ? f.asideX(d.x) : f.x(d.x), y = f.y(d.y);
    const reach = d.xhi ? f.x(d.xhi) - x : 0;
    placed.push({x, y, r: diameter / 2, name: d.label, up: y - f.y(d.hi), down: f.y(d.lo) - y, left: 0, right: reach});
    out.traces.push({
      type: "scatter", mode: "markers", x: [d.x], y: [d.y], xaxis: d.aside ? "x2" : "x", yaxis: "y", hoverinfo: "text",
      hovertext: [lines(d.hover)],
      marker: {color: look.colour, symbol: look.symbol + (d.hollow ? "-open" : ""), size: diameter, opacity: 1,
        line: {width: d.hollow ? 2.5 : 1, color: css("--ink")}},
      error_y: {type: "data", symmetric: false, array: [d.hi - d.y], arrayminus: [d.y - d.lo], color: css("--quiet"), thickness: 1.5, width: 4},
      error_x: {type: "data", symmetric: false, array: [d.xhi ? d.xhi - d.x : 0], arrayminus: [0], visible: !!d.xhi, color: css("--quiet"), thickness: 1, width: 0},
    });
  }
  placeLabels(placed, f.w, f.h).forEach((where, i) => {
    const d = placed[i];
    if (where.leader) {
      out.shapes.push({type: "line", xref: "paper", yref: "paper", x0: d.x / f.w, y0: 1 - d.y / f.h,
        x1: (d.x + where.dx) / f.w, y1: 1 - (d.y + where.dy) / f.h, line: {width: 1, color: css("--line")}, layer: "below"});
    }
    out.notes.push(note(f, d.x + where.dx, d.y + where.dy, plain(d.name), where.leader ? {bgcolor: css("--paper")} : {}));
  });
}

function drawLines(spec, f, out) {
  for (const line of spec.lines) {
    const colour = line.family ? family(line.family).colour : css("--quiet");
    if (line.lo) {
      const edge = {type: "scatter", mode: "lines", x: line.x, line: {width: 0}, hoverinfo: "skip"};
      out.traces.push({...edge, y: line.lo}, {...edge, y: line.hi, fill: "tonexty", fillcolor: veil(colour, 0.18)});
    }
    out.traces.push({type: "scatter", mode: line.x.length < 12 && line.family ? "lines+markers" : "lines", x: line.x, y: line.y,
      hoverinfo: "text", hovertext: line.hover.map(lines),
      line: {color: colour, width: line.family ? 2.5 : 1.5, dash: line.family ? line.dash : "dot"},
      marker: {symbol: line.family ? family(line.family).symbol : "circle", size: 7, color: colour}});
    if (line.dead) {
      out.traces.push({type: "scatter", mode: "markers", x: line.x.slice(-1), y: line.y.slice(-1), hoverinfo: "text",
        hovertext: [plain(line.name)], marker: {symbol: "x-thin", size: 9, line: {width: 2, color: css("--ink")}}});
    }
  }
  const end = (line) => [f.x(line.x[line.x.length - 1]), f.y(line.y[line.y.length - 1])];
  const full = spec.lines.filter((line) => !early(spec, line)), last = full.map(end);
  const at = spreadEnds(last.map((p) => p[1]), f.h);
  for (const line of spec.lines.filter((one) => early(spec, one))) {
    const [x, y] = end(line);
    out.notes.push(note(f, x + 9, y + (y > 24 ? -10 : 10), plain(line.name), {xanchor: "left"}));
  }
  full.forEach((line, i) => {
    const label = f.w + 14;
    out.shapes.push({type: "line", xref: "paper", yref: "paper", x0: (last[i][0] + 2) / f.w, y0: 1 - last[i][1] / f.h,
      x1: (label - 2) / f.w, y1: 1 - at[i] / f.h, line: {width: 1, color: css("--line")}});
    out.notes.push(note(f, label, at[i], plain(line.name), {xanchor: "left", font: {size: FONT, color: css(line.family ? "--ink" : "--quiet")}}));
  });
}

function drawSpans(spec, f, out) {
  spec.spans.forEach((s, i) => {
    const look = family(s.family), n = s.marks.length;
    out.traces.push({type: "scatter", mode: "lines+markers", x: s.marks, y: s.marks.map(() => i), hoverinfo: "text",
      hovertext: s.marks.map(() => plain(s.hover)), line: {color: look.colour, width: 2},
      marker: {color: [look.colour, css("--paper"), css("--paper")].slice(0, n), size: [12, 9, 7].slice(0, n), opacity: 1,
        symbol: [look.symbol, "circle", "circle"].slice(0, n), line: {width: 1.5, color: css("--ink")}}});
  });
}

function drawRefs(spec, f, out) {
  for (const ref of spec.refs || []) {
    const upright = ref.axis === "x";
    const ends = upright ? {xref: "x", x0: ref.at, x1: ref.at, yref: "paper", y0: 0, y1: 1}
      : {yref: "y", y0: ref.at, y1: ref.at, xref: "paper", x0: 0, x1: f.main};
    if (ref.band) {
      out.shapes.push({type: "rect", xref: "x", x0: ref.band[0], x1: ref.band[1], yref: "paper", y0: 0, y1: 1,
        fillcolor: css("--band"), line: {width: 0}, layer: "below"});
    }
    out.shapes.push({type: "line", ...ends, line: {width: 1.5, dash: "dash", color: css("--quiet")}, layer: "below"});
    if (!ref.label) continue;
    out.notes.push(note(f, f.w * f.main - 4, f.y(ref.at), plain(ref.label),
      {xanchor: "right", yanchor: f.y(ref.at) > 24 ? "bottom" : "top", font: {size: 12, color: css("--quiet")}}));
  }
  if (spec.note) {
    out.notes.push(note(f, 8, spec.note[0] === "↓" ? f.h - 10 : 10, plain(spec.note), {xanchor: "left", font: {size: 12, color: css("--quiet")}}));
  }
}

/* Draws spec into its element, at the element's width. Returns plotly's promise. */
function draw(spec, element) {
  const width = Math.floor(element.clientWidth);
  if (!width) return null;
  const f = frame(spec, width), out = {traces: [], shapes: [], notes: []};
  drawRefs(spec, f, out);
  if (spec.dots) drawDots(spec, f, out);
  if (spec.lines) drawLines(spec, f, out);
  if (spec.spans) drawSpans(spec, f, out);
  const face = getComputedStyle(document.body).fontFamily;
  const layout = {
    width, height: f.height, margin: f.margin, showlegend: false, dragmode: false, hovermode: "closest", autosize: false,
    paper_bgcolor: css("--paper"), plot_bgcolor: css("--paper"),
    font: {family: face, color: css("--ink"), size: FONT},
    hoverlabel: {bgcolor: css("--paper"), bordercolor: css("--line"), font: {family: face, color: css("--ink"), size: FONT}, align: "left"},
    xaxis: axis(spec.x, f.w * f.main / 60, {domain: [0, f.main], title: {text: plain(spec.x.title), font: {size: FONT, color: css("--quiet")}, standoff: 8}}),
    yaxis: axis(spec.y, f.h / 44, {}),
    shapes: out.shapes, annotations: out.notes,
  };
  if (spec.aside) {
    layout.xaxis2 = {...layout.xaxis, type: "linear", domain: [f.split, 1], range: [-0.5, spec.aside.count - 0.5], tickvals: [], anchor: "y",
      title: {...layout.xaxis.title, text: plain(spec.aside.title)}};
  }
  if (spec.y.title) {
    out.notes.push(note(f, -f.margin.l, -18, plain(spec.y.title), {xanchor: "left", font: {size: FONT, color: css("--quiet")}}));
  }
  return Plotly.react(element, out.traces, layout, CONFIG);
}
